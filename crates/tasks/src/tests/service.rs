//! What callers get.

use super::worker::Obedient;
use crate::{
    Abandoned, Caller, Canceled, Client, Conversation, Limits, ListQuery, MemoryStore, Numbered, Owner,
    Pushed, ReplayKey, RunKey, Snapshot, StoreError, Submission, Submitted, TaskKey, TaskPage, TaskService,
    TaskStore, TaskStream, Watch, conformance,
};
use async_trait::async_trait;
use bindu_a2a::{
    A2aError, Json, Parts,
    call::{Answer, Call, ListRequest, PushConfig, SendRequest, StreamEvent, StreamItem, UnknownTask},
    event::TaskEvent,
    model::{Message, Role, Task, TaskState},
};
use futures_util::{StreamExt as _, future::join_all};
use jiff::Timestamp;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};

struct Tested {
    service: TaskService,
    store: Arc<MemoryStore>,
    steps: Arc<Semaphore>,
    canceled: Arc<std::sync::Mutex<Vec<String>>>,
}

fn tested() -> Tested {
    with(Limits { push: true, ..Limits::default() })
}

fn with(limits: Limits) -> Tested {
    let (store, worker) = (Arc::new(MemoryStore::default()), Obedient::default());
    let (steps, canceled) = (Arc::clone(&worker.steps), Arc::clone(&worker.canceled));
    let service = TaskService::new(Arc::clone(&store) as Arc<dyn TaskStore>, Arc::new(worker), limits);
    Tested { service, store, steps, canceled }
}

fn caller(name: &str) -> Caller {
    let client = Client { id: name.into(), subject: None, did: None, scopes: Vec::new() };
    Caller::Client(Arc::new(client))
}

fn request(id: &str, text: &str) -> SendRequest {
    SendRequest::of(Message {
        id: id.to_owned(),
        context_id: String::new(),
        task_id: String::new(),
        role: Role::User,
        parts: Parts::of_text(text),
        metadata: None,
        extensions: None,
        reference_task_ids: None,
    })
}

fn of_task(mut request: SendRequest, task: &Task) -> SendRequest {
    request.message.task_id.clone_from(&task.id);
    request
}

impl Tested {
    async fn send(&self, request: SendRequest) -> Result<Answer, A2aError> {
        self.service.answer(&caller("alice"), Call::Send(Box::new(request)), None).await
    }

    async fn task(&self, request: SendRequest) -> Task {
        task(self.send(request).await)
    }

    async fn stream(&self, request: SendRequest) -> Result<TaskStream, A2aError> {
        self.service.stream(&caller("alice"), Call::Stream(Box::new(request)), None).await
    }

    async fn subscribe(&self, task_id: &str, after: Option<u64>) -> Result<TaskStream, A2aError> {
        let call = Call::Subscribe { task_id: task_id.to_owned(), after };
        self.service.stream(&caller("alice"), call, None).await
    }

    async fn get(&self, task_id: &str) -> Result<Answer, A2aError> {
        let call = Call::Get { task_id: task_id.to_owned(), history_length: None };
        self.service.answer(&caller("alice"), call, None).await
    }

    async fn cancel(&self, task_id: &str) -> Result<Answer, A2aError> {
        let call = Call::Cancel { task_id: task_id.to_owned(), metadata: None };
        self.service.answer(&caller("alice"), call, None).await
    }

    fn at_once(&self, id: &str, text: &str) -> SendRequest {
        SendRequest { is_blocking: false, ..request(id, text) }
    }
}

fn task(answer: Result<Answer, A2aError>) -> Task {
    match answer {
        Ok(Answer::Sent(view) | Answer::Found(view)) => view.task,
        other => panic!("no task: {other:?}"),
    }
}

fn result(task: &Task) -> String {
    task.artifacts.iter().flat_map(|artifact| &artifact.chunks).map(|chunk| chunk.as_text()).collect()
}

fn shown(item: &StreamItem) -> String {
    match &item.event {
        StreamEvent::Task(task) => format!("task {:?}", task.status.state),
        StreamEvent::Message(message) => format!("message {}", message.parts.as_text()),
        StreamEvent::Status { status, is_final, .. } => {
            format!("{:?}{}", status.state, if *is_final { " final" } else { "" })
        }
        StreamEvent::Artifact { chunk, .. } => format!("chunk {}", chunk.parts.as_text()),
    }
}

async fn all(stream: TaskStream) -> Vec<String> {
    timeout(Duration::from_secs(3600), stream.map(|item| shown(&item)).collect()).await.expect("it ends")
}

#[tokio::test(start_paused = true)]
async fn a_blocking_send_waits_for_the_end_or_a_question() {
    let tested = tested();
    let done = tested.task(request("1", "hello")).await;
    assert_eq!((done.status.state, result(&done).as_str()), (TaskState::Completed, "hello"));
    let asked = tested.task(request("2", "ask")).await;
    assert_eq!(asked.status.state, TaskState::InputRequired);
    assert_eq!(asked.history.last().map(|message| message.parts.as_text()).as_deref(), Some("which one?"));
    let answered = tested.task(of_task(request("3", "this one"), &asked)).await;
    assert_eq!(
        (answered.id.as_str(), result(&answered).as_str()),
        (asked.id.as_str(), "ask,which one?,this one")
    );
    assert_eq!(answered.context_id, asked.context_id);
    let more = tested.send(of_task(request("4", "more"), &asked)).await;
    assert!(matches!(more, Err(A2aError::Ended { state: TaskState::Completed, .. })), "{more:?}");
    let rejected = tested.task(request("5", "reject")).await;
    assert_eq!(rejected.status.state, TaskState::Rejected);
    let states: Vec<_> = tested.store.events(&key(&rejected.id), 0, 9).await.expect("there");
    assert_eq!(states.len(), 3, "rejected without having begun: {states:?}");
}

fn key(id: &str) -> TaskKey {
    TaskKey { owner: caller("alice").owner(), id: id.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_does_not_block_is_answered_at_once_and_the_wait_is_bounded() {
    let tested = tested();
    let submitted = tested.task(tested.at_once("1", "wait")).await;
    assert_eq!(submitted.status.state, TaskState::Submitted);
    let begun = tokio::time::Instant::now();
    let working = tested.task(request("2", "wait")).await;
    assert_eq!(working.status.state, TaskState::Working, "as it is, when the wait is over");
    assert_eq!(begun.elapsed(), Limits::default().blocking_wait);
    tested.steps.add_permits(2);
    while tested.service.active() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(task(tested.get(&submitted.id).await).status.state, TaskState::Completed);
    // A caller that goes away leaves its task as it is.
    let left = timeout(Duration::from_secs(1), tested.task(request("3", "wait"))).await;
    assert!(left.is_err());
    assert_eq!(tested.service.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_in_place_of_a_task() {
    let tested = tested();
    match tested.send(request("1", "message")).await {
        Ok(Answer::Message(message)) => {
            assert_eq!(
                (message.parts.as_text().as_str(), message.task_id.as_str()),
                ("in place of a task", "")
            );
        }
        other => panic!("no message: {other:?}"),
    }
    let stream = tested.stream(request("2", "message")).await.expect("a stream");
    assert_eq!(all(stream).await, ["message in place of a task"]);
    // Beyond the wait the task is there already, and is completed by the message.
    let mut stream = tested.stream(request("3", "slow message")).await.expect("a stream");
    assert_eq!(stream.next().await.map(|item| shown(&item)).as_deref(), Some("task Submitted"));
    tested.steps.add_permits(1);
    let rest: Vec<_> = stream.map(|item| shown(&item)).collect().await;
    assert_eq!(rest, ["Working", "Completed final"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_the_task_then_its_events_in_order_for_every_reader() {
    let tested = tested();
    let mut stream = tested.stream(request("1", "stream")).await.expect("a stream");
    let first = stream.next().await.expect("the task");
    let StreamEvent::Task(submitted) = &first.event else { panic!("{first:?}") };
    let id = submitted.id.clone();
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(tested.subscribe(&id, None).await.expect("a stream"));
    }
    let late = tested.subscribe(&id, Some(first.number)).await.expect("a stream");
    let stalled = tested.subscribe(&id, None).await.expect("a stream");
    assert_eq!(tested.service.subscribers(), 103);
    let want: Vec<String> =
        ["Working", "chunk 0", "chunk 1", "chunk 2", "chunk 3", "chunk 4", "Completed final"]
            .map(str::to_owned)
            .into();
    let done = tokio::spawn(join_all(readers.into_iter().map(all)));
    // One after the other, as they come.
    assert_eq!(stream.next().await.map(|item| shown(&item)).as_deref(), Some("Working"));
    for number in 0..5 {
        tested.steps.add_permits(1);
        let chunk = stream.next().await.map(|item| shown(&item));
        assert_eq!(chunk, Some(format!("chunk {number}")));
    }
    tested.steps.add_permits(1);
    for read in done.await.expect("no panic") {
        // The task says how far it was; what follows is the rest.
        assert!(read[0].starts_with("task ") && want.ends_with(&read[1..]), "{read:?}");
    }
    assert_eq!(all(late).await, want);
    assert_eq!(all(stalled).await.last().map(String::as_str), Some("Completed final"), "late, and whole");
    let rest = tested.subscribe(&id, Some(first.number + 6)).await.expect("the rest is there");
    assert_eq!(all(rest).await, ["Completed final"]);
    let ended = tested.subscribe(&id, None).await;
    assert!(matches!(ended, Err(A2aError::UnsupportedOperation(_))), "{ended:?}");
    drop(stream);
    assert_eq!(tested.service.subscribers(), 0);
    let flood = all(tested.stream(request("2", "flood")).await.expect("a stream")).await;
    assert_eq!(flood.len(), 1 + 1 + 1000 + 1);
    assert_eq!(flood[1001], "chunk 999");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_stays_open_while_the_task_waits_for_its_caller() {
    let tested = tested();
    let turn = all(tested.stream(request("1", "ask")).await.expect("a stream")).await;
    assert_eq!(turn, ["task Submitted", "Working", "InputRequired final"]);
    let asked = task(tested.send(request("2", "ask")).await);
    let mut stream = tested.subscribe(&asked.id, None).await.expect("a stream");
    assert_eq!(stream.next().await.map(|item| shown(&item)).as_deref(), Some("task InputRequired"));
    assert!(timeout(Duration::from_secs(3600), stream.next()).await.is_err(), "open");
    tested.task(of_task(request("3", "answer"), &asked)).await;
    let rest: Vec<_> = stream.map(|item| shown(&item)).collect().await;
    assert_eq!(rest, ["Submitted", "Working", "chunk ask,which one?,answer", "Completed final"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_handler_sees_it_and_one_that_does_not_is_dropped() {
    let tested = tested();
    let waiting = tested.task(tested.at_once("1", "wait")).await;
    let deaf = tested.task(tested.at_once("2", "deaf")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(task(tested.cancel(&waiting.id).await).status.state, TaskState::Canceled);
    assert_eq!(task(tested.cancel(&deaf.id).await).status.state, TaskState::Canceled);
    let again = tested.cancel(&deaf.id).await;
    assert_eq!(again, Err(A2aError::NotCancelable(TaskState::Canceled)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*tested.canceled.lock().expect("no panic"), ["wait"]);
    assert_eq!(tested.service.active(), 1, "in its grace");
    tokio::time::sleep(Limits::default().cancel_grace).await;
    assert_eq!(tested.service.active(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_or_says_nothing_fails_its_task_only() {
    let tested = tested();
    let waiting = tested.task(tested.at_once("0", "wait")).await;
    for text in ["panic", "nothing"] {
        let failed = tested.task(request(text, text)).await;
        assert_eq!(failed.status.state, TaskState::Failed, "{text}");
        assert!(failed.status.message.is_some(), "{text}");
    }
    tested.steps.add_permits(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(task(tested.get(&waiting.id).await).status.state, TaskState::Completed);
}

/// Finding 6: whatever the instant, the second message is answered or refused, never kept and not answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_message_in_the_instant_in_which_the_first_ends_is_not_lost() {
    let tested = Arc::new(tested());
    let (mut answered, mut refused) = (0, 0);
    for round in 0..300 {
        let with_id = |message: String, text: &str| {
            let mut request = SendRequest { unknown_task: UnknownTask::IsNew, ..request(&message, text) };
            request.message.task_id = format!("t{round}");
            request
        };
        // Whoever waits for the end of a quick run leaves no instant.
        let at_once = SendRequest { is_blocking: false, ..with_id(format!("a{round}"), "first") };
        let first = tested.send(at_once);
        let second = async {
            for _ in 0..round % 40 {
                tokio::task::yield_now().await;
            }
            tested.send(with_id(format!("b{round}"), "second")).await
        };
        let (first, second) = tokio::join!(first, second);
        match second {
            Err(A2aError::Ended { .. }) => {
                refused += 1;
                let first = task(tested.get(&task(first).id).await);
                assert_eq!(result(&first), "first");
            }
            second => {
                answered += 1;
                let second = task(second);
                let texts: Vec<_> = second.history.iter().map(|one| one.parts.as_text()).collect();
                assert_eq!(second.status.state, TaskState::Completed, "{texts:?}");
                assert_eq!(result(&second), texts.join(","), "what is in the history was answered");
                assert!(texts.contains(&"second".to_owned()));
            }
        }
    }
    assert!(answered > 0 && refused + answered == 300, "{answered} {refused}");
}

#[tokio::test(start_paused = true)]
async fn the_same_message_is_done_once_and_with_authentication_off_each_is_new() {
    let tested = tested();
    let first = tested.task(request("1", "hello")).await;
    let again = tested.task(request("1", "hello")).await;
    assert_eq!(first.id, again.id);
    let other = tested.task(request("1", "other")).await;
    assert_ne!(first.id, other.id, "the id alone says nothing");
    let stream = tested.stream(request("1", "hello")).await.expect("a stream");
    assert_eq!(all(stream).await, ["task Completed"]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = Call::Send(Box::new(request("1", "hello")));
        ids.push(task(tested.service.answer(&Caller::Anonymous, call, None).await).id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn a_signed_call_that_changes_something_is_done_once() {
    let tested = tested();
    let until = Timestamp::now() + Duration::from_secs(600);
    let replay = |hash: u8| Some(ReplayKey { hash: [hash; 32], until });
    let alice = caller("alice");
    let send = |hash, id: &str| {
        tested.service.answer(&alice, Call::Send(Box::new(tested.at_once(id, "wait"))), replay(hash))
    };
    let first = task(send(1, "1").await);
    let again = task(send(1, "another").await);
    assert_eq!(first.id, again.id, "the task as it is now");
    let cancel = || {
        let call = Call::Cancel { task_id: first.id.clone(), metadata: None };
        tested.service.answer(&alice, call, replay(2))
    };
    for _ in 0..2 {
        assert_eq!(task(cancel().await).status.state, TaskState::Canceled);
    }
    let bob =
        tested.service.answer(&caller("bob"), Call::Send(Box::new(request("1", "hello"))), replay(1)).await;
    assert!(bob.is_ok(), "another caller's");
}

#[tokio::test(start_paused = true)]
async fn callers_never_meet() {
    let tested = tested();
    let asked = tested.task(request("1", "ask")).await;
    let bob = caller("bob");
    let id = || asked.id.clone();
    let mut push = conformance::push("p");
    push.task_id = id();
    let calls = [
        Call::Get { task_id: id(), history_length: None },
        Call::Cancel { task_id: id(), metadata: None },
        Call::Send(Box::new(of_task(request("2", "x"), &asked))),
        Call::CreatePush(push),
        Call::GetPush { task_id: id(), id: None },
        Call::ListPush { task_id: id(), page_size: None, page_token: String::new() },
        Call::DeletePush { task_id: id(), id: None },
        Call::Feedback { task_id: id(), feedback: Json::of(&serde_json::json!({})) },
    ];
    for call in calls {
        let answer = tested.service.answer(&bob, call.clone(), None).await;
        assert_eq!(answer, Err(A2aError::TaskNotFound), "{call:?}");
    }
    let call = Call::Subscribe { task_id: id(), after: None };
    assert!(matches!(tested.service.stream(&bob, call, None).await, Err(A2aError::TaskNotFound)));
    let call = Call::ClearContext { context_id: asked.context_id.clone() };
    assert_eq!(tested.service.answer(&bob, call, None).await, Err(A2aError::ContextNotFound));
    let list = tested.service.answer(&bob, Call::List(ListRequest::default()), None).await;
    assert!(matches!(list, Ok(Answer::Tasks(page)) if page.tasks.is_empty() && page.total_size == 0));
    assert_eq!(task(tested.get(&asked.id).await), asked);
}

#[tokio::test(start_paused = true)]
async fn lists_have_pages_and_leave_artifacts_out() {
    let tested = tested();
    for number in 0..60 {
        tested.task(request(&number.to_string(), "hello")).await;
    }
    let list =
        async |request: ListRequest| tested.service.answer(&caller("alice"), Call::List(request), None).await;
    let Ok(Answer::Tasks(page)) = list(ListRequest::default()).await else { panic!("no page") };
    assert_eq!((page.tasks.len(), page.page_size, page.total_size), (50, 50, 60));
    assert!(page.tasks.iter().all(|view| !view.with_artifacts && view.task.artifacts.is_empty()));
    let next =
        ListRequest { page_token: page.next_page_token, include_artifacts: true, ..ListRequest::default() };
    let Ok(Answer::Tasks(page)) = list(next).await else { panic!("no page") };
    assert_eq!((page.tasks.len(), page.next_page_token.as_str()), (10, ""));
    assert!(page.tasks.iter().all(|view| view.with_artifacts && !view.task.artifacts.is_empty()));
    // What a dialect lets its callers ask for, it has checked.
    let Ok(Answer::Tasks(page)) = list(ListRequest { page_size: Some(0), ..ListRequest::default() }).await
    else {
        panic!("no page")
    };
    assert_eq!((page.tasks.len(), page.page_size), (1, 1));
    let refused = list(ListRequest { page_token: "x".to_owned(), ..ListRequest::default() }).await;
    assert!(matches!(refused, Err(A2aError::Params(_))));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_task_is_new_only_where_callers_choose_the_ids() {
    let tested = tested();
    let mut unknown = request("1", "hello");
    unknown.message.task_id = "mine".to_owned();
    assert_eq!(tested.send(unknown.clone()).await, Err(A2aError::TaskNotFound));
    unknown.unknown_task = UnknownTask::IsNew;
    assert_eq!(tested.task(unknown).await.id, "mine");
    let asked = tested.task(request("2", "ask")).await;
    let mut mistaken = of_task(request("3", "x"), &asked);
    mistaken.message.context_id = "another".to_owned();
    assert!(matches!(tested.send(mistaken.clone()).await, Err(A2aError::Params(_))));
    mistaken.unknown_task = UnknownTask::IsNew;
    assert_eq!(
        tested.task(mistaken).await.history.last().map(|one| one.context_id.clone()),
        Some(asked.context_id)
    );
}

#[tokio::test(start_paused = true)]
async fn push_configurations_are_set_read_listed_and_deleted() {
    let tested = tested();
    let alice = caller("alice");
    let asked = tested.task(SendRequest { push: Some(conformance::push("")), ..request("1", "ask") }).await;
    let id = || asked.id.clone();
    let answer = async |call: Call| tested.service.answer(&alice, call, None).await;
    let create = |id: &str, url: &str| {
        let url = url.to_owned();
        Call::CreatePush(PushConfig { task_id: asked.id.clone(), url, ..conformance::push(id) })
    };
    let Ok(Answer::Push(first)) = answer(Call::GetPush { task_id: id(), id: None }).await else {
        panic!("none")
    };
    assert_eq!((first.id.as_str(), first.task_id.as_str()), (asked.id.as_str(), asked.id.as_str()));
    assert!(matches!(answer(create("b", "https://does-not-resolve.invalid/x")).await, Ok(Answer::Push(_))));
    for bad in ["file:///etc/passwd", "gopher://x/", "x", "https://", ""] {
        assert!(matches!(answer(create("c", bad)).await, Err(A2aError::Params(_))), "{bad}");
    }
    let list = |page_size, page_token: &str| Call::ListPush {
        task_id: asked.id.clone(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let Ok(Answer::Pushes { configs, next_page_token }) = answer(list(Some(1), "")).await else {
        panic!("none")
    };
    let Ok(Answer::Pushes { configs: rest, next_page_token: end }) =
        answer(list(None, &next_page_token)).await
    else {
        panic!("none")
    };
    assert_eq!((configs.len(), rest.len(), end.as_str()), (1, 1, ""));
    let delete = |id: Option<&str>| Call::DeletePush { task_id: asked.id.clone(), id: id.map(str::to_owned) };
    assert_eq!(answer(delete(Some("b"))).await, Ok(Answer::Deleted));
    assert_eq!(answer(delete(Some("b"))).await, Err(A2aError::PushNotFound));
    assert_eq!(answer(delete(None)).await, Ok(Answer::Deleted));
    assert_eq!(answer(Call::GetPush { task_id: id(), id: None }).await, Err(A2aError::PushNotFound));
    let off = with(Limits::default());
    let refused = off.send(SendRequest { push: Some(conformance::push("")), ..request("1", "ask") }).await;
    assert_eq!(refused, Err(A2aError::PushNotSupported));
}

#[tokio::test(start_paused = true)]
async fn a_draining_agent_refuses_new_work_and_ends_what_it_has() {
    let tested = tested();
    let asked = tested.task(request("1", "ask")).await;
    let waiting = tested.task(tested.at_once("2", "wait")).await;
    let idle = tested.subscribe(&asked.id, None).await.expect("a stream");
    let busy = tested.subscribe(&waiting.id, None).await.expect("a stream");
    tested.service.drain();
    let refused = tested.send(request("3", "hello")).await;
    assert!(matches!(refused, Err(A2aError::Unavailable { retry_after: 1, .. })), "{refused:?}");
    assert_eq!(all(idle).await, ["task InputRequired"]);
    tested.steps.add_permits(1);
    assert_eq!(all(busy).await.last().map(String::as_str), Some("Completed final"));
    assert_eq!(tested.service.active(), 0);
    assert!(!tested.service.has_unread(Duration::from_secs(60)), "it was seen in the stream");
    let last = with(Limits::default());
    let left = last.task(last.at_once("1", "deaf")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    last.service.close(Duration::from_secs(2)).await;
    let failed = task(last.get(&left.id).await);
    assert_eq!(failed.status.state, TaskState::Failed);
    let metadata = failed.status.message.as_ref().and_then(|message| message.metadata.clone());
    assert_eq!(
        metadata.map(|metadata| metadata.text().to_owned()).as_deref(),
        Some(r#"{"reason":"interrupted"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_fetched_is_known() {
    let tested = tested();
    let submitted = tested.task(tested.at_once("1", "hello")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tested.service.has_unread(Duration::from_secs(5)));
    assert!(!tested.service.has_unread(Duration::from_millis(500)), "only so long");
    task(tested.get(&submitted.id).await);
    assert!(!tested.service.has_unread(Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded() {
    let tested = with(Limits { subscribers: 3, subscribers_of_one: 2, ..Limits::default() });
    let asked = tested.task(request("1", "ask")).await;
    let _one = tested.subscribe(&asked.id, None).await.expect("a stream");
    let two = tested.subscribe(&asked.id, None).await.expect("a stream");
    let three = tested.subscribe(&asked.id, None).await;
    assert!(matches!(three, Err(A2aError::TooMany { .. })));
    drop(two);
    let _two = tested.subscribe(&asked.id, None).await.expect("a place is free");
    let call = || Call::Stream(Box::new(request("1", "deaf")));
    let _bobs = tested.service.stream(&caller("bob"), call(), None).await.expect("a stream");
    let carols = tested.service.stream(&caller("carol"), call(), None).await;
    assert!(matches!(carols, Err(A2aError::Unavailable { .. })));
    assert_eq!(tested.service.active(), 1, "what was refused was not begun");
}

#[tokio::test(start_paused = true)]
async fn a_worker_sees_its_conversation() {
    let tested = tested();
    let first = tested.task(request("1", "first")).await;
    let mut more = request("2", "second");
    more.message.context_id.clone_from(&first.context_id);
    tested.task(more.clone()).await;
    more.message = Message { id: "3".to_owned(), parts: Parts::of_text("history"), ..more.message };
    assert_eq!(result(&tested.task(more).await), "first,second");
    let cleared = Call::ClearContext { context_id: first.context_id.clone() };
    assert!(tested.service.answer(&caller("alice"), cleared, None).await.is_ok());
    assert_eq!(tested.get(&first.id).await, Err(A2aError::TaskNotFound));
}

/// A store that is away now and then; of some of its answers nobody hears.
struct Faulty {
    store: MemoryStore,
    /// So many calls of `append` fail.
    failures: AtomicU32,
    fault: Fault,
    late: std::sync::Mutex<Option<Attempt>>,
}

/// A call of `append_after`.
type Attempt = (RunKey, Option<u64>, Vec<TaskEvent>);

/// When a call that fails is done.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Never.
    Before,
    /// It is done, and its answer lost.
    After,
    /// When everybody has looked: the connection was cut, and the server works on.
    Later,
    /// Calls of `append` are done; each of `read` takes so long.
    Slow(Duration),
}

fn faulty(fault: Fault, failures: u32) -> Arc<Faulty> {
    let failures = AtomicU32::new(failures);
    Arc::new(Faulty { store: MemoryStore::default(), failures, fault, late: std::sync::Mutex::default() })
}

#[async_trait]
impl TaskStore for Faulty {
    async fn append_after(
        &self,
        run: &RunKey,
        after: Option<u64>,
        events: Vec<TaskEvent>,
    ) -> Result<u64, StoreError> {
        // What was under way when its answer was lost is stored before this.
        let late = self.late.lock().expect("no panic").take();
        if let Some((run, after, events)) = late {
            self.store.append_after(&run, after, events).await?;
        }
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        match self.fault {
            _ if !fails => return self.store.append_after(run, after, events).await,
            Fault::Before | Fault::Slow(_) => {}
            Fault::After => drop(self.store.append_after(run, after, events).await),
            Fault::Later => *self.late.lock().expect("no panic") = Some((run.clone(), after, events)),
        }
        Err(StoreError::Unavailable("as it was told".to_owned()))
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, StoreError> {
        self.store.submit(submission).await
    }
    async fn cancel(&self, task: &TaskKey) -> Result<Canceled, StoreError> {
        self.store.cancel(task).await
    }
    async fn read(&self, task: &TaskKey) -> Result<Snapshot, StoreError> {
        if let Fault::Slow(delay) = self.fault {
            tokio::time::sleep(delay).await;
        }
        self.store.read(task).await
    }
    async fn list(&self, owner: &Owner, query: &ListQuery) -> Result<TaskPage, StoreError> {
        self.store.list(owner, query).await
    }
    async fn events(&self, task: &TaskKey, after: u64, limit: usize) -> Result<Vec<Numbered>, StoreError> {
        self.store.events(task, after, limit).await
    }
    fn watch(&self, task: &TaskKey) -> Watch {
        self.store.watch(task)
    }
    /// All of them are lost.
    async fn renew(&self, runs: &[RunKey]) -> Result<Vec<RunKey>, StoreError> {
        Ok(runs.to_vec())
    }
    async fn release(&self, runs: &[RunKey]) -> Result<(), StoreError> {
        self.store.release(runs).await
    }
    /// All that there are of alice's.
    async fn take_abandoned(&self, _limit: usize) -> Result<Vec<Abandoned>, StoreError> {
        let query = ListQuery { page_size: 100, ..ListQuery::default() };
        let tasks = self.store.list(&caller("alice").owner(), &query).await?.tasks;
        let active = tasks.into_iter().filter(|task| task.status.state.is_active());
        Ok(active
            .map(|task| Abandoned {
                run: RunKey { task: key(&task.id), run: 1 },
                task: Snapshot { task, number: 0 },
            })
            .collect())
    }
    async fn remember(&self, task: &TaskKey, replay: &ReplayKey) -> Result<(), StoreError> {
        self.store.remember(task, replay).await
    }
    async fn put_feedback(&self, task: &TaskKey, feedback: Json) -> Result<(), StoreError> {
        self.store.put_feedback(task, feedback).await
    }
    async fn put_push(&self, task: &TaskKey, config: PushConfig) -> Result<(), StoreError> {
        self.store.put_push(task, config).await
    }
    async fn pushes(&self, task: &TaskKey) -> Result<Vec<PushConfig>, StoreError> {
        self.store.pushes(task).await
    }
    async fn delete_push(&self, task: &TaskKey, id: &str) -> Result<(), StoreError> {
        self.store.delete_push(task, id).await
    }
    async fn due_pushes(&self, limit: usize) -> Result<Vec<Pushed>, StoreError> {
        self.store.due_pushes(limit).await
    }
    async fn note_push(
        &self,
        task: &TaskKey,
        id: &str,
        outcome: Result<u64, Timestamp>,
    ) -> Result<(), StoreError> {
        self.store.note_push(task, id, outcome).await
    }
    async fn contexts(&self, owner: &Owner, limit: usize) -> Result<Vec<Conversation>, StoreError> {
        self.store.contexts(owner, limit).await
    }
    async fn forget_context(&self, owner: &Owner, context_id: &str) -> Result<usize, StoreError> {
        self.store.forget_context(owner, context_id).await
    }
    fn kind(&self) -> crate::StorageKind {
        self.store.kind()
    }
    fn lasts(&self) -> bool {
        false
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_stored_once_when_the_store_is_away_for_a_while() {
    for (fault, failures) in [(Fault::Before, 6), (Fault::After, 1), (Fault::Later, 1)] {
        let store = faulty(fault, failures);
        let worker = Arc::new(Obedient::default());
        let service = TaskService::new(Arc::clone(&store) as Arc<dyn TaskStore>, worker, Limits::default());
        let call = Call::Send(Box::new(request("1", "flood")));
        let done = task(service.answer(&caller("alice"), call, None).await);
        assert_eq!(
            (done.status.state, done.artifacts[0].chunks.len()),
            (TaskState::Completed, 1000),
            "{fault:?}"
        );
        assert_eq!(store.failures.load(Ordering::SeqCst), 0, "they were met");
    }
}

/// A store that answers slowly, or hangs, while the agent ends.
#[tokio::test(start_paused = true)]
async fn an_end_waits_for_the_store_once_for_all_tasks_and_not_for_longer_than_it_may() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    for (delay, waited, state) in
        [(second, second, TaskState::Failed), (hour, 3 * second, TaskState::Working)]
    {
        let store = faulty(Fault::Slow(delay), 0);
        let worker = Arc::new(Obedient::default());
        let service = TaskService::new(Arc::clone(&store) as Arc<dyn TaskStore>, worker, Limits::default());
        let mut ids = Vec::new();
        for number in 0..8 {
            let request = SendRequest { is_blocking: false, ..request(&number.to_string(), "deaf") };
            let sent = service.answer(&caller("alice"), Call::Send(Box::new(request)), None).await;
            ids.push(task(sent).id);
        }
        tokio::time::sleep(second).await;
        let begun = tokio::time::Instant::now();
        service.close(3 * second).await;
        assert_eq!(begun.elapsed().as_secs(), waited.as_secs());
        for id in ids {
            let read = store.store.read(&key(&id)).await.expect("there");
            assert_eq!(read.task.status.state, state, "after {delay:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_the_handler_and_abandoned_tasks_fail_with_a_reason() {
    let store = faulty(Fault::Before, 0);
    let worker = Obedient::default();
    let canceled = Arc::clone(&worker.canceled);
    let service = TaskService::new(store, Arc::new(worker), Limits::default());
    let call = Call::Send(Box::new(SendRequest { is_blocking: false, ..request("1", "wait") }));
    let submitted = task(service.answer(&caller("alice"), call, None).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let maintained = timeout(Duration::from_secs(25), service.maintain()).await;
    assert!(maintained.is_err());
    assert_eq!(*canceled.lock().expect("no panic"), ["wait"]);
    let call = Call::Get { task_id: submitted.id, history_length: None };
    let failed = task(service.answer(&caller("alice"), call, None).await);
    assert_eq!(failed.status.state, TaskState::Failed);
    let text = failed.status.message.map(|message| message.parts.as_text()).unwrap_or_default();
    assert!(text.contains("Send it again as a new message"), "{text}");
}
