//! Any order of calls, compared with a simple model of what a store is.

use super::{chunk, client, message, status, submission};
use crate::{ListQuery, RunKey, StoreError, TaskKey, TaskStore};
use bindu_a2a::model::TaskState;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// One call of an owner's about a task.
#[derive(Debug, Clone, Copy)]
pub enum Move {
    /// A message; of four contents, so that some come again.
    Submit(u8),
    /// An event of the current run, or of the one before.
    Append {
        /// Whose.
        is_current: bool,
        /// A chunk, or a status.
        event: Option<TaskState>,
    },
    /// Cancel.
    Cancel,
    /// Read.
    Read,
    /// All events.
    Events,
    /// List.
    List,
    /// Renew the current run's lease, and the one's before.
    Renew,
    /// Forget the conversation.
    Forget,
}

/// A call with its owner and its task.
pub type Step = (u8, u8, Move);

/// Any calls of three owners about three tasks.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = proptest::option::of(proptest::sample::select(TaskState::ALL.to_vec()));
    let step = prop_oneof![
        6 => (0..4u8).prop_map(Move::Submit),
        8 => (prop::bool::weighted(0.8), state).prop_map(|(is_current, event)| Move::Append { is_current, event }),
        1 => Just(Move::Cancel),
        3 => Just(Move::Read),
        2 => Just(Move::Events),
        2 => Just(Move::List),
        2 => Just(Move::Renew),
        1 => Just(Move::Forget),
    ];
    prop::collection::vec((0..3u8, 0..3u8, step), 1..80)
}

#[derive(Debug, Clone)]
struct Modelled {
    run: u64,
    /// The states and chunks, in order.
    log: Vec<&'static str>,
    state: TaskState,
    /// Messages by number.
    messages: Vec<u8>,
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::Rejected => "rejected",
        TaskState::InputRequired => "input",
        TaskState::AuthRequired => "auth",
    }
}

/// Does the calls, and compares each answer with the model's.
///
/// # Panics
/// If one differs.
pub async fn follow(store: &dyn TaskStore, steps: &[Step]) {
    let mut tasks: BTreeMap<(u8, u8), Modelled> = BTreeMap::new();
    // The tasks that messages went to.
    let mut seen: HashMap<(u8, u8), u8> = HashMap::new();
    for (number, (who, id, step)) in steps.iter().copied().enumerate() {
        let at = format!("step {number} of {steps:?}");
        let (owner, task_id) = (format!("owner {who}"), id.to_string());
        let key = TaskKey { owner: client(&owner), id: task_id.clone() };
        let mine = tasks.get_mut(&(who, id));
        match step {
            Move::Submit(content) => {
                let message = message(&task_id, &format!("m{content}"), "hello");
                let done = store.submit(submission(&owner, message)).await;
                if let Some(earlier) = seen.get(&(who, content)) {
                    let done = done.unwrap_or_else(|error| panic!("{error}: {at}"));
                    assert_eq!((done.run, done.task.task.id), (None, earlier.to_string()), "{at}");
                    continue;
                }
                let superseded = match mine {
                    Some(mine) if mine.state.is_terminal() => {
                        assert_eq!(done, Err(StoreError::Ended(mine.state)), "{at}");
                        continue;
                    }
                    Some(mine) => mine.state.is_active().then_some(mine.run),
                    None => None,
                };
                let mine = tasks.entry((who, id)).or_insert_with(|| Modelled {
                    run: 0,
                    log: Vec::new(),
                    state: TaskState::Submitted,
                    messages: Vec::new(),
                });
                mine.run += 1;
                mine.state = TaskState::Submitted;
                mine.log.extend(["message", "submitted"]);
                mine.messages.push(content);
                seen.insert((who, content), id);
                let done = done.unwrap_or_else(|error| panic!("{error}: {at}"));
                assert_eq!(done.run.map(|run| run.run), Some(mine.run), "{at}");
                assert_eq!(done.superseded.map(|run| run.run), superseded, "{at}");
                assert_eq!(done.task.number, mine.log.len() as u64, "{at}");
            }
            Move::Append { is_current, event } => {
                let current = mine.as_ref().map_or(1, |mine| mine.run);
                let run =
                    RunKey { task: key, run: if is_current { current } else { current.wrapping_sub(1) } };
                let events = vec![event.map_or_else(|| chunk("a", "x", true), status)];
                let done = store.append(&run, events).await;
                match mine {
                    Some(mine) if is_current && !mine.state.is_terminal() => {
                        mine.log.push(event.map_or("chunk", word));
                        mine.state = event.unwrap_or(mine.state);
                        assert_eq!(done, Ok(mine.log.len() as u64), "{at}");
                    }
                    _ => assert_eq!(done, Err(StoreError::Superseded), "{at}"),
                }
            }
            Move::Cancel => {
                let done = store.cancel(&key).await.map(|done| done.task.number);
                assert_eq!(done, canceled(mine), "{at}");
            }
            Move::Read => {
                let done = store.read(&key).await.map(|done| {
                    (done.number, done.task.status.state, done.task.history.len(), done.task.artifacts.len())
                });
                let want = mine.map(|mine| {
                    let chunks = usize::from(mine.log.contains(&"chunk"));
                    (mine.log.len() as u64, mine.state, mine.messages.len(), chunks)
                });
                assert_eq!(done, want.ok_or(StoreError::NotFound), "{at}");
            }
            Move::Events => {
                let done = store.events(&key, 0, 1000).await.map(|events| {
                    assert!(events.iter().map(|event| event.number).eq(1..=events.len() as u64), "{at}");
                    events.iter().map(|event| said(&event.event)).collect::<Vec<_>>()
                });
                assert_eq!(done, mine.map(|mine| mine.log.clone()).ok_or(StoreError::NotFound), "{at}");
            }
            Move::List => {
                let query = ListQuery { page_size: 100, ..ListQuery::default() };
                let page =
                    store.list(&key.owner, &query).await.unwrap_or_else(|error| panic!("{error}: {at}"));
                let mut ids: Vec<_> =
                    page.tasks.iter().map(|task| (task.id.clone(), task.status.state)).collect();
                ids.sort_by(|one, other| one.0.cmp(&other.0));
                let want: Vec<_> = tasks
                    .iter()
                    .filter(|((owner, _), _)| *owner == who)
                    .map(|((_, id), task)| (id.to_string(), task.state))
                    .collect();
                assert_eq!(ids, want, "{at}");
            }
            Move::Renew => {
                let current = mine.as_ref().map_or(1, |mine| mine.run);
                let runs = [current, current + 1].map(|run| RunKey { task: key.clone(), run });
                let lost = store.renew(&runs).await.unwrap_or_else(|error| panic!("{error}: {at}"));
                let counts = mine.is_some_and(|mine| !mine.state.is_terminal());
                assert_eq!(lost.len(), 2 - usize::from(counts), "{at}");
            }
            Move::Forget => {
                let done = store.forget_context(&key.owner, &format!("c-{task_id}")).await;
                let want = mine.map(|_| 1).ok_or(StoreError::NotFound);
                assert_eq!(done, want, "{at}");
                tasks.remove(&(who, id));
                seen.retain(|(owner, _), task| (*owner, *task) != (who, id));
            }
        }
    }
}

fn canceled(task: Option<&mut Modelled>) -> Result<u64, StoreError> {
    let task = task.ok_or(StoreError::NotFound)?;
    if task.state.is_terminal() {
        return Err(StoreError::Ended(task.state));
    }
    task.state = TaskState::Canceled;
    task.log.push("canceled");
    Ok(task.log.len() as u64)
}

fn said(event: &bindu_a2a::event::TaskEvent) -> &'static str {
    match event {
        bindu_a2a::event::TaskEvent::Message(_) => "message",
        bindu_a2a::event::TaskEvent::Status(status) => word(status.state),
        bindu_a2a::event::TaskEvent::Artifact(_) => "chunk",
    }
}
