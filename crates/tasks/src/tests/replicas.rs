//! Two processes with one store.

use super::worker::Obedient;
use crate::{Caller, Client, Limits, SqliteOptions, SqliteStore, TaskService, conformance::message};
use bindu_a2a::{
    call::{Answer, Call, SendRequest, UnknownTask},
    model::Message,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

fn caller() -> Caller {
    let client = Client { id: "alice".into(), subject: None, did: None, scopes: Vec::new() };
    Caller::Client(Arc::new(client))
}

fn send(message: Message) -> Call {
    Call::Send(Box::new(SendRequest {
        is_blocking: false,
        unknown_task: UnknownTask::IsNew,
        ..SendRequest::of(message)
    }))
}

/// A handler that says nothing, and a cancellation or a second message through another process.
///
/// Promise: the handler is stopped by the news of it, and not by the next renewal of its lease.
#[tokio::test]
async fn a_silent_handler_is_stopped_by_what_another_process_does_with_its_task() {
    let directory = tempfile::tempdir().expect("a directory");
    let never = Limits { lease_renewal: Duration::from_secs(3600), ..Limits::default() };
    let service = async |worker: Obedient| {
        let options = SqliteOptions::new(directory.path().join("tasks.db"), "did:bindu:test:store");
        let store = SqliteStore::open(options).await.expect("a file");
        TaskService::new(Arc::new(store), Arc::new(worker), never.clone())
    };
    let worker = Obedient::default();
    let (begun, canceled) = (Arc::clone(&worker.begun), Arc::clone(&worker.canceled));
    let here = service(worker).await;
    let there = service(Obedient::default()).await;
    for number in 1..=2 {
        let id = format!("t{number}");
        here.answer(&caller(), send(message(&id, &format!("{id}-1"), "wait")), None).await.expect("taken");
        until(|| begun.load(std::sync::atomic::Ordering::SeqCst) == number).await;
        let answer = match number {
            1 => there.answer(&caller(), Call::Cancel { task_id: id, metadata: None }, None).await,
            _ => there.answer(&caller(), send(message(&id, &format!("{id}-2"), "wait")), None).await,
        };
        assert!(matches!(answer, Ok(Answer::Found(_) | Answer::Sent(_))), "{answer:?}");
        until(|| canceled.lock().expect("no panic").len() == number).await;
    }
    assert_eq!(there.active(), 1, "the second message is worked on there");
}

async fn until(holds: impl Fn() -> bool) {
    timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("not within a minute");
}
