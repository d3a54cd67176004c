//! What a handler says while it works, as events of its task; results are signed.
//!
//! Two signatures. Python Bindu's covers one text: it travels in the metadata of the text's part; for a text that was
//! streamed, in the metadata of the artifact, from the last chunk on, over all pieces in order. Ours
//! ([`artifact_signature`]) covers the whole artifact, and travels in its metadata under the extension's URI: if the call has
//! activated the extension, and always where the artifact holds more than texts.

use super::{Content, Reply, ReplyState};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindu_a2a::{
    Json, Parts,
    event::{ArtifactChunk, TaskEvent},
    json,
    model::{Artifact, TaskState},
};
use bindu_identity::{
    DerivedKey,
    artifact_signature::{EXTENSION, SignedArtifact},
    text_signature,
};
use bindu_keeper::HeldIdentity;
use bindu_tasks::{Job, Outlet, OutletClosed, RunKey};
use jiff::Timestamp;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use std::sync::{Arc, PoisonError};
use tokio::sync::Mutex;
use uuid::Uuid;

/// The artifact that a reply, and what is written without a name, belong to.
pub(crate) const RESULT: &str = "result";

/// What a handler says about one task.
pub(super) struct Speech {
    outlet: Outlet,
    held: Arc<HeldIdentity>,
    run: RunKey,
    /// Whether artifacts are signed as a whole.
    is_signed_whole: bool,
    /// The artifacts so far, in the order of their first chunks.
    artifacts: Mutex<Vec<Open>>,
    /// Artifacts that an earlier run of the task has left without an end: another message came, or it asked back. This run
    /// writes those of the same name anew, in their place.
    left: std::sync::Mutex<Vec<Open>>,
}

/// An artifact.
struct Open {
    name: String,
    id: String,
    /// What was written of it, chunk by chunk.
    chunks: Vec<Arc<Parts>>,
    /// What a reader of text sees of it.
    text: String,
    is_over: bool,
}

impl Speech {
    /// What is said on this job.
    pub(super) fn new(outlet: Outlet, held: Arc<HeldIdentity>, job: &Job) -> Self {
        // Those that the task has had before this run.
        let left = job.task.artifacts.iter().filter_map(|artifact| Open::left(artifact)).collect();
        Self {
            outlet,
            held,
            run: job.run.clone(),
            is_signed_whole: job.may_have_activated(EXTENSION),
            artifacts: Mutex::default(),
            left: std::sync::Mutex::new(left),
        }
    }

    /// An artifact of this name that nothing was written of yet.
    fn begun(&self, name: &str) -> Open {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.iter().position(|open| open.name == name) {
            Some(position) => Open { id: left.remove(position).id, ..Open::new(name) },
            None => Open::new(name),
        }
    }

    /// Says how far it is.
    pub(super) async fn progress(&self, text: &str) -> Result<(), OutletClosed> {
        let message = self.outlet.of_agent(Parts::of_text(text));
        self.outlet.status(TaskState::Working, Some(message)).await
    }

    /// Writes a piece of an artifact's text.
    pub(super) async fn write(&self, name: &str, text: &str) -> Result<(), OutletClosed> {
        // Held while it is told: pieces come in the order of the calls.
        let mut artifacts = self.artifacts.lock().await;
        let parts = Arc::new(Parts::of_text(text));
        let position = artifacts.iter().position(|open| open.name == name && !open.is_over);
        let (open, append) = match position.and_then(|position| artifacts.get_mut(position)) {
            Some(open) => (open, true),
            None => {
                artifacts.push(self.begun(name));
                let Some(open) = artifacts.last_mut() else { return Err(OutletClosed) };
                (open, false)
            }
        };
        open.chunks.push(Arc::clone(&parts));
        open.text.push_str(text);
        let chunk = open.chunk(parts);
        self.tell(ArtifactChunk { append, ..chunk }).await
    }

    /// Gives a whole artifact. One of the same name that is being written gives way to it.
    pub(super) async fn artifact(&self, name: &str, content: &Content) -> Result<(), OutletClosed> {
        self.whole(name, content, content.as_text()).await
    }

    async fn whole(&self, name: &str, content: &Content, text: String) -> Result<(), OutletClosed> {
        let mut artifacts = self.artifacts.lock().await;
        let written = artifacts.iter().position(|open| open.name == name && !open.is_over);
        let mut open = written.map_or_else(|| self.begun(name), |position| artifacts.remove(position));
        open.chunks = vec![Arc::new(content.parts(|text| self.signed(text)))];
        (open.text, open.is_over) = (text, true);
        let mut chunk =
            open.chunk(open.chunks.first().map_or_else(|| Arc::new(Parts::of_text("")), Arc::clone));
        chunk.is_last = true;
        self.sign_whole(&mut chunk, &open.chunks, None);
        artifacts.push(open);
        self.tell(chunk).await
    }

    /// Says the last word.
    pub(super) async fn finish(&self, Reply { content, state }: Reply) -> Result<(), OutletClosed> {
        let state = match state {
            ReplyState::Completed => return self.complete(content).await,
            ReplyState::Message => {
                let message = self.outlet.of_agent(content.parts(|text| self.signed(text)));
                return self.outlet.message(message).await;
            }
            ReplyState::InputRequired => TaskState::InputRequired,
            ReplyState::AuthRequired => TaskState::AuthRequired,
            ReplyState::Failed => TaskState::Failed,
            ReplyState::Rejected => TaskState::Rejected,
        };
        let message = self.outlet.of_agent(content.parts(|_| None));
        self.outlet.status(state, Some(message)).await
    }

    async fn complete(&self, content: Content) -> Result<(), OutletClosed> {
        if !content.is_empty() {
            // Nobody asks for its text again: the content has it.
            self.whole(RESULT, &content, String::new()).await?;
        }
        let mut artifacts = self.artifacts.lock().await;
        if artifacts.is_empty() {
            let text = "Task execution failed: the agent ended its work without an answer";
            let message = self.outlet.of_agent(Parts::of_text(text));
            return self.outlet.status(TaskState::Failed, Some(message)).await;
        }
        let mut left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        for open in artifacts.iter_mut().filter(|open| !open.is_over).chain(&mut left) {
            // Nothing more to read in it: it says that the artifact is whole, and carries the signatures.
            let parts = Arc::new(Parts::of_text(""));
            open.chunks.push(Arc::clone(&parts));
            open.is_over = true;
            let mut chunk = ArtifactChunk { append: true, is_last: true, ..open.chunk(parts) };
            self.sign_whole(&mut chunk, &open.chunks, Some(&open.text));
            self.tell(chunk).await?;
        }
        let said = match content.is_empty() {
            false => content.text_of_all(),
            true => artifacts.iter().map(|open| open.text.as_str()).collect::<Vec<_>>().join("\n").into(),
        };
        // For the history, where Python Bindu's callers look for it.
        let message = Arc::new(self.outlet.of_agent(Parts::of_text(&said)));
        self.outlet.tell(TaskEvent::Message(message)).await?;
        self.outlet.status(TaskState::Completed, None).await
    }

    async fn tell(&self, chunk: ArtifactChunk) -> Result<(), OutletClosed> {
        self.outlet.tell(TaskEvent::Artifact(Arc::new(chunk))).await
    }

    /// A text's signature as metadata; none if the text could pass as a request's payload.
    fn signed(&self, text: &str) -> Option<Box<RawValue>> {
        let signature = self.text_signature(text)?;
        to_raw_value(&json!({ text_signature::METADATA_KEY: signature })).ok()
    }

    fn text_signature(&self, text: &str) -> Option<String> {
        let signature = text_signature::sign(&self.held.current().signing_key, text);
        if signature.is_none() {
            tracing::warn!(
                target: "audit",
                task = self.run.task.id,
                owner = %self.run.task.owner,
                "an artifact's text could pass as a signed request: it goes out unsigned"
            );
        }
        signature.map(|signature| signature.to_string())
    }

    /// Puts the signatures into an artifact's last chunk: the text's, if it was streamed; and that over the whole artifact.
    fn sign_whole(&self, chunk: &mut ArtifactChunk, chunks: &[Arc<Parts>], text: Option<&str>) {
        let mut metadata = serde_json::Map::new();
        if let Some(signature) = text.and_then(|text| self.text_signature(text)) {
            metadata.insert(text_signature::METADATA_KEY.to_owned(), signature.into());
        }
        // The signatures of texts cover nothing else.
        let is_other = |part: bindu_a2a::Part<'_>| !matches!(part.content, bindu_a2a::Content::Text(_));
        if (self.is_signed_whole || chunks.iter().any(|parts| parts.iter().any(is_other)))
            && let Some(signature) = self.whole_signature(chunk, chunks)
        {
            metadata.insert(EXTENSION.to_owned(), signature);
            chunk.extensions = Some(Json::of(&[EXTENSION]));
        }
        chunk.metadata = (!metadata.is_empty()).then(|| Json::of(&metadata));
    }

    fn whole_signature(&self, chunk: &ArtifactChunk, chunks: &[Arc<Parts>]) -> Option<Value> {
        let identity = self.held.current();
        let lists: Vec<&RawValue> = chunks.iter().map(|parts| parts.json().raw()).collect();
        let time = format!("{:.3}", Timestamp::now());
        let signed = SignedArtifact {
            task_id: &self.run.task.id,
            artifact_id: &chunk.id,
            did: &identity.did,
            time: &time,
            parts: &lists,
        };
        let signature = signed.sign(&identity.signing_key)?;
        Some(json!({
            "did": identity.did.as_str(),
            "kid": DerivedKey::thumbprint(&DerivedKey::of(&identity.signing_key).public_key()),
            "time": time,
            "signature": URL_SAFE_NO_PAD.encode(signature.to_bytes()),
        }))
    }
}

impl Open {
    /// What is there of an artifact that has no end: only that one is signed.
    fn left(artifact: &Artifact) -> Option<Self> {
        let is_in = |metadata: Option<&RawValue>| {
            let signatures =
                metadata.and_then(|all| json::members(all, [EXTENSION, text_signature::METADATA_KEY]));
            signatures.is_some_and(|signatures| signatures.iter().any(Option::is_some))
        };
        let mut parts = artifact.chunks.iter().flat_map(|parts| parts.iter());
        if is_in(artifact.metadata.as_ref().map(Json::raw)) || parts.any(|part| is_in(part.metadata)) {
            return None;
        }
        let (name, chunks) = (artifact.name.clone()?, artifact.chunks.clone());
        let text = chunks.iter().map(|parts| parts.as_text()).collect();
        Some(Self { name, id: artifact.id.clone(), chunks, text, is_over: false })
    }

    fn new(name: &str) -> Self {
        let id = Uuid::new_v4().to_string();
        Self { name: name.to_owned(), id, chunks: Vec::new(), text: String::new(), is_over: false }
    }

    fn chunk(&self, parts: Arc<Parts>) -> ArtifactChunk {
        ArtifactChunk {
            id: self.id.clone(),
            name: Some(self.name.clone()),
            description: None,
            parts,
            metadata: None,
            extensions: None,
            append: false,
            is_last: false,
        }
    }
}
