//! The official A2A SDKs, unmodified, as callers of `examples/conformance.rs`: each binding and each version of the protocol,
//! without authentication and with a token of a real Hydra's. The same scripts against the official server are the control.

use bindu_testkit::{
    AgentProcess, AgentSetup, Hydra, OfficialAgent, OfficialClient, caller::TestCaller, official_client,
};
use std::path::{Path, PathBuf};

/// The conformance agent, which `cargo test` has built beside this test.
fn conformance() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let profile = test.parent().and_then(Path::parent).expect("it lies in target/PROFILE/deps");
    profile.join("examples/conformance")
}

fn agent(directory: &Path, name: &str) -> (AgentSetup, String) {
    let setup = AgentSetup::new(conformance(), directory).command(&[]).named("sdk@example.com", name);
    let grpc = format!("127.0.0.1:{}", setup.port() + 1);
    // The receivers of push notifications are on this machine.
    let setup = setup.set("BINDU_GRPC_LISTEN", &grpc).set("BINDU_PUSH_ALLOWED_HOSTS", "127.0.0.1");
    (setup, grpc)
}

/// What each SDK does, and how.
const WITNESSES: [(OfficialClient, &[&str]); 10] = [
    (OfficialClient::Python, &["JSONRPC", "--signed"]),
    (OfficialClient::Python, &["HTTP+JSON", "--signed"]),
    (OfficialClient::Python, &["GRPC"]),
    (OfficialClient::Python, &["JSONRPC", "--version", "0.3"]),
    (OfficialClient::Python03, &[]),
    (OfficialClient::JavaScript, &["JSONRPC", "--signed"]),
    (OfficialClient::JavaScript, &["HTTP+JSON"]),
    (OfficialClient::JavaScript, &["JSONRPC", "--legacy"]),
    (OfficialClient::Rust, &["jsonrpc"]),
    (OfficialClient::Rust, &["rest"]),
];

async fn all_witnesses(url: &str, more: &[&str]) {
    let mut problems = String::new();
    for (client, arguments) in WITNESSES {
        // The command line takes the token itself.
        let token = more.get(1).map(|path| std::fs::read_to_string(path).expect("a file with a token"));
        let arguments = match (client, &token) {
            (OfficialClient::Rust, Some(token)) => [arguments, &[token.as_str()][..]].concat(),
            _ => [arguments, more].concat(),
        };
        let Some((is_good, said)) = official_client(client, url, &arguments).await else { return };
        // An SDK that checked nothing proves nothing.
        let checks = said.lines().filter(|line| line.starts_with("good ")).count();
        if !is_good || checks < 10 {
            problems.push_str(&format!("== {client:?} {arguments:?}\n{said}\n"));
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

async fn started(setup: &AgentSetup) -> AgentProcess {
    setup.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_call_us_without_authentication() {
    let disk = tempfile::tempdir().expect("a temporary directory");
    let (setup, _) = agent(disk.path(), "Official Callers");
    let agent = started(&setup).await;
    all_witnesses(&agent.url, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_call_us_with_tokens_of_hydras() {
    let disk = tempfile::tempdir().expect("a temporary directory");
    let hydra = Hydra::start().await;
    let (setup, _) = agent(disk.path(), "Official Callers With Tokens");
    let agent = started(&setup.set_all(hydra.environment())).await;
    // A client whose id is no DID: no SDK signs requests as Bindu does.
    let service = TestCaller::new(&hydra, "a-service").await;
    let token = disk.path().join("token");
    std::fs::write(&token, &service.token).expect("a file in a temporary directory");
    all_witnesses(&agent.url, &["--token", &token.display().to_string()]).await;
    let nobody = disk.path().join("garbage");
    std::fs::write(&nobody, "garbage").expect("a file in a temporary directory");
    let arguments = ["JSONRPC", "--token", &nobody.display().to_string()];
    if let Some((is_good, said)) = official_client(OfficialClient::Python, &agent.url, &arguments).await {
        assert!(!is_good && said.contains("401"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_calls_are_good_on_the_official_server() {
    let Some(official) = OfficialAgent::start().await else { return };
    for (client, arguments) in WITNESSES {
        let arguments: Vec<&str> = arguments.iter().copied().filter(|one| *one != "--signed").collect();
        let Some((is_good, said)) = official_client(client, &official.url, &arguments).await else { return };
        assert!(is_good, "{client:?} {arguments:?}\n{said}");
    }
}

/// A2A 0.3 is spoken over JSON-RPC. Its other bindings are refused for the version, in words that the SDK shows as far as it
/// shows any.
#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_of_0_3_is_told_where_its_version_is_not_spoken() {
    let disk = tempfile::tempdir().expect("a temporary directory");
    let (setup, grpc) = agent(disk.path(), "Not In 0.3");
    let agent = started(&setup).await;
    for (binding, at) in [("HTTP+JSON", agent.url.as_str()), ("GRPC", grpc.as_str())] {
        let arguments = ["--refused", binding, "--at", at];
        let Some((is_good, said)) = official_client(OfficialClient::Python03, &agent.url, &arguments).await
        else {
            return;
        };
        let checks = said.lines().filter(|line| line.starts_with("good ")).count();
        assert!(is_good && checks >= 7, "{binding}\n{said}");
    }
}
