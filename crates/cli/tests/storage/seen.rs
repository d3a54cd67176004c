//! What callers and handlers have seen of the program, in the words of the history checker.

use bindu_a2a::{event::TaskEvent, model::TaskState};
use bindu_tasks::{
    ListQuery, Numbered, Owner, RunKey, StoreError, TaskKey, TaskStore,
    history::{History, Subscription},
};
use bindu_testkit::{AgentSetup, caller::TestCaller, http};
use serde_json::{Value, json};
use std::path::Path;

/// A handler that notes each start before it works: which messages were worked on, and how often.
const HANDLER: &str = r#"
while read -r line; do
    printf '%s\n' "$line" >> "$1"
    sleep "$2"
    printf '{"content":"done"}\n'
done
"#;

/// An agent with that handler, which notes its starts in `runs` of this directory.
pub(crate) fn with_handler(setup: AgentSetup, directory: &Path, pause: &str) -> AgentSetup {
    std::fs::write(directory.join("handler.sh"), HANDLER).unwrap();
    setup.argument("--command").argument(&format!("sh handler.sh runs {pause}"))
}

/// The starts that handlers have noted in these directories.
pub(crate) fn started(directories: &[&Path], owner: &Owner) -> Vec<(RunKey, String)> {
    let mut started = Vec::new();
    for directory in directories {
        let text = std::fs::read_to_string(directory.join("runs")).unwrap_or_default();
        for line in text.lines() {
            let task: Value = serde_json::from_str(line).expect("a task's line");
            let id = task["task_id"].as_str().expect("an id").to_owned();
            let messages = task["messages"].as_array().expect("messages");
            let message = messages.last().expect("one")["content"].as_str().expect("a text").to_owned();
            started.push((RunKey { task: TaskKey { owner: owner.clone(), id }, run: 0 }, message));
        }
    }
    started
}

/// A new id of a task or a message, as the program writes it.
pub(crate) fn new_id() -> String {
    let id = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

pub(crate) fn owner_of(caller: &TestCaller) -> Owner {
    Owner::Client { id: caller.id.as_str().into(), subject: None }
}

/// All logs of an owner.
pub(crate) async fn logs(store: &dyn TaskStore, owner: &Owner) -> Vec<(TaskKey, Vec<Numbered>)> {
    let (mut logs, mut token) = (Vec::new(), String::new());
    loop {
        let query = ListQuery { page_size: 500, page_token: token, ..ListQuery::default() };
        let page = store.list(owner, &query).await.expect("a page");
        for task in page.tasks {
            let key = TaskKey { owner: owner.clone(), id: task.id };
            let events = store.events(&key, 0, 10_000).await.expect("a log");
            logs.push((key, events));
        }
        token = page.next_page_token;
        if token.is_empty() {
            return logs;
        }
    }
}

/// How many tasks of an owner have not ended.
pub(crate) async fn unfinished(store: &dyn TaskStore, owner: &Owner) -> Result<usize, StoreError> {
    let mut count = 0;
    for state in [TaskState::Submitted, TaskState::Working] {
        let query = ListQuery { state: Some(state), page_size: 1, ..ListQuery::default() };
        count += store.list(owner, &query).await?.total_size;
    }
    Ok(count)
}

/// The state that a log ends with.
pub(crate) fn end_of(log: &[Numbered]) -> Option<TaskState> {
    match log.last().map(|numbered| &numbered.event) {
        Some(TaskEvent::Status(status)) => Some(status.state),
        _ => None,
    }
}

/// What a subscriber was sent: numbers with what a reader of A2A 1.0 sees.
#[derive(Debug, Clone, Default)]
pub(crate) struct Followed {
    pub(crate) task: String,
    pub(crate) events: Vec<(u64, String)>,
    /// How often the stream broke off and was continued.
    pub(crate) breaks: usize,
    /// The event with which it began again after a failover, and whether its task had ended by then.
    pub(crate) began: Option<(u64, bool)>,
}

/// The number of an event by its id, which carries the database's timeline as well.
fn number(id: u64) -> u64 {
    id % (1 << 32)
}

impl Followed {
    /// The id to continue with.
    pub(crate) fn last(&self) -> u64 {
        let began = self.began.map_or(1, |(id, _)| id);
        self.events.last().map_or(began, |(id, _)| *id)
    }

    /// The stream has begun again, with the whole task: what came before a failover may be lost.
    pub(crate) fn begins_again(&mut self, id: u64, task: &Value) {
        assert!(id >= 1 << 32, "only after a failover: {id} {task}");
        let state = task["status"]["state"].as_str().unwrap_or_default();
        let has_ended =
            ["COMPLETED", "FAILED", "CANCELED", "REJECTED"].iter().any(|end| state.ends_with(end));
        self.began = Some((id, has_ended));
        self.events.clear();
    }

    /// Whether it had ended when the stream began again.
    pub(crate) fn had_ended(&self) -> bool {
        self.events.is_empty() && self.began.is_some_and(|(_, has_ended)| has_ended)
    }

    /// What was sent, as the checker wants it: an event that is the log's own is taken from there. Messages are not sent.
    pub(crate) fn subscription(&self, owner: &Owner, log: &[Numbered]) -> Subscription {
        let at = |number: u64| usize::try_from(number).ok().and_then(|at| log.get(at - 1));
        let mut events: Vec<Numbered> = Vec::new();
        let after = self.began.map_or(1, |(id, _)| number(id));
        for (id, text) in &self.events {
            let number = number(*id);
            let mut next = events.last().map_or(after, |event| event.number) + 1;
            while next < number
                && let Some(message) = at(next).filter(|is| matches!(is.event, TaskEvent::Message(_)))
            {
                events.push(message.clone());
                next += 1;
            }
            let is_same = at(number).filter(|event| shown(&event.event) == *text);
            events.push(is_same.cloned().unwrap_or_else(|| not_in_the_log(number)));
        }
        Subscription { task: TaskKey { owner: owner.clone(), id: self.task.clone() }, after, events }
    }
}

fn not_in_the_log(number: u64) -> Numbered {
    let message = bindu_a2a::model::Message::of_agent("", "", bindu_a2a::Parts::of_text("not in the log"));
    Numbered { number, event: TaskEvent::Message(std::sync::Arc::new(message)) }
}

/// An event of a log as a reader sees it.
fn shown(event: &TaskEvent) -> String {
    match event {
        TaskEvent::Status(status) => format!("status {:?}", status.state).to_lowercase(),
        TaskEvent::Artifact(chunk) => format!("artifact {}", chunk.id),
        TaskEvent::Message(_) => "message".to_owned(),
    }
}

/// An event of a stream in the words of A2A 1.0.
pub(crate) fn shown_in(event: &Value) -> String {
    if let Some(state) = event["statusUpdate"]["status"]["state"].as_str() {
        return format!("status {}", state.trim_start_matches("TASK_STATE_").to_lowercase().replace('_', ""));
    }
    match event["artifactUpdate"]["artifact"]["artifactId"].as_str() {
        Some(id) => format!("artifact {id}"),
        None => event.to_string(),
    }
}

/// The checker's judgement over what one owner has seen; the tasks by their ends, for the test to look at.
pub(crate) fn judge(history: &History) -> Vec<TaskState> {
    assert_eq!(bindu_tasks::history::check(history), []);
    history.logs.iter().filter_map(|(_, log)| end_of(log)).collect()
}

/// A task as this caller sees it; nothing if there is none, or no answer.
pub(crate) async fn task(caller: &TestCaller, url: &str, id: &str) -> Option<Value> {
    let body = http::call("tasks/get", &json!({"taskId": id}));
    let response = caller.request(url, &body, bindu_testkit::caller::now()).send().await.ok()?;
    let answer: Value = serde_json::from_str(&response.text().await.ok()?).ok()?;
    answer.get("result").filter(|task| task.is_object()).cloned()
}

pub(crate) fn has_ended(task: &Value) -> bool {
    matches!(task["status"]["state"].as_str(), Some("completed" | "failed" | "canceled" | "rejected"))
}
