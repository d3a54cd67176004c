//! What handlers in Rust say, as callers get it.

use bindu::{Agent, Content, HandlerError, PublicKey, Reply, Task, TestAgent};
use bindu_testkit::http;
use serde_json::{Value, json};

async fn rpc(agent: &TestAgent, method: &str, params: Value) -> Value {
    rpc_with(agent, method, params, "").await
}

/// The same by a call that activates extensions.
async fn rpc_with(agent: &TestAgent, method: &str, params: Value, extensions: &str) -> Value {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = http::client().post(agent.url()).header("content-type", "application/json");
    let request = request.header("A2A-Extensions", extensions);
    let answer =
        request.body(call.to_string()).send().await.expect("an answer").text().await.expect("a body");
    serde_json::from_str(&answer).expect("JSON")
}

fn message(parts: Value) -> Value {
    json!({"message": {"messageId": "m", "role": "ROLE_USER", "parts": parts}})
}

async fn send(agent: &TestAgent, parts: Value) -> Value {
    let answer = rpc(agent, "SendMessage", message(parts)).await;
    answer.get("result").cloned().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_data_come_in_and_go_out_and_whole_artifacts_are_signed() {
    let agent = Agent::new(|task: Task| async move {
        let kinds: Vec<String> = task.parts().map(|part| part.as_text().into_owned()).collect();
        task.artifact("copy", Content::from("a").file("b", "text/x-b", &[1]).data(&json!({"c": 2}))).await?;
        Ok(Reply::from(kinds.join("|")))
    });
    let agent = TestAgent::start(agent).await.expect("it starts");
    let parts = json!([
        {"text": "t"}, {"raw": "AAE=", "filename": "f"}, {"url": "https://x.example/"}, {"data": [1]}
    ]);
    let uri = bindu_identity::artifact_signature::EXTENSION;
    let plain = &send(&agent, parts.clone()).await["task"];
    let signed_by_text = &plain["artifacts"][0]["parts"][0]["metadata"]["did.message.signature"];
    assert!(signed_by_text.is_string(), "{plain}");
    // Nobody has activated it: the text's own signature does for texts, and for nothing else.
    assert_eq!(plain["artifacts"][0]["extensions"], json!([uri]), "{plain}");
    assert_eq!(plain["artifacts"][1]["extensions"], json!(null), "{plain}");
    let answer = rpc_with(&agent, "SendMessage", message(parts), uri).await;
    let task = &answer["result"]["task"];
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
    let artifacts = task["artifacts"].as_array().expect("artifacts");
    assert_eq!(artifacts[1]["parts"][0]["text"], "t|[file f]|https://x.example/|[1]", "{task}");
    assert_eq!(artifacts[0]["parts"][1]["raw"], "AQ==", "{task}");
    assert_eq!(artifacts[0]["parts"][2]["data"], json!({"c": 2}), "{task}");
    let keys = http::get(&format!("{}/.well-known/did.json", agent.url())).await.1;
    let keys: Vec<PublicKey> =
        keys["verificationMethod"].as_array().expect("keys").iter().filter_map(bindu_testkit_key).collect();
    for artifact in artifacts {
        assert_eq!(artifact["extensions"], json!([uri]), "{artifact}");
        let signature = &artifact["metadata"][uri];
        let text = |name: &str| signature[name].as_str().expect("a text").to_owned();
        let (did, time) = (text("did").parse().expect("a DID"), text("time"));
        let parts = serde_json::value::to_raw_value(&artifact["parts"]).expect("JSON");
        let signed = bindu_identity::artifact_signature::SignedArtifact {
            task_id: task["id"].as_str().expect("an id"),
            artifact_id: artifact["artifactId"].as_str().expect("an id"),
            did: &did,
            time: &time,
            parts: &[&*parts],
        };
        use base64::Engine as _;
        let bytes =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text("signature")).expect("base64url");
        let signature = bindu_identity::Signature::from_bytes(&bytes).expect("a signature");
        let second = keys.iter().any(|key| signed.verify(key, &signature));
        assert!(second, "{artifact} by one of {keys:?}");
        let forged = bindu_identity::artifact_signature::SignedArtifact { task_id: "another", ..signed };
        assert!(!keys.iter().any(|key| forged.verify(key, &signature)));
    }
    agent.stop().await.expect("it ends well");
}

/// The key of a verification method: base58btc of a Multikey.
fn bindu_testkit_key(method: &Value) -> Option<PublicKey> {
    let multibase = method["publicKeyMultibase"].as_str()?.strip_prefix('z')?;
    let bytes = bs58::decode(multibase).into_vec().ok()?;
    PublicKey::from_bytes(bytes.get(2..)?).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_streams_and_every_ending_is_the_callers() {
    let agent = Agent::new(|task: Task| async move {
        match task.text() {
            "stream" => {
                task.progress("one moment").await?;
                for piece in ["a", "b", "c"] {
                    task.write(piece).await?;
                }
                Ok(Reply::done())
            }
            "reject" => Ok(Reply::rejected("no")),
            "message" => Ok(Reply::message("in place of a task")),
            "ask" => Ok(Reply::question("which?")),
            "fail" => Err(HandlerError::new("for the caller").because("for the log")),
            "io" => {
                std::fs::read("/nonexistent/secret")?;
                Ok(Reply::done())
            }
            _ => Ok(Reply::done()),
        }
    });
    let agent = TestAgent::start(agent).await.expect("it starts");
    let say = async |text: &str| send(&agent, json!([{"text": text}])).await;
    let state = |answer: &Value| answer["task"]["status"]["state"].as_str().unwrap_or_default().to_owned();
    assert_eq!(state(&say("reject").await), "TASK_STATE_REJECTED");
    assert_eq!(state(&say("ask").await), "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(say("message").await["message"]["parts"][0]["text"], "in place of a task");
    let failed = say("fail").await;
    let text = failed["task"]["status"]["message"]["parts"][0]["text"].clone();
    assert_eq!(text, "Task execution failed: for the caller", "{failed}");
    let failed = say("io").await.to_string();
    assert!(failed.contains("the agent could not answer this") && !failed.contains("secret"), "{failed}");
    assert_eq!(state(&say("nothing at all").await), "TASK_STATE_FAILED");
    let reply = agent.ask("stream").await.expect("a reply");
    assert_eq!(reply.into_signed_text().expect("signed as one text"), "abc");
    // Python Bindu's callers get one part with its signature.
    let bindu = json!({
        "message": {"messageId": "00000000-0000-4000-8000-000000000001", "role": "user", "kind": "message",
            "contextId": "00000000-0000-4000-8000-000000000002", "taskId": "00000000-0000-4000-8000-000000000003",
            "parts": [{"kind": "text", "text": "stream"}]},
        "configuration": {"acceptedOutputModes": ["text/plain"]}
    });
    let sent = rpc(&agent, "message/send", bindu).await;
    assert!(sent.get("result").is_some(), "{sent}");
    let parts = http::eventually("the result", async || {
        let task = rpc(&agent, "tasks/get", json!({"taskId": "00000000-0000-4000-8000-000000000003"})).await;
        task.pointer("/result/artifacts/0/parts")
            .filter(|_| task["result"]["status"]["state"] == "completed")
            .cloned()
    })
    .await;
    assert_eq!((parts.as_array().map(Vec::len), &parts[0]["text"]), (Some(1), &json!("abc")), "{parts}");
    assert!(parts[0]["metadata"]["did.message.signature"].is_string(), "{parts}");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": message(json!([{"text": "stream"}]))});
    let request = http::client().post(agent.url()).header("content-type", "application/json");
    let stream =
        request.body(call.to_string()).send().await.expect("a stream").text().await.expect("it ends");
    let events: Vec<Value> = stream
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?.trim()).ok())
        .map(|event| event["result"].clone())
        .collect();
    assert!(events[0].get("task").is_some(), "{stream}");
    let chunks: Vec<&Value> = events.iter().filter_map(|event| event.get("artifactUpdate")).collect();
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["artifact"]["parts"][0]["text"].as_str()).collect();
    assert_eq!((chunks.len(), text.as_str()), (4, "abc"), "{stream}");
    assert_eq!(chunks[3]["lastChunk"], true, "{stream}");
    assert!(chunks[3]["artifact"]["metadata"]["did.message.signature"].is_string(), "{stream}");
    let states: Vec<_> =
        events.iter().filter_map(|event| event["statusUpdate"]["status"]["state"].as_str()).collect();
    assert_eq!(states, ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"], "{stream}");
    agent.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_runs_on_the_callers_runtime_and_says_why_it_does_not() {
    let disk = tempfile::tempdir().expect("a directory");
    let agent = |directory: &std::path::Path| {
        Agent::new(|task: Task| async move { Ok(task.text().to_owned()) })
            .set("data_dir", directory.display().to_string())
            .set("port", "0")
    };
    let ended = agent(&disk.path().join("data")).serve(std::future::ready(())).await;
    assert_eq!(ended, Ok(()));
    let file = disk.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let refused = agent(&file).serve(std::future::pending()).await;
    assert!(matches!(&refused, Err(bindu::AgentError::Configuration(_))), "{refused:?}");
    assert!(refused.is_err_and(|error| !error.hint().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_agent_answers_with_a_signature() {
    let agent = Agent::new(|task: Task| async move { Ok(task.text().to_uppercase()) });
    let agent = TestAgent::start(agent).await.expect("it starts");
    let reply = agent.ask("hello").await.expect("a reply");
    assert_eq!(reply.into_signed_text().expect("signed"), "HELLO");
    agent.stop().await.expect("it ends well");
}
