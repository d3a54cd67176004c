//! The lines between the agent and a program, in both protocols. Pure.
//!
//! docs/handler-protocol.schema.json is their reference; a test holds them against it.

use crate::{
    caller::Caller,
    handler::{
        ChatMessage, Content, ReplyState,
        event::{HandlerEvent, RESULT},
    },
};
use bindu_a2a::json;
use serde::{
    Deserialize, Deserializer as _, Serialize,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// The protocols that the agent speaks: each task's line says so.
const SPOKEN: [u8; 2] = [1, 2];

/// The most tasks at the same time that a program may ask for.
pub(super) const MAX_AT_ONCE: usize = 256;

/// How much of a line that was not understood is shown in the log, in bytes.
const SHOWN: usize = 200;

#[derive(Serialize)]
struct TaskLine<'a> {
    bindu: [u8; 2],
    task_id: &'a str,
    context_id: &'a str,
    messages: &'a [ChatMessage],
    caller: Value,
    /// Left out at the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

#[derive(Serialize)]
struct CancelLine<'a> {
    bindu: u8,
    cancel: &'a str,
}

/// What a program's first line may be instead of an answer.
#[derive(Deserialize)]
struct HelloLine {
    bindu: Value,
    #[serde(default)]
    concurrency: Option<usize>,
    #[serde(default)]
    content: Option<Value>,
}

/// An answer in the first protocol. Other members are ignored, whatever they are.
#[derive(Deserialize)]
struct AnswerLine {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    parts: Option<Box<RawValue>>,
    #[serde(default)]
    state: String,
    task_id: Option<String>,
}

/// A line in the second protocol.
#[derive(Deserialize)]
struct EventLine {
    task_id: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    parts: Option<Box<RawValue>>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    progress: Option<String>,
    #[serde(default)]
    artifact: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ChunkLine {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    parts: Option<Box<RawValue>>,
}

/// A program's answer in the first protocol.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) task_id: Option<String>,
    pub(super) content: Content,
    pub(super) state: ReplyState,
}

/// A line of the second protocol that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// The task that it is about, where that can be told.
    pub(super) task_id: Option<String>,
    pub(super) problem: String,
}

/// A task's line, its line feed included.
pub(super) fn task(
    (task_id, context_id): (&str, &str),
    messages: &[ChatMessage],
    caller: &Caller,
    attempt: u32,
) -> String {
    let attempt = Some(attempt).filter(|attempt| *attempt > 1);
    line(&TaskLine { bindu: SPOKEN, task_id, context_id, messages, caller: caller.to_json(), attempt })
}

/// The line that asks a program of the second protocol to stop its work on a task.
pub(super) fn cancel(task_id: &str) -> String {
    line(&CancelLine { bindu: 2, cancel: task_id })
}

/// JSON on one line, whatever its reader takes for the end of a line: Node's `readline` ends one at U+2028 and U+2029
/// (FACTS 8), others at U+0085. Outside of strings JSON has none of these.
fn line(value: &impl Serialize) -> String {
    let mut line = String::new();
    // What is serialised are texts and lists of texts, which can't fail.
    for character in serde_json::to_string(value).unwrap_or_default().chars() {
        match character {
            '\u{85}' => line.push_str("\\u0085"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            other => line.push(other),
        }
    }
    line.push('\n');
    line
}

/// The concurrency that a program asks for by its first line, if that line is a greeting.
///
/// # Errors
/// Where it is one, and not of this protocol.
pub(super) fn hello(line: &[u8]) -> Result<Option<usize>, String> {
    let Ok(HelloLine { bindu, concurrency, content }) = object(&readable(line)) else {
        return Ok(None);
    };
    match bindu.as_u64() {
        Some(2) => match concurrency.unwrap_or(1) {
            concurrency @ 1..=MAX_AT_ONCE => Ok(Some(concurrency)),
            other => Err(format!("it asks for a concurrency of {other}: 1 to {MAX_AT_ONCE} are possible")),
        },
        // An answer of the first protocol that happens to have such a member.
        _ if content.is_some() => Ok(None),
        _ => Err("it asks for a protocol that is not known: 1 and 2 are".to_owned()),
    }
}

/// Reads an answer of the first protocol.
///
/// # Errors
/// Why it is none, with the line.
pub(super) fn answer(line: &[u8]) -> Result<Answer, String> {
    let answer: AnswerLine = object(&readable(line)).map_err(|error| {
        format!("its answer is not a line of JSON with `content`: {error}; it is {}", shown(line))
    })?;
    let state = state(&answer.state)
        .ok_or_else(|| format!("its answer has the unknown state {}", shown(answer.state.as_bytes())))?;
    let content = content(answer.content, answer.parts.as_deref())
        .and_then(|content| content.ok_or("neither `content` nor `parts`"))
        .map_err(|problem| {
            format!("its answer is not a line of JSON with `content`: {problem}; it is {}", shown(line))
        })?;
    Ok(Answer { task_id: answer.task_id, content, state })
}

/// Reads a line of the second protocol: which task it is about, and what it says.
///
/// # Errors
/// Why it can't be used.
pub(super) fn event(line: &[u8]) -> Result<(String, HandlerEvent), BadLine> {
    let text = readable(line);
    let read: EventLine = object(&text).map_err(|error| BadLine {
        task_id: begun_about(text.as_bytes()),
        problem: format!("its line is not of the protocol: {error}; it is {}", shown(line)),
    })?;
    let bad = |problem: String, task_id: String| BadLine { task_id: Some(task_id), problem };
    let content = match content(read.content, read.parts.as_deref()) {
        Ok(content) => content,
        Err(problem) => {
            return Err(bad(
                format!("its line is not of the protocol: {problem}; it is {}", shown(line)),
                read.task_id,
            ));
        }
    };
    let event = match (read.state.as_deref(), content, read.artifact, read.progress) {
        (Some("canceled"), ..) => HandlerEvent::Canceled,
        (Some(name), content, ..) => match state(name) {
            Some(state) => HandlerEvent::Ended { content, state },
            None => {
                let problem = format!("its answer has the unknown state {}", shown(name.as_bytes()));
                return Err(bad(problem, read.task_id));
            }
        },
        (None, Some(content), ..) => {
            HandlerEvent::Ended { content: Some(content), state: ReplyState::Completed }
        }
        (None, None, Some(chunk), _) => match artifact(&chunk) {
            Ok(event) => event,
            Err(problem) => {
                let problem = format!("its line is not of the protocol: {problem}; it is {}", shown(line));
                return Err(bad(problem, read.task_id));
            }
        },
        (None, None, None, Some(progress)) => HandlerEvent::Progress(progress),
        (None, None, None, None) => {
            let problem = format!("its line says nothing: it is {}", shown(line));
            return Err(bad(problem, read.task_id));
        }
    };
    Ok((read.task_id, event))
}

/// Which task a line is about of which only the beginning is there: its own `task_id`, and none that lies in what it holds.
pub(super) fn begun_about(begun: &[u8]) -> Option<String> {
    let mut task_id = None;
    // It breaks off, and what was read before that counts.
    let _ = serde_json::Deserializer::from_slice(begun).deserialize_map(TaskIdOf(&mut task_id));
    task_id
}

struct TaskIdOf<'o>(&'o mut Option<String>);

impl<'de> Visitor<'de> for TaskIdOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            if name == "task_id" {
                *self.0 = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// What a line holds: parts, or a text.
fn content(text: Option<String>, parts: Option<&RawValue>) -> Result<Option<Content>, &'static str> {
    match parts {
        Some(parts) => {
            Content::read(parts).map(Some).ok_or("`parts` is not a list of parts as A2A 1.0 has them")
        }
        None => Ok(text.map(Content::from)),
    }
}

/// A piece of an artifact's text, or a whole artifact.
fn artifact(line: &RawValue) -> Result<HandlerEvent, &'static str> {
    let line: ChunkLine =
        object(line.get()).map_err(|_| "an artifact is an object with `text` or `parts`")?;
    let name = line.name.unwrap_or_else(|| RESULT.to_owned());
    match (line.parts, line.text) {
        (Some(parts), _) => {
            let content = content(None, Some(&parts))?.ok_or("an artifact is not empty")?;
            Ok(HandlerEvent::Artifact { name, content })
        }
        (None, Some(text)) => Ok(HandlerEvent::Chunk { artifact: name, text }),
        (None, None) => Err("an artifact has `text` or `parts`"),
    }
}

/// Reads an object, whose JSON must be such as callers' must be: they get it. (Derived readers take a list for an object.)
fn object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("it is no JSON object".to_owned());
    }
    let read = serde_json::from_str(text).map_err(|error| error.to_string())?;
    json::check(text).map(|()| read).map_err(str::to_owned)
}

fn state(name: &str) -> Option<ReplyState> {
    match name {
        "" | "completed" => Some(ReplyState::Completed),
        "input-required" => Some(ReplyState::InputRequired),
        "auth-required" => Some(ReplyState::AuthRequired),
        "failed" => Some(ReplyState::Failed),
        "rejected" => Some(ReplyState::Rejected),
        _ => None,
    }
}

/// The start of a line for the log: bounded, without control characters.
pub(super) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line));
    let mut shown = String::new();
    for character in text.trim_end_matches(['\r', '\n']).chars() {
        let is_text = !character.is_control() && !"\u{2028}\u{2029}".contains(character);
        if is_text { shown.push(character) } else { shown.extend(character.escape_debug()) }
    }
    if line.len() > SHOWN { format!("`{shown}`... ({} bytes)", line.len()) } else { format!("`{shown}`") }
}

/// A line as text that JSON takes: what is no UTF-8 and half a surrogate pair become U+FFFD, as in Go's `encoding/json`.
/// Python's `json.dumps` writes such halves (FACTS 8), which are no text and would fail an answer that is otherwise good.
/// A byte order mark before it, as .NET's streams begin, is nothing.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.contains("\\u") { without_half_pairs(text) } else { text.to_owned() }
}

fn without_half_pairs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('\\') {
        let (before, escape) = rest.split_at(position);
        out.push_str(before);
        let (length, kept) = match unit(escape) {
            Some(0xd800..=0xdbff) => match escape.get(6..).and_then(unit) {
                Some(0xdc00..=0xdfff) => (12, true),
                _ => (6, false),
            },
            Some(0xdc00..=0xdfff) => (6, false),
            Some(_) => (6, true),
            // Another escape: the character behind the backslash belongs to it.
            None => (1 + escape.chars().nth(1).map_or(0, char::len_utf8), true),
        };
        let (this, after) = escape.split_at(length);
        out.push_str(if kept { this } else { "\\ufffd" });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The UTF-16 unit of an escape at the start.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
