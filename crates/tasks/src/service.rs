//! What callers ask for, done on a store: the same for every dialect and binding.

use crate::{
    Caller, Endless, Limits, ListQuery, PushSender, ReplayKey, Room, Snapshot, StoreError, TaskKey,
    TaskStore, TaskStream, Worker,
    push::Deliveries,
    room::{LIGHT, no_room},
    runner::Runner,
    send::{Taken, refused},
    stream::{Source, Start, message_of, number_of},
    subscribers::Subscribers,
};
use bindu_a2a::{
    A2aError, Json,
    call::{Answer, Call, ListRequest, SendRequest, TaskPage, TaskView},
    model::Task,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How many tasks a page of a list has if its caller does not say, and at most: A2A's callers may ask for 100, Python
/// Bindu's get all that are given at once.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1_000;

/// A page ends with the task before so many bytes of content, whoever asks.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many of its conversations a caller sees at most.
const MAX_CONTEXTS: usize = 1_000;

/// How many events are looked at together while an answer waits for its task.
const AT_ONCE: usize = 256;

/// The tasks of an agent, for its callers. Clones are the same service.
#[derive(Clone)]
pub struct TaskService {
    store: Arc<dyn TaskStore>,
    runner: Arc<Runner>,
    limits: Arc<Limits>,
    subscribers: Subscribers,
    draining: CancellationToken,
    deliveries: Option<Arc<Deliveries>>,
}

impl TaskService {
    /// A service on a store. [`TaskService::maintain`] has to run beside it.
    #[must_use]
    pub fn new(store: Arc<dyn TaskStore>, worker: Arc<dyn Worker>, limits: Limits) -> Self {
        let limits = Arc::new(limits);
        let runner = Arc::new(Runner::new(Arc::clone(&store), worker, Arc::clone(&limits)));
        let draining = CancellationToken::new();
        Self { store, runner, limits, subscribers: Subscribers::default(), draining, deliveries: None }
    }

    /// The service with what sends the events of tasks to where callers have asked for them.
    /// [`TaskService::deliver_pushes`] has to run beside it.
    #[must_use]
    pub fn with_push_sender(mut self, sender: Arc<dyn PushSender>) -> Self {
        let (store, limits) = (Arc::clone(&self.store), Arc::clone(&self.limits));
        self.deliveries = Some(Arc::new(Deliveries::new(store, sender, limits)));
        self
    }

    /// Sends events to where callers have asked for them. Never ends.
    pub async fn deliver_pushes(&self) {
        match &self.deliveries {
            Some(deliveries) => deliveries.run(&self.runner.pushing).await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn deliveries(&self) -> Option<&Deliveries> {
        self.deliveries.as_deref()
    }

    /// Answers a call that is no stream. [`Call::ExtendedCard`] is not this service's.
    ///
    /// `replay` is there if the call was signed: one that changes something is done once, and a repeat is answered with the
    /// task as it is now.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn answer(
        &self,
        caller: &Caller,
        call: Call,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        self.answer_within(&mut Endless, caller, call, replay).await
    }

    /// The same; what is heavy is read when there is room for it.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn answer_within(
        &self,
        room: &mut dyn Room,
        caller: &Caller,
        call: Call,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        let key = |id: String| TaskKey { owner: caller.owner(), id };
        match call {
            Call::Send(request) => self.send(room, caller, *request, replay).await,
            Call::Get { task_id, history_length } => {
                let task = self.read(room, &key(task_id)).await?;
                Ok(Answer::Found(TaskView { task, history_length, with_artifacts: true }))
            }
            Call::List(request) => self.list(room, caller, request).await,
            Call::Cancel { task_id, .. } => self.cancel(room, &key(task_id), replay).await,
            Call::CreatePush(config) => self.create_push(caller, config, replay).await,
            Call::GetPush { task_id, id } => self.read_push(caller, &task_id, id).await,
            Call::ListPush { task_id, page_size, page_token } => {
                self.list_pushes(caller, &task_id, page_size, &page_token).await
            }
            Call::DeletePush { task_id, id } => self.delete_push(caller, (&task_id, id), replay).await,
            Call::ListContexts { length } => self.list_contexts(caller, length).await,
            Call::ClearContext { context_id } => self.clear_context(caller, &context_id, replay).await,
            Call::Feedback { task_id, feedback } => self.note_feedback(&key(task_id), feedback, replay).await,
            Call::ExtendedCard => Err(A2aError::ExtendedCardNotConfigured),
            Call::Stream(_) | Call::Subscribe { .. } => Err(A2aError::Internal),
        }
    }

    /// Answers [`Call::Stream`] and [`Call::Subscribe`].
    ///
    /// # Errors
    /// Why there is no stream.
    pub async fn stream(
        &self,
        caller: &Caller,
        call: Call,
        replay: Option<ReplayKey>,
    ) -> Result<TaskStream, A2aError> {
        self.stream_within(&mut Endless, caller, call, replay).await
    }

    /// The same; a task that is heavy is read when there is room for it.
    ///
    /// # Errors
    /// Why there is no stream.
    pub async fn stream_within(
        &self,
        room: &mut dyn Room,
        caller: &Caller,
        call: Call,
        replay: Option<ReplayKey>,
    ) -> Result<TaskStream, A2aError> {
        let owner = caller.owner();
        let place = self.subscribers.take(&owner, &self.limits)?;
        let (key, context_id, start, ends_with_turn) = match call {
            // Nobody waits for all of it.
            Call::Stream(request) => {
                let history_length = request.history_length;
                match self.take(caller, SendRequest { is_blocking: false, ..*request }, replay).await? {
                    Taken::Now(submitted) if submitted.run.is_some() => {
                        let snapshot = with_history(submitted.task, history_length);
                        let key = TaskKey { owner, id: snapshot.task.id.clone() };
                        let context_id = snapshot.task.context_id.clone();
                        let wait = self.limits.first_event_wait;
                        (key, context_id, Start::Submitted(Box::new(snapshot), wait), true)
                    }
                    taken => {
                        let key = match taken {
                            Taken::Now(submitted) => TaskKey { owner, id: submitted.task.task.id },
                            Taken::Before(key) => key,
                        };
                        let snapshot = with_history(self.snapshot(room, &key).await?, history_length);
                        let context_id = snapshot.task.context_id.clone();
                        (key, context_id, Start::Task(Box::new(snapshot)), true)
                    }
                }
            }
            Call::Subscribe { task_id, after } => {
                let key = TaskKey { owner, id: task_id };
                let snapshot = self.snapshot(room, &key).await?;
                let context_id = snapshot.task.context_id.clone();
                let number = after.map(|id| number_of(id, self.store.timeline()));
                let start = match number.flatten().filter(|after| *after <= snapshot.number) {
                    // Of the time before a failover: what it has read may be lost, and what it has not may be over.
                    None if number == Some(None) && self.store.kind().is_remote() => {
                        Start::Task(Box::new(snapshot))
                    }
                    Some(after) if after < snapshot.number => Start::After(after),
                    _ if snapshot.task.status.state.is_terminal() => {
                        let problem = "the task has ended: there is nothing to subscribe to".to_owned();
                        return Err(A2aError::UnsupportedOperation(problem));
                    }
                    Some(after) => Start::After(after),
                    None => Start::Task(Box::new(snapshot)),
                };
                (key, context_id, start, false)
            }
            _ => return Err(A2aError::Internal),
        };
        let source = Source {
            store: Arc::clone(&self.store),
            runner: Arc::clone(&self.runner),
            key,
            context_id,
            ends_with_turn,
            draining: self.draining.clone(),
            _place: place,
        };
        Ok(TaskStream::new(source, start))
    }

    async fn send(
        &self,
        room: &mut dyn Room,
        caller: &Caller,
        request: SendRequest,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        let (is_blocking, history_length) = (request.is_blocking, request.history_length);
        let view = |task| Answer::Sent(TaskView { task, history_length, with_artifacts: true });
        let (key, after, task) = match self.take(caller, request, replay).await? {
            Taken::Now(submitted) => {
                let snapshot = submitted.task;
                let key = TaskKey { owner: caller.owner(), id: snapshot.task.id.clone() };
                (key, snapshot.number, Some(snapshot.task))
            }
            Taken::Before(key) => (key, 0, None),
        };
        let task = match task {
            Some(task) if !is_blocking => return Ok(view(task)),
            Some(task) if !task.status.state.is_active() => task,
            waits => {
                let is_active = waits.is_some();
                // Not held while it is waited for.
                drop(waits);
                if is_active {
                    self.settled(&key, after).await?;
                }
                self.read(room, &key).await?
            }
        };
        match message_of(&task) {
            Some(message) if is_blocking => Ok(Answer::Message(Arc::clone(message))),
            _ => Ok(view(task)),
        }
    }

    /// Waits until a task has ended or waits for its caller, but not longer than an answer may take. Dropped, it leaves the
    /// task as it is.
    async fn settled(&self, key: &TaskKey, mut after: u64) -> Result<(), A2aError> {
        let until = Instant::now() + self.limits.blocking_wait;
        let mut watch = self.store.watch(key);
        loop {
            watch.mark_unchanged();
            let events = self.store.statuses(key, after, AT_ONCE).await.map_err(refused)?;
            let is_settled = |event: &crate::Numbered| matches!(&event.event, bindu_a2a::event::TaskEvent::Status(status) if !status.state.is_active());
            if events.iter().any(is_settled) {
                return Ok(());
            }
            match events.last() {
                Some(last) => after = last.number,
                None => match timeout_at(until, watch.changed()).await {
                    Ok(Ok(())) => {}
                    // The answer is the task as it is.
                    Err(_) => return Ok(()),
                    Ok(Err(_)) => return Err(A2aError::TaskNotFound),
                },
            }
        }
    }

    /// A task as it is. What would be copied and is heavy waits for its room.
    async fn snapshot(&self, room: &mut dyn Room, key: &TaskKey) -> Result<Snapshot, A2aError> {
        match self.store.read_light(key, LIGHT).await {
            Err(StoreError::Heavy(bytes)) if room.wait(bytes).await => {
                self.store.read(key).await.map_err(refused)
            }
            Err(StoreError::Heavy(_)) => Err(no_room()),
            read => read.map_err(refused),
        }
    }

    async fn read(&self, room: &mut dyn Room, key: &TaskKey) -> Result<Task, A2aError> {
        let task = self.snapshot(room, key).await?.task;
        if !task.status.state.is_active() {
            self.runner.unread.fetched(key);
        }
        Ok(task)
    }

    async fn list(
        &self,
        room: &mut dyn Room,
        caller: &Caller,
        request: ListRequest,
    ) -> Result<Answer, A2aError> {
        // What a dialect lets its callers ask for, it has checked.
        let page_size = request.page_size.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let (history_length, with_artifacts) = (request.history_length, request.include_artifacts);
        let query = ListQuery {
            context_id: request.context_id,
            state: request.state,
            changed_since: request.changed_since,
            page_size,
            page_token: request.page_token,
            with_artifacts,
            page_bytes: Some(PAGE_BYTES),
            light: Some(LIGHT),
        };
        let owner = caller.owner();
        let page = match self.store.list(&owner, &query).await {
            Err(StoreError::Heavy(bytes)) if room.wait(bytes).await => {
                self.store.list(&owner, &ListQuery { light: None, ..query }).await
            }
            Err(StoreError::Heavy(_)) => return Err(no_room()),
            page => page,
        };
        let page = page.map_err(refused)?;
        let view = |task: Task| {
            if with_artifacts && !task.status.state.is_active() {
                self.runner.unread.fetched(&TaskKey { owner: owner.clone(), id: task.id.clone() });
            }
            TaskView { task, history_length, with_artifacts }
        };
        Ok(Answer::Tasks(TaskPage {
            tasks: page.tasks.into_iter().map(view).collect(),
            next_page_token: page.next_page_token,
            page_size,
            total_size: page.total_size,
        }))
    }

    async fn cancel(
        &self,
        room: &mut dyn Room,
        key: &TaskKey,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        if !self.is_first(key, replay).await? {
            return Ok(Answer::Found(TaskView::whole(self.read(room, key).await?)));
        }
        let canceled = self.store.cancel(key).await.map_err(refused)?;
        if let Some(run) = &canceled.run {
            self.runner.stop(run);
        }
        self.runner.pushing.changed(key);
        Ok(Answer::Found(TaskView::whole(canceled.task.task)))
    }

    /// A caller's conversations, in Python Bindu's form.
    async fn list_contexts(&self, caller: &Caller, length: Option<usize>) -> Result<Answer, A2aError> {
        let length = length.filter(|length| *length > 0).unwrap_or(MAX_CONTEXTS).min(MAX_CONTEXTS);
        let contexts = self.store.contexts(&caller.owner(), length).await.map_err(refused)?;
        let contexts: Vec<_> = contexts
            .into_iter()
            .map(|context| {
                json!({
                    "context_id": context.id,
                    "task_count": context.tasks.len(),
                    "task_ids": context.tasks,
                })
            })
            .collect();
        Ok(Answer::Bindu(Json::of(&contexts)))
    }

    async fn clear_context(
        &self,
        caller: &Caller,
        context_id: &str,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        let owner = caller.owner();
        let none = TaskKey { owner: owner.clone(), id: String::new() };
        if self.is_first(&none, replay).await? {
            self.store.forget_context(&owner, context_id).await.map_err(|error| match error {
                StoreError::NotFound => A2aError::ContextNotFound,
                error => refused(error),
            })?;
            self.runner.stop_forgotten().await;
        }
        let message = format!("Context {context_id} and all associated tasks cleared successfully");
        Ok(Answer::Bindu(Json::of(&json!({ "message": message }))))
    }

    async fn note_feedback(
        &self,
        key: &TaskKey,
        feedback: Json,
        replay: Option<ReplayKey>,
    ) -> Result<Answer, A2aError> {
        if self.is_first(key, replay).await? {
            self.store.put_feedback(key, feedback).await.map_err(refused)?;
        }
        let message = "Feedback submitted successfully";
        Ok(Answer::Bindu(Json::of(&json!({ "message": message, "task_id": key.id }))))
    }

    /// Whether a call that changes something has not been done before.
    pub(crate) async fn is_first(&self, key: &TaskKey, replay: Option<ReplayKey>) -> Result<bool, A2aError> {
        let Some(replay) = replay else { return Ok(true) };
        match self.store.remember(key, &replay).await {
            Ok(()) => Ok(true),
            Err(StoreError::Replayed(_)) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// Refuses new messages from now on; streams of tasks that wait for their callers end.
    pub fn drain(&self) {
        self.draining.cancel();
        self.runner.drain();
    }

    /// Ends the worker. What is still worked on here runs again elsewhere or later, if the worker can do that and the store
    /// lasts; else it fails, with a reason that its caller can act on. A store that does not answer is given so much time.
    pub async fn close(&self, within: Duration) {
        self.drain();
        self.runner.close(within).await;
    }

    /// How many tasks are worked on here, or will be.
    #[must_use]
    pub fn active(&self) -> usize {
        self.runner.active()
    }

    /// Whether a task has ended here within this time, or waits for its caller, and nobody has fetched what came of it.
    #[must_use]
    pub fn has_unread(&self, within: Duration) -> bool {
        self.runner.unread.is_any(within)
    }

    /// How many streams there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.subscribers.count()
    }

    /// Renews leases, and fails the tasks of processes that are gone. Never ends.
    pub async fn maintain(&self) {
        self.runner.maintain().await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn store(&self) -> &dyn TaskStore {
        &*self.store
    }

    pub(crate) fn runner(&self) -> &Arc<Runner> {
        &self.runner
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl std::fmt::Debug for TaskService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskService").field("active", &self.active()).finish_non_exhaustive()
    }
}

/// A task with the last messages of its history, as many as its caller asked for.
fn with_history(mut snapshot: Snapshot, history_length: Option<usize>) -> Snapshot {
    let history = &mut snapshot.task.history;
    history.drain(..history_length.map_or(0, |length| history.len().saturating_sub(length)));
    snapshot
}
