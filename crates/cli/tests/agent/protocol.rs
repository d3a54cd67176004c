//! What callers see: Python Bindu's dialect.

use crate::{AUTHOR, agent, names};
use bindu_testkit::http::{self, call, message};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_signed_result() {
    let disk = tempfile::tempdir().unwrap();
    let names = names("Echo Agent");
    let agent = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let task = http::ask(&agent.url, "héllo").await;
    assert_eq!(task["status"]["state"], "completed");
    assert_eq!(task["history"][1]["role"], "agent");
    let part = &task["artifacts"][0]["parts"][0];
    assert_eq!(part["text"], "héllo");
    let key: bindu_identity::PublicKey = crate::public_key(&agent.url, &names.did).await.parse().unwrap();
    let signature = part["metadata"]["did.message.signature"].as_str().expect("a signature").parse().unwrap();
    assert!(bindu_identity::text_signature::verify(&key, "héllo", &signature));
    // COMPAT's fault m: what could pass as a signed request goes out unsigned.
    let payload = bindu_identity::request_signature::payload("{}", &names.did, 1_800_000_000);
    let task = http::ask(&agent.url, &payload).await;
    assert_eq!(task["artifacts"][0]["parts"][0]["text"], payload.as_str());
    assert_eq!(task["artifacts"][0]["parts"][0].get("metadata"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_read_and_cancelled() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).start().await;
    let first = http::ask(&agent.url, "one").await;
    http::ask(&agent.url, "two").await;
    let (_, list) = http::post(&agent.url, &call("tasks/list", &json!({}))).await;
    let texts: Vec<&Value> = list["result"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|task| &task["history"][0]["parts"][0]["text"])
        .collect();
    assert_eq!(texts, ["one", "two"]);
    let id = first["id"].as_str().expect("an id");
    let read = call("tasks/get", &json!({"taskId": id, "historyLength": 1}));
    let (_, read) = http::post(&agent.url, &read).await;
    assert_eq!(read["result"]["history"].as_array().map(Vec::len), Some(1));
    let (status, cancelled) = http::post(&agent.url, &call("tasks/cancel", &json!({"task_id": id}))).await;
    assert_eq!((status, &cancelled["error"]["code"]), (200, &json!(-32002)));
    let (status, again) = http::post(&agent.url, &message(id, "more")).await;
    assert_eq!((status, &again["error"]["code"]), (500, &json!(-32603)), "a finished task is immutable");
    for (method, params, code) in [
        ("tasks/get", json!({"taskId": "5c908f70-ec50-7e33-bf7d-2735c15d5c13"}), -32001),
        ("tasks/cancel", json!({"taskId": "nothing"}), -32001),
        ("tasks/get", json!({}), -32602),
        ("foo/bar", json!({}), -32601),
    ] {
        let (_, answer) = http::post(&agent.url, &call(method, &params)).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let (status, broken) = http::answer(http::client().post(&agent.url).body("{")).await;
    assert_eq!((status, &broken["error"]["code"]), (400, &json!(-32700)));
    let (status, _) = http::answer(http::client().post(&agent.url).body("x".repeat(3 << 20))).await;
    assert_eq!(status, 413, "a body of 3 MiB is too large");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_and_the_documents_have_python_bindus_shape() {
    let disk = tempfile::tempdir().unwrap();
    let names = names("Carded");
    let agent = agent(disk.path()).named(AUTHOR, &names.name).start().await;
    let (status, card) = http::get(&format!("{}/.well-known/agent.json", agent.url)).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&card["id"], &card["kind"], &card["protocolVersion"]),
        (&json!(names.id), &json!("agent"), &json!("1.0.0"))
    );
    let extension = &card["capabilities"]["extensions"][0];
    assert_eq!((&extension["uri"], &extension["params"]["author"]), (&json!(names.did), &json!(AUTHOR)));
    let did = &names.did;
    for path in [format!("/did/resolve?did={did}"), format!("/did/resolve?did={}", did.replace(':', "%3A"))] {
        let (status, document) = http::get(&format!("{}{path}", agent.url)).await;
        assert_eq!((status, &document["id"]), (200, &json!(did)));
    }
    let (_, posted) = http::post(&format!("{}/did/resolve", agent.url), &json!({"did": did})).await;
    assert_eq!(posted["authentication"][0]["id"], format!("{did}#key-1"));
    for (path, status, code) in
        [("/did/resolve", 400, -32602), ("/did/resolve?did=did:bindu:a:b:c", 404, -32603)]
    {
        let (got, answer) = http::get(&format!("{}{path}", agent.url)).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)));
    }
    let (_, web) = http::get(&format!("{}/.well-known/did.json", agent.url)).await;
    assert_eq!(web["alsoKnownAs"][0], json!(did));
    let response = http::client().get(&agent.url).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
        (302, "/.well-known/agent.json")
    );
    let (status, _) = http::get(&format!("{}/nowhere", agent.url)).await;
    assert_eq!(status, 404);
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    let metrics = metrics.as_str().expect("text");
    for name in [
        "bindu_identity_info{did=",
        "bindu_degraded{reason=\"foreign\"} 0",
        "http_requests_total{",
        "bindu_start_duration_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is missing in:\n{metrics}");
    }
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        assert_eq!(http::get(&format!("{}{path}", agent.url)).await.0, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_ends_what_has_begun_first() {
    let disk = tempfile::tempdir().unwrap();
    let script = "import sys,time\nfor line in sys.stdin:\n    time.sleep(1.5)\n    print('{\"content\": \"late\"}', flush=True)\n";
    std::fs::write(disk.path().join("slow.py"), script).unwrap();
    let mut agent = agent(disk.path()).argument("--command").argument("python3 slow.py").start().await;
    let (url, id) = (agent.url.clone(), "drained");
    http::post(&url, &message(id, "x")).await;
    let ended = tokio::task::spawn_blocking(move || agent.terminate());
    // While it drains it is not ready, and still answers.
    http::eventually("not ready", async || {
        (http::get(&format!("{url}/readyz")).await.0 == 503).then_some(())
    })
    .await;
    let (_, task) = http::post(&url, &call("tasks/get", &json!({"taskId": id}))).await;
    assert!(matches!(task["result"]["status"]["state"].as_str(), Some("working" | "submitted")), "{task}");
    assert!(ended.await.unwrap().success());
}
