//! Where tasks are kept: what a restart and a second replica see.

use crate::{AUTHOR, agent};
use bindu_testkit::{AgentSetup, Postgres, http};
use serde_json::{Value, json};

async fn task(url: &str, id: &str) -> Value {
    http::post(url, &http::call("tasks/get", &json!({"taskId": id}))).await.1["result"].clone()
}

async fn asked(url: &str) -> Value {
    let task = http::ask(url, "hello").await;
    assert_eq!(task["status"]["state"], "completed", "{task}");
    task
}

fn named(disk: &std::path::Path, name: &str) -> AgentSetup {
    agent(disk).named(AUTHOR, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_survive_a_kill_by_default() {
    let disk = tempfile::tempdir().unwrap();
    let setup = named(disk.path(), "Keeps Tasks");
    let agent = setup.start().await;
    let before = asked(&agent.url).await;
    agent.kill();
    let agent = setup.start().await;
    assert_eq!(task(&agent.url, before["id"].as_str().unwrap()).await, before);
    let file = disk.path().join(".bindu/tasks.db");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_one_postgres_are_one_agent_for_tasks() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let dsn = server.dsn.replace("&max_conns=8", "");
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let setup = |disk: &std::path::Path| {
        named(disk, "Replica").set("STORAGE_TYPE", "postgres").set("DATABASE_URL", &dsn)
    };
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "migrate"]).output();
    assert_eq!((code, said.trim()), (0, "the tables went from version 0 to 1"), "{told}");
    let one = setup(disks[0].path()).start().await;
    let two = setup(disks[1].path()).start().await;
    let before = asked(&one.url).await;
    assert_eq!(task(&two.url, before["id"].as_str().unwrap()).await, before);
    one.kill();
    assert_eq!(task(&two.url, before["id"].as_str().unwrap()).await, before);
    assert!(!two.log().contains(&dsn), "the URL holds a password");
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "check"]).output();
    assert_eq!((code, said.trim()), (0, "the store answers"), "{told}");
    let (code, said, told) = setup(disks[0].path()).command(&["storage", "prune"]).output();
    assert_eq!((code, said.trim()), (0, "forgot 0 tasks and 0 signed requests"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_503_and_degraded_until_it_comes() {
    let mut server = tokio::task::spawn_blocking(|| {
        let mut server = Postgres::start();
        server.stop();
        server
    })
    .await
    .unwrap();
    let disk = tempfile::tempdir().unwrap();
    let agent = named(disk.path(), "Away").set("DATABASE_URL", &server.dsn).start().await;
    let refused =
        http::post(&agent.url, &http::message("5c908f70-ec50-7e33-bf7d-2735c15d5c14", "hello")).await;
    assert_eq!(refused.0, 503, "nothing is answered that is not stored");
    http::eventually("it is told", async || {
        let health = http::get(&format!("{}/health", agent.url)).await.1;
        health["reasons"].to_string().contains("storage_unavailable").then_some(())
    })
    .await;
    server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    })
    .await
    .unwrap();
    http::eventually("it is healthy", async || {
        let health = http::get(&format!("{}/health", agent.url)).await.1;
        (!health["reasons"].to_string().contains("storage_unavailable")).then_some(())
    })
    .await;
    asked(&agent.url).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_named_is_never_replaced() {
    let disk = tempfile::tempdir().unwrap();
    let setup = named(disk.path(), "Named Store").set("DATABASE_URL", "sqlite:/nonexistent/tasks.db");
    let (code, _, told) = setup.command(&["run"]).output();
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("/nonexistent/tasks.db"), "{told}");
    let secret = "postgres-password";
    let setup = named(disk.path(), "Named Store").set("DATABASE_URL", format!("mysql://u:{secret}@db/x"));
    let (code, said, told) = setup.command(&["config", "show"]).output();
    assert_eq!(code, 64);
    assert!(!said.contains(secret) && !told.contains(secret) && told.contains("storage.url"), "{told}");
}
