//! `cargo xtask demo`: an agent is killed and its disk wiped, and it comes back as itself.

pub(crate) mod cluster;

use bindu_testkit::{AgentProcess, AgentSetup, Hydra, OpenBao, http};
use std::path::Path;

const AUTHOR: &str = "demo@example.com";
const NAME: &str = "Phoenix";

/// What makes an agent this agent, as seen from outside.
struct Sight {
    rows: Vec<(&'static str, String)>,
    start: String,
}

/// Runs the demo; whether the agent came back as itself.
pub(crate) async fn run() -> bool {
    let binary = crate::release_binary();
    println!("An agent on the network is known by its DID (a name), its key (which proves the name) and its");
    println!("OAuth client (which gets it tokens). A container that dies takes its disk with it. Watch.\n");
    println!("1. Starting a Vault (OpenBao) and an OAuth server (Ory Hydra), both real, both empty.");
    let (bao, hydra) = (OpenBao::start().await, Hydra::start().await);
    let disk = tempfile::tempdir().expect("a temporary directory");
    let setup =
        AgentSetup::new(&binary, disk.path()).named(AUTHOR, NAME).vault(&bao).set_all(hydra.environment());
    let setup = setup.set("BINDU_DEPLOYMENT_URL", "http://phoenix.example.com");

    println!("2. Starting the agent \"{NAME}\", with an empty disk. It makes its identity.");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let before = sight(&agent, &bao, &hydra).await;
    println!("3. Sending it a message, as a caller with a token.");
    println!("   It answers: {:?}", talk(&agent, &hydra).await);

    println!("4. Killing it (SIGKILL, process {}) and deleting its disk.", agent.pid());
    agent.kill();
    wipe(disk.path());

    println!("5. Starting it again, with an empty disk.");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let after = sight(&agent, &bao, &hydra).await;
    println!("   It answers: {:?}\n", talk(&agent, &hydra).await);
    let is_same = show(&before, &after);
    println!();
    if is_same {
        println!("The same agent. One key, one client, nothing written twice.");
    } else {
        println!("NOT the same agent.");
    }
    is_same
}

fn wipe(disk: &Path) {
    let _ = std::fs::remove_dir_all(disk.join(".bindu"));
}

async fn sight(agent: &AgentProcess, bao: &OpenBao, hydra: &Hydra) -> Sight {
    let (_, card) = http::get(&format!("{}/.well-known/agent.json", agent.url)).await;
    let did = card["capabilities"]["extensions"][0]["uri"].as_str().unwrap_or("none").to_owned();
    let id = card["id"].as_str().unwrap_or("none").to_owned();
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let fingerprint =
        metrics.as_str().and_then(|text| text.split("key_fingerprint=\"").nth(1)?.split('"').next());
    let client = hydra.client(&did).await.unwrap_or_default();
    let clients = hydra.clients().await.iter().filter(|id| id.starts_with("did:")).count();
    let version = async |path: String| {
        bao.record(&path).await.map_or("none".to_owned(), |(version, _)| version.to_string())
    };
    let rows = vec![
        ("DID", did.clone()),
        ("key fingerprint", fingerprint.unwrap_or("none").to_owned()),
        ("OAuth client created at", client["created_at"].as_str().unwrap_or("none").to_owned()),
        ("agents' clients in Hydra", clients.to_string()),
        ("version of its keys in Vault", version(format!("agents/{id}/did-keys")).await),
        ("version of its secret in Vault", version(format!("hydra/credentials/{did}")).await),
    ];
    Sight { rows, start: format!("{:.0}", agent.start.as_secs_f64() * 1000.0) }
}

/// Prints both sights; whether they are the same, with one client and first versions.
fn show(before: &Sight, after: &Sight) -> bool {
    let mut is_same = true;
    println!("   {:42}before the kill | after it", "");
    for ((name, first), (_, second)) in before.rows.iter().zip(&after.rows) {
        let must_be_one = name.starts_with("version") || name.starts_with("agents'");
        let good = first == second && first != "none" && (!must_be_one || first == "1");
        is_same &= good;
        let mark = if good { "same" } else { "DIFFERS" };
        if first.len() > 24 {
            println!("   {name:32}{mark:10}{first}\n   {:32}{:10}{second}", "", "");
        } else {
            println!("   {name:32}{mark:10}{first} | {second}");
        }
    }
    println!("   {:32}{:10}{} | {}", "milliseconds, spawn to ready", "", before.start, after.start);
    is_same
}

/// Sends a message as a service with a client of its own; what the agent answers.
async fn talk(agent: &AgentProcess, hydra: &Hydra) -> String {
    let id = format!("caller-{}", agent.pid());
    hydra
        .register(&serde_json::json!({
            "client_id": id, "client_secret": "demo-secret", "grant_types": ["client_credentials"],
            "scope": "openid offline agent:read agent:write", "token_endpoint_auth_method": "client_secret_post",
        }))
        .await;
    let (_, token) = hydra.token(&id, "demo-secret").await;
    let token = format!("Bearer {}", token["access_token"].as_str().unwrap_or_default());
    let send = async |body: serde_json::Value| {
        let request = http::client().post(&agent.url).header("Authorization", &token).body(body.to_string());
        http::answer(request).await.1
    };
    let task_id = format!("task-{}", agent.pid());
    send(http::message(&task_id, "Is it you?")).await;
    http::eventually("an answer", async || {
        let task = send(http::call("tasks/get", &serde_json::json!({"taskId": task_id}))).await;
        task["result"]["artifacts"][0]["parts"][0]["text"].as_str().map(str::to_owned)
    })
    .await
}
