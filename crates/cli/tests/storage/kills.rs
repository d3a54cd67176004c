//! kill -9 at each system call of a send, with tasks in SQLite.

use crate::{
    AUTHOR, agent, hydra, names,
    seen::{has_ended, judge, logs, owner_of, started, task, with_handler},
};
use bindu_a2a::{event::TaskEvent, model::TaskState};
use bindu_tasks::{SqliteOptions, SqliteStore, TaskStore, history::History};
use bindu_testkit::{
    AgentProcess, AgentSetup,
    caller::{TestCaller, now},
    http, install,
    kills::{self, Place},
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is sent before, and is there whatever is killed.
const EARLIER: &str = "earlier";
/// What is sent to the agent that is killed.
const SENT: &str = "sent";
/// How often it is sent more after that, if it lives: calls that one run has made in the send may come here in another one.
const LATER: usize = 10;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// The default: the file in the data directory, of one process.
    Alone,
    /// A file that is named, which another process has open and uses.
    Shared,
}

/// An agent with an identity and one finished task, from which each case is copied.
struct World {
    disk: TempDir,
    alice: TestCaller,
    sharing: Sharing,
}

impl World {
    async fn make(sharing: Sharing) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let alice = format!("did:bindu:alice:sends:{sharing:?}").to_lowercase();
        let world = Self { disk, alice: TestCaller::new(hydra().await, &alice).await, sharing };
        let setup = world.setup(world.disk.path()).await;
        let mut agent = setup.start().await;
        http::healthy(&agent.url).await;
        let (status, answer) = world.alice.send(&agent.url, &http::message(EARLIER, EARLIER)).await;
        assert_eq!(status, 200, "{answer}");
        world.ended(&agent.url, EARLIER).await;
        agent.terminate();
        world
    }

    fn name(&self) -> String {
        format!("Sends {:?}", self.sharing)
    }

    async fn setup(&self, disk: &Path) -> AgentSetup {
        let setup = agent(disk).named(AUTHOR, &self.name());
        let setup = setup.set_all(hydra().await.environment());
        // One worker: the run is much the same each time.
        let setup = setup.set("TOKIO_WORKER_THREADS", "1").set("BINDU_COMMAND_WORKERS", "1");
        let setup = match self.sharing {
            Sharing::Alone => setup,
            Sharing::Shared => setup.set("DATABASE_URL", "sqlite:.bindu/tasks.db"),
        };
        with_handler(setup, disk, "0")
    }

    /// A copy, with which something can be done.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        let (from, to) = (format!("{}/.", self.disk.path().display()), copy.path().display().to_string());
        install::run(std::process::Command::new("cp").args(["-a", &from, &to]));
        copy
    }

    async fn ended(&self, url: &str, id: &str) -> Value {
        http::eventually("the task ends", async || task(&self.alice, url, id).await.filter(has_ended)).await
    }

    /// Sends the message, and follows its task until that or the agent has ended. The last that was seen of the task.
    async fn send(&self, agent: &mut AgentProcess, at: u64) -> Option<Value> {
        let request = self.alice.request(&agent.url, &http::message(SENT, SENT), at);
        let answer = request.send().await.ok()?.text().await.ok()?;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["result"]["id"], SENT, "{answer}");
        let mut last = answer["result"].clone();
        http::eventually("the task or the agent has ended", async || {
            if let Some(seen) = task(&self.alice, &agent.url, SENT).await {
                last = seen;
            }
            (has_ended(&last) || agent.has_ended()).then_some(())
        })
        .await;
        Some(last)
    }

    /// Goes on asking an agent that was not hit yet.
    async fn go_on(&self, agent: &mut AgentProcess) {
        for number in 0..LATER {
            let id = format!("later-{number}");
            let request = self.alice.request(&agent.url, &http::message(&id, &id), now());
            let _ = request.send().await;
            for _ in 0..5 {
                if agent.has_ended() {
                    return;
                }
                task(&self.alice, &agent.url, &id).await;
            }
        }
    }

    /// The places of a send: those of a run with one that a run without one does not have.
    async fn places(&self) -> Vec<Place> {
        let mut found = [Vec::new(), Vec::new()];
        for (sends, found) in [false, true].into_iter().zip(&mut found) {
            let disk = self.copy();
            let trace = disk.path().join("trace");
            let setup = self.setup(disk.path()).await;
            let mut agent = setup.under(&install::strace(), kills::recording_database(&trace)).start().await;
            http::healthy(&agent.url).await;
            if sends {
                self.send(&mut agent, now()).await.expect("an answer");
            }
            agent.kill();
            let text = std::fs::read_to_string(&trace).unwrap();
            *found = kills::places_on_database(&text, Path::new(".bindu"), "tasks.db");
        }
        let [without, mut with] = found;
        with.retain(|place| !without.contains(place));
        with
    }

    /// Tries a place again that was not hit: no two runs make the same calls.
    async fn tried(&self, place: &Place) -> (bool, bool) {
        let mut outcome = (false, false);
        for _ in 0..3 {
            outcome = self.case(place).await;
            if outcome.0 {
                break;
            }
        }
        outcome
    }

    /// Kills an agent there, and looks whether all that is left answers as if nothing had been. Whether it was hit, and
    /// whether an answer had gone out before.
    async fn case(&self, place: &Place) -> (bool, bool) {
        let (how, disk) = (format!("{:?} killed at {place:?}", self.sharing), self.copy());
        let setup = self.setup(disk.path()).await;
        // Of the same file, with an identity of its own.
        let beside = self.copy();
        let other = match self.sharing {
            Sharing::Alone => None,
            Sharing::Shared => {
                let file = format!("sqlite:{}", file_of(disk.path()).display());
                Some(self.setup(beside.path()).await.set("DATABASE_URL", file).start().await)
            }
        };
        let killed = kills::killing(place, Path::new(".bindu"), disk.path());
        let mut agent = setup.clone().under(&install::strace(), killed).spawn();
        let stamp = now();
        let seen = match agent.listens().await {
            Ok(()) => self.send(&mut agent, stamp).await,
            Err(_) => None,
        };
        self.go_on(&mut agent).await;
        let was_hit = agent.has_ended();
        agent.kill();
        setup.until_port_is_free().await;
        let again = setup.start().await;
        let mut urls = vec![again.url.clone()];
        urls.extend(other.as_ref().map(|other| other.url.clone()));
        for url in &urls {
            self.is_consistent(url, stamp, seen.as_ref(), &how).await;
        }
        if self.sharing == Sharing::Alone {
            let end = self.ended(&again.url, SENT).await;
            self.is_what_was_seen(&end, seen.as_ref(), &how);
        }
        drop((again, other));
        self.logs_are_right(&[disk.path(), beside.path()], seen.as_ref(), &how).await;
        (was_hit, seen.is_some())
    }

    /// That an agent has the earlier task and this one, however it is asked.
    async fn is_consistent(&self, url: &str, stamp: u64, seen: Option<&Value>, how: &str) {
        if let Some(seen) = seen {
            let found = task(&self.alice, url, SENT).await;
            let found = found.unwrap_or_else(|| panic!("{how}: an answered task is not there"));
            self.is_what_was_seen(&found, Some(seen), how);
        }
        // The very same signed request, then the same message, signed anew.
        for at in [stamp, stamp + 1, stamp] {
            let (status, answer) =
                http::answer(self.alice.request(url, &http::message(SENT, SENT), at)).await;
            assert_eq!(status, 200, "{how}: {answer}");
            assert_eq!(answer["result"]["id"], SENT, "{how}: {answer}");
        }
        let earlier = task(&self.alice, url, EARLIER).await.unwrap_or_default();
        assert_eq!(earlier["status"]["state"], "completed", "{how}: {earlier}");
    }

    /// That an end that was seen is the end.
    fn is_what_was_seen(&self, found: &Value, seen: Option<&Value>, how: &str) {
        if let Some(seen) = seen.filter(|seen| has_ended(seen)) {
            assert_eq!(found, seen, "{how}");
        }
    }

    async fn logs_are_right(&self, disks: &[&Path], seen: Option<&Value>, how: &str) {
        let owner = owner_of(&self.alice);
        let did = names(&self.name()).did;
        let options = SqliteOptions { is_alone: true, ..SqliteOptions::new(file_of(disks[0]), did) };
        let store = SqliteStore::open(options).await.unwrap();
        // In a shared file the other process waits for a lease to end; what was sent later may be under way.
        for abandoned in store.take_abandoned(100).await.unwrap() {
            let is_sent = abandoned.run.task.id == SENT;
            assert!(!is_sent || self.sharing == Sharing::Shared, "{how}: the restarted agent has left it");
            let failed = bindu_a2a::model::TaskStatus {
                state: TaskState::Failed,
                message: None,
                timestamp: abandoned.task.task.status.timestamp,
            };
            store.append(&abandoned.run, vec![TaskEvent::Status(failed)]).await.unwrap();
        }
        let key = |id: &str| bindu_tasks::TaskKey { owner: owner.clone(), id: id.to_owned() };
        let mut accepted = vec![(key(EARLIER), EARLIER.to_owned())];
        accepted.extend(seen.map(|_| (key(SENT), SENT.to_owned())));
        let logs = logs(&store, &owner).await;
        let count = |id: &str| logs.iter().filter(|(key, _)| key.id == id).count();
        assert_eq!((count(EARLIER), count(SENT)), (1, 1), "{how}: one task for each message");
        // What the first run of all noted was copied to each directory.
        let mut runs = started(disks, &owner);
        runs.retain(|(_, message)| message != EARLIER);
        let history = History { accepted, started: runs, logs, is_over: true, ..History::default() };
        let ends = judge(&history);
        assert!(
            ends.iter().all(|end| matches!(end, TaskState::Completed | TaskState::Failed)),
            "{how}: {ends:?}"
        );
    }
}

fn file_of(disk: &Path) -> PathBuf {
    disk.join(".bindu/tasks.db")
}

async fn killed_at_each(sharing: Sharing) {
    let world = World::make(sharing).await;
    let places = world.places().await;
    assert!(places.len() > 20, "{places:?}");
    let hits: Vec<_> =
        stream::iter(&places).map(|place| world.tried(place)).buffered(4).collect::<Vec<_>>().await;
    let hit = hits.iter().filter(|(was_hit, _)| *was_hit).count();
    let unanswered = hits.iter().filter(|(was_hit, answered)| *was_hit && !*answered).count();
    println!("{sharing:?}: {} places, {hit} hit, {unanswered} of them before the answer", places.len());
    let missed: Vec<_> = places.iter().zip(&hits).filter(|(_, (was_hit, _))| !was_hit).collect();
    assert!(hit * 4 >= places.len() * 3, "{hit} of {} were hit, not {missed:?}", places.len());
    assert!(unanswered > 0 && unanswered < hit, "before and after the answer: {unanswered} of {hit}");
}

/// kill -9 at the locks, reads, writes, syncs, cuts and opens of the database's files from the arrival of a signed send to the end
/// of its task.
///
/// Promise: after a restart an answered message has its task, an end that was seen is the end; the same signed request, and the
/// same message signed anew, are answered with that task; no message is there twice, none is worked on twice, each task ends once.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_killed_at_each_system_call() {
    killed_at_each(Sharing::Alone).await;
}

/// The same in a file that another process uses meanwhile.
///
/// Promise: the same, and the other process answers so at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_to_a_shared_file_killed_at_each_system_call() {
    killed_at_each(Sharing::Shared).await;
}
