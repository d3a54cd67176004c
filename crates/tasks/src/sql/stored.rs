//! How an event and a push configuration are written down: one line of JSON text each, with the version of its form.
//!
//! The rule for changes: a member may be added, none may be renamed, removed or get another meaning. A reader skips members
//! that it does not know, so the version before reads what this one writes. Content of callers is kept as the text that it
//! was, so nothing is lost in a database whose JSON type changes numbers or refuses `\u0000`.

use crate::push::KeptPush;
use bindu_a2a::{
    Dialect, Json, Parts,
    call::{PushAuthentication, PushConfig},
    event::{ArtifactChunk, TaskEvent},
    model::{Message, Role, TaskState, TaskStatus},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::Arc};

/// The version of the form that is written. A reader refuses a form above [`NEWEST_READ`].
const FORM: u32 = 1;
const NEWEST_READ: u32 = 1;

/// What is written down is not what this version reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored {what} cannot be read: {problem}")]
pub(super) struct Unreadable {
    what: &'static str,
    problem: &'static str,
}

#[derive(Serialize, Deserialize)]
struct StoredEvent<'a> {
    v: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<StoredMessage<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    status: Option<StoredStatus<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    artifact: Option<StoredChunk<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredMessage<'a> {
    id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    context: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    task: Cow<'a, str>,
    role: Cow<'a, str>,
    #[serde(borrow)]
    parts: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    extensions: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    references: Option<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
struct StoredStatus<'a> {
    state: Cow<'a, str>,
    at: Timestamp,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    message: Option<StoredMessage<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredChunk<'a> {
    id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parts: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    extensions: Option<&'a RawValue>,
    #[serde(default)]
    append: bool,
    #[serde(default)]
    last: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredPush<'a> {
    v: u32,
    id: Cow<'a, str>,
    task: Cow<'a, str>,
    url: Cow<'a, str>,
    /// In clear; only a program without a sealer writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Cow<'a, str>>,
    /// A name of its own: the version before would take a sealed text under the other one for the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authentication: Option<StoredAuthentication<'a>>,
    #[serde(borrow)]
    dialect: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StoredAuthentication<'a> {
    scheme: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_credentials: Option<Cow<'a, str>>,
}

/// The names of the states, in the column and in the text.
pub(super) fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::Rejected => "rejected",
        TaskState::InputRequired => "input-required",
        TaskState::AuthRequired => "auth-required",
    }
}

/// The state of this name.
pub(super) fn state_of(name: &str) -> Result<TaskState, Unreadable> {
    let state = TaskState::ALL.into_iter().find(|state| state_name(*state) == name);
    state.ok_or(Unreadable { what: "state", problem: "its name is unknown" })
}

/// The kind of an event, for queries that need only some.
pub(super) fn kind(event: &TaskEvent) -> &'static str {
    match event {
        TaskEvent::Message(_) => "message",
        TaskEvent::Status(_) => "status",
        TaskEvent::Artifact(_) => "artifact",
    }
}

/// An event's text.
pub(super) fn write_event(event: &TaskEvent) -> String {
    let mut stored = StoredEvent { v: FORM, message: None, status: None, artifact: None };
    match event {
        TaskEvent::Message(message) => stored.message = StoredMessage::of(message),
        TaskEvent::Status(status) => {
            stored.status = Some(StoredStatus {
                state: state_name(status.state).into(),
                at: status.timestamp,
                message: status.message.as_deref().and_then(StoredMessage::of),
            });
        }
        TaskEvent::Artifact(chunk) => stored.artifact = StoredChunk::of(chunk),
    }
    // Of about its length: a buffer that grows by doubling would cost three times as much.
    let mut text = Vec::with_capacity(event.bytes() + 512);
    match serde_json::to_writer(&mut text, &stored) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// The event of a text.
pub(super) fn read_event(text: &str) -> Result<TaskEvent, Unreadable> {
    let unreadable = |problem| Unreadable { what: "event", problem };
    let stored: StoredEvent<'_> =
        serde_json::from_str(text).map_err(|_| unreadable("it is not what this version writes"))?;
    if stored.v > NEWEST_READ {
        return Err(unreadable("a newer version wrote it"));
    }
    match stored {
        StoredEvent { message: Some(message), .. } => Ok(TaskEvent::Message(Arc::new(message.read()?))),
        StoredEvent { status: Some(status), .. } => Ok(TaskEvent::Status(TaskStatus {
            state: state_of(&status.state)?,
            timestamp: status.at,
            message: status.message.map(StoredMessage::read).transpose()?.map(Arc::new),
        })),
        StoredEvent { artifact: Some(chunk), .. } => Ok(TaskEvent::Artifact(Arc::new(chunk.read()?))),
        _ => Err(unreadable("its kind is unknown")),
    }
}

/// A push configuration's text.
pub(super) fn write_push(kept: &KeptPush) -> String {
    let config = &kept.config;
    text(&StoredPush {
        v: FORM,
        id: config.id.as_str().into(),
        task: config.task_id.as_str().into(),
        url: config.url.as_str().into(),
        token: config.token.as_deref().map(Cow::Borrowed),
        sealed_token: kept.token.as_deref().map(Cow::Borrowed),
        authentication: config.authentication.as_ref().map(|authentication| StoredAuthentication {
            scheme: authentication.scheme.as_str().into(),
            credentials: authentication.credentials.as_deref().map(Cow::Borrowed),
            sealed_credentials: kept.credentials.as_deref().map(Cow::Borrowed),
        }),
        dialect: dialect_name(config.dialect).into(),
    })
}

fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V1 => "1.0",
        Dialect::V03 => "0.3",
        Dialect::Bindu => "bindu",
    }
}

/// The push configuration of a text.
pub(super) fn read_push(text: &str) -> Result<KeptPush, Unreadable> {
    let unreadable = |problem| Unreadable { what: "push configuration", problem };
    let stored: StoredPush<'_> =
        serde_json::from_str(text).map_err(|_| unreadable("it is not what this version writes"))?;
    if stored.v > NEWEST_READ {
        return Err(unreadable("a newer version wrote it"));
    }
    let mut credentials = None;
    let authentication = stored.authentication.map(|authentication| {
        credentials = authentication.sealed_credentials.map(Cow::into_owned);
        PushAuthentication {
            scheme: authentication.scheme.into_owned(),
            credentials: authentication.credentials.map(Cow::into_owned),
        }
    });
    let config = PushConfig {
        id: stored.id.into_owned(),
        task_id: stored.task.into_owned(),
        url: stored.url.into_owned(),
        token: stored.token.map(Cow::into_owned),
        authentication,
        dialect: [Dialect::V1, Dialect::V03, Dialect::Bindu]
            .into_iter()
            .find(|dialect| dialect_name(*dialect) == stored.dialect)
            .ok_or(unreadable("its dialect is unknown"))?,
    };
    Ok(KeptPush { config, token: stored.sealed_token.map(Cow::into_owned), credentials })
}

impl<'a> StoredMessage<'a> {
    /// `None` would need parts that are not JSON, which [`Parts`] cannot hold.
    fn of(message: &'a Message) -> Option<Self> {
        Some(Self {
            id: message.id.as_str().into(),
            context: message.context_id.as_str().into(),
            task: message.task_id.as_str().into(),
            role: role_name(message.role).into(),
            parts: raw(message.parts.json())?,
            metadata: message.metadata.as_ref().and_then(raw),
            extensions: message.extensions.as_ref().and_then(raw),
            references: message.reference_task_ids.as_ref().and_then(raw),
        })
    }

    fn read(self) -> Result<Message, Unreadable> {
        Ok(Message {
            id: self.id.into_owned(),
            context_id: self.context.into_owned(),
            task_id: self.task.into_owned(),
            role: role_of(&self.role)?,
            parts: parts(self.parts)?,
            metadata: self.metadata.map(Json::from),
            extensions: self.extensions.map(Json::from),
            reference_task_ids: self.references.map(Json::from),
        })
    }
}

impl<'a> StoredChunk<'a> {
    fn of(chunk: &'a ArtifactChunk) -> Option<Self> {
        Some(Self {
            id: chunk.id.as_str().into(),
            name: chunk.name.as_deref().map(Cow::Borrowed),
            description: chunk.description.as_deref().map(Cow::Borrowed),
            parts: raw(chunk.parts.json())?,
            metadata: chunk.metadata.as_ref().and_then(raw),
            extensions: chunk.extensions.as_ref().and_then(raw),
            append: chunk.append,
            last: chunk.is_last,
        })
    }

    fn read(self) -> Result<ArtifactChunk, Unreadable> {
        Ok(ArtifactChunk {
            id: self.id.into_owned(),
            name: self.name.map(Cow::into_owned),
            description: self.description.map(Cow::into_owned),
            parts: Arc::new(parts(self.parts)?),
            metadata: self.metadata.map(Json::from),
            extensions: self.extensions.map(Json::from),
            append: self.append,
            is_last: self.last,
        })
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Agent => "agent",
        Role::System => "system",
    }
}

fn role_of(name: &str) -> Result<Role, Unreadable> {
    let role = [Role::User, Role::Agent, Role::System].into_iter().find(|role| role_name(*role) == name);
    role.ok_or(Unreadable { what: "role", problem: "its name is unknown" })
}

fn raw(json: &Json) -> Option<&RawValue> {
    Some(json.raw())
}

fn parts(raw: &RawValue) -> Result<Parts, Unreadable> {
    Parts::from_stored(raw.get().to_owned())
        .ok_or(Unreadable { what: "list of parts", problem: "it is not a list" })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Json> {
        prop_oneof![
            Just(r#"{"n":18446744073709551616,"x":1.0}"#),
            Just(r#"{"a":"\u0000\ud83d\ude00","a":2}"#),
            Just("{}"),
            Just(r#"{"deep":[[[{"b":null}]]]}"#),
        ]
        .prop_map(|text| Json::from(serde_json::from_str::<&RawValue>(text).expect("JSON")))
    }

    fn some_parts() -> impl Strategy<Value = Parts> {
        ("\\PC{0,40}|\u{0}[\\x00-\\x1f]{0,5}", json()).prop_map(|(text, data)| {
            let mut parts = bindu_a2a::PartsBuilder::default();
            parts.push(&bindu_a2a::Part::text(text));
            let raw: &RawValue = serde_json::from_str(data.text()).expect("JSON");
            parts.push(&bindu_a2a::Part {
                content: bindu_a2a::Content::Data(raw),
                metadata: Some(raw),
                ..bindu_a2a::Part::text("")
            });
            parts.build()
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["\\PC{0,12}", Just("a\u{0}b\"\\".to_owned()), Just(String::new())]
    }

    fn message() -> impl Strategy<Value = Message> {
        let role = prop_oneof![Just(Role::User), Just(Role::Agent), Just(Role::System)];
        let optional = || proptest::option::of(json());
        ((name(), name(), name()), role, some_parts(), (optional(), optional(), optional())).prop_map(
            |((id, context_id, task_id), role, parts, (metadata, extensions, reference_task_ids))| Message {
                id,
                context_id,
                task_id,
                role,
                parts,
                metadata,
                extensions,
                reference_task_ids,
            },
        )
    }

    fn event() -> impl Strategy<Value = TaskEvent> {
        let status = (0..TaskState::ALL.len(), proptest::option::of(message()), any::<i64>()).prop_map(
            |(state, message, nanos)| {
                TaskEvent::Status(TaskStatus {
                    state: TaskState::ALL[state],
                    message: message.map(Arc::new),
                    timestamp: Timestamp::from_nanosecond(i128::from(nanos)).expect("in range"),
                })
            },
        );
        let optional = || proptest::option::of(name());
        let chunk =
            (name(), optional(), optional(), some_parts(), proptest::option::of(json()), any::<[bool; 2]>())
                .prop_map(|(id, name, description, parts, metadata, [append, is_last])| {
                    TaskEvent::Artifact(Arc::new(ArtifactChunk {
                        id,
                        name,
                        description,
                        parts: Arc::new(parts),
                        extensions: metadata.clone(),
                        metadata,
                        append,
                        is_last,
                    }))
                });
        prop_oneof![message().prop_map(|message| TaskEvent::Message(Arc::new(message))), status, chunk]
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were(event in event()) {
            let text = write_event(&event);
            prop_assert!(!text.contains(['\0', '\n']), "one line that any database takes: {text}");
            prop_assert_eq!(read_event(&text), Ok(event));
        }

        #[test]
        fn push_configurations_come_back_as_they_were(
            names in [name(), name(), name()],
            token in proptest::option::of(name()),
            scheme in proptest::option::of((name(), proptest::option::of(name()))),
            sealed in proptest::option::of(name()),
        ) {
            let [id, task_id, url] = names;
            let authentication = scheme.map(|(scheme, credentials)| PushAuthentication { scheme, credentials });
            let config = PushConfig { id, task_id, url, token, authentication, dialect: Dialect::V03 };
            let credentials = sealed.clone().filter(|_| config.authentication.is_some());
            let kept = KeptPush { config, token: sealed, credentials };
            prop_assert_eq!(read_push(&write_push(&kept)), Ok(kept));
        }
    }

    /// The first form, as it was written when it was new, and with a member that a later version might add.
    #[test]
    fn the_first_form_stays_readable_and_unknown_members_are_skipped() {
        for text in [
            r#"{"v":1,"message":{"id":"m","context":"c","task":"t","role":"user","parts":[{"text":"hi"}]}}"#,
            r#"{"v":1,"new":{"x":1},"message":{"id":"m","context":"c","task":"t","role":"user","parts":[{"text":"hi"}],"new":[2]}}"#,
        ] {
            let TaskEvent::Message(message) = read_event(text).expect("readable") else {
                panic!("a message")
            };
            assert_eq!((message.id.as_str(), message.parts.as_text().as_str()), ("m", "hi"));
        }
        let text = r#"{"v":1,"status":{"state":"input-required","at":"2026-11-26T12:00:00.000000001Z"}}"#;
        assert_eq!(write_event(&read_event(text).expect("readable")), text);
        let text = r#"{"v":1,"artifact":{"id":"a","name":"n","parts":[],"append":true,"last":false}}"#;
        assert_eq!(write_event(&read_event(text).expect("readable")), text);
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_and_not_misread() {
        for text in [r#"{"v":2,"message":null}"#, r#"{"v":1,"verdict":{}}"#, "{}", "", "[]", r#"{"v":1}"#] {
            assert!(read_event(text).is_err(), "{text}");
        }
        assert!(read_push(r#"{"v":2,"id":"a","task":"t","url":"u"}"#).is_err());
        assert_eq!(state_of("unknown"), Err(Unreadable { what: "state", problem: "its name is unknown" }));
        for state in TaskState::ALL {
            assert_eq!(state_of(state_name(state)), Ok(state));
        }
    }
}
