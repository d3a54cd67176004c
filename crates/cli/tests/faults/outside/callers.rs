//! Callers of an agent: those that check each answer, and one that breaks what it can.

use bindu_testkit::{caller::TestCaller, http};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// How many tasks a caller has under way.
const AT_ONCE: usize = 8;

/// How long a task may be on its way on a busy machine, while servers are away.
const LONGEST: Duration = Duration::from_secs(120);

/// What the callers of one agent have seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Answers that were the asker's.
    pub(super) good: AtomicU64,
    /// Tasks that failed: another's input had ended their program.
    pub(super) failed: AtomicU64,
    /// Tasks of the caller that breaks things.
    pub(super) broken: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) has_ended: AtomicBool,
}

/// A caller with its connections.
pub(super) struct Caller {
    who: TestCaller,
    client: reqwest::Client,
    url: String,
}

impl Caller {
    pub(super) fn new(who: TestCaller, url: &str) -> Self {
        Self { who, client: http::client(), url: url.to_owned() }
    }

    async fn rpc(&self, body: &Value) -> Value {
        let request = self.client.post(&self.url).bearer_auth(&self.who.token).body(body.to_string());
        let (status, answer) = http::answer(request).await;
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    }

    /// Has a task done; its result's text, or `None` where it failed.
    async fn ask(&self, text: &str) -> Option<String> {
        let id = format!("{:032x}", rand::random::<u128>());
        let mut task = self.rpc(&http::message(&id, text)).await;
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(10));
        let look = http::call("tasks/get", &json!({"taskId": id, "historyLength": 1}));
        while matches!(task["status"]["state"].as_str(), Some("submitted" | "working")) {
            if begun.elapsed() > LONGEST {
                std::process::abort();
            }
            assert!(begun.elapsed() < LONGEST, "{text} has no end: {task}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(160));
            task = self.rpc(&look).await;
        }
        let shown = task["id"].as_str().map(|id| id.replace('-', ""));
        assert_eq!(shown, Some(id), "{task}");
        task["artifacts"][0]["parts"][0]["text"].as_str().map(str::to_owned)
    }

    /// Asks until the end. Each answer must be what was asked.
    pub(super) async fn check(&self, number: usize, seen: &Seen) {
        let lane = async |lane: usize| {
            let mut count = 0_u64;
            while !seen.has_ended.load(SeqCst) {
                count += 1;
                let nonce = format!("nonce {number} {lane} {count} {:016x}", rand::random::<u64>());
                match self.ask(&nonce).await {
                    Some(answer) => {
                        assert_eq!(answer, nonce, "an answer of somebody else's");
                        seen.good.fetch_add(1, SeqCst);
                    }
                    None => _ = seen.failed.fetch_add(1, SeqCst),
                }
            }
        };
        futures_util::future::join_all((0..AT_ONCE).map(lane)).await;
    }

    /// Has a program do the same wrong thing again and again, until the end. A third of the tasks it cancels, and all that
    /// would not end.
    pub(super) async fn vex(&self, deed: &str, seen: &Seen) {
        let endless = matches!(deed, "hang" | "slow");
        while !seen.has_ended.load(SeqCst) {
            let id = format!("{:032x}", rand::random::<u128>());
            self.rpc(&http::message(&id, deed)).await;
            let longest = match () {
                () if endless => Duration::from_secs(1),
                () if rand::random_ratio(1, 3) => Duration::from_millis(rand::random_range(0..30)),
                () => LONGEST,
            };
            let begun = Instant::now();
            let mut task = Value::Null;
            while begun.elapsed() < longest && !seen.has_ended.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                task = self.rpc(&http::call("tasks/get", &json!({"taskId": id}))).await;
                if !matches!(task["status"]["state"].as_str(), Some("submitted" | "working")) {
                    break;
                }
            }
            if begun.elapsed() >= longest {
                self.rpc(&http::call("tasks/cancel", &json!({"taskId": id}))).await;
                seen.cancelled.fetch_add(1, SeqCst);
            }
            if let Some(answer) = task["artifacts"][0]["parts"][0]["text"].as_str() {
                assert_eq!(answer, deed, "an answer of somebody else's");
            }
            seen.broken.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
