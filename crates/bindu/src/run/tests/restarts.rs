//! The whole agent as a process of its own, on real servers, with parts of its background work that panic or end when they are
//! asked to. The process is this test program, in which the supervisor asks [`breakable`]: no program that is released has
//! such a switch.

use crate::settings::{Layers, Settings};
use bindu_testkit::{AgentProcess, AgentSetup, Hydra, OpenBao, http, proxy::Fault, proxy::Proxy};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

/// The variable that names the directory in which faults are asked for: files named after parts.
const FAULTS: &str = "FAULTS_IN";

/// How a part can fail.
const HOW: [&str; 2] = ["panic", "end"];

/// Does a part's work, until a test asks for its end. Asks the file system, which is there for two processes.
pub(in crate::run) async fn breakable(part: &'static str, work: impl Future<Output = ()>) {
    let Some(directory) = std::env::var_os(FAULTS) else { return work.await };
    let file = Path::new(&directory).join(part);
    let asked = async {
        loop {
            if let Ok(how) = fs::read_to_string(&file)
                && fs::remove_file(&file).is_ok()
            {
                break how;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        how = asked => assert!(how != "panic", "it was asked for"),
        () = work => {}
    }
}

/// The agent: what `bindu run` does after it has read its arguments.
#[test]
#[ignore = "a process that the other tests start"]
fn the_agent() {
    if std::env::var_os(FAULTS).is_none() {
        return;
    }
    let settings = Layers::default().with_process().and_then(Settings::load).unwrap();
    crate::run::log::start(&settings).unwrap();
    let handler = crate::run::handler(&settings.handler);
    crate::block_on(crate::run::run(settings, handler)).unwrap();
    crate::run::log::flush();
}

/// An agent between its servers, and how to break it.
struct World {
    bao: OpenBao,
    hydra: Hydra,
    vault: Proxy,
    tokens: Proxy,
    faults: tempfile::TempDir,
    disk: tempfile::TempDir,
    setup: AgentSetup,
}

impl World {
    async fn new(interval: &str) -> Self {
        let (bao, hydra) = (OpenBao::start().await, Hydra::start().await);
        let (vault, tokens) = (Proxy::start(&bao.url).await, Proxy::start(&hydra.public_url).await);
        let (faults, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let setup = AgentSetup::new(std::env::current_exe().unwrap(), disk.path());
        let setup =
            setup.command(&["--exact", "run::tests::restarts::the_agent", "--ignored", "--nocapture"]);
        let setup = setup.named("alice@example.com", "Restarts").vault(&bao).set_all(hydra.environment());
        let setup = setup.set("VAULT__URL", &vault.url).set("HYDRA__PUBLIC_URL", &tokens.url);
        let setup = setup.set("BINDU_RECONCILE_INTERVAL", interval);
        let setup = setup.set(FAULTS, faults.path().display().to_string());
        Self { bao, hydra, vault, tokens, faults, disk, setup }
    }

    /// Has a part fail.
    fn fail(&self, part: &str, how: &str) {
        let file = self.disk.path().join(part);
        fs::write(&file, how).unwrap();
        // Whole at once.
        fs::rename(file, self.faults.path().join(part)).unwrap();
    }

    /// A token of Vault that ends unless it is renewed.
    async fn token(&self) -> String {
        let all = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\"] }";
        let policy = self.bao.call("POST", "sys/policies/acl/all", Some(json!({"policy": all}))).await;
        assert_eq!(policy.0, 204, "{policy:?}");
        let asked = json!({"policies": ["all"], "period": "40s"});
        let (status, answer) = self.bao.call("POST", "auth/token/create", Some(asked)).await;
        assert_eq!(status, 200, "{answer}");
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Lets the client's tokens end soon.
    async fn short_tokens(&self, did: &str) {
        let url = format!("{}/admin/clients/{did}/lifespans", self.hydra.admin_url);
        let lives = json!({"client_credentials_grant_access_token_lifespan": "4s"});
        let (status, answer) = http::answer(http::client().put(url).body(lives.to_string())).await;
        assert_eq!(status, 200, "{answer}");
    }
}

async fn health(agent: &AgentProcess) -> Value {
    http::get(&format!("{}/health", agent.url)).await.1
}

async fn is_told(agent: &AgentProcess) {
    let health = health(agent).await;
    let is_there =
        health["reasons"].as_array().unwrap().iter().any(|reason| reason == "background_work_failed");
    assert!(is_there && health["health"] == "degraded", "{health}");
    let (status, text) = http::get(&format!("{}/readyz?verbose", agent.url)).await;
    assert_eq!(status, 200, "it serves: {text}");
    assert!(text.as_str().unwrap().contains("[~] background: background_work_failed"), "{text}");
}

/// A number of the metrics.
async fn metric(agent: &AgentProcess, line: &str) -> u64 {
    let (_, text) = http::get(&format!("{}/metrics", agent.url)).await;
    let text = text.as_str().unwrap();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} is missing in\n{text}"))
}

async fn restarts(agent: &AgentProcess, part: &str) -> u64 {
    metric(agent, &format!("bindu_background_restarts_total{{part=\"{part}\"}}")).await
}

async fn begun_again(agent: &AgentProcess, part: &str, times: usize) {
    http::eventually(part, async || (restarts(agent, part).await >= times as u64).then_some(())).await;
}

/// The reconciler of a running agent panics, then ends, in the middle of a pass: while Vault hangs. Meanwhile somebody changes
/// the client's secret in Hydra.
///
/// Promise: the agent serves and says `background_work_failed`, the metric counts both, the pass is made again as soon as Vault
/// answers, and puts the secret back; passes go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_broken_off_is_made_again() {
    let world = World::new("1s").await;
    let mut agent = world.setup.start().await;
    http::healthy(&agent.url).await;
    let did = health(&agent).await["application"]["agent_did"].as_str().unwrap().to_owned();
    let (_, record) = world.bao.record(&format!("hydra/credentials/{did}")).await.unwrap();
    let secret = record["client_secret"].as_str().unwrap();
    for (number, how) in HOW.into_iter().enumerate() {
        let faults = world.vault.faults();
        world.vault.script(|_, _| Fault::Hang);
        http::eventually("a pass waits for Vault", async || (world.vault.faults() > faults).then_some(()))
            .await;
        let other = json!([{"op": "replace", "path": "/client_secret", "value": "somebody else's secret"}]);
        world.hydra.patch(&did, &other).await;
        assert_ne!(world.hydra.token(&did, secret).await.0, 200, "it is changed");
        world.fail("reconciler", how);
        begun_again(&agent, "reconciler", number + 1).await;
        is_told(&agent).await;
        world.vault.script(|_, _| Fault::None);
        http::eventually("the secret is put back", async || {
            (world.hydra.token(&did, secret).await.0 == 200).then_some(())
        })
        .await;
        let passes = "bindu_reconcile_total{outcome=\"ok\"}";
        let before = metric(&agent, passes).await;
        http::eventually("passes go on", async || (metric(&agent, passes).await >= before + 2).then_some(()))
            .await;
    }
    assert_eq!(restarts(&agent, "reconciler").await, 2);
    let log = agent.log();
    assert_eq!(log.matches("work in the background has ended: it is begun again").count(), 2, "{log}");
    assert!(log.contains("it was asked for"), "the panic is in the log: {log}");
    assert!(agent.terminate().success());
}

/// All other parts of a running agent's background work (what keeps Vault's login, what keeps our own token, the server of the
/// probes, the upkeep of tasks, what looks after their store, what sends their events, what looks how old the state is) panic, then
/// end.
///
/// Promise: the agent serves and says `background_work_failed`, the metric counts each, all run again: Vault's token is
/// renewed before it ends, our own tokens follow each other, probes are answered; after half a minute nothing is said any
/// more.
#[tokio::test(flavor = "multi_thread")]
async fn each_part_that_panics_or_ends_runs_again() {
    const PARTS: [&str; 7] =
        ["store_login", "own_tokens", "probe_server", "tasks", "task_store", "pushes", "status"];
    let mut world = World::new("1h").await;
    // A first run registers the client.
    let mut agent = world.setup.start().await;
    http::healthy(&agent.url).await;
    let did = health(&agent).await["application"]["agent_did"].as_str().unwrap().to_owned();
    assert!(agent.terminate().success());
    world.short_tokens(&did).await;
    let probes = format!("127.0.0.1:{}", world.setup.port() + 1);
    let token = world.token().await;
    world.setup = world.setup.clone().set("VAULT__TOKEN", token).set("BINDU_PROBE_LISTEN", &probes);
    let mut agent = world.setup.start().await;
    http::healthy(&agent.url).await;
    for (number, how) in HOW.into_iter().enumerate() {
        PARTS.iter().for_each(|part| world.fail(part, how));
        for part in PARTS {
            begun_again(&agent, part, number + 1).await;
        }
        is_told(&agent).await;
    }
    let (_, _) = (world.vault.take_seen(), world.tokens.take_seen());
    let (mut renewals, mut tokens) = (0, 0);
    http::eventually("Vault's token is renewed, and our own is", async || {
        let count = |proxy: &Proxy, end: &str| {
            proxy.take_seen().iter().filter(|seen| seen.path.ends_with(end)).count()
        };
        renewals += count(&world.vault, "/auth/token/renew-self");
        tokens += count(&world.tokens, "/oauth2/token");
        (renewals >= 1 && tokens >= 3).then_some(())
    })
    .await;
    assert_eq!(http::get(&format!("http://{probes}/livez")).await.0, 200);
    http::healthy(&agent.url).await;
    for part in PARTS {
        assert_eq!(restarts(&agent, part).await, 2, "{part}");
    }
    assert_eq!(restarts(&agent, "reconciler").await, 0, "one part that fails ends no other");
    assert!(agent.terminate().success());
}
