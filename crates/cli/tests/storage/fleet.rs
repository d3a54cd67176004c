//! Three replicas of one agent on one database, with callers and subscribers who write down what they see.

use crate::{
    Names, full, names,
    seen::{
        Followed, end_of, has_ended, judge, logs, new_id, owner_of, shown_in, started, unfinished,
        with_handler,
    },
};
use bindu_a2a::{event::TaskEvent, model::TaskState};
use bindu_tasks::{Owner, PostgresOptions, PostgresStore, TaskKey, history::History};
use bindu_testkit::{
    AgentProcess, AgentSetup,
    caller::{TestCaller, now},
    http,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::sleep};

/// A2A's code for a task that is not there.
const TASK_NOT_FOUND: i64 = -32001;

/// Every so many messages of a caller has a subscriber.
const FOLLOWED: usize = 5;

/// How long it may take until all tasks have ended: a lease for those of replicas that were killed, and one more after an outage.
const SETTLES: Duration = Duration::from_secs(240);

struct Replica {
    url: String,
    setup: AgentSetup,
    process: Mutex<Option<AgentProcess>>,
    /// Requests that it has not answered.
    in_flight: AtomicUsize,
    disk: TempDir,
}

/// The replicas, and what was seen of them.
pub(crate) struct Fleet {
    names: Names,
    dsn: String,
    replicas: Vec<Replica>,
    callers: Vec<TestCaller>,
    pace: Duration,
    has_ended: AtomicBool,
    accepted: Mutex<Vec<(TaskKey, String)>>,
    ends: Mutex<Vec<(TaskKey, String)>>,
    followed: Mutex<Vec<(Owner, Followed)>>,
    /// Messages that were sent more than once, as no answer came; and answers that said to come again.
    pub(crate) again: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    /// Replicas that were killed, and those of them that had requests to answer.
    pub(crate) kills: AtomicUsize,
    pub(crate) hits: AtomicUsize,
}

/// What was there in the end.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
pub(crate) struct End {
    pub(crate) messages: usize,
    pub(crate) completed: usize,
    /// Tasks whose replica was killed while it worked on them.
    pub(crate) interrupted: usize,
    pub(crate) events: usize,
    pub(crate) subscriptions: usize,
    pub(crate) breaks: usize,
}

impl Fleet {
    /// Starts three replicas on this database. `pace`: how long each caller waits between two messages.
    pub(crate) async fn start(name: &str, dsn: &str, pace: Duration, variables: &[(&str, &str)]) -> Self {
        let names = names(name);
        let (mut replicas, mut callers) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let disk = tempfile::tempdir().unwrap();
            let mut setup = full(disk.path(), &names).await.set("DATABASE_URL", dsn);
            // What is judged in the end must not be forgotten before.
            setup = setup.set("BINDU_STORAGE_MAX_TASKS", "10000000").set("RUST_LOG", "info");
            for (name, value) in variables {
                setup = setup.set(name, *value);
            }
            let setup = with_handler(setup, disk.path(), "0.02");
            let process = setup.start().await;
            http::healthy(&process.url).await;
            let (url, process) = (process.url.clone(), Mutex::new(Some(process)));
            replicas.push(Replica { url, setup, process, in_flight: AtomicUsize::new(0), disk });
        }
        for number in 0..4 {
            let id = format!("did:bindu:caller_{number}:{}:1", name.to_lowercase().replace(' ', "_"));
            callers.push(TestCaller::new(crate::hydra().await, &id).await);
        }
        Self {
            names,
            dsn: dsn.to_owned(),
            replicas,
            callers,
            pace,
            has_ended: AtomicBool::new(false),
            accepted: Mutex::default(),
            ends: Mutex::default(),
            followed: Mutex::default(),
            again: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
        }
    }

    /// Has all callers call while something is done, then waits until all tasks have ended, and has it judged.
    pub(crate) async fn endures(&self, trouble: impl Future<Output = ()>) -> End {
        let callers = self.callers.iter().map(|caller| self.keep_saying(caller));
        let ending = async {
            trouble.await;
            self.has_ended.store(true, SeqCst);
        };
        tokio::join!(futures_util::future::join_all(callers), ending);
        self.end().await
    }

    /// How many messages were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Waits until so many more messages were accepted.
    pub(crate) async fn takes(&self, more: usize) {
        let want = self.accepted() + more;
        let begun = Instant::now();
        while self.accepted() < want {
            assert!(begun.elapsed() < SETTLES, "messages are not taken any more:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a replica after this time, and starts it again; it may be killed once more while it starts.
    pub(crate) async fn crash(&self, at: usize, pause: Duration) {
        let replica = &self.replicas[at % 3];
        sleep(pause).await;
        // In the middle of something, if anything comes in a while.
        for _ in 0..200 {
            if replica.in_flight.load(SeqCst) > 0 {
                break;
            }
            sleep(Duration::from_millis(2)).await;
        }
        let killed = replica.process.lock().unwrap().take();
        self.hits.fetch_add(usize::from(replica.in_flight.load(SeqCst) > 0), SeqCst);
        self.kills.fetch_add(1, SeqCst);
        drop(killed);
        replica.setup.until_port_is_free().await;
        let again = replica.setup.start().await;
        *replica.process.lock().unwrap() = Some(again);
    }

    fn log(&self) -> String {
        let log = |replica: &Replica| {
            let log = replica.process.lock().unwrap().as_ref().map(AgentProcess::log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        self.replicas.iter().map(log).collect::<Vec<_>>().join("\n--\n")
    }

    fn any(&self) -> &Replica {
        &self.replicas[rand::random_range(0..3)]
    }

    async fn keep_saying(&self, caller: &TestCaller) {
        let (follow, mut to_follow) = mpsc::unbounded_channel::<String>();
        let following = stream::poll_fn(|context| to_follow.poll_recv(context))
            .map(|id| async move { self.follow(caller, &id).await })
            .buffer_unordered(1000)
            .collect::<Vec<_>>();
        let (followed, ()) = tokio::join!(following, self.keep_sending(caller, follow));
        let owner = owner_of(caller);
        self.followed.lock().unwrap().extend(followed.into_iter().map(|one| (owner.clone(), one)));
    }

    /// Sends messages until the end; some are followed.
    async fn keep_sending(&self, caller: &TestCaller, follow: mpsc::UnboundedSender<String>) {
        let mut number = 0;
        while !self.has_ended.load(SeqCst) {
            let id = new_id();
            if self.say(caller, &id).await {
                let wanted = id.clone();
                if number % FOLLOWED == 0 {
                    let _ = follow.send(id);
                }
                self.look(caller, &wanted).await;
                number += 1;
            }
            sleep(self.pace).await;
        }
    }

    /// Sends a message until it is answered, each time to any replica: the very same request, or the message signed anew.
    /// Whether it was.
    async fn say(&self, caller: &TestCaller, id: &str) -> bool {
        let (body, stamp) = (http::message(id, id), now());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let replica = self.any();
            let at = if rand::random() { stamp } else { now() };
            replica.in_flight.fetch_add(1, SeqCst);
            let answer = answer(caller.request(&replica.url, &body, at)).await;
            replica.in_flight.fetch_sub(1, SeqCst);
            match answer {
                Some((200, answer)) => {
                    assert_eq!(answer["result"]["id"], id, "{answer}");
                    break;
                }
                Some((503 | 429, _)) => _ = self.refused.fetch_add(1, SeqCst),
                Some((status, answer)) => panic!("{status}: {answer}\n{}", self.log()),
                None => {}
            }
            if self.has_ended.load(SeqCst) {
                return false;
            }
            sleep(Duration::from_millis(30)).await;
        }
        self.again.fetch_add(usize::from(attempts > 1), SeqCst);
        self.accepted.lock().unwrap().push((key(caller, id), id.to_owned()));
        true
    }

    /// An accepted message's task is there on any replica, and an end is an end.
    async fn look(&self, caller: &TestCaller, id: &str) {
        let replica = self.any();
        let body = http::call("tasks/get", &json!({"taskId": id}));
        replica.in_flight.fetch_add(1, SeqCst);
        let answer = answer(caller.request(&replica.url, &body, now())).await;
        replica.in_flight.fetch_sub(1, SeqCst);
        let Some((_, answer)) = answer else { return };
        assert_ne!(answer["error"]["code"], TASK_NOT_FOUND, "an accepted message has no task: {answer}");
        if has_ended(&answer["result"]) {
            let state = answer["result"]["status"]["state"].as_str().unwrap_or_default().to_owned();
            self.ends.lock().unwrap().push((key(caller, id), state));
        }
    }

    /// Follows a task from its first event to its end, on any replica, and on another one when the stream breaks off.
    async fn follow(&self, caller: &TestCaller, id: &str) -> Followed {
        let mut followed = Followed { task: id.to_owned(), ..Followed::default() };
        // A task of a replica that was killed ends when some replica has lived for a lease.
        let mut ending = None;
        while !followed.is_over() {
            if self.has_ended.load(SeqCst) && ending.get_or_insert_with(Instant::now).elapsed() > SETTLES {
                break;
            }
            let after = followed.last();
            let number: u64 = rand::random();
            let body = json!({"jsonrpc": "2.0", "id": number.to_string(), "method": "SubscribeToTask",
                "params": {"id": id}});
            let request = caller.request(&self.any().url, &body, now());
            let request = request.header("A2A-Version", "1.0").header("Last-Event-ID", after.to_string());
            if let Ok(response) = request.send().await
                && response.status().as_u16() == 200
            {
                read_events(response, &mut followed).await;
            }
            if !followed.is_over() {
                followed.breaks += 1;
                sleep(Duration::from_millis(50)).await;
            }
        }
        followed
    }

    /// Waits until all tasks have ended, and judges what was seen.
    async fn end(&self) -> End {
        let options = PostgresOptions::new(&self.dsn, &self.names.did);
        let store = PostgresStore::open(options).expect("a URL");
        let owners: Vec<_> = self.callers.iter().map(owner_of).collect();
        let begun = Instant::now();
        loop {
            let mut left = 0;
            for owner in &owners {
                left += unfinished(&store, owner).await.unwrap_or(1);
            }
            if left == 0 {
                break;
            }
            assert!(begun.elapsed() < SETTLES, "{left} tasks do not end:\n{}", self.log());
            sleep(Duration::from_millis(200)).await;
        }
        let mut history = History { is_over: true, ..History::default() };
        for owner in &owners {
            history.logs.extend(logs(&store, owner).await);
        }
        history.accepted = self.accepted.lock().unwrap().clone();
        let disks: Vec<&Path> = self.replicas.iter().map(|replica| replica.disk.path()).collect();
        history.started = started(&disks, &owners[0]);
        let by_key: std::collections::HashMap<_, _> =
            history.logs.iter().map(|(key, log)| (key.clone(), log)).collect();
        let (mut breaks, mut subscriptions) = (0, Vec::new());
        for (owner, followed) in self.followed.lock().unwrap().iter() {
            assert!(followed.is_over(), "a subscriber has seen no end: {followed:?}\n{}", self.log());
            breaks += followed.breaks;
            let key = TaskKey { owner: owner.clone(), id: followed.task.clone() };
            let log = by_key.get(&key).map(|log| log.as_slice()).unwrap_or_default();
            subscriptions.push(followed.subscription(owner, log));
        }
        for (key, state) in self.ends.lock().unwrap().iter() {
            let end = by_key.get(key).and_then(|log| end_of(log));
            assert_eq!(end.map(|end| format!("{end:?}").to_lowercase()).as_ref(), Some(state), "{key:?}");
        }
        history.subscriptions = subscriptions;
        let ends = judge(&history);
        let is_interrupted = |log: &&(TaskKey, Vec<bindu_tasks::Numbered>)| {
            let reason = |status: &bindu_a2a::model::TaskStatus| {
                status
                    .message
                    .as_ref()
                    .and_then(|message| message.metadata.as_ref().map(|it| it.text().to_owned()))
            };
            log.1.iter().any(|numbered| matches!(&numbered.event, TaskEvent::Status(status) if reason(status).is_some_and(|it| it.contains("interrupted"))))
        };
        End {
            messages: history.accepted.len(),
            completed: ends.iter().filter(|end| **end == TaskState::Completed).count(),
            interrupted: history.logs.iter().filter(is_interrupted).count(),
            events: history.logs.iter().map(|(_, log)| log.len()).sum(),
            subscriptions: history.subscriptions.len(),
            breaks,
        }
    }
}

impl Followed {
    fn is_over(&self) -> bool {
        let is_end = |text: &str| matches!(text, "status completed" | "status failed" | "status canceled");
        self.events.last().is_some_and(|(_, text)| is_end(text)) || self.had_ended()
    }
}

fn key(caller: &TestCaller, id: &str) -> TaskKey {
    TaskKey { owner: owner_of(caller), id: id.to_owned() }
}

/// An answer that came wholly.
async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let text = response.text().await.ok()?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// Reads events until the stream ends; of one that is cut in the middle nothing counts.
async fn read_events(mut response: reqwest::Response, followed: &mut Followed) {
    let mut buffer = String::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        buffer.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((event, rest)) = buffer.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(number), Some(data)) = (field("id: "), field("data: ")) {
                let data: Value = serde_json::from_str(data).expect("JSON");
                let (id, result) = (number.parse().expect("a number"), &data["result"]);
                match result.get("task") {
                    Some(task) => followed.begins_again(id, task),
                    None => followed.events.push((id, shown_in(result))),
                }
            }
            buffer = rest.to_owned();
        }
    }
}
