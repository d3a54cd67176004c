//! Callers that wait for their answers while pods come and go.

use crate::{Agent, Shared};
use bindu_testkit::{cluster::AGENT_IMAGE, http, oci};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// An agent's image with a handler that takes its time, as somebody makes one from ours.
pub(crate) const HANDLER_IMAGE: &str = "docker.io/library/bindu:with-handler";

/// A line a task. What says `until told` is answered when somebody has made /data/go.
const HANDLER: &str = r#"#!/bin/sh
while read -r line; do
  case $line in
    *'until told'*) while [ ! -e /data/go ]; do sleep 0.05; done ;;
    *) sleep 0.2 ;;
  esac
  echo '{"content": "done"}'
done
"#;

pub(crate) fn handler_image(binary: &Path, to: &Path) {
    assert_eq!(AGENT_IMAGE.rsplit_once(':').unwrap().0, HANDLER_IMAGE.rsplit_once(':').unwrap().0);
    let mut files = oci::Files::default().file("usr/local/bin/handler", 0o755, HANDLER);
    for (path, program) in [("bin/sh", "/bin/sh"), ("bin/sleep", "/bin/sleep"), ("bin/touch", "/bin/touch")] {
        files = files.program(path, Path::new(program));
    }
    bindu_testkit::cluster::agent_image_with(binary, HANDLER_IMAGE, files, to);
}

/// The part of an overlay that takes the image with the handler. Its pods may drain for longer than those of the manifest: what
/// waits is answered when the test says so, on a machine however busy.
pub(crate) const WITH_HANDLER: &str = "images: [{name: bindu, newTag: with-handler}]\n\
    patches:\n  - target: {kind: Deployment}\n    patch: |-\n      \
    - {op: replace, path: /spec/template/spec/terminationGracePeriodSeconds, value: 200}\n";

/// An agent with that handler.
pub(crate) fn handled(name: &str) -> Agent {
    let agent = Agent::new(name).with("BINDU_COMMAND=[\"/usr/local/bin/handler\"]");
    agent.with("BINDU_COMMAND_WORKERS=16").with("BINDU_DRAIN_DEADLINE=180s")
}

/// What a caller does if an answer is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is a failed call.
    Fails,
    /// The same message is sent again, as clients do.
    IsSentAgain,
}

/// Callers that call an agent through its Service, one call after the other, until they are stopped. Each call is a
/// blocking send: its answer is the ended task.
pub(crate) struct Callers {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    running: Vec<JoinHandle<Vec<String>>>,
    /// Of the caller in Hydra.
    token: String,
}

impl Callers {
    pub(crate) async fn begin(shared: &Shared, agent: &Agent, number: usize, lost: Lost) -> Self {
        let token =
            shared.platform.hydra.caller(shared.cluster(), &format!("caller-of-{}", agent.name)).await;
        let url = format!("http://{}:3773", shared.cluster().service("agents", &agent.name));
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

        let running = (0..number)
            .map(|nth| {
                let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
                let (url, token) = (url.clone(), token.clone());
                shared.cluster().begin_inside(async move {
                    let mut failed = Vec::new();
                    let mut calls = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        calls += 1;
                        let id = format!("call-{nth}-{calls}");
                        // Each in one of the two dialects whose sends can wait.
                        let mut tried = send(&url, &token, &id, nth % 2 == 0, "quick").await;
                        while lost == Lost::IsSentAgain && matches!(tried, Err(Failure::Lost(_))) {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            tried = send(&url, &token, &id, nth % 2 == 0, "quick").await;
                        }
                        match tried {
                            Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                            Err(Failure::Lost(why) | Failure::Answer(why)) => failed.push(why),
                        }
                    }
                    failed
                })
            })
            .collect();
        Self { is_over, answered, running, token }
    }

    /// Begins a call of one pod, that waits until the pod is told (`tell`); it has come to the pod's handler.
    pub(crate) async fn waits(&self, shared: &Shared, pod: &str) -> JoinHandle<Result<(), Failure>> {
        let url = url_of(shared, pod);
        let (id, token) = (format!("waits-{pod}"), self.token.clone());
        let call = {
            let (url, id, token) = (url.clone(), id.clone(), token.clone());
            shared.cluster().begin_inside(async move { send(&url, &token, &id, false, "until told").await })
        };
        let body = http::call("tasks/get", &json!({"taskId": id})).to_string();
        let begun = std::time::Instant::now();
        loop {
            let (url, token, body) = (url.clone(), token.clone(), body.clone());
            let task = shared.cluster().inside(async move { ask(&url, &token, None, body).await }).await;
            let state = task.map(|task| task["result"]["status"]["state"].clone());
            if matches!(&state, Ok(state) if state == "working") {
                return call;
            }
            assert!(begun.elapsed() < Duration::from_secs(120) && !call.is_finished(), "it does not work");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls were answered.
    pub(crate) async fn more(&self, shared: &Shared, number: u64) {
        let until = self.answered() + number;
        shared.cluster().until("calls are answered", || (self.answered() >= until).then_some(())).await;
    }

    /// Ends them; none of their calls may have failed.
    pub(crate) async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for caller in self.running {
            failed.extend(caller.await.expect("no caller panics"));
        }
        let few: Vec<&String> = failed.iter().take(5).collect();
        assert!(failed.is_empty(), "{} calls have failed: {few:#?}", failed.len());
    }
}

/// Waits until a pod was told to end: `preStop` is over, and it drains.
pub(crate) async fn drains(shared: &Shared, pod: &str) {
    let url = format!("{}/readyz", url_of(shared, pod));
    let begun = std::time::Instant::now();
    loop {
        let url = url.clone();
        let asked =
            async move { http::client().get(url).send().await.map(|answer| answer.status().as_u16()) };
        if matches!(shared.cluster().inside(asked).await, Ok(503)) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{pod} does not drain");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets a pod answer what waits.
pub(crate) fn tell(shared: &Shared, pod: &str) {
    shared.cluster().kubectl(&["--namespace", "agents", "exec", pod, "--", "touch", "/data/go"]);
}

pub(crate) fn url_of(shared: &Shared, pod: &str) -> String {
    format!("http://{}:3773", shared.pod(pod)["status"]["podIP"].as_str().unwrap())
}

/// Why a call has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody knows what became of it.
    Lost(String),
    /// It was answered, otherwise than it should be.
    Answer(String),
}

/// One blocking send to its answer, on a connection of its own.
pub(crate) async fn send(url: &str, token: &str, id: &str, is_v1: bool, text: &str) -> Result<(), Failure> {
    let (version, body, state, completed) = if is_v1 {
        let message = json!({"messageId": id, "role": "ROLE_USER", "parts": [{"text": text}]});
        let body = http::call("SendMessage", &json!({"message": message}));
        (Some("1.0"), body, "/result/task/status/state", "TASK_STATE_COMPLETED")
    } else {
        let mut body = http::message(id, text);
        body["params"]["configuration"]["blocking"] = json!(true);
        (None, body, "/result/status/state", "completed")
    };
    let task = ask(url, token, version, body.to_string()).await?;
    let found = task.pointer(state).and_then(Value::as_str);
    if found == Some(completed) { Ok(()) } else { Err(Failure::Answer(format!("{id}: {task}"))) }
}

pub(crate) async fn ask(
    url: &str,
    token: &str,
    version: Option<&str>,
    body: String,
) -> Result<Value, Failure> {
    let lost = |error: reqwest::Error| Failure::Lost(format!("{error:?}"));
    // A busy machine is slow, not broken.
    let request = http::client().post(url).timeout(Duration::from_secs(240)).body(body);
    let request = request.header("Authorization", format!("Bearer {token}"));
    let request =
        version.into_iter().fold(request, |request, version| request.header("A2A-Version", version));
    let response = request.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    let text = response.text().await.map_err(lost)?;
    let wrong = || Failure::Answer(format!("{status} {text}"));
    if status == 200 { serde_json::from_str(&text).map_err(|_| wrong()) } else { Err(wrong()) }
}
