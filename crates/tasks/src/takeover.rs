//! What becomes of a run whose process has ended: decided from the end of its task's log.

use crate::Numbered;
use bindu_a2a::{
    event::TaskEvent,
    model::{Message, Role, TaskState},
};
use std::sync::Arc;

/// How often one message is worked on at most: one that ends its process each time must not do so for ever.
const ATTEMPTS: usize = 3;

/// How many of the last events are looked at. A run that has told more is not begun again.
pub(crate) const LOOKED_AT: usize = 256;

/// What becomes of a run whose process has ended, if its worker can work on a message again.
#[derive(Debug, PartialEq)]
pub(crate) enum Takeover {
    /// Its message is worked on again, for this time.
    Again {
        /// The message.
        message: Arc<Message>,
        /// 2 or more.
        attempt: u32,
    },
    /// Its task fails.
    Fail,
}

/// Runs a message again unless a part of its result is told already (callers would read it twice) or it has been tried
/// often enough. A task is submitted once for each time.
pub(crate) fn decide(last: &[Numbered]) -> Takeover {
    let mut attempts = 0;
    for Numbered { event, .. } in last.iter().rev() {
        match event {
            TaskEvent::Status(status) if status.state == TaskState::Submitted => attempts += 1,
            TaskEvent::Status(_) => {}
            TaskEvent::Message(message) if message.role != Role::Agent => {
                let attempts = attempts.max(1);
                return match u32::try_from(attempts + 1) {
                    Ok(attempt) if attempts < ATTEMPTS => {
                        Takeover::Again { message: Arc::clone(message), attempt }
                    }
                    _ => Takeover::Fail,
                };
            }
            TaskEvent::Message(_) | TaskEvent::Artifact(_) => return Takeover::Fail,
        }
    }
    Takeover::Fail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{chunk, message};
    use bindu_a2a::model::TaskStatus;

    fn log(events: &[TaskEvent]) -> Vec<Numbered> {
        events.iter().zip(1..).map(|(event, number)| Numbered { number, event: event.clone() }).collect()
    }

    fn status(state: TaskState) -> TaskEvent {
        TaskEvent::Status(TaskStatus { state, message: None, timestamp: jiff::Timestamp::UNIX_EPOCH })
    }

    #[test]
    fn a_message_runs_again_twice_unless_callers_have_read_a_part_of_its_result() {
        use TaskState::{InputRequired, Submitted, Working};
        let said = |text| TaskEvent::Message(Arc::new(message("1", "1", text)));
        let again = |text, attempt| Takeover::Again { message: Arc::new(message("1", "1", text)), attempt };
        let once = [said("a"), status(Submitted)];
        let working = [status(Working), status(Working), status(Working)];
        let cases: [(&str, Vec<TaskEvent>, Takeover); 7] = [
            ("waits for its turn", once.to_vec(), again("a", 2)),
            ("is worked on", [&once[..], &working].concat(), again("a", 2)),
            ("the second time", [&once[..], &working, &once[1..], &working].concat(), again("a", 3)),
            ("the third time", [&once[..], &once[1..], &once[1..]].concat(), Takeover::Fail),
            ("has a result", [&once[..], &[chunk("a", "x", false)]].concat(), Takeover::Fail),
            (
                "an answer to a question",
                [&once[..], &[chunk("a", "x", false), status(InputRequired), said("b"), status(Submitted)]]
                    .concat(),
                again("b", 2),
            ),
            ("too long ago", working.to_vec(), Takeover::Fail),
        ];
        for (what, events, want) in cases {
            assert_eq!(decide(&log(&events)), want, "{what}");
        }
    }
}
