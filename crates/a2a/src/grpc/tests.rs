use super::*;
use crate::{
    Parts,
    call::{StreamEvent, TaskView},
    event::ArtifactChunk,
    model::{Message, Role, Task, TaskState, TaskStatus},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a message says, in JSON.
fn said(schema: &Schema, message: &[u8]) -> Value {
    serde_json::from_str(&read::message(schema, message).expect("protobuf")).expect("JSON")
}

/// Bytes that the official Python SDK (a2a-sdk 1.3.0) serialises, by hand: tags and lengths as `protoc` gives them.
#[test]
fn a_request_of_the_official_form_is_read() {
    // SendMessageRequest{message: {message_id: "m1", role: ROLE_USER, parts: [{text: "hi"}]}, configuration:
    // {history_length: 0, return_immediately: true}}
    let bytes =
        [&b"\x12\x0c\x0a\x02m1\x20\x01\x2a\x04\x0a\x02hi"[..], &b"\x1a\x04\x18\x00\x20\x01"[..]].concat();
    let Ok(Call::Send(request)) = decode("SendMessage", &bytes) else { panic!("it is a message") };
    assert_eq!((request.message.id.as_str(), request.message.role), ("m1", Role::User));
    assert_eq!(request.message.parts.as_text(), "hi");
    assert_eq!((request.history_length, request.is_blocking), (Some(0), false));
    assert!(matches!(decode("SendStreamingMessage", &bytes), Ok(Call::Stream(_))));
    assert!(matches!(decode("GetTask", b"\x12\x02t1"), Ok(Call::Get { task_id, .. }) if task_id == "t1"));
    assert!(matches!(decode("GetExtendedAgentCard", b""), Ok(Call::ExtendedCard)));
    assert!(matches!(decode("Nothing", b""), Err(A2aError::Method(_))));
    assert!(matches!(decode("GetTask", b""), Err(A2aError::Params(_))), "an id is missing");
}

#[test]
fn json_goes_there_and_back() {
    let data = json!({"a": [1, -2.5, true, null, "x", {}, []], "": {"b": 1e300}, "deep": [[[["é"]]]]});
    for (schema, json) in [
        (
            &schema::SEND_RESPONSE,
            json!({"message": {
                "messageId": "m", "role": "ROLE_AGENT", "contextId": "c", "extensions": ["u", ""],
                "parts": [{"text": ""}, {"raw": "AAE="}, {"url": "https://x"}, {"data": data, "metadata": {"k": 1}}],
            }}),
        ),
        (
            &schema::TASK,
            json!({
                "id": "t", "contextId": "c", "metadata": {"a": {"b": [0]}},
                "status": {"state": "TASK_STATE_INPUT_REQUIRED", "timestamp": "2026-11-26T13:00:00.123Z"},
                "artifacts": [{"artifactId": "a", "parts": [{"text": "x".repeat(100_000)}]}],
                "history": [],
            }),
        ),
        (
            &schema::CARD,
            json!({
                "name": "n", "capabilities": {"streaming": true, "pushNotifications": false},
                "securitySchemes": {"hydra": {"oauth2SecurityScheme": {"flows": {"clientCredentials": {
                    "tokenUrl": "https://t", "scopes": {"agent:read": "reads", "agent:write": ""},
                }}}}},
                "securityRequirements": [{"schemes": {"hydra": {"list": ["agent:read"]}}}],
            }),
        ),
    ] {
        let bytes = write::message(schema, &json.to_string()).expect("our own JSON");
        let mut want = json.clone();
        if let Some(history) = want.as_object_mut().filter(|task| task.contains_key("history")) {
            history.remove("history");
        }
        // An empty list is none.
        assert_eq!(said(schema, &bytes), want);
    }
}

#[test]
fn answers_and_events_are_what_the_dialect_says() {
    let status =
        TaskStatus { state: TaskState::Working, message: None, timestamp: jiff::Timestamp::UNIX_EPOCH };
    let message = Message { role: Role::User, ..Message::of_agent("t", "c", Parts::of_text("hi")) };
    let task = Task {
        id: "t".into(),
        context_id: "c".into(),
        status,
        history: vec![Arc::new(message)],
        artifacts: Vec::new(),
        metadata: None,
    };
    let sent = encode(&Answer::Sent(TaskView::whole(task.clone()))).expect("a message");
    assert_eq!(said(&schema::SEND_RESPONSE, &sent)["task"]["history"][0]["parts"][0]["text"], "hi");
    let found = encode(&Answer::Found(TaskView::whole(task))).expect("a message");
    assert_eq!(said(&schema::TASK, &found)["status"]["state"], "TASK_STATE_WORKING");
    let chunk = ArtifactChunk {
        id: "a".into(),
        name: None,
        description: None,
        parts: Arc::new(Parts::of_text("x")),
        metadata: None,
        extensions: None,
        append: true,
        is_last: true,
    };
    let event = StreamEvent::Artifact { task_id: "t".into(), context_id: "c".into(), chunk: Arc::new(chunk) };
    let event = said(&schema::STREAM_RESPONSE, &encode_event(&StreamItem { number: 3, event }));
    assert_eq!(event["artifactUpdate"]["artifact"]["artifactId"], "a");
    assert_eq!(event["artifactUpdate"]["lastChunk"], true);
    assert_eq!(encode(&Answer::Deleted), Ok(Vec::new()));
}

/// As ProtoJSON reads them: either alphabet, padded or not. What is no base64 (an imported task may hold it) stands for itself.
#[test]
fn bytes_are_read_in_each_form_that_callers_may_send() {
    for (sent, want) in
        [("+/8=", "+/8="), ("-_8", "+/8="), ("//8", "//8="), ("YR==", "YQ=="), ("***", "Kioq"), ("", "")]
    {
        let part = write::message(&schema::PART, &json!({"raw": sent}).to_string()).expect("a message");
        assert_eq!(said(&schema::PART, &part)["raw"], want, "{sent}");
    }
}

#[test]
fn errors_have_their_codes_and_details() {
    let missing = refuse(&A2aError::TaskNotFound);
    assert_eq!((missing.code, missing.message.as_str()), (5, "Task not found"));
    let details = String::from_utf8_lossy(&missing.details).into_owned();
    assert!(details.contains("google.rpc.ErrorInfo") && details.contains("TASK_NOT_FOUND"), "{details:?}");
    let busy = refuse(&A2aError::Unavailable { problem: "later".into(), retry_after: 5 });
    assert!(String::from_utf8_lossy(&busy.details).contains("google.rpc.RetryInfo"));
    for (error, code) in [
        (A2aError::VersionNotSupported("2.0".into()), 9),
        (A2aError::Params("x".into()), 3),
        (A2aError::TooLarge, 8),
        (A2aError::Internal, 13),
    ] {
        assert_eq!(refuse(&error).code, code);
    }
}

#[test]
fn what_is_not_protobuf_is_refused() {
    for bad in [
        &b"\x0a"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x12\x7f",
        b"\x0b",
        b"\x12\x02\x0a\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(matches!(decode("SendMessage", bad), Err(A2aError::Parse(_))), "{bad:?}");
    }
    // Values in values in values.
    let mut deep = Vec::new();
    for _ in 0..5000 {
        let mut outer = Vec::new();
        let list = [&[0x0a][..], &length(deep.len()), &deep].concat();
        outer.extend([&[0x32][..], &length(list.len()), &list].concat());
        deep = outer;
    }
    let entry = [&[0x0a, 0x00, 0x12][..], &length(deep.len()), &deep].concat();
    let object = [&[0x0a][..], &length(entry.len()), &entry].concat();
    let request = [&[0x22][..], &length(object.len()), &object].concat();
    assert!(matches!(decode("SendMessage", &request), Err(A2aError::Parse(_))));
}

fn length(of: usize) -> Vec<u8> {
    let (mut of, mut bytes) = (of, Vec::new());
    while of >= 0x80 {
        bytes.push(u8::try_from(of & 0x7f).expect("7 bits") | 0x80);
        of >>= 7;
    }
    bytes.push(u8::try_from(of).expect("7 bits"));
    bytes
}

proptest::proptest! {
    /// Whatever comes: an error or a call, never a panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        for method in ["SendMessage", "ListTasks", "CancelTask", "CreateTaskPushNotificationConfig"] {
            let _ = decode(method, &bytes);
        }
    }
}
