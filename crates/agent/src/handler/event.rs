//! What a handler says while it works on a task, and what all of it amounts to.

use super::{Reply, ReplyState};

/// The longest result that is put together from chunks, in bytes: as long as one that comes in one line.
const MAX_RESULT: usize = 2 * 1024 * 1024;

/// The most artifacts of one task: each chunk is looked for among their names.
const MAX_ARTIFACTS: usize = 64;

/// The name of the artifact that a chunk without a name belongs to.
pub(crate) const RESULT: &str = "result";

/// One thing that a handler says about a task. The last one is [`HandlerEvent::Ended`].
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// It ends: with a result, a question or a failure; without content where the chunks are all of it.
    Ended {
        /// The text.
        content: Option<String>,
        /// Where it leaves the task.
        state: ReplyState,
    },
    /// It has stopped, as it was asked to.
    Canceled,
}

/// Puts together what a handler says about one task.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// By artifact, in the order of their first chunks.
    chunks: Vec<(String, String)>,
    bytes: usize,
}

impl Fold {
    /// Takes one event; the reply, with the last one.
    ///
    /// # Errors
    /// Where the result grows too long, or there is none.
    pub(crate) fn take(&mut self, event: HandlerEvent) -> Result<Option<Reply>, String> {
        match event {
            HandlerEvent::Progress(_) => Ok(None),
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
                if self.chunks.is_empty() {
                    return Err("its answer has neither `content` nor chunks before it".to_owned());
                }
                let texts: Vec<_> =
                    std::mem::take(&mut self.chunks).into_iter().map(|(_, text)| text).collect();
                Ok(Some(Reply { content: texts.join("\n"), state }))
            }
            HandlerEvent::Canceled => Ok(Some(Reply::failed("it was stopped"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(artifact: &str, text: &str) -> HandlerEvent {
        HandlerEvent::Chunk { artifact: artifact.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn chunks_become_one_text() {
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
        assert_eq!(fold.take(end), Ok(Some(Reply::from("ac\nx"))));
    }

    #[test]
    fn content_takes_the_place_of_chunks_and_nothing_is_no_answer() {
        let mut fold = Fold::default();
        let end = |content: Option<&str>| HandlerEvent::Ended {
            content: content.map(str::to_owned),
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
}
