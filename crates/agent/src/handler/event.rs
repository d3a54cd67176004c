//! What a handler says while it works on a task, and what all of it amounts to.

pub(crate) use super::speech::RESULT;
use super::{Content, Reply, ReplyState};
use std::collections::VecDeque;
use tokio::sync::mpsc::{self, error::TrySendError};

/// The longest result that is put together from chunks, in bytes: as long as one that comes in one line.
const MAX_RESULT: usize = 2 * 1024 * 1024;

/// The most artifacts of one task: each chunk is looked for among their names.
const MAX_ARTIFACTS: usize = 64;

/// One thing that a handler says about a task. The last one is [`HandlerEvent::Ended`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HandlerEvent {
    /// How far it is, for a person.
    Progress(String),
    /// A piece of the artifact of this name, to be put behind its earlier ones.
    Chunk {
        /// The artifact.
        artifact: String,
        /// The piece.
        text: String,
    },
    /// A whole artifact.
    Artifact {
        /// Its name.
        name: String,
        /// All of it.
        content: Content,
    },
    /// It ends: with a result, a question or a failure; without content where the chunks are all of it.
    Ended {
        /// The content.
        content: Option<Content>,
        /// Where it leaves the task.
        state: ReplyState,
    },
    /// It has stopped, as it was asked to.
    Canceled,
}

impl HandlerEvent {
    /// Whether callers are told of it as it comes.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Progress(_) | Self::Chunk { .. } | Self::Artifact { .. })
    }
}

/// Puts together what a handler says about one task.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// By artifact, in the order of their first chunks.
    chunks: Vec<(String, String)>,
    bytes: usize,
    has_artifacts: bool,
}

impl Fold {
    /// Takes one event; the reply, with the last one.
    ///
    /// # Errors
    /// Where the result grows too long, or there is none.
    pub(crate) fn take(&mut self, event: HandlerEvent) -> Result<Option<Reply>, String> {
        match event {
            HandlerEvent::Progress(_) => Ok(None),
            HandlerEvent::Artifact { .. } => {
                self.has_artifacts = true;
                Ok(None)
            }
            HandlerEvent::Chunk { artifact, text } => {
                self.bytes += artifact.len() + text.len();
                if self.bytes > MAX_RESULT {
                    return Err("the chunks of its answer are longer than 2 MiB in all".to_owned());
                }
                let is_full = self.chunks.len() >= MAX_ARTIFACTS;
                match self.chunks.iter_mut().find(|(name, _)| *name == artifact) {
                    Some((_, so_far)) => so_far.push_str(&text),
                    None if is_full => {
                        return Err(format!("its answer has more than {MAX_ARTIFACTS} artifacts"));
                    }
                    None => self.chunks.push((artifact, text)),
                }
                Ok(None)
            }
            HandlerEvent::Ended { content: Some(content), state } => Ok(Some(Reply { content, state })),
            HandlerEvent::Ended { content: None, state } => {
                if self.chunks.is_empty() && !self.has_artifacts {
                    return Err("its answer has neither `content` nor chunks before it".to_owned());
                }
                if state == ReplyState::Completed {
                    return Ok(Some(Reply::done()));
                }
                let texts: Vec<_> =
                    std::mem::take(&mut self.chunks).into_iter().map(|(_, text)| text).collect();
                Ok(Some(Reply { content: texts.join("\n").into(), state }))
            }
            HandlerEvent::Canceled => Ok(Some(Reply::failed("it was stopped"))),
        }
    }
}

/// How many events of a task wait to be told before they are put together.
pub(crate) const WAITING: usize = 64;

/// Hands on what a program says about one task, without waiting for whoever stores it: what can't be handed on yet is put
/// together, so that what is held is bounded by what [`Fold`] lets through.
#[derive(Debug)]
pub(crate) struct Teller {
    events: mpsc::Sender<HandlerEvent>,
    held: VecDeque<HandlerEvent>,
}

impl Teller {
    pub(crate) fn new(events: mpsc::Sender<HandlerEvent>) -> Self {
        Self { events, held: VecDeque::new() }
    }

    /// Tells one event.
    pub(crate) fn tell(&mut self, event: HandlerEvent) {
        match (self.held.back_mut(), event) {
            (Some(HandlerEvent::Progress(last)), HandlerEvent::Progress(text)) => *last = text,
            (
                Some(HandlerEvent::Chunk { artifact: last, text: so_far }),
                HandlerEvent::Chunk { artifact, text },
            ) if *last == artifact => {
                so_far.push_str(&text);
            }
            (_, event) => self.held.push_back(event),
        }
        while let Some(event) = self.held.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.held.push_front(event);
                return;
            }
        }
    }

    /// What was not handed on.
    pub(crate) fn rest(self) -> VecDeque<HandlerEvent> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(artifact: &str, text: &str) -> HandlerEvent {
        HandlerEvent::Chunk { artifact: artifact.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn chunks_are_the_result() {
        let mut fold = Fold::default();
        for event in [
            chunk(RESULT, "a"),
            HandlerEvent::Progress("half".to_owned()),
            chunk("b", "x"),
            chunk(RESULT, "c"),
        ] {
            assert_eq!(fold.take(event), Ok(None));
        }
        let end = HandlerEvent::Ended { content: None, state: ReplyState::Completed };
        // They were told as they came.
        assert_eq!(fold.take(end), Ok(Some(Reply::done())));
    }

    #[test]
    fn content_takes_the_place_of_chunks_and_nothing_is_no_answer() {
        let mut fold = Fold::default();
        let end = |content: Option<&str>| HandlerEvent::Ended {
            content: content.map(Content::from),
            state: ReplyState::InputRequired,
        };
        assert!(fold.take(end(None)).is_err());
        assert_eq!(fold.take(chunk(RESULT, "a")), Ok(None));
        assert_eq!(fold.take(end(Some("Which one?"))), Ok(Some(Reply::question("Which one?"))));
        let piece = "x".repeat(MAX_RESULT / 2);
        assert_eq!(fold.take(chunk(RESULT, &piece)), Ok(None));
        assert!(fold.take(chunk(RESULT, &piece)).is_err(), "bounded");
        let mut fold = Fold::default();
        for number in 0..MAX_ARTIFACTS {
            assert_eq!(fold.take(chunk(&number.to_string(), "x")), Ok(None));
        }
        assert_eq!(fold.take(chunk("0", "y")), Ok(None));
        assert!(fold.take(chunk("one more", "x")).is_err(), "bounded as well");
    }

    #[test]
    fn what_can_not_be_handed_on_is_put_together_and_nothing_is_lost() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut teller = Teller::new(sender);
        for number in 0..100 {
            teller.tell(HandlerEvent::Progress(number.to_string()));
            teller.tell(chunk(RESULT, "x"));
            teller.tell(chunk(RESULT, "y"));
        }
        let mut told: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(told.len(), 2);
        told.extend(teller.rest());
        let text: String = told
            .iter()
            .filter_map(|event| match event {
                HandlerEvent::Chunk { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(text, "xy".repeat(100));
    }
}
