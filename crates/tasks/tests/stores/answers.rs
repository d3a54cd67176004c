//! Answers to commits that are lost: the server has committed, and its connection is cut before it has said so.

use crate::{
    contract::{id, message, owner, status, submission},
    places::{self, eventually},
    postgres::replica,
};
use bindu_a2a::{
    A2aError, Parts,
    call::{Answer, Call, SendRequest},
    model::{Message, Role, TaskState},
};
use bindu_tasks::{
    Caller, Client, Job, Limits, Outlet, PostgresStore, StoreError, TaskService, TaskStore, Worker,
};
use bindu_testkit::Wire;
use futures_util::{FutureExt as _, future::BoxFuture, future::join_all};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The shared server, by a wire.
async fn wired() -> (Wire, String) {
    let shared = places::shared_postgres();
    let port = shared.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok());
    let port: u16 = port.expect("a port");
    let wire = Wire::start(port).await;
    let dsn = shared.replace(&format!(":{port}/"), &format!(":{}/", wire.port));
    (wire, dsn)
}

/// Completes everything, and counts how often it was asked to.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Counting {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Worker for Counting {
    fn work(&self, _job: Job, outlet: Outlet) -> BoxFuture<'static, ()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let _ = outlet.status(TaskState::Completed, None).await;
        })
    }
}

fn service(store: &Arc<PostgresStore>, worker: &Counting) -> TaskService {
    let store = Arc::clone(store) as Arc<dyn TaskStore>;
    TaskService::new(store, Arc::new(worker.clone()), Limits::default())
}

async fn send(service: &TaskService, message_id: &str) -> Result<Answer, A2aError> {
    let client = Client { id: "alice".into(), subject: None, did: None, scopes: Vec::new() };
    let message = Message { id: message_id.to_owned(), task_id: String::new(), ..message("", "", "hello") };
    let message = Message { role: Role::User, parts: Parts::of_text("hello"), ..message };
    let request = SendRequest::of(message);
    service.answer(&Caller::Client(Arc::new(client)), Call::Send(Box::new(request)), None).await
}

fn state(answer: Result<Answer, A2aError>) -> TaskState {
    match answer {
        Ok(Answer::Sent(view)) => view.task.status.state,
        other => panic!("{other:?}"),
    }
}

/// A commit goes through, and its connection is cut in place of the answer.
///
/// Promise: the message is stored; another process gets it without a run; the one whose answer was lost finds it, and its run once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_lost_answer_is_given_once_by_its_own_process() {
    let (wire, dsn) = wired().await;
    let did = places::did();
    let (store, other) = (replica(&dsn, &did), replica(places::shared_postgres(), &did));
    store.check().await.expect("the tables are there");
    let first = submission(&owner("alice"), message(&id(), "c", "hi"));
    wire.lose_commits(1);
    let lost = store.submit(first.clone()).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert_eq!(wire.commits_lost(), 1, "the server had committed it");
    let elsewhere = other.submit(first.clone()).await.expect("it is stored");
    assert_eq!((elsewhere.run, elsewhere.task.task.status.state), (None, TaskState::Submitted));
    // The answer to the recovery is lost as well: it is asked again.
    wire.lose_commits(1);
    let again = store.recover(&first).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    assert_eq!(wire.commits_lost(), 2, "the server had committed it");
    // Those who come while an outage is noticed are told of it.
    let known =
        || async { eventually("it is known", || async { store.submit(first.clone()).await.ok() }).await.run };
    let runs = join_all([known(), known(), known()]).await;
    let runs: Vec<_> = runs.into_iter().flatten().collect();
    assert_eq!(runs.len(), 1, "one of them has it: {runs:?}");
    assert!(!matches!(store.recover(&first).await, Ok(Some(submitted)) if submitted.run.is_some()));
    store.append(&runs[0], vec![status(TaskState::Completed)]).await.expect("it counts");
}

/// The same with services: the caller hears of nothing; and where the database stays away for longer than an answer waits, he sends the
/// message again, to both replicas at once.
///
/// Promise: the message runs once, whoever is asked again, and every caller gets its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_answer_was_lost_runs_once() {
    let (wire, dsn) = wired().await;
    let (did, worker) = (places::did(), Counting::default());
    let (store, other) = (replica(&dsn, &did), replica(places::shared_postgres(), &did));
    let (here, there) = (service(&store, &worker), service(&other, &worker));
    store.check().await.expect("the tables are there");
    wire.lose_commits(1);
    assert_eq!(state(send(&here, "m-1").await), TaskState::Completed, "its replica has found it");
    assert_eq!((wire.commits_lost(), worker.count()), (1, 1));
    assert_eq!(state(send(&there, "m-1").await), TaskState::Completed, "known");

    // Nobody listens where the database was, until its replica has given up.
    let port = wire.target();
    wire.lose_commit_and_server();
    let refused = send(&here, "m-2").await;
    assert!(matches!(refused, Err(A2aError::Unavailable { .. })), "{refused:?}");
    assert_eq!((wire.commits_lost(), worker.count()), (2, 1), "stored, and nobody works on it");
    let mut elsewhere = Box::pin(send(&there, "m-2"));
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut elsewhere).await;
    assert!(waits.is_err() && worker.count() == 1, "its own replica has the run: {waits:?}");
    wire.move_to(port);
    eventually("it answers again", || async { store.check().await.ok() }).await;
    let again = async |service: &TaskService| {
        let sent = eventually("it is known", || async { send(service, "m-2").await.ok() }).await;
        assert_eq!(state(Ok(sent)), TaskState::Completed);
    };
    tokio::join!(again(&here), again(&there));
    assert_eq!(state(elsewhere.await), TaskState::Completed);
    assert_eq!(worker.count(), 2, "once each");
}

/// A caller that hangs up while his message is stored.
///
/// Promise: it is worked on all the same, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_no_run_that_nobody_works_on() {
    let worker = Counting::default();
    let store = replica(places::shared_postgres(), &places::did());
    let service = service(&store, &worker);
    store.check().await.expect("the tables are there");
    for number in 0..20 {
        let answer = send(&service, &format!("m-{number}")).now_or_never();
        assert!(answer.is_none(), "it was on its way: {answer:?}");
    }
    eventually("all are worked on", || async { (worker.count() == 20).then_some(()) }).await;
    for number in 0..20 {
        assert_eq!(state(send(&service, &format!("m-{number}")).await), TaskState::Completed);
    }
    assert_eq!(worker.count(), 20, "once each");
}
