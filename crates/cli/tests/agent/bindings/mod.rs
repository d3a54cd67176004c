//! The bindings on the running program: JSON-RPC in its three dialects, HTTP+JSON, streams.

mod bounds;
mod grpc;
mod refusals;
mod rest;
mod rpc;
mod streams;

use bindu_testkit::http;
use serde_json::{Value, json};
use std::path::Path;

/// A program that waits so long before it answers each message.
fn slow(directory: &Path, seconds: f64) -> String {
    let script = format!(
        "import sys,time\nfor line in sys.stdin:\n    time.sleep({seconds})\n    print('{{\"content\": \"late\"}}', flush=True)\n"
    );
    std::fs::write(directory.join("slow.py"), script).unwrap();
    "python3 slow.py".to_owned()
}

/// A dialect of JSON-RPC, as a caller speaks it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speech {
    V1,
    V03,
    Bindu,
}

impl Speech {
    const ALL: [Self; 3] = [Self::V1, Self::V03, Self::Bindu];

    fn method(self, slash: &'static str) -> &'static str {
        match (self, slash) {
            (Self::V1, "message/send") => "SendMessage",
            (Self::V1, "message/stream") => "SendStreamingMessage",
            (Self::V1, "tasks/get") => "GetTask",
            (Self::V1, "tasks/cancel") => "CancelTask",
            (Self::V1, "tasks/resubscribe") => "SubscribeToTask",
            (_, slash) => slash,
        }
    }

    fn version(self) -> Option<&'static str> {
        match self {
            Self::V1 => Some("1.0"),
            Self::V03 => Some("0.3"),
            Self::Bindu => None,
        }
    }

    /// The parameters that name a task.
    fn of_task(self, id: &str) -> Value {
        if self == Self::Bindu { json!({"taskId": id}) } else { json!({"id": id}) }
    }

    /// The parameters of a message.
    fn saying(self, text: &str) -> Value {
        let id = format!("{:032x}", rand::random::<u128>());
        match self {
            Self::V1 => json!({"message": {"messageId": id, "role": "ROLE_USER", "parts": [{"text": text}]}}),
            _ => json!({
                "message": {"kind": "message", "messageId": id, "role": "user", "parts": [{"kind": "text", "text": text}]},
                "configuration": {"acceptedOutputModes": ["text/plain"]},
            }),
        }
    }

    fn request(self, url: &str, slash: &'static str, params: &Value) -> reqwest::RequestBuilder {
        let body = json!({"jsonrpc": "2.0", "id": "call-1", "method": self.method(slash), "params": params});
        let request = http::client().post(url).header("content-type", "application/json");
        let request = request.body(body.to_string());
        match self.version() {
            Some(version) => request.header("A2A-Version", version),
            None => request,
        }
    }

    async fn call(self, url: &str, slash: &'static str, params: &Value) -> http::Answer {
        http::answer(self.request(url, slash, params)).await
    }

    /// The state of a task in an answer.
    fn state(self, task: &Value) -> String {
        task["status"]["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The name of a state.
    fn named(self, state: &str) -> String {
        match self {
            Self::V1 => format!("TASK_STATE_{}", state.to_uppercase().replace('-', "_")),
            _ => state.to_owned(),
        }
    }

    /// Follows a task to its end.
    async fn ended(self, url: &str, id: &str) -> Value {
        http::eventually("the task ends", async || {
            let (_, task) = self.call(url, "tasks/get", &self.of_task(id)).await;
            let state = self.state(&task["result"]);
            let is_active = [self.named("submitted"), self.named("working")].contains(&state);
            (!is_active && !state.is_empty()).then(|| task["result"].clone())
        })
        .await
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: u64,
    data: Value,
}

/// What comes of a stream: its events, and how many comments.
#[derive(Debug, Default)]
struct Sse {
    events: Vec<Event>,
    comments: usize,
    text: String,
}

impl Sse {
    /// Takes more of a stream in.
    fn take(&mut self, bytes: &[u8]) {
        self.text.push_str(std::str::from_utf8(bytes).expect("UTF-8"));
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            let mut event = Event { id: 0, data: Value::Null };
            let mut is_comment = true;
            for line in block.lines() {
                if let Some(id) = line.strip_prefix("id: ") {
                    event.id = id.parse().expect("a number");
                    is_comment = false;
                } else if let Some(data) = line.strip_prefix("data: ") {
                    event.data = serde_json::from_str(data).expect("JSON on one line");
                    is_comment = false;
                } else {
                    assert!(line.starts_with(':'), "{line}");
                }
            }
            if is_comment {
                self.comments += 1
            } else {
                self.events.push(event)
            }
            self.text = rest.to_owned();
        }
    }

    /// Reads a stream to its end.
    async fn all(request: reqwest::RequestBuilder) -> Self {
        let mut response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self::default();
        while let Some(bytes) = response.chunk().await.unwrap() {
            stream.take(&bytes);
        }
        assert_eq!(stream.text, "", "it ends with a whole event");
        stream
    }

    fn ids(&self) -> Vec<u64> {
        self.events.iter().map(|event| event.id).collect()
    }
}
