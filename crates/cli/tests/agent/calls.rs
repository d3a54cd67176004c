//! Calling other agents: ours call ours and Python Bindu's, with tokens and signatures, and believe nobody.

use crate::{AUTHOR, agent, bao, full, hydra, names};
use axum::{Json, Router, routing::get};
use bindu_identity::SigningKey;
use bindu_testkit::{
    AgentSetup, OfficialAgent, OfficialServer, PythonBindu,
    caller::TestCaller,
    http,
    proxy::{Fault, Proxy},
};
use serde_json::{Value, json};
use std::path::Path;

/// An agent that has started once, so that its client is registered, as somebody who calls.
pub(crate) async fn somebody(directory: &Path, name: &str) -> AgentSetup {
    let setup = agent(directory).named(AUTHOR, name).set_all(hydra().await.environment());
    let first = setup.start().await;
    http::healthy(&first.url).await;
    first.kill();
    setup.until_port_is_free().await;
    setup
}

fn call(setup: &AgentSetup, arguments: &[&str]) -> (i32, String, String) {
    setup.clone().command(&[&["call"], arguments].concat()).output()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_calls_an_agent_and_says_by_which_trust() {
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let caller = somebody(disk.path(), "Calls").await;
    let called = names("Called");
    let other = agent(other_disk.path())
        .named(AUTHOR, &called.name)
        .set_all(hydra().await.environment())
        .start()
        .await;
    http::healthy(&other.url).await;
    let (code, said, told) = call(&caller, &[&other.url, "hello", "--did", &called.did]);
    assert_eq!((code, said.as_str()), (0, "hello\n"), "{told}");
    assert!(told.contains("the key in Hydra"), "{told}");
    let (code, said, told) = call(&caller, &[&other.url, "hello", "--output", "json"]);
    let reply: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &reply["trust"], &reply["did"]),
        (0, &json!("first use"), &json!(called.did)),
        "{told}"
    );
    let key = crate::public_key(&other.url, &called.did).await;
    let pinned = caller.clone().set("AUTH__PINNED_KEYS", json!({ &called.did: key }).to_string());
    let (code, _, told) = call(&pinned, &[&other.url, "hello"]);
    assert!(code == 0 && told.contains("a pinned key"), "{told}");
    let wrong = json!({ &called.did: SigningKey::generate().unwrap().public_key().to_string() });
    let wrong = caller.clone().set("AUTH__PINNED_KEYS", wrong.to_string());
    crate::assert_refused(
        call(&wrong, &[&other.url, "hello"]),
        1,
        &["not signed with the key", "a pinned key"],
    );
    crate::assert_refused(
        call(&caller, &[&other.url, "hello", "--did", "did:bindu:a:b"]),
        1,
        &["not did:bindu:a:b"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_remembered() {
    let (disk, one, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let caller = agent(disk.path());
    caller.start().await.kill();
    let first = agent(one.path()).named(AUTHOR, "First Use");
    let port = first.start().await;
    let url = port.url.clone();
    for _ in 0..2 {
        assert_eq!(call(&caller, &[&url, "hello"]).0, 0);
    }
    port.kill();
    // The same name on the same address with another key.
    let number = url.rsplit(':').next().unwrap();
    first.until_port_is_free().await;
    let _rogue = agent(other.path()).named(AUTHOR, "First Use").set("BINDU_PORT", number).start().await;
    crate::assert_refused(call(&caller, &[&url, "hello"]), 1, &["another key", "known_agents.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_agent_accepts_our_signed_call() {
    let (disk, python_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let environment = hydra().await.environment();
    let Some(python) = PythonBindu::start(python_disk.path(), AUTHOR, "Python Called", &environment).await
    else {
        return;
    };
    let caller = somebody(disk.path(), "Calls Python").await;
    let did = names("Python Called").did;
    // It runs on 127.0.0.1 and says so.
    let (code, said, told) = call(&caller, &[&python.url, "hello from Rust", "--did", &did]);
    assert_eq!((code, said.as_str()), (0, "hello from Rust\n"), "{told}");
    assert!(told.contains("the key in Hydra"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_rust_calls_on() {
    // `examples/relay.rs` asks the agent at UPSTREAM and says what it says.
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other =
        agent(other_disk.path()).named(AUTHOR, "Upstream").set_all(hydra().await.environment()).start().await;
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "relay", "-p", "bindu"])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the example builds");
    let binary = Path::new(env!("CARGO_BIN_EXE_bindu")).with_file_name("examples").join("relay");
    let relay = AgentSetup::new(binary, disk.path()).command(&[]).named(AUTHOR, "Relay");
    let relay = relay.set_all(hydra().await.environment()).set("UPSTREAM", &other.url).start().await;
    http::healthy(&relay.url).await;
    let caller = TestCaller::new(hydra().await, "calls-relay").await;
    let (status, sent) = caller.send(&relay.url, &http::message("relayed", "pass it on")).await;
    assert_eq!(status, 200, "{sent}");
    let task = http::eventually("the task ends", async || {
        let (_, task) =
            caller.send(&relay.url, &http::call("tasks/get", &json!({"taskId": "relayed"}))).await;
        let is_done = !["submitted", "working"]
            .contains(&task["result"]["status"]["state"].as_str().unwrap_or_default());
        is_done.then_some(task)
    })
    .await;
    assert_eq!(task["result"]["artifacts"][0]["parts"][0]["text"], "pass it on", "{task}\n{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_are_claims() {
    let disk = tempfile::tempdir().unwrap();
    let caller = agent(disk.path());
    caller.start().await.kill();
    let card = async |card: Value| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/.well-known/agent.json", get(async move || Json(card)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    };
    let elsewhere = card(json!({"url": "https://evil.example"})).await;
    crate::assert_refused(call(&caller, &[&elsewhere, "x"]), 1, &["another origin", "--allow-origin"]);
    let plain = card(json!({"url": "http://192.0.2.1/"})).await;
    crate::assert_refused(call(&caller, &[&plain, "x"]), 64, &["plain http"]);
    crate::assert_refused(call(&caller, &["http://192.0.2.1", "x"]), 64, &["plain http"]);
    crate::assert_refused(call(&caller, &["not-a-url", "x"]), 64, &["no URL"]);
    let none = card(json!({"name": "no url"})).await;
    crate::assert_refused(call(&caller, &[&none, "x"]), 1, &["no `url`"]);
    // A redirect is not followed, not even with a card behind it.
    let proxy = Proxy::start(&none).await;
    proxy.script(|_, _| Fault::Answer(302, "text/plain", ""));
    crate::assert_refused(call(&caller, &[&proxy.url, "x"]), 1, &["status 302"]);
    drop(proxy);
    crate::assert_refused(call(&caller, &["http://127.0.0.1:1", "x"]), 69, &["no connection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_curl() {
    let disk = tempfile::tempdir().unwrap();
    let caller = somebody(disk.path(), "Token For Curl").await;
    let (code, token, told) = caller.clone().command(&["hydra", "token"]).output();
    assert_eq!(code, 0, "{told}");
    let form = format!("token={}", token.trim());
    let url = format!("{}/admin/oauth2/introspect", hydra().await.admin_url);
    let request = http::client().post(url).header("Content-Type", "application/x-www-form-urlencoded");
    let (_, introspection) = http::answer(request.body(form)).await;
    assert_eq!(introspection["client_id"], json!(names("Token For Curl").did));
    assert!(!told.contains(token.trim()), "on stdout only");
    let (code, _, told) = caller.clone().command(&["hydra", "token", "--audience", "nobody"]).output();
    assert!(code != 0 && told.contains("hint: "), "{told}");
    let registered = caller.clone().set("HYDRA__AUDIENCES", "[\"somebody\"]");
    http::healthy(&registered.start().await.url).await;
    registered.until_port_is_free().await;
    let (code, _, told) = registered.clone().command(&["hydra", "token", "--audience", "somebody"]).output();
    assert_eq!(code, 0, "{told}");
    let nobody = tempfile::tempdir().unwrap();
    let stranger = agent(nobody.path()).named(AUTHOR, "Never Started").set_all(hydra().await.environment());
    crate::assert_refused(
        stranger.command(&["hydra", "token"]).output(),
        1,
        &["no credentials", "bindu run"],
    );
    crate::assert_refused(agent(nobody.path()).command(&["hydra", "token"]).output(), 64, &["AUTH__ENABLED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_is_read_again() {
    let (disk, other_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (caller, called) = (names("Secret Changes"), names("Secret Witness"));
    let witness = agent(other_disk.path())
        .named(AUTHOR, &called.name)
        .set_all(hydra().await.environment())
        .start()
        .await;
    let setup = full(disk.path(), &caller).await;
    let first = setup.start().await;
    http::healthy(&first.url).await;
    first.kill();
    setup.until_port_is_free().await;
    // Another replica has put a new secret in: into the store first, then into Hydra. The disk's copy is old.
    let (_, mut record) = bao().await.record(&caller.credentials_path()).await.unwrap();
    record["client_secret"] = json!("a new secret of the same client");
    bao().await.put(&caller.credentials_path(), &record).await;
    let patch =
        json!([{"op": "replace", "path": "/client_secret", "value": "a new secret of the same client"}]);
    hydra().await.patch(&caller.did, &patch).await;
    let (code, said, told) = call(&setup, &[&witness.url, "hello", "--did", &called.did]);
    assert_eq!((code, said.as_str()), (0, "hello\n"), "{told}");
}

/// An agent of the official SDK, which has no DID: it is called as A2A 1.0 has it, and answered at a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_others_is_called_and_its_question_answered_at_a_terminal() {
    let languages = [OfficialServer::Python, OfficialServer::JavaScript, OfficialServer::Rust];
    for server in languages {
        let Some(other) = OfficialAgent::offering(server, "JSONRPC-1.0", true).await else { continue };
        asks_at_a_terminal(server, &other.url);
    }
}

fn asks_at_a_terminal(server: OfficialServer, url: &str) {
    let disk = tempfile::tempdir().unwrap();
    let caller = agent(disk.path());
    crate::assert_refused(call(&caller, &[url, "hello"]), 1, &["not signed", "--accept-unsigned"]);
    let (code, said, told) = call(&caller, &[url, "hello", "--accept-unsigned"]);
    assert_eq!((code, said.as_str()), (0, "hello\n"), "{server:?}: {told}");
    let (code, said, told) = call(&caller, &[url, "ask"]);
    assert_eq!((code, said.as_str()), (0, "Which one?\n"), "nobody is there to answer: {told}");
    // `script` (util-linux) is a terminal.
    let terminal = ["-c", "printf 'that one\\n' | script -qec \"$*\" /dev/null", "sh"].map(str::to_owned);
    let caller = caller.under(Path::new("sh"), terminal.to_vec());
    let (code, shown, told) = call(&caller, &[url, "ask", "--accept-unsigned"]);
    // What is typed is shown as well, so the answer is its own line.
    let answers = shown.lines().filter(|line| line.trim() == "that one").count();
    assert!(code == 0 && shown.contains("Which one?") && answers >= 1, "{server:?}: {shown}{told}");
    assert!(shown.contains("working on it"), "its progress: {shown}");
}
