//! Agents as A2A 1.0 and 0.3 have them: JSON-RPC or HTTP+JSON, streamed if the card offers it, else polled.
//!
//! The agent chooses the ids of tasks, so a message whose answer is lost cannot be looked for: it is not sent again, since it
//! might run twice.

use crate::{
    CallError, CallOptions, ReplyState,
    call::{Call, plain},
    card::{Card, Protocol},
    conversation::{ANSWER_TAKEN_UP, Turn},
};
use bindu_a2a::{
    Dialect, Json, Parts,
    call::{Answer, Call as Asked, SendRequest, StreamEvent, TaskView},
    dialect::Refusal,
    event::TaskEvent,
    model::{Message, Role, Task, TaskState, TaskStatus},
    rest, rpc,
};
use bindu_http_client::{Method, Reply};
use eventsource_stream::Eventsource as _;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, value::RawValue};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

/// The first and the longest pause between two polls of a task.
const POLL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The longest stream that is read, in bytes.
const MAX_STREAM: usize = 16 * 1024 * 1024;

/// How often a request that changes nothing is sent again, and any request that was refused for a reason that passes.
const MAX_TRIES: usize = 5;

/// The longest wait that another agent's `Retry-After` can make us wait.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A task's answer: as it is shown, in Python Bindu's form (by which replies are read), and its state.
pub(crate) type Told = (Value, Value, ReplyState);

/// A call of an agent that speaks standard A2A.
pub(crate) struct Standard<'a> {
    call: &'a Call<'a>,
    card: &'a Card,
    options: &'a CallOptions,
}

/// What came of a message.
enum Said {
    Task(Task),
    Message(Arc<Message>),
}

impl<'a> Standard<'a> {
    pub(crate) fn new(call: &'a Call<'a>, card: &'a Card, options: &'a CallOptions) -> Self {
        Self { call, card, options }
    }

    /// Sends a text, and follows its task until it has ended or asks back.
    pub(crate) async fn ask(&self, (text, turn): (&str, &Turn)) -> Result<Told, CallError> {
        let token = self.call.token_for(self.card).await?;
        let token = token.as_ref();
        let said = match self.card.streams {
            true => match self.streamed(text, turn, token).await? {
                Some(said) => said,
                // It does not stream after all.
                None => self.sent(text, turn, token).await?,
            },
            false => self.sent(text, turn, token).await?,
        };
        match said {
            Said::Task(task) => {
                let task = self.followed(task, turn, token).await?;
                let state =
                    reply_state(task.status.state).ok_or_else(|| self.unavailable("it is not done"))?;
                let shown = self.shown(&Answer::Found(TaskView::whole(task.clone())));
                Ok((shown, in_bindus_form(task), state))
            }
            Said::Message(message) => {
                let shown = self.shown(&Answer::Message(Arc::clone(&message)));
                Ok((shown, in_bindus_form(task_of(message)), ReplyState::Completed))
            }
        }
    }

    /// An answer in the dialect in which it came, but what A2A 1.0 has around it.
    fn shown(&self, answer: &Answer) -> Value {
        let shown: Value = serde_json::from_str(self.dialect().encode(answer).text()).unwrap_or_default();
        shown.get("message").cloned().unwrap_or(shown)
    }

    /// Whether the task has ended or asks back: not with the question that this message answers.
    fn is_done(&self, task: &Task, turn: &Turn) -> bool {
        reply_state(task.status.state).is_some_and(|state| {
            let shown = || self.shown(&Answer::Found(TaskView::whole(task.clone())));
            !(state.waits()
                && turn.question.is_some()
                && turn.is_answered(shown().get("status").unwrap_or(&Value::Null)))
        })
    }

    fn dialect(&self) -> Dialect {
        match self.card.protocol {
            Protocol::Rpc(dialect) => dialect,
            Protocol::Rest => Dialect::V1,
        }
    }

    fn request_of(&self, text: &str, turn: &Turn) -> Box<SendRequest> {
        let message = Message {
            id: Uuid::new_v4().to_string(),
            context_id: turn.context_id.clone().unwrap_or_default(),
            task_id: turn.task_id.clone().unwrap_or_default(),
            role: Role::User,
            parts: Parts::of_text(text),
            metadata: None,
            extensions: None,
            reference_task_ids: None,
        };
        Box::new(SendRequest {
            accepted_output_modes: vec!["text/plain".to_owned(), "application/json".to_owned()],
            // The task is polled: a connection that stays idle for minutes is cut by many a proxy.
            is_blocking: false,
            ..SendRequest::of(message)
        })
    }

    /// Sends a message without a stream.
    async fn sent(&self, text: &str, turn: &Turn, token: Option<&SecretString>) -> Result<Said, CallError> {
        match self.answer(&Asked::Send(self.request_of(text, turn)), token).await? {
            Answer::Sent(view) => Ok(Said::Task(view.task)),
            Answer::Message(message) => Ok(Said::Message(message)),
            _ => Err(self.unavailable("neither a task nor a message")),
        }
    }

    /// Polls a task until it has ended or asks back.
    async fn followed(
        &self,
        mut task: Task,
        turn: &Turn,
        token: Option<&SecretString>,
    ) -> Result<Task, CallError> {
        let (mut pause, mut failures) = (POLL.0, 0);
        let taken_up = Instant::now() + ANSWER_TAKEN_UP;
        while !self.is_done(&task, turn)
            && (reply_state(task.status.state).is_none() || Instant::now() < taken_up)
        {
            if Instant::now() + pause > self.call.deadline {
                return Err(self.unavailable("the task is not done in time"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
            let get = Asked::Get { task_id: task.id.clone(), history_length: None };
            match self.answer(&get, token).await {
                Ok(Answer::Found(view)) => (task, failures) = (view.task, 0),
                Ok(_) => return Err(self.unavailable("a task that is not one")),
                Err(lost @ CallError::Unavailable { .. }) => {
                    failures += 1;
                    if failures == MAX_TRIES {
                        return Err(lost);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(task)
    }

    /// Sends a message, and follows its stream; `None` if the agent does not stream. A stream that breaks off leaves the task
    /// as far as it was told.
    async fn streamed(
        &self,
        text: &str,
        turn: &Turn,
        token: Option<&SecretString>,
    ) -> Result<Option<Said>, CallError> {
        let asked = Asked::Stream(self.request_of(text, turn));
        let response = self.opened(&asked, token).await?;
        let is_stream = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim().to_ascii_lowercase().starts_with("text/event-stream"));
        if !is_stream {
            let reply = self.whole(response).await?;
            return match self.read(&asked, &reply) {
                // 1.0 and 0.3: UnsupportedOperation, or a method that is not there.
                Err(CallError::Rpc { code: -32004 | -32601 | 400 | 404 | 501, .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(Answer::Sent(view)) => Ok(Some(Said::Task(view.task))),
                Ok(Answer::Message(message)) => Ok(Some(Said::Message(message))),
                Ok(_) => Err(self.unavailable("neither a stream, a task nor a message")),
            };
        }
        let mut events = std::pin::pin!(bounded(response).eventsource());
        let mut task: Option<Task> = None;
        while let Some(Ok(event)) = events.next().await {
            if event.data.is_empty() {
                continue;
            }
            let event = self.event(&event.data)?;
            if let Some(sink) = &self.options.on_event {
                (sink.0)(&event);
            }
            if let StreamEvent::Message(message) = event {
                return Ok(Some(Said::Message(message)));
            }
            let now = applied(task.take(), event);
            // Streams of tasks that ask back may stay open.
            if now.as_ref().is_some_and(|task| self.is_done(task, turn)) {
                return Ok(now.map(Said::Task));
            }
            task = now;
        }
        match task {
            Some(task) => Ok(Some(Said::Task(task))),
            None => {
                Err(self.unavailable("its stream ended before it named a task; the message may have arrived"))
            }
        }
    }

    fn event(&self, data: &str) -> Result<StreamEvent, CallError> {
        let unreadable = |problem: &str| self.unavailable(&format!("its stream: {problem}"));
        let raw: &RawValue = serde_json::from_str(data).map_err(|_| unreadable("not JSON"))?;
        let result = match self.card.protocol {
            Protocol::Rest => match Refusal::read(200, raw) {
                Some(refusal) => return Err(refused(&refusal)),
                None => raw,
            },
            Protocol::Rpc(_) => match rpc::response(200, raw) {
                Some(Ok(result)) => result,
                Some(Err(refusal)) => return Err(refused(&refusal)),
                None => return Err(unreadable("not a response")),
            },
        };
        self.dialect().read_event(result).map_err(|malformed| unreadable(&plain(&malformed.0)))
    }

    /// One call that is not a stream.
    async fn answer(&self, asked: &Asked, token: Option<&SecretString>) -> Result<Answer, CallError> {
        for last in (0..MAX_TRIES).map(|number| number + 1 == MAX_TRIES) {
            let request = self.request(asked, "application/json, application/a2a+json", token)?;
            let reply = self.call.client.send("call", request).await;
            let reply = reply.map_err(|error| self.unavailable(&error.to_string()))?;
            match self.wait(reply.status, reply.retry_after(), last) {
                Some(wait) => sleep(wait).await,
                None => return self.read(asked, &reply),
            }
        }
        Err(self.unavailable("it refuses again and again"))
    }

    /// Opens a stream.
    async fn opened(&self, asked: &Asked, token: Option<&SecretString>) -> Result<Response, CallError> {
        for last in (0..MAX_TRIES).map(|number| number + 1 == MAX_TRIES) {
            let request = self.request(asked, "text/event-stream, application/json", token)?;
            let left = self.call.deadline.saturating_duration_since(Instant::now());
            let response = request.timeout(left).send().await;
            let response = response.map_err(|error| self.unavailable(&error.without_url().to_string()))?;
            let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let after = after.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
            match self.wait(response.status().as_u16(), after, last) {
                Some(wait) => sleep(wait).await,
                None => return Ok(response),
            }
        }
        Err(self.unavailable("it refuses again and again"))
    }

    /// How long to wait before a refused request is sent again; `None` if it is not.
    fn wait(&self, status: u16, retry_after: Option<Duration>, is_last: bool) -> Option<Duration> {
        let wait = retry_after.unwrap_or(POLL.1).min(MAX_WAIT);
        let is_worth_it =
            matches!(status, 429 | 503) && !is_last && Instant::now() + wait < self.call.deadline;
        is_worth_it.then_some(wait)
    }

    fn request(
        &self,
        asked: &Asked,
        accept: &str,
        token: Option<&SecretString>,
    ) -> Result<RequestBuilder, CallError> {
        let not_there = || self.unavailable("its protocol does not have this call");
        let (method, url, body) = match self.card.protocol {
            Protocol::Rpc(dialect) => {
                let (method, params) = dialect.ask(asked).ok_or_else(not_there)?;
                let id = Json::of(&Uuid::new_v4().to_string());
                (Method::POST, self.call.url.clone(), Some(rpc::request(&id, method, &params)))
            }
            Protocol::Rest => {
                let (method, path, body) = rest::ask(asked).ok_or_else(not_there)?;
                let base = self.call.url.as_str().trim_end_matches('/');
                let url = format!("{base}{path}").parse().map_err(|_| not_there())?;
                let method = if method == "GET" { Method::GET } else { Method::POST };
                (method, url, body.map(|body| body.into_text().into_bytes()))
            }
        };
        let version = if self.dialect() == Dialect::V03 { "0.3" } else { "1.0" };
        let mut request = self.call.client.request(method, url);
        request = request.header("Accept", accept).header(bindu_a2a::version::NAME, version);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        Ok(request)
    }

    /// An answer that is no stream, whole.
    async fn whole(&self, response: Response) -> Result<Reply, CallError> {
        let status = response.status().as_u16();
        let mut chunks = std::pin::pin!(bounded(response));
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|problem| self.unavailable(&problem))?);
        }
        Ok(Reply { status, body, ..Reply::default() })
    }

    fn read(&self, asked: &Asked, reply: &Reply) -> Result<Answer, CallError> {
        let status = reply.status;
        let no_json = || self.unavailable(&format!("status {status}, and not an answer of A2A"));
        let raw: Option<&RawValue> = serde_json::from_slice(&reply.body).ok();
        if matches!(status, 401 | 403) {
            let reason = raw.and_then(|raw| Refusal::read(status, raw)).map(|refusal| refusal.message);
            return Err(CallError::Refused { status, reason: plain(&reason.unwrap_or_default()) });
        }
        let raw = raw.ok_or_else(no_json)?;
        let result = match self.card.protocol {
            Protocol::Rpc(_) => rpc::response(status, raw).ok_or_else(no_json)?,
            Protocol::Rest if (200..300).contains(&status) => Ok(raw),
            Protocol::Rest => Err(Refusal::read(status, raw).ok_or_else(no_json)?),
        };
        let result = result.map_err(|refusal| refused(&refusal))?;
        let answer = self.dialect().read_answer(asked, result);
        answer.map_err(|malformed| self.unavailable(&plain(&malformed.0)))
    }

    fn unavailable(&self, detail: &str) -> CallError {
        self.call.unavailable(detail)
    }
}

fn refused(refusal: &Refusal) -> CallError {
    CallError::Rpc { code: refusal.code.into(), message: plain(&refusal.message) }
}

/// A task with one more event of its stream in it.
fn applied(task: Option<Task>, event: StreamEvent) -> Option<Task> {
    let begun = |id: &str, context_id: &str| Task {
        id: id.to_owned(),
        context_id: context_id.to_owned(),
        status: TaskStatus { state: TaskState::Submitted, message: None, timestamp: Timestamp::UNIX_EPOCH },
        history: Vec::new(),
        artifacts: Vec::new(),
        metadata: None,
    };
    match event {
        StreamEvent::Task(task) => Some(task),
        StreamEvent::Message(_) => task,
        StreamEvent::Status { task_id, context_id, status, .. } => {
            let mut task = task.unwrap_or_else(|| begun(&task_id, &context_id));
            task.apply(&TaskEvent::Status(status));
            Some(task)
        }
        StreamEvent::Artifact { task_id, context_id, chunk } => {
            let mut task = task.unwrap_or_else(|| begun(&task_id, &context_id));
            task.apply(&TaskEvent::Artifact(chunk));
            Some(task)
        }
    }
}

/// The state of a reply; `None` while the task is worked on.
fn reply_state(state: TaskState) -> Option<ReplyState> {
    match state {
        TaskState::Completed => Some(ReplyState::Completed),
        TaskState::InputRequired => Some(ReplyState::InputRequired),
        TaskState::AuthRequired => Some(ReplyState::AuthRequired),
        TaskState::Failed | TaskState::Rejected => Some(ReplyState::Failed),
        TaskState::Canceled => Some(ReplyState::Canceled),
        TaskState::Submitted | TaskState::Working => None,
    }
}

/// A message in place of a task: what was done is done.
fn task_of(message: Arc<Message>) -> Task {
    Task {
        id: String::new(),
        context_id: message.context_id.clone(),
        status: TaskStatus { state: TaskState::Completed, message: None, timestamp: Timestamp::UNIX_EPOCH },
        history: vec![message],
        artifacts: Vec::new(),
        metadata: None,
    }
}

/// Python Bindu's form, by which replies are read. The agent's last word is in the status here, in the history there.
fn in_bindus_form(mut task: Task) -> Value {
    if let Some(message) = task.status.message.take()
        && task.history.last().is_none_or(|last| last.id != message.id)
    {
        task.history.push(message);
    }
    let shown = Dialect::Bindu.encode(&Answer::Found(TaskView::whole(task)));
    serde_json::from_str(shown.text()).unwrap_or_default()
}

/// A response's body, as far as it is not too long.
fn bounded(response: Response) -> impl Stream<Item = Result<Vec<u8>, String>> {
    stream::unfold((Some(response), 0_usize), |(response, bytes)| async move {
        let mut response = response?;
        match response.chunk().await {
            Ok(None) => None,
            Ok(Some(chunk)) if bytes + chunk.len() <= MAX_STREAM => {
                let bytes = bytes + chunk.len();
                Some((Ok(chunk.to_vec()), (Some(response), bytes)))
            }
            Ok(Some(_)) => Some((Err("an answer that is too long".to_owned()), (None, bytes))),
            Err(error) => Some((Err(error.without_url().to_string()), (None, bytes))),
        }
    })
}
