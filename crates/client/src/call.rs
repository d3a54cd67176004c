//! One call: the card, a token, a signature, the message, the task to its end.

use crate::{
    CallError, CallSigner, Conversation, EventSink, KnownAgents, Reply, ReplyState, SignedCall, Trust,
    card::{self, Card, Protocol},
    conversation::{ANSWER_TAKEN_UP, Turn},
    standard::Standard,
    trust::{Sources, Trusted},
};
use bindu_a2a::Dialect;
use bindu_http_client::{HttpClient, HttpSettings, Method, ProxySettings, epoch_seconds};
use bindu_hydra::{ClientRegistry, TokenSource};
use bindu_identity::{Did, PublicKey};
use bindu_time::Backoff;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call may take where nobody has said.
const CALL_TIMEOUT: Duration = Duration::from_secs(300);

/// Nobody waits longer, whatever is said.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The pauses before an agent's keys are looked at again because its reply is signed with another one.
const RELOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The longest pause between two polls of the task.
const MAX_POLL: Duration = Duration::from_secs(1);

/// The pauses between two polls of the task. The agent asks for no jitter: each caller began at its own time.
const POLL: Backoff = Backoff::new(Duration::from_millis(20), MAX_POLL, 100);

/// How often one request is sent again because it was refused for a reason that passes.
const MOST_TRIES: usize = 5;

/// A2A's code for a task that is not there.
const TASK_NOT_FOUND: i64 = -32001;

/// The longest wait that another agent's `Retry-After` can make us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Who calls, and what it knows.
pub struct ClientSettings {
    /// Who signs; `None` for somebody without an identity, who can call agents that let everybody in.
    pub signer: Option<Arc<dyn CallSigner>>,
    /// Our tokens, where there is a Hydra.
    pub tokens: Option<Arc<TokenSource>>,
    /// Hydra, where there is one: the registry of keys.
    pub hydra: Option<Arc<dyn ClientRegistry>>,
    /// That Hydra's public address: only agents that take its tokens are shown one.
    pub issuer: Option<Url>,
    /// Keys that count whatever anybody says.
    pub pinned: HashMap<Did, Vec<PublicKey>>,
    /// The agents that were called before.
    pub known: KnownAgents,
    /// The audiences that our client is registered with.
    pub audiences: Vec<String>,
    /// Origins that any card may send calls to.
    pub allowed_origins: Vec<String>,
    /// Calls over plain http beyond this machine: tokens and messages can be read on the way.
    pub dangerous_allow_http: bool,
    /// Which proxy other agents are asked through.
    pub proxies: ProxySettings,
}

/// What one call is about, beside its text.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Who must be there; its key is the one in Hydra.
    pub did: Option<Did>,
    /// Pinned for this call: the reply must be signed with one of them, whatever anybody says.
    pub keys: Vec<PublicKey>,
    /// How long the whole call may take.
    pub timeout: Option<Duration>,
    /// Is told of what an agent streams, as it comes. Nothing of it is verified yet.
    pub on_event: Option<EventSink>,
}

/// Calls other agents. Cheap to clone.
#[derive(Clone)]
pub struct AgentClient(Arc<ClientSettings>);

impl fmt::Debug for AgentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentClient")
    }
}

impl AgentClient {
    /// A client with these settings.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// Sends a text to the agent at `url`, and waits for its reply, whose signature is verified.
    ///
    /// # Errors
    /// Where there is no reply that can be believed.
    pub async fn call(&self, url: &str, text: &str) -> Result<Reply, CallError> {
        self.call_with(url, text, &CallOptions::default()).await
    }

    /// The same, with more said about it.
    ///
    /// # Errors
    /// As [`AgentClient::call`].
    pub async fn call_with(&self, url: &str, text: &str, options: &CallOptions) -> Result<Reply, CallError> {
        self.call_in_time(url, (text, &Turn::default()), options).await
    }

    /// Begins a conversation with the agent at `url`. Nothing is sent yet.
    #[must_use]
    pub fn conversation(&self, url: &str, options: CallOptions) -> Conversation {
        Conversation { client: self.clone(), url: url.to_owned(), options, turn: Turn::default() }
    }

    pub(crate) async fn call_in_time(
        &self,
        url: &str,
        said: (&str, &Turn),
        options: &CallOptions,
    ) -> Result<Reply, CallError> {
        let timeout = options.timeout.unwrap_or(CALL_TIMEOUT).min(LONGEST_TIMEOUT);
        let called = tokio::time::timeout(timeout, self.call_within(url, said, options, timeout)).await;
        called.unwrap_or_else(|_| {
            Err(CallError::Unavailable {
                url: url.to_owned(),
                detail: "the call is not done in time".to_owned(),
            })
        })
    }

    async fn call_within(
        &self,
        url: &str,
        said: (&str, &Turn),
        options: &CallOptions,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let settings = &self.0;
        let deadline = Instant::now() + timeout;
        let base = card::address(url, settings.dangerous_allow_http)?;
        let proxies = settings.proxies.clone();
        let http = HttpSettings { proxies, ..HttpSettings::new(REQUEST_TIMEOUT.min(timeout)) };
        let card =
            card::fetch(&base, &http, &settings.allowed_origins, settings.dangerous_allow_http).await?;
        let sources = Sources {
            hydra: settings.hydra.as_deref(),
            pinned: &settings.pinned,
            known: &settings.known,
            http: &http,
        };
        // An agent without a DID proves nothing of what it says; whoever needs a proof names a DID or a key.
        let needs_proof = options.did.is_some() || !options.keys.is_empty();
        let call = Call::new(settings, (&card, options.did.as_ref()), &http, deadline)?;
        if card.protocol != Protocol::Rpc(Dialect::Bindu) && !needs_proof {
            let (shown, task, state) = Standard::new(&call, &card, options).ask(said).await?;
            return Reply::unsigned(&task, shown, state, &card.interface);
        }
        let trusted = sources.keys(&card, options).await?;
        let (task, state) = match card.protocol {
            Protocol::Rpc(Dialect::Bindu) => call.ask(said).await?,
            _ => {
                let (_, task, state) = Standard::new(&call, &card, options).ask(said).await?;
                (task, state)
            }
        };
        let whose = (&sources, &card, options);
        believe((&task, state), trusted, whose, deadline).await
    }
}

/// The reply, if one of the agent's keys has signed it. An agent may rotate between our look at its keys and its answer,
/// and its replicas do it one after the other: then its keys are looked at again.
async fn believe(
    (task, state): (&Value, ReplyState),
    mut trusted: Trusted,
    (sources, card, options): (&Sources<'_>, &Card, &CallOptions),
    deadline: Instant,
) -> Result<Reply, CallError> {
    let mut pauses = match trusted.trust {
        Trust::Pinned => &[][..],
        Trust::Hydra => &RELOOKS[..1],
        Trust::FirstUse => &RELOOKS[..],
    }
    .iter();
    loop {
        let forged = match Reply::of(task, state, &trusted) {
            Err(forged @ CallError::Forged { .. }) => forged,
            decided => return decided,
        };
        match pauses.next() {
            Some(pause) if Instant::now() + *pause < deadline => sleep(*pause).await,
            _ => return Err(forged),
        }
        let Ok(mut now) = sources.keys(card, options).await else { return Err(forged) };
        now.change = now.change.or(trusted.change.take());
        trusted = now;
    }
}

/// Another agent's words as they may be shown and logged: short, and without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().take(500).flat_map(char::escape_debug).collect()
}

/// Whether a message is in a task's history.
fn has_message(task: &Value, message_id: &Value) -> bool {
    let history = task.get("history").and_then(Value::as_array);
    let is_it = |message: &Value| {
        ["messageId", "message_id"].iter().any(|name| message.get(*name) == Some(message_id))
    };
    history.is_none_or(|history| history.iter().any(is_it))
}

/// A call under way.
pub(crate) struct Call<'a> {
    settings: &'a ClientSettings,
    pub(crate) url: &'a Url,
    pub(crate) client: HttpClient,
    audience: Option<&'a str>,
    pub(crate) deadline: Instant,
    /// The key of ours that the agent has refused last.
    refused_key: Mutex<Option<PublicKey>>,
}

/// What an answer asks for.
enum Next {
    Result(Value),
    /// The token was refused.
    NewToken,
    /// The signature was refused.
    OtherKey(CallError),
    /// Once more, after this long, signed anew.
    Again(Duration, CallError),
}

impl<'a> Call<'a> {
    fn new(
        settings: &'a ClientSettings,
        (card, wanted): (&'a Card, Option<&'a Did>),
        http: &HttpSettings,
        deadline: Instant,
    ) -> Result<Self, CallError> {
        let url = &card.interface;
        let client = HttpClient::new(url, http)
            .map_err(|error| CallError::Unavailable { url: url.to_string(), detail: error.to_string() })?;
        // Hydra refuses one that the client was not registered with; most agents ask for none. The DID is the one that
        // was asked for, never the one that the card claims: that would fetch a token meant for somebody else.
        let names = [wanted.map(Did::as_str), Some(url.as_str().trim_end_matches('/'))];
        let is_meant = |audience: &&String| {
            names.into_iter().flatten().any(|name| audience.trim_end_matches('/') == name)
        };
        let audience = settings.audiences.iter().find(is_meant).map(String::as_str);
        Ok(Self { settings, url, client, audience, deadline, refused_key: Mutex::default() })
    }

    /// Sends the message, and follows its task to the end.
    async fn ask(&self, (text, turn): (&str, &Turn)) -> Result<(Value, ReplyState), CallError> {
        let id = || Uuid::new_v4().to_string();
        let (context_id, task_id) = (turn.context_id.clone(), turn.task_id.clone());
        // The same ids however often it is sent: another agent of this kind runs it once.
        let message = json!({
            "kind": "message", "role": "user", "messageId": id(),
            "contextId": context_id.unwrap_or_else(id), "taskId": task_id.unwrap_or_else(id),
            "parts": [{"kind": "text", "text": text}],
        });
        let configuration = json!({"acceptedOutputModes": ["text/plain", "application/json"]});
        let sent = json!({"message": message, "configuration": configuration});
        let mut task = self.submit(&sent).await?;
        let task_id = task.get("id").and_then(Value::as_str).map(str::to_owned);
        let task_id = task_id.ok_or_else(|| self.unavailable("a result that is no task"))?;
        let (mut backoff, mut failures) = (POLL, 0);
        let taken_up = Instant::now() + ANSWER_TAKEN_UP;
        loop {
            if let Some(state) = ReplyState::of(&task) {
                let is_answered =
                    state.waits() && task.get("status").is_some_and(|status| turn.is_answered(status));
                if !is_answered || Instant::now() >= taken_up {
                    return Ok((task, state));
                }
            }
            let pause = backoff.pause(None).most;
            if Instant::now() + pause > self.deadline {
                return Err(self.unavailable("the task is not done in time"));
            }
            sleep(pause).await;
            // One look that fails is no reason to give the task up.
            match self.rpc("tasks/get", &json!({"taskId": task_id})).await {
                Ok(seen) => task = seen,
                Err(lost @ CallError::Unavailable { .. }) => {
                    failures += 1;
                    if failures == MOST_TRIES {
                        return Err(lost);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the message. Where the answer is lost, the task is looked for before it is sent again: an agent without
    /// authentication can't tell the second message from another one's.
    async fn submit(&self, sent: &Value) -> Result<Value, CallError> {
        let id = |pointer| sent.pointer(pointer).cloned().unwrap_or_default();
        let (task_id, message_id) = (id("/message/taskId"), id("/message/messageId"));
        let mut may_have_arrived = false;
        for last in (0..MOST_TRIES).map(|number| number + 1 == MOST_TRIES) {
            if may_have_arrived {
                sleep(MAX_POLL).await;
                match self.rpc("tasks/get", &json!({"taskId": task_id})).await {
                    // Not there: it has not arrived.
                    Err(CallError::Rpc { code: TASK_NOT_FOUND, .. }) => {}
                    Err(CallError::Unavailable { .. }) if !last && Instant::now() < self.deadline => continue,
                    // The task was there before, and this message is not in it yet.
                    Ok(task) if !has_message(&task, &message_id) => {}
                    found => return found,
                }
            }
            match self.rpc("message/send", sent).await {
                Err(CallError::Unavailable { .. }) if !last && Instant::now() + MAX_POLL < self.deadline => {
                    may_have_arrived = true;
                }
                answered => return answered,
            }
        }
        Err(self.unavailable("its answers are lost again and again"))
    }

    /// One JSON-RPC call; again where it was refused for a reason that passes.
    async fn rpc(&self, method: &str, params: &Value) -> Result<Value, CallError> {
        let id = Uuid::new_v4().to_string();
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let (mut has_new_token, mut refused) = (false, None);
        for last in (0..MOST_TRIES).map(|number| number + 1 == MOST_TRIES) {
            let token = self.token().await?;
            // Where there is no other key, what the first one met with is the answer.
            let signed = match self.sign(&body, token.as_ref()) {
                Some(signed) => signed,
                None => {
                    return Err(refused.unwrap_or_else(|| self.unavailable("there is no key to sign with")));
                }
            };
            let key = signed.as_ref().map(|(signed, _)| signed.key);
            match self.send(&body, token.as_ref(), signed).await? {
                Next::Result(result) => return Ok(result),
                Next::OtherKey(error) => {
                    *self.refused_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
                    if refused.is_some() || last {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                Next::NewToken if !has_new_token => {
                    has_new_token = true;
                    if let (Some(source), Some(token)) = (&self.settings.tokens, &token) {
                        source.forget(token);
                    }
                }
                Next::NewToken => {
                    return Err(CallError::Refused {
                        status: 401,
                        reason: "it does not accept our token".to_owned(),
                    });
                }
                Next::Again(_, error) if last => return Err(error),
                Next::Again(wait, error) => {
                    if Instant::now() + wait > self.deadline {
                        return Err(error);
                    }
                    sleep(wait).await;
                }
            }
        }
        Err(self.unavailable("it refuses again and again"))
    }

    /// Our token, for an agent that takes those of our own Hydra: any other would learn a secret that it could use elsewhere.
    pub(crate) async fn token_for(&self, card: &Card) -> Result<Option<SecretString>, CallError> {
        let issuer = self.settings.issuer.as_ref().map(Url::origin);
        match card.token_urls.iter().any(|url| Some(url.origin()) == issuer) {
            true => self.token().await,
            false => Ok(None),
        }
    }

    async fn token(&self) -> Result<Option<SecretString>, CallError> {
        match &self.settings.tokens {
            None => Ok(None),
            Some(source) => source.token(self.audience).await.map(Some).map_err(CallError::Token),
        }
    }

    /// The signature of a request; `Some(None)` if none is needed, `None` if there is no key for it.
    fn sign(&self, body: &str, token: Option<&SecretString>) -> Option<Option<(SignedCall, u64)>> {
        // Without a token nobody looks at a signature.
        let (Some(signer), Some(_)) = (&self.settings.signer, token) else { return Some(None) };
        let refused = *self.refused_key.lock().unwrap_or_else(PoisonError::into_inner);
        let now = epoch_seconds();
        signer.sign(refused.as_ref(), body, now).map(|signed| Some((signed, now)))
    }

    async fn send(
        &self,
        body: &str,
        token: Option<&SecretString>,
        signed: Option<(SignedCall, u64)>,
    ) -> Result<Next, CallError> {
        let mut request = self
            .client
            .request(Method::POST, self.url.clone())
            .header("Accept", "application/json")
            .header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        let is_signed = signed.is_some();
        if let Some((signed, at)) = signed {
            request = request
                .header("X-DID", signed.did.as_str())
                .header("X-DID-Timestamp", at.to_string())
                .header("X-DID-Signature", signed.signature.to_string());
        }
        let left = self.deadline.saturating_duration_since(Instant::now()).min(REQUEST_TIMEOUT);
        let sent = self.client.send("call", request.body(body.to_owned()).timeout(left)).await;
        let reply = match sent {
            Ok(reply) => reply,
            Err(error) => return Err(self.unavailable(&error.to_string())),
        };
        let answer = reply.json().unwrap_or_default();
        let wait = reply.retry_after().unwrap_or(MAX_POLL).min(LONGEST_WAIT);
        let reason = answer.pointer("/details/reason").and_then(Value::as_str).map(str::to_owned);
        let reason = reason.or_else(|| answer.pointer("/error/message")?.as_str().map(str::to_owned));
        let reason = reason.or_else(|| answer.get("error")?.as_str().map(str::to_owned)).unwrap_or_default();
        let reason = plain(&reason);
        let status = reply.status;
        match status {
            401 if token.is_some() => Ok(Next::NewToken),
            // It may have run in an earlier life of the agent's: signed anew it is another request.
            403 if reason == "timestamp_before_start" => {
                Ok(Next::Again(wait, CallError::Refused { status, reason }))
            }
            403 if is_signed && reason == "invalid_signature" => {
                Ok(Next::OtherKey(CallError::Refused { status, reason }))
            }
            401 | 403 => Err(CallError::Refused { status, reason }),
            429 | 503 => Ok(Next::Again(wait, CallError::Refused { status, reason })),
            _ => match (answer.get("result"), answer.get("error")) {
                (Some(result), _) if status == 200 => Ok(Next::Result(result.clone())),
                (_, Some(error)) if error.is_object() => Err(CallError::Rpc {
                    code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                    message: plain(error.get("message").and_then(Value::as_str).unwrap_or_default()),
                }),
                _ => Err(self.unavailable(&format!("status {status}, and no JSON-RPC"))),
            },
        }
    }

    pub(crate) fn unavailable(&self, detail: &str) -> CallError {
        CallError::Unavailable { url: self.url.to_string(), detail: detail.to_owned() }
    }
}
