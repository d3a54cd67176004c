//! Delivery of events, with a scripted receiver and a paused clock.

use super::worker::Obedient;
use crate::{
    Caller, Client, Delivery, Limits, MemoryStore, NotDelivered, Owner, PushOutcome, PushSender, Sealer,
    Submission, TaskKey, TaskService, TaskStore, conformance, push::KeptPush,
};
use bindu_a2a::{
    A2aError, Parts,
    call::{Call, PushAuthentication, PushConfig},
    dialect::Dialect,
    model::{Message, Role, TaskState},
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep, timeout},
};
use url::Url;

/// What a receiver does with an event.
#[derive(Debug, Clone, PartialEq)]
enum Act {
    Take,
    Fail,
    Hang,
    Gone,
}

/// Receivers by script: each event is answered by the next act of its host, or taken.
#[derive(Default)]
struct FakeReceivers {
    acts: Mutex<std::collections::HashMap<String, VecDeque<Act>>>,
    always: Mutex<std::collections::HashMap<String, Act>>,
    seen: Mutex<Option<UnboundedSender<Seen>>>,
    outcomes: Mutex<Vec<PushOutcome>>,
    /// How many sends of one URL run at the same time now, and the most there ever were.
    at_once: Mutex<std::collections::HashMap<String, (usize, usize)>>,
}

#[derive(Debug, Clone)]
struct Seen {
    host: String,
    at: Instant,
    body: Value,
    delivery: Delivery,
}

impl FakeReceivers {
    fn new() -> (Arc<Self>, UnboundedReceiver<Seen>) {
        let (sender, seen) = unbounded_channel();
        (Arc::new(Self { seen: Mutex::new(Some(sender)), ..Self::default() }), seen)
    }

    fn script(&self, host: &str, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().expect("no panic").entry(host.to_owned()).or_default().extend(acts);
    }

    fn always(&self, host: &str, act: Act) {
        self.always.lock().expect("no panic").insert(host.to_owned(), act);
    }

    fn count(&self, outcome: PushOutcome) -> usize {
        self.outcomes.lock().expect("no panic").iter().filter(|seen| **seen == outcome).count()
    }
}

impl PushSender for FakeReceivers {
    fn check(&self, url: &Url) -> Result<(), String> {
        if url.host_str() == Some("forbidden.example") { Err("it is forbidden".to_owned()) } else { Ok(()) }
    }

    fn send(&self, delivery: Delivery) -> BoxFuture<'_, Result<(), NotDelivered>> {
        let host = delivery.url.host_str().unwrap_or_default().to_owned();
        let next = self.acts.lock().expect("no panic").get_mut(&host).and_then(VecDeque::pop_front);
        let always = self.always.lock().expect("no panic").get(&host).cloned();
        let act = next.or(always).unwrap_or(Act::Take);
        let body = serde_json::from_str(&delivery.body).expect("JSON");
        let url = delivery.url.to_string();
        Box::pin(async move {
            {
                let mut at_once = self.at_once.lock().expect("no panic");
                let (now, most) = at_once.entry(url.clone()).or_default();
                *now += 1;
                *most = (*most).max(*now);
            }
            tokio::task::yield_now().await;
            let seen = Seen { host, at: Instant::now(), body, delivery };
            let _ = self.seen.lock().expect("no panic").as_ref().expect("open").send(seen);
            let _count = Count(self, url);
            match act {
                Act::Take => Ok(()),
                Act::Fail => Err(NotDelivered::Failed("status 500".to_owned())),
                Act::Gone => Err(NotDelivered::Gone),
                Act::Hang => std::future::pending().await,
            }
        })
    }

    fn observe(&self, outcome: PushOutcome) {
        self.outcomes.lock().expect("no panic").push(outcome);
    }
}

struct Count<'a>(&'a FakeReceivers, String);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        let mut at_once = self.0.at_once.lock().expect("no panic");
        at_once.get_mut(&self.1).expect("counted").0 -= 1;
    }
}

fn replica(store: &Arc<MemoryStore>, receivers: &Arc<FakeReceivers>) -> TaskService {
    let limits = Limits { push: true, ..Limits::default() };
    let store = Arc::clone(store) as Arc<dyn TaskStore>;
    TaskService::new(store, Arc::new(Obedient::default()), limits)
        .with_push_sender(Arc::clone(receivers) as Arc<dyn PushSender>)
}

fn deliver(service: &TaskService) -> tokio_util::task::AbortOnDropHandle<()> {
    let service = service.clone();
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { service.deliver_pushes().await }))
}

fn config(id: &str, host: &str, dialect: Dialect) -> PushConfig {
    PushConfig { url: format!("https://{host}/{id}"), dialect, ..conformance::push(id) }
}

/// A task of an owner's with a receiver, begun by its message.
async fn begun(store: &MemoryStore, owner: &str, task: &str, push: PushConfig) -> crate::RunKey {
    let message =
        Message { role: Role::User, ..Message::of_agent(task, "conversation", Parts::of_text("hello")) };
    let submission = Submission {
        push: Some(PushConfig { task_id: task.to_owned(), ..push }),
        owner: conformance::client(owner),
        message: Arc::new(message),
        may_begin: true,
        content: None,
        replay: None,
    };
    store.submit(submission).await.expect("taken").run.expect("a run")
}

async fn append(store: &MemoryStore, run: &crate::RunKey, texts: &[&str]) {
    for text in texts {
        store.append(run, vec![conformance::chunk("a", text, true)]).await.expect("appended");
    }
}

async fn end(store: &MemoryStore, run: &crate::RunKey) {
    store.append(run, vec![conformance::status(TaskState::Completed)]).await.expect("the end");
}

async fn next(seen: &mut UnboundedReceiver<Seen>) -> Seen {
    timeout(Duration::from_secs(100_000), seen.recv()).await.expect("in time").expect("open")
}

fn kind(seen: &Seen) -> String {
    let members = seen.body.as_object().expect("an object");
    let only = members.keys().next().expect("one member");
    match only.as_str() {
        "artifactUpdate" => {
            seen.body["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str().expect("text").to_owned()
        }
        "statusUpdate" => seen.body["statusUpdate"]["status"]["state"].as_str().expect("a state").to_owned(),
        other => other.to_owned(),
    }
}

async fn is_forgotten(store: &MemoryStore, task: &TaskKey) {
    while !store.pushes(task).await.expect("there").is_empty() {
        sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_is_sent_the_task_and_then_each_event_in_order() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    let _deliver = deliver(&replica(&store, &receivers));
    let run = begun(&store, "alice", "1", config("p", "hook.example", Dialect::V1)).await;
    append(&store, &run, &["0", "1", "2"]).await;
    end(&store, &run).await;
    let mut kinds = Vec::new();
    for _ in 0..5 {
        let one = next(&mut seen).await;
        assert_eq!((one.host.as_str(), one.delivery.token.as_deref()), ("hook.example", Some("a token")));
        kinds.push(kind(&one));
        if kinds.len() == 1 {
            let task = &one.body["task"];
            assert_eq!((task["id"].as_str(), task["contextId"].as_str()), (Some("1"), Some("conversation")));
            assert_eq!(task["status"]["state"], "TASK_STATE_SUBMITTED", "as it was before the next event");
            assert!(task.get("artifacts").is_none(), "{task}");
        }
    }
    assert_eq!(kinds, ["task", "0", "1", "2", "TASK_STATE_COMPLETED"]);
    is_forgotten(&store, &run.task).await;
    assert_eq!(receivers.count(PushOutcome::Delivered), 5);
    assert!(seen.try_recv().is_err(), "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn receivers_of_other_dialects_are_sent_what_theirs_expect() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    let old = begun(&store, "alice", "1", config("p", "old.example", Dialect::V03)).await;
    append(&store, &old, &["x"]).await;
    end(&store, &old).await;
    let deliveries = deliver(&replica(&store, &receivers));
    let (first, last) = (next(&mut seen).await, next(&mut seen).await);
    assert_eq!(
        (first.body["kind"].as_str(), first.body["status"]["state"].as_str()),
        (Some("task"), Some("submitted"))
    );
    assert_eq!(first.body["artifacts"][0]["parts"][0]["text"], "x");
    assert_eq!(
        (last.body["id"].as_str(), last.body["status"]["state"].as_str()),
        (Some("1"), Some("completed"))
    );
    is_forgotten(&store, &old.task).await;
    let bindu = begun(&store, "alice", "2", config("p", "bindu.example", Dialect::Bindu)).await;
    append(&store, &bindu, &["x"]).await;
    end(&store, &bindu).await;
    let (artifact, status) = (next(&mut seen).await.body, next(&mut seen).await.body);
    assert_eq!(artifact["kind"], "artifact-update");
    assert_eq!(status["kind"], "status-update");
    assert_eq!((status["task_id"].as_str(), status["final"].as_bool()), (Some("2"), Some(true)), "{status}");
    for event in [&artifact, &status] {
        let id = event["event_id"].as_str().expect("an id");
        assert!(
            uuid::Uuid::parse_str(id).is_ok() && event["sequence"].is_u64() && event["timestamp"].is_string()
        );
    }
    assert_ne!(artifact["event_id"], status["event_id"]);
    drop(deliveries);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_with_backoff_and_in_order() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    receivers.script("hook.example", [Act::Take, Act::Take, Act::Fail, Act::Hang, Act::Fail]);
    let _deliver = deliver(&replica(&store, &receivers));
    let run = begun(&store, "alice", "1", config("p", "hook.example", Dialect::V1)).await;
    append(&store, &run, &["0", "1"]).await;
    end(&store, &run).await;
    let mut all = Vec::new();
    while all.last().is_none_or(|last| kind(last) != "TASK_STATE_COMPLETED") {
        all.push(next(&mut seen).await);
    }
    let kinds: Vec<_> = all.iter().map(kind).collect();
    assert_eq!(
        kinds,
        ["task", "0", "1", "1", "1", "1", "TASK_STATE_COMPLETED"],
        "none is left out, none overtakes"
    );
    // The third failure in a row waits for longer than the second; a hanging receiver has its timeout.
    let gap = |from: usize| all[from + 1].at - all[from].at;
    assert!(gap(3) >= Limits::default().push_timeout, "{:?}", gap(3));
    assert!(gap(4) >= Duration::from_secs(1), "{:?}", gap(4));
    is_forgotten(&store, &run.task).await;
    assert_eq!((receivers.count(PushOutcome::Delivered), receivers.count(PushOutcome::Failed)), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_is_given_up_after_a_day() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    receivers.always("dead.example", Act::Fail);
    let _deliver = deliver(&replica(&store, &receivers));
    let run = begun(&store, "alice", "1", config("p", "dead.example", Dialect::V1)).await;
    append(&store, &run, &["0"]).await;
    let begun = Instant::now();
    is_forgotten(&store, &run.task).await;
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(11 * 3600) && lasted < Duration::from_secs(30 * 3600), "{lasted:?}");
    assert_eq!(receivers.count(PushOutcome::GivenUp), 1);
    let mut tries = 0;
    while seen.try_recv().is_ok() {
        tries += 1;
    }
    assert!((100..200).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_is_given_up_at_once() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    receivers.always("gone.example", Act::Gone);
    let _deliver = deliver(&replica(&store, &receivers));
    let run = begun(&store, "alice", "1", config("p", "gone.example", Dialect::V1)).await;
    append(&store, &run, &["0", "1"]).await;
    next(&mut seen).await;
    is_forgotten(&store, &run.task).await;
    assert!(seen.try_recv().is_err() && receivers.count(PushOutcome::GivenUp) == 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_holds_up_nobody_elses() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    receivers.always("slow.example", Act::Hang);
    for task in 0..90 {
        let task = format!("slow {task}");
        let run = begun(&store, "mallory", &task, config("p", "slow.example", Dialect::V1)).await;
        append(&store, &run, &["0"]).await;
    }
    let _deliver = deliver(&replica(&store, &receivers));
    while next(&mut seen).await.host != "slow.example" {}
    let asked = Instant::now();
    let run = begun(&store, "alice", "1", config("p", "quick.example", Dialect::V1)).await;
    append(&store, &run, &["0"]).await;
    end(&store, &run).await;
    while next(&mut seen).await.host != "quick.example" {}
    is_forgotten(&store, &run.task).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_replicas_deliver_each_event_once_and_never_together() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    let replicas = [replica(&store, &receivers), replica(&store, &receivers)];
    let _deliver = replicas.each_ref().map(deliver);
    let mut runs = Vec::new();
    for task in 0..20 {
        let host = format!("hook{task}.example");
        if task % 3 == 0 {
            receivers.script(&host, [Act::Take, Act::Fail, Act::Take, Act::Hang]);
        }
        runs.push(begun(&store, "alice", &task.to_string(), config("p", &host, Dialect::V1)).await);
    }
    for text in ["0", "1", "2", "3"] {
        for run in &runs {
            append(&store, run, &[text]).await;
            sleep(Duration::from_millis(7)).await;
        }
    }
    for run in &runs {
        end(&store, run).await;
    }
    for run in &runs {
        is_forgotten(&store, &run.task).await;
    }
    let mut of_host = std::collections::HashMap::<String, Vec<String>>::new();
    while let Ok(one) = seen.try_recv() {
        of_host.entry(one.host.clone()).or_default().push(kind(&one));
    }
    for (host, mut kinds) in of_host {
        kinds.dedup();
        let from = kinds.iter().rposition(|kind| kind == "task").expect("the task");
        assert_eq!(&kinds[from..], ["task", "0", "1", "2", "3", "TASK_STATE_COMPLETED"], "{host}");
    }
    let at_once = receivers.at_once.lock().expect("no panic");
    assert!(at_once.len() == 20 && at_once.values().all(|(_, most)| *most == 1), "{at_once:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_replica_had_claimed_is_delivered_by_another_after_its_lease() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    receivers.script("hook.example", [Act::Hang]);
    let crashed = deliver(&replica(&store, &receivers));
    let run = begun(&store, "alice", "1", config("p", "hook.example", Dialect::V1)).await;
    append(&store, &run, &["0"]).await;
    let first = next(&mut seen).await;
    drop(crashed);
    let _deliver = deliver(&replica(&store, &receivers));
    let second = next(&mut seen).await;
    assert_eq!((kind(&first), kind(&second)), ("task".to_owned(), "task".to_owned()));
    let waited = second.at - first.at;
    assert!(waited >= Duration::from_secs(50) && waited <= Duration::from_secs(65), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_set_later_begins_then_and_what_is_deleted_ends() {
    let (store, (receivers, mut seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    let service = replica(&store, &receivers);
    let _deliver = deliver(&service);
    let run = begun(&store, "alice", "1", config("p", "first.example", Dialect::V1)).await;
    append(&store, &run, &["0"]).await;
    for expected in ["task", "0"] {
        assert_eq!(kind(&next(&mut seen).await), expected);
    }
    let later = PushConfig { task_id: "1".to_owned(), ..config("q", "second.example", Dialect::V1) };
    store.delete_push(&run.task, "p").await.expect("deleted");
    store.put_push(&run.task, later).await.expect("set");
    append(&store, &run, &["1"]).await;
    let one = next(&mut seen).await;
    assert_eq!((one.host.as_str(), kind(&one).as_str()), ("second.example", "1"));
    sleep(Duration::from_secs(3600)).await;
    assert!(seen.try_recv().is_err());
}

fn alice() -> Caller {
    let client = Client { id: "alice".into(), subject: None, did: None, scopes: Vec::new() };
    Caller::Client(Arc::new(client))
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_refused_when_it_is_set() {
    let (store, (receivers, _seen)) = (Arc::new(MemoryStore::default()), FakeReceivers::new());
    let service = replica(&store, &receivers);
    begun(&store, "alice", "1", config("p", "hook.example", Dialect::V1)).await;
    let good = PushConfig { task_id: "1".to_owned(), ..config("q", "does-not-resolve.invalid", Dialect::V1) };
    let with = |scheme: &str, credentials: &str| {
        let (scheme, credentials) = (scheme.to_owned(), Some(credentials.to_owned()));
        Some(PushAuthentication { scheme, credentials })
    };
    let alice = alice();
    let set = |config: PushConfig| service.answer(&alice, Call::CreatePush(config), None);
    set(good.clone()).await.expect("a host is looked up when it is used");
    set(PushConfig { authentication: with("Bearer", "abc"), ..good.clone() }).await.expect("good");
    for bad in [
        PushConfig { url: "https://forbidden.example/".to_owned(), ..good.clone() },
        PushConfig { url: "file:///etc/passwd".to_owned(), ..good.clone() },
        PushConfig { url: "no URL".to_owned(), ..good.clone() },
        PushConfig { token: Some("a\r\nHost: b".to_owned()), ..good.clone() },
        PushConfig { token: Some("\u{fc}".to_owned()), ..good.clone() },
        PushConfig { authentication: with("Bearer", "a\nb"), ..good.clone() },
        PushConfig { authentication: with("Bearer a", "b"), ..good.clone() },
        PushConfig { authentication: with("", "b"), ..good.clone() },
    ] {
        let refused = set(bad.clone()).await;
        assert!(matches!(refused, Err(A2aError::Params(_))), "{} {refused:?}", bad.url);
    }
}

/// Seals by turning a text around, under a place.
struct FakeSealer;

impl Sealer for FakeSealer {
    fn seal(&self, place: &str, secret: &str) -> Option<String> {
        Some(format!("{place}|{}", secret.chars().rev().collect::<String>()))
    }

    fn open(&self, place: &str, sealed: &str) -> Option<String> {
        Some(sealed.strip_prefix(&format!("{place}|"))?.chars().rev().collect())
    }

    fn is_current(&self, _: &str) -> bool {
        true
    }

    fn current(&self) -> String {
        "the only one".to_owned()
    }
}

#[test]
fn secrets_are_sealed_for_their_place() {
    let task = TaskKey { owner: conformance::client("alice"), id: "1".to_owned() };
    let authentication =
        Some(PushAuthentication { scheme: "Bearer".to_owned(), credentials: Some("word".to_owned()) });
    let config = PushConfig { authentication, ..config("p", "hook.example", Dialect::V03) };
    let sealer: Option<&dyn Sealer> = Some(&FakeSealer);
    let sealed = KeptPush::of(&config, &task, sealer).expect("sealed");
    assert_eq!((&sealed.config.url, sealed.config.dialect), (&config.url, config.dialect));
    assert!(sealed.config.token.is_none() && !sealed.is_due(&FakeSealer));
    assert_eq!(sealed.open(&task, sealer), (config.clone(), true));
    let clear = KeptPush::of(&config, &task, None).expect("kept");
    assert!(clear.is_due(&FakeSealer) && clear.open(&task, sealer) == (config.clone(), true));
    // Moved to another receiver, task or owner; or nobody has the key.
    let mut elsewhere = sealed.clone();
    "https://thief.example/".clone_into(&mut elsewhere.config.url);
    let other = TaskKey { owner: Owner::Everybody, ..task.clone() };
    for (kept, task, sealer) in
        [(&elsewhere, &task, sealer), (&sealed, &other, sealer), (&sealed, &task, None)]
    {
        let (opened, is_open) = kept.open(task, sealer);
        let credentials = opened.authentication.expect("its scheme").credentials;
        assert_eq!((opened.token, credentials, is_open), (None, None, false));
    }
}
