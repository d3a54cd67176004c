//! The memory that callers cost an agent: cases of bodies, reads and answers that nobody reads, each on a program of its own.
//! The tests hold them to their bound, `cargo xtask bench memory` prints them.

mod shapes;
mod wire;

use crate::{AgentProcess, AgentSetup, caller::TestCaller, server::memory_kib};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use wire::{Said, Wire};

pub use shapes::{Shape, shapes};

const MIB: usize = 1024 * 1024;

/// What a case may cost beside four times the accepted bytes.
pub const CONSTANT: usize = 32 * MIB;

/// How many bodies of a shape are sent at the same time.
const AT_ONCE: usize = 6;

/// How many refused bodies are sent at the same time, and how many readers there are at a time.
const MANY: usize = 24;

/// How many tiny messages are sent.
const TINY: usize = 10_000;

/// A text that fits into a body.
const LONG: usize = 1_900_000;

/// How long a reader that reads nothing waits for its first byte: longer than the agent lets it wait for room.
const FIRST_BYTE: Duration = Duration::from_secs(40);

/// The measured cost of a case.
#[derive(Debug, Clone)]
pub struct Cost {
    /// The case.
    pub name: String,
    /// How many bytes of bodies the agent has accepted.
    pub accepted: usize,
    /// By how many bytes its peak resident memory has grown.
    pub grown: usize,
    /// What it has answered: how often each status.
    pub answers: String,
}

impl Cost {
    /// By how many bytes it may grow.
    #[must_use]
    pub fn bound(&self) -> usize {
        4 * self.accepted + CONSTANT
    }

    /// If it has not grown by more than that.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.grown <= self.bound()
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: usize| bytes as f64 / MIB as f64;
        let (grown, bound) = (mib(self.grown), mib(self.bound()));
        let accepted = mib(self.accepted);
        write!(
            f,
            "{:<44}{accepted:>7.1} MiB accepted, grown by {grown:>6.1} of {bound:>6.1} MiB ({:>3.0} %)   {}",
            self.name,
            100.0 * grown / bound,
            self.answers
        )
    }
}

/// Measures all cases. `caller` calls if authentication is on.
///
/// # Panics
/// If the agent does not do what a case is about.
pub async fn costs(setup: &AgentSetup, caller: Option<Arc<TestCaller>>) -> Vec<Cost> {
    costs_of(setup, caller, |_| true).await
}

/// Measures those cases whose names are meant.
///
/// # Panics
/// As [`costs`].
pub async fn costs_of(
    setup: &AgentSetup,
    caller: Option<Arc<TestCaller>>,
    is_meant: impl Fn(&str) -> bool,
) -> Vec<Cost> {
    let mut costs = Vec::new();
    let start = async |name: String| {
        if is_meant(&name) { Some(Case::start(setup, &caller, name).await) } else { None }
    };
    for shape in shapes() {
        if let Some(case) = start(format!("accepted: {}", shape.name)).await {
            costs.push(accepted(&case, &shape).await);
        }
    }
    for shape in shapes().into_iter().step_by(2) {
        if let Some(case) = start(format!("refused: {}", shape.name)).await {
            costs.push(refused(&case, &shape).await);
        }
    }
    if let Some(case) = start("refused: bodies that are too long".to_owned()).await {
        costs.push(too_long(&case).await);
    }
    if let Some(case) = start("accepted: 10,000 tiny messages".to_owned()).await {
        costs.push(tiny(&case).await);
    }
    if let Some(case) = start("reads: long tasks, and lists of them".to_owned()).await {
        costs.push(reads(&case).await);
    }
    for method in ["GetTask", "ListTasks"] {
        if let Some(case) = start(format!("unread: {method} of a long task")).await {
            costs.push(unread(&case, method).await);
        }
    }
    if let Some(case) = start("unread: lists of 1,000 tasks".to_owned()).await {
        costs.push(unread_lists(&case).await);
    }
    costs
}

/// An agent that has just started, and its memory then.
struct Case {
    name: String,
    agent: AgentProcess,
    wire: Wire,
    before: usize,
}

impl Case {
    async fn start(setup: &AgentSetup, caller: &Option<Arc<TestCaller>>, name: String) -> Self {
        let agent = setup.start().await;
        let wire = Wire::new(&agent.url, caller.clone());
        // One that is signed in the second of the start is refused.
        let begun = std::time::Instant::now();
        while wire.send(&wire::call("SendMessage", &message("warm", "hello"))).await.status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(30), "it takes no message");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = memory_kib(agent.pid(), "VmRSS").expect("it runs") as usize * 1024;
        Self { name, agent, wire, before }
    }

    fn cost(&self, accepted: usize, said: &[Said]) -> Cost {
        let peak = memory_kib(self.agent.pid(), "VmHWM").expect("it runs") as usize * 1024;
        let mut counts = std::collections::BTreeMap::<u16, usize>::new();
        for said in said {
            *counts.entry(said.status).or_default() += 1;
        }
        let answers = counts.iter().map(|(status, count)| format!("{count} x {status}"));
        Cost {
            name: self.name.clone(),
            accepted,
            grown: peak.saturating_sub(self.before),
            answers: answers.collect::<Vec<_>>().join(", "),
        }
    }
}

fn message(id: &str, text: &str) -> Value {
    json!({"message": {"messageId": id, "role": "ROLE_USER", "parts": [{"text": text}]}})
}

/// The bytes of the bodies that were answered with 200.
fn accepted_bytes(bodies: &[String], said: &[Said]) -> usize {
    bodies.iter().zip(said).filter(|(_, said)| said.status == 200).map(|(body, _)| body.len()).sum()
}

async fn accepted(case: &Case, shape: &Shape) -> Cost {
    let bodies: Vec<String> = (0..AT_ONCE).map(|number| shape.body(number)).collect();
    let said = case.wire.send_all(&bodies).await;
    assert!(said.iter().any(|said| said.status == 200), "{}: {said:?}", shape.name);
    case.cost(accepted_bytes(&bodies, &said), &said)
}

/// What is wrong with it comes last.
async fn refused(case: &Case, shape: &Shape) -> Cost {
    let bodies: Vec<String> = (0..MANY).map(|number| shape.refused_body(number)).collect();
    let said = case.wire.send_all(&bodies).await;
    assert!(said.iter().all(|said| said.is_error), "{}: {said:?}", shape.name);
    case.cost(0, &said)
}

async fn too_long(case: &Case) -> Cost {
    let bodies: Vec<String> = (0..MANY).map(|_| "[".repeat(2 * MIB + 1)).collect();
    let said = case.wire.send_all(&bodies).await;
    assert!(said.iter().all(|said| said.status != 200), "{said:?}");
    case.cost(0, &said)
}

async fn tiny(case: &Case) -> Cost {
    let bodies: Vec<String> =
        (0..TINY).map(|number| wire::call("SendMessage", &message(&format!("m{number}"), "x"))).collect();
    let said = case.wire.send_on(16, &bodies).await;
    case.cost(accepted_bytes(&bodies, &said), &said)
}

/// Some long tasks; their ids, and the bytes that were sent.
async fn stored(case: &Case, count: usize) -> (Vec<String>, usize) {
    let (mut ids, mut bytes) = (Vec::new(), 0);
    for number in 0..count {
        let body = wire::call("SendMessage", &message(&format!("long {number}"), &"x".repeat(LONG)));
        let said = case.wire.send(&body).await;
        assert_eq!(said.status, 200, "{said:?}");
        ids.push(said.task.expect("a task"));
        bytes += body.len();
    }
    (ids, bytes)
}

async fn reads(case: &Case) -> Cost {
    let (ids, accepted) = stored(case, 3).await;
    let get = |number: usize| wire::call("GetTask", &json!({"id": ids[number % ids.len()]}));
    let list = || wire::call("ListTasks", &json!({"includeArtifacts": true}));
    let bodies: Vec<String> =
        (0..MANY).map(|number| if number % 3 == 0 { list() } else { get(number) }).collect();
    let said = case.wire.send_all(&bodies).await;
    assert!(said.iter().any(|said| said.status == 200), "{said:?}");
    case.cost(accepted, &said)
}

/// Found: twenty answers that nobody read held 290 MiB, with authentication off.
async fn unread(case: &Case, method: &str) -> Cost {
    let (ids, accepted) = stored(case, 1).await;
    let body = match method {
        "GetTask" => wire::call(method, &json!({"id": ids[0]})),
        _ => wire::call(method, &json!({"includeArtifacts": true})),
    };
    let readers = join_all((0..MANY).map(|_| case.wire.stall(&body))).await;
    let said = join_all(readers.iter().map(|reader| reader.begun(FIRST_BYTE))).await;
    let served = said.iter().filter(|said| said.status == 200).count();
    assert!(served >= 1, "{said:?}");
    assert!(said.iter().all(|said| matches!(said.status, 200 | 429)), "{said:?}");
    case.cost(accepted, &said)
}

async fn unread_lists(case: &Case) -> Cost {
    let bodies: Vec<String> = (0..1_000)
        .map(|number| wire::call("SendMessage", &message(&format!("m{number}"), &"x".repeat(1_000))))
        .collect();
    let said = case.wire.send_on(16, &bodies).await;
    let accepted = accepted_bytes(&bodies, &said);
    // Python Bindu's callers get a thousand tasks at once.
    let list = wire::call("tasks/list", &json!({"length": 1_000}));
    let readers = join_all((0..2 * MANY).map(|_| case.wire.stall_without_version(&list))).await;
    let said = join_all(readers.iter().map(|reader| reader.begun(FIRST_BYTE))).await;
    assert!(said.iter().any(|said| said.status == 200), "{said:?}");
    case.cost(accepted, &said)
}
