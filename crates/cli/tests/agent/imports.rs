//! `bindu storage import`: what a real Python Bindu has left in PostgreSQL.

use crate::{AUTHOR, agent, names};
use bindu_testkit::{
    AgentSetup, Postgres, PythonBindu,
    http::{self, call},
    install,
};
use serde_json::{Value, json};
use std::process::Command;

const NAME: &str = "Moves In";

/// Runs a program of PostgreSQL's on its server; what it prints, without the words that newer ones draw at random.
fn postgres(program: &str, url: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(install::postgres().join(program)).arg("--dbname").arg(url).args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let is_said = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(is_said).map(|line| format!("{line}\n")).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Everything in the database; or only Python Bindu's tables.
async fn dumped(url: &str, only_pythons: bool) -> String {
    let url = url.to_owned();
    let tables =
        ["tasks", "contexts", "task_feedback", "webhook_configs"].map(|table| format!("--table=*.{table}"));
    blocking(move || {
        let tables: Vec<&str> = tables.iter().map(String::as_str).filter(|_| only_pythons).collect();
        postgres("pg_dump", &url, &tables)
    })
    .await
}

/// Does a statement; its rows.
async fn sql(url: &str, statement: String) -> String {
    let url = url.to_owned();
    blocking(move || postgres("psql", &url, &["--tuples-only", "--no-align", "--command", &statement])).await
}

/// Runs the import; what it says as JSON.
async fn import(setup: &AgentSetup, arguments: &[&str]) -> Value {
    let arguments = [&["storage", "import", "--output", "json"][..], arguments].concat();
    let (code, said, told) = setup.clone().command(&arguments).output();
    assert_eq!(code, 0, "{told}");
    serde_json::from_str(&said).unwrap()
}

fn counts(said: &Value) -> [u64; 5] {
    ["taken", "already_here", "too_old", "unfinished", "unreadable"].map(|key| said[key].as_u64().unwrap())
}

/// Whether an answer has all that Python Bindu's has: ours has names in both spellings, and no empty metadata.
fn has(ours: &Value, pythons: &Value) -> bool {
    match (ours, pythons) {
        (Value::Object(ours), Value::Object(pythons)) => pythons
            .iter()
            .all(|(name, value)| *value == json!({}) || ours.get(name).is_some_and(|ours| has(ours, value))),
        (Value::Array(ours), Value::Array(pythons)) => {
            ours.len() == pythons.len() && ours.iter().zip(pythons).all(|(ours, pythons)| has(ours, pythons))
        }
        (ours, pythons) => ours == pythons,
    }
}

async fn task(url: &str, id: &Value) -> Value {
    http::post(url, &call("tasks/get", &json!({"taskId": id}))).await.1
}

/// Six tasks of a real Python Bindu: three that are finished, one that asks back, and two that are made unlike them, as a
/// year and a fault would.
#[tokio::test(flavor = "multi_thread")]
async fn finished_tasks_of_python_bindu_are_taken_over_once() {
    let server = blocking(Postgres::start).await;
    let url = server.dsn.split('?').next().unwrap().to_owned();
    let disks = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let schema = bindu_tasks::schema_of(&names(NAME).did);
    // Python Bindu 2026.36.7 sets it on a connection and loses it again: of its pool only the first would find its tables.
    sql(&url, format!("ALTER DATABASE postgres SET search_path = \"{schema}\"")).await;
    let python =
        [("STORAGE_TYPE".to_owned(), "postgres".to_owned()), ("DATABASE_URL".to_owned(), url.clone())];
    let Some(python) = PythonBindu::start(disks[0].path(), AUTHOR, NAME, &python).await else { return };
    let mut tasks = Vec::new();
    for text in ["hello", "for one caller", "with a judgement", "long ago", "broken"] {
        let task = http::ask(&python.url, text).await;
        assert_eq!(task["status"]["state"], "completed", "{task}");
        tasks.push(task);
    }
    let asks = http::ask(&python.url, r#"{"state": "input-required", "prompt": "which one?"}"#).await;
    assert_eq!(asks["status"]["state"], "input-required", "{asks}");
    let feedback = json!({"taskId": tasks[2]["id"], "feedback": "good", "rating": 5, "metadata": {}});
    let answer = http::post(&python.url, &call("tasks/feedback", &feedback)).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    drop(python);
    let setup = agent(disks[1].path()).named(AUTHOR, NAME).set("DATABASE_URL", &url);
    for (id, change) in [
        (&tasks[1]["id"], "owner_did = 'did:bindu:bob:caller:1'"),
        (&tasks[3]["id"], "state_timestamp = '2020-01-01T00:00:00Z'"),
        (&tasks[4]["id"], "history = '{}'"),
    ] {
        let id = id.as_str().unwrap();
        sql(&url, format!("UPDATE \"{schema}\".tasks SET {change} WHERE id = '{id}'")).await;
    }
    let (everything, pythons) = (dumped(&url, false).await, dumped(&url, true).await);

    // The plan changes nothing, not even by making our tables.
    let planned = import(&setup, &[]).await;
    assert_eq!((counts(&planned), &planned["applied"]), ([3, 0, 1, 1, 1], &json!(false)), "{planned}");
    assert_eq!(planned["problems"][0]["id"], tasks[4]["id"]);
    assert_eq!(dumped(&url, false).await, everything);

    let (code, said, told) = setup.clone().command(&["storage", "import"]).output();
    assert_eq!((code, said.lines().next()), (0, Some("       3  would be taken over")), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");

    // Then they are taken over, once.
    let taken = import(&setup, &["--apply"]).await;
    assert_eq!((counts(&taken), &taken["applied"]), ([3, 0, 1, 1, 1], &json!(true)));
    for arguments in [&[][..], &["--apply"]] {
        assert_eq!(counts(&import(&setup, arguments).await), [0, 3, 1, 1, 1]);
    }
    assert_eq!(dumped(&url, true).await, pythons, "its own tables are untouched");
    let whose =
        sql(&url, format!("SELECT owner_client, owner_subject FROM \"{schema}\".bindu_tasks ORDER BY task"))
            .await;
    assert_eq!(whose, "|\ndid:bindu:bob:caller:1|-\n|\n", "oldest first, each its caller's");
    let feedback = sql(&url, format!("SELECT feedback FROM \"{schema}\".bindu_feedback")).await;
    assert!(feedback.lines().count() == 1 && feedback.contains("good"), "{feedback}");

    let agent = setup.start().await;
    for index in [0, 2] {
        let found = task(&agent.url, &tasks[index]["id"]).await;
        assert!(
            has(&found["result"], &tasks[index]),
            "not as Python Bindu has shown it: {found}, {}",
            tasks[index]
        );
    }
    for missing in [&tasks[1], &tasks[3], &asks] {
        let found = task(&agent.url, &missing["id"]).await;
        assert_eq!(found["error"]["code"], -32001, "somebody else's, or not taken over: {found}");
    }
    let listed = http::post(&agent.url, &call("tasks/list", &json!({}))).await.1;
    assert_eq!(listed["result"].as_array().unwrap().len(), 2, "{listed}");
    // It is a finished task like any other.
    let again = http::post(&agent.url, &call("tasks/cancel", &json!({"taskId": tasks[0]["id"]}))).await.1;
    assert_eq!(again["error"]["code"], -32002, "{again}");
    assert_eq!(dumped(&url, true).await, pythons);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_without_anything_to_import_says_so() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Imports Nothing");
    let (code, _, told) = setup.clone().command(&["storage", "import"]).output();
    assert!(code == 64 && told.contains("DATABASE_URL"), "{code} {told}");
    let server = blocking(Postgres::start).await;
    let url = server.dsn.split('?').next().unwrap();
    let setup = setup.set("DATABASE_URL", url);
    let before = dumped(url, false).await;
    let (code, _, told) = setup.clone().command(&["storage", "import", "--apply"]).output();
    assert!(code == 1 && told.contains("no tables of Python Bindu"), "{code} {told}");
    assert_eq!(dumped(url, false).await, before);
    // A database that is away is no empty one.
    let (code, _, told) = setup
        .set("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/x")
        .command(&["storage", "import"])
        .output();
    assert!(code == 69 && !told.contains("secret"), "{code} {told}");
}
