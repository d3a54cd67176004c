//! Whether what callers, subscribers and handlers have seen of a store fits what it holds in the end: a pure function, for
//! tests that kill replicas and databases.
//!
//! Each accepted message is in exactly one log, once, and was worked on at most once; each log is numbered without gaps and ends
//! with its only terminal status; each acknowledged event is where it was acknowledged; each subscriber has seen a piece of
//! the log without a gap.

use crate::{Numbered, RunKey, TaskKey};
use bindu_a2a::event::TaskEvent;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The messages whose sending was answered: the task, and the message's id.
    pub accepted: Vec<(TaskKey, String)>,
    /// The handlers' starts: the run, and the id of the message that it answers.
    pub started: Vec<(RunKey, String)>,
    /// The events whose appending was answered.
    pub acknowledged: Vec<(TaskKey, Numbered)>,
    /// What each subscriber has seen, in its order.
    pub subscriptions: Vec<Subscription>,
    /// The logs as they are in the end.
    pub logs: Vec<(TaskKey, Vec<Numbered>)>,
    /// Whether all work has come to its end: then each task has.
    pub is_over: bool,
}

/// What a subscriber has seen.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Of which task.
    pub task: TaskKey,
    /// Behind which number it began.
    pub after: u64,
    /// The events.
    pub events: Vec<Numbered>,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An accepted message is in no log.
    MessageLost(String),
    /// A message is in the logs twice.
    MessageTwice(String),
    /// A handler was started twice for one message.
    RunTwice(String),
    /// A log's numbers are not 1, 2, 3 ...
    NotNumbered(String),
    /// Something follows a terminal status.
    AfterTheEnd(String),
    /// All is over, and a task has not ended.
    NotEnded(String),
    /// An acknowledged event is not where it was acknowledged.
    EventLost(String, u64),
    /// A subscriber has seen something else than the log holds, or not in its order, or not all of it.
    NotThePrefix(String, u64),
    /// There are two logs of one task, or something was seen of a task without a log.
    NoOneLog(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What does not fit; nothing for a history that a correct store makes.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut logs: HashMap<&TaskKey, &[Numbered]> = HashMap::new();
    let mut messages: BTreeMap<&str, usize> = BTreeMap::new();
    for (task, log) in &history.logs {
        if logs.insert(task, log).is_some() {
            found.push(Violation::NoOneLog(task.id.clone()));
        }
        check_log(&task.id, log, history.is_over, &mut found);
        for numbered in log {
            if let TaskEvent::Message(message) = &numbered.event {
                *messages.entry(&message.id).or_default() += 1;
            }
        }
    }
    for (id, count) in &messages {
        if *count > 1 {
            found.push(Violation::MessageTwice((*id).to_owned()));
        }
    }
    for (task, id) in &history.accepted {
        let is_message =
            |numbered: &Numbered| matches!(&numbered.event, TaskEvent::Message(message) if message.id == *id);
        if !logs.get(task).is_some_and(|log| log.iter().any(is_message)) {
            found.push(Violation::MessageLost(id.clone()));
        }
    }
    let mut started: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, message) in &history.started {
        *started.entry(message).or_default() += 1;
    }
    let twice = started.into_iter().filter(|(_, count)| *count > 1);
    found.extend(twice.map(|(id, _)| Violation::RunTwice(id.to_owned())));
    for (task, numbered) in &history.acknowledged {
        if at(&logs, task, numbered.number) != Some(&numbered.event) {
            found.push(Violation::EventLost(task.id.clone(), numbered.number));
        }
    }
    for subscription in &history.subscriptions {
        check_subscription(subscription, &logs, &mut found);
    }
    found
}

fn at<'a>(logs: &HashMap<&TaskKey, &'a [Numbered]>, task: &TaskKey, number: u64) -> Option<&'a TaskEvent> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    logs.get(task)?.get(place).filter(|numbered| numbered.number == number).map(|numbered| &numbered.event)
}

fn check_log(id: &str, log: &[Numbered], is_over: bool, found: &mut Vec<Violation>) {
    if log.iter().zip(1..).any(|(numbered, number)| numbered.number != number) {
        found.push(Violation::NotNumbered(id.to_owned()));
    }
    let ends = |numbered: &Numbered| matches!(&numbered.event, TaskEvent::Status(status) if status.state.is_terminal());
    match log.iter().position(ends) {
        Some(end) if end + 1 < log.len() => found.push(Violation::AfterTheEnd(id.to_owned())),
        None if is_over => found.push(Violation::NotEnded(id.to_owned())),
        _ => {}
    }
}

fn check_subscription(
    subscription: &Subscription,
    logs: &HashMap<&TaskKey, &[Numbered]>,
    found: &mut Vec<Violation>,
) {
    let task = &subscription.task;
    if !logs.contains_key(task) {
        if !subscription.events.is_empty() {
            found.push(Violation::NoOneLog(task.id.clone()));
        }
        return;
    }
    for (numbered, number) in subscription.events.iter().zip(subscription.after + 1..) {
        if numbered.number != number || at(logs, task, number) != Some(&numbered.event) {
            found.push(Violation::NotThePrefix(task.id.clone(), number));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;
    use bindu_a2a::{
        Parts,
        model::{Message, Role, TaskState, TaskStatus},
    };
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn key(id: &str) -> TaskKey {
        TaskKey { owner: Owner::Everybody, id: id.to_owned() }
    }

    fn message(id: &str, task: &str) -> TaskEvent {
        let message = Message { role: Role::User, ..Message::of_agent(task, "c", Parts::of_text(id)) };
        TaskEvent::Message(Arc::new(Message { id: id.to_owned(), ..message }))
    }

    fn status(state: TaskState, second: i64) -> TaskEvent {
        let timestamp = Timestamp::from_second(second).expect("a time");
        TaskEvent::Status(TaskStatus { state, message: None, timestamp })
    }

    /// Some tasks as a correct store keeps them, with a subscriber from the start and one from the middle.
    fn good(tasks: usize) -> History {
        let mut history = History { is_over: true, ..History::default() };
        for number in 0..tasks {
            let id = format!("t{number}");
            let events = [
                message(&format!("m{number}"), &id),
                status(TaskState::Submitted, 1),
                status(TaskState::Working, 2),
                status(TaskState::Completed, 3),
            ];
            let log: Vec<_> = (1..).zip(events).map(|(number, event)| Numbered { number, event }).collect();
            history.accepted.push((key(&id), format!("m{number}")));
            history.started.push((RunKey { task: key(&id), run: 1 }, format!("m{number}")));
            history.acknowledged.extend(log.iter().skip(2).map(|event| (key(&id), event.clone())));
            for after in [0_u64, 2] {
                let events = log.iter().skip(after as usize).cloned().collect();
                history.subscriptions.push(Subscription { task: key(&id), after, events });
            }
            history.logs.push((key(&id), log));
        }
        history
    }

    /// What a store may do wrong.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        LoseTask,
        LoseMiddle,
        LoseEnd,
        Twice,
        Swap,
        AfterEnd,
        SecondLog,
        MessageTwice,
        RunTwice,
        SubscriberSkips,
        SubscriberSeesTwice,
        SubscriberSeesOther,
        Change,
    }

    const FAULTS: [Fault; 13] = [
        Fault::LoseTask,
        Fault::LoseMiddle,
        Fault::LoseEnd,
        Fault::Twice,
        Fault::Swap,
        Fault::AfterEnd,
        Fault::SecondLog,
        Fault::MessageTwice,
        Fault::RunTwice,
        Fault::SubscriberSkips,
        Fault::SubscriberSeesTwice,
        Fault::SubscriberSeesOther,
        Fault::Change,
    ];

    fn seed(history: &mut History, fault: Fault, at: usize) {
        let other = status(TaskState::Failed, 9);
        match fault {
            Fault::LoseTask => drop(history.logs.remove(at)),
            Fault::LoseMiddle => drop(history.logs[at].1.remove(1)),
            Fault::LoseEnd => drop(history.logs[at].1.pop()),
            Fault::Twice => {
                let event = history.logs[at].1[2].clone();
                history.logs[at].1.insert(2, event);
            }
            Fault::Swap => history.logs[at].1.swap(1, 2),
            Fault::AfterEnd => history.logs[at].1.push(Numbered { number: 5, event: other }),
            Fault::SecondLog => {
                let log = history.logs[at].clone();
                history.logs.push(log);
            }
            Fault::MessageTwice => {
                let id = format!("m{at}");
                history.logs[at].1.insert(3, Numbered { number: 4, event: message(&id, "t") });
                history.logs[at].1[4].number = 5;
            }
            Fault::RunTwice => {
                let (run, message) = history.started[at].clone();
                history.started.push((RunKey { run: 2, ..run }, message));
            }
            Fault::SubscriberSkips => drop(history.subscriptions[2 * at].events.remove(1)),
            Fault::SubscriberSeesTwice => {
                let event = history.subscriptions[2 * at].events[1].clone();
                history.subscriptions[2 * at].events.insert(1, event);
            }
            Fault::SubscriberSeesOther => history.subscriptions[2 * at + 1].events[0].event = other,
            Fault::Change => history.logs[at].1[2].event = other,
        }
    }

    proptest! {
        #[test]
        fn each_seeded_fault_is_found(tasks in 1..6_usize, at in 0..6_usize, fault in 0..FAULTS.len()) {
            let mut history = good(tasks);
            prop_assert_eq!(check(&history), []);
            seed(&mut history, FAULTS[fault], at % tasks);
            prop_assert!(!check(&history).is_empty(), "{:?} is not found", FAULTS[fault]);
        }
    }

    #[test]
    fn what_nobody_has_acknowledged_may_be_missing_and_a_subscriber_may_stop_anywhere() {
        let mut history = good(2);
        history.subscriptions[0].events.truncate(2);
        history.logs.push((key("unanswered"), Vec::new()));
        history.is_over = false;
        assert_eq!(check(&history), []);
        history.is_over = true;
        assert_eq!(check(&history), [Violation::NotEnded("unanswered".to_owned())]);
    }
}
