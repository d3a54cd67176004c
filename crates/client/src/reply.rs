//! What another agent answers, and whether it has signed it.

use crate::{CallError, KeyChange, Trust, trust::Trusted};
use bindu_identity::{Signature, text_signature};
use serde_json::Value;
use url::Url;

/// Another agent's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its text: the result's of a completed task, else the last message's (a question, or why it failed).
    pub text: String,
    /// Where the task stands.
    pub state: ReplyState,
    /// Who answers.
    pub did: String,
    /// By which trust the whole result is signed by that agent; `None` where a part of it is unsigned, or there is none.
    pub signed: Option<Trust>,
    /// That the agent's key is another one than at the last call, and provably its own. On first use only.
    pub key_change: Option<KeyChange>,
    /// The task as the agent gave it.
    pub task: Value,
}

/// Where a task stands that is not worked on any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyState {
    /// Done.
    Completed,
    /// The agent asks back.
    InputRequired,
    /// The agent asks for an authorisation.
    AuthRequired,
    /// Ended without a result.
    Failed,
    /// Ended because somebody asked for it.
    Canceled,
}

impl ReplyState {
    /// Whether the agent waits for another message.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }

    /// As the task says it; `None` while it is worked on.
    pub(crate) fn of(task: &Value) -> Option<Self> {
        match task.pointer("/status/state").and_then(Value::as_str)? {
            "completed" => Some(Self::Completed),
            "input-required" => Some(Self::InputRequired),
            "auth-required" => Some(Self::AuthRequired),
            "failed" | "rejected" => Some(Self::Failed),
            "canceled" => Some(Self::Canceled),
            _ => None,
        }
    }

    /// A label, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::InputRequired => "input-required",
            Self::AuthRequired => "auth-required",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl Reply {
    /// The result's text, signed as a whole by the agent that was called.
    ///
    /// # Errors
    /// [`CallError::Ended`] where there is no result, [`CallError::Unsigned`] where it is not signed.
    pub fn into_signed_text(self) -> Result<String, CallError> {
        match (self.state, self.signed) {
            (ReplyState::Completed, Some(_)) => Ok(self.text),
            (ReplyState::Completed, None) => Err(CallError::Unsigned { did: self.did }),
            (state, _) => {
                Err(CallError::Ended { state: state.label(), said: crate::call::plain(&self.text) })
            }
        }
    }

    /// What an agent without a DID answers: nothing proves that it is its own. `task` is Python Bindu's form of what is shown.
    pub(crate) fn unsigned(
        task: &Value,
        shown: Value,
        state: ReplyState,
        url: &Url,
    ) -> Result<Self, CallError> {
        let nobody = Trusted { did: url.to_string(), keys: Vec::new(), trust: Trust::FirstUse, change: None };
        // A signature of somebody's, by a key that nobody knows, is no more than text.
        let mut task = task.clone();
        let artifacts = task.get_mut("artifacts").and_then(Value::as_array_mut);
        let parts =
            artifacts.into_iter().flatten().filter_map(|artifact| artifact.get_mut("parts")?.as_array_mut());
        for metadata in parts.flatten().filter_map(|part| part.get_mut("metadata")?.as_object_mut()) {
            metadata.remove(text_signature::METADATA_KEY);
        }
        let reply = Self::of(&task, state, &nobody)?;
        Ok(Self { signed: None, task: shown, ..reply })
    }

    /// Reads a task, and checks every signature in its artifacts.
    pub(crate) fn of(task: &Value, state: ReplyState, trusted: &Trusted) -> Result<Self, CallError> {
        let artifacts = task.get("artifacts").and_then(Value::as_array);
        let (mut texts, mut all_signed) = (Vec::new(), true);
        for part in artifacts.into_iter().flatten().flat_map(parts) {
            let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
            let is_text = part.get("kind").and_then(Value::as_str) == Some("text");
            let signature =
                part.pointer("/metadata").and_then(|metadata| metadata.get(text_signature::METADATA_KEY));
            match signature {
                None => all_signed = false,
                Some(signature) => {
                    // Of data and files, Bindu's form signs the caption at most.
                    all_signed &= is_text;
                    let signature: Option<Signature> = signature.as_str().and_then(|text| text.parse().ok());
                    let is_good = signature.is_some_and(|signature| {
                        trusted.keys.iter().any(|key| text_signature::verify(key, text, &signature))
                    });
                    if !is_good {
                        return Err(CallError::Forged {
                            did: trusted.did.clone(),
                            trust: trusted.trust.label(),
                        });
                    }
                }
            }
            if is_text {
                texts.push(text.to_owned());
            }
        }
        let has_result =
            artifacts.is_some_and(|artifacts| artifacts.iter().any(|artifact| !parts(artifact).is_empty()));
        let is_result = has_result && state == ReplyState::Completed;
        let said = if is_result { String::new() } else { last_message(task) };
        // What was written before a question or a failure is neither the question nor the reason.
        let text = if said.is_empty() { texts.join("\n") } else { said };
        let signed = (is_result && all_signed).then_some(trusted.trust);
        let (did, key_change) = (trusted.did.clone(), trusted.change.clone());
        Ok(Self { text, state, did, signed, key_change, task: task.clone() })
    }
}

fn parts(holder: &Value) -> &[Value] {
    holder.get("parts").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn last_message(task: &Value) -> String {
    let last = task.get("history").and_then(Value::as_array).and_then(|history| history.last());
    let is_theirs = |message: &&Value| message.get("role").and_then(Value::as_str) == Some("agent");
    let texts = last.filter(is_theirs).map(parts).unwrap_or_default().iter();
    texts.filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::SigningKey;
    use serde_json::json;

    fn trusted() -> Trusted {
        let keys = [1, 0].map(|seed| SigningKey::from_seed(&[seed; 32]).public_key());
        Trusted { did: "did:bindu:a:b".to_owned(), keys: keys.to_vec(), trust: Trust::Pinned, change: None }
    }

    fn task(parts: &Value) -> Value {
        json!({"status": {"state": "completed"}, "artifacts": [{"parts": parts}]})
    }

    fn read(task: Value) -> Result<Reply, CallError> {
        let state = ReplyState::of(&task).expect("it has ended");
        Reply::of(&task, state, &trusted())
    }

    #[test]
    fn a_question_is_its_own_words_whatever_was_written_before() {
        let question = |state: &str| {
            json!({"status": {"state": state}, "artifacts": [{"parts": [{"kind": "text", "text": "a piece"}]}],
                "history": [{"role": "agent", "parts": [{"kind": "text", "text": "Why?"}]}]})
        };
        for state in ["input-required", "failed"] {
            let reply = read(question(state)).expect("readable");
            assert_eq!((reply.text.as_str(), reply.signed), ("Why?", None), "{state}");
        }
        assert_eq!(read(question("completed")).expect("readable").text, "a piece");
    }

    #[test]
    fn every_part_counts() {
        let signed_by = |seed: u8, text: &str| {
            let signature =
                text_signature::sign(&SigningKey::from_seed(&[seed; 32]), text).expect("plain text");
            json!({"kind": "text", "text": text, "metadata": {"did.message.signature": signature.to_string()}})
        };
        let signed = |text: &str| signed_by(0, text);
        let rotating = read(task(&json!([signed("a"), signed_by(1, "b")]))).expect("good");
        assert_eq!(rotating.signed, Some(Trust::Pinned), "by either of the keys");
        assert!(matches!(read(task(&json!([signed_by(2, "a")]))), Err(CallError::Forged { .. })));
        let good = read(task(&json!([signed("a"), signed("b")]))).expect("good");
        assert_eq!((good.text.as_str(), good.signed), ("a\nb", Some(Trust::Pinned)));
        let half = read(task(&json!([signed("a"), {"kind": "text", "text": "b"}]))).expect("readable");
        assert_eq!(half.signed, None);
        let mut data = signed("");
        data["kind"] = json!("data");
        assert_eq!(
            read(task(&json!([signed("a"), data]))).expect("readable").signed,
            None,
            "a caption is not the data"
        );
        let mut changed = signed("a");
        changed["text"] = json!("c");
        for bad in [changed, json!({"kind": "text", "text": "a", "metadata": {"did.message.signature": 5}})] {
            assert!(matches!(read(task(&json!([signed("a"), bad]))), Err(CallError::Forged { .. })));
        }
        assert_eq!(read(task(&json!([]))).expect("readable").signed, None, "nothing is signed");
    }
}
