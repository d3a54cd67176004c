//! kill -9, at each system call and at random.

use crate::{Names, bao, full, hydra, is_one, names, public_key, repeat, rotate};
use bindu_identity::PublicKey;
use bindu_testkit::{
    AgentProcess, AgentSetup, http, install,
    kills::{self, Place},
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use std::{path::Path, time::Duration};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Nothing anywhere.
    First,
    /// The store has the identity, the disk was lost.
    Restore,
    /// The store holds a key that replaces the disk's.
    Rotation,
    /// The store's record is gone, and the disk has the key that Hydra names.
    WriteBack,
    /// The same; the record's last version was deleted.
    Deleted,
    /// A key is prepared and due.
    Activation,
    /// A rotation is wished for by the old key's fingerprint: a key is prepared and made the current one.
    Recreation,
}

const STARTS: [Start; 7] = [
    Start::First,
    Start::Restore,
    Start::Rotation,
    Start::WriteBack,
    Start::Deleted,
    Start::Activation,
    Start::Recreation,
];

impl Start {
    /// At which version the keys record is once it is through.
    fn version(self) -> u64 {
        match self {
            Self::First | Self::Restore | Self::WriteBack => 1,
            Self::Rotation | Self::Deleted => 2,
            Self::Recreation => 3,
            // Prepared, and made due by hand.
            Self::Activation => 4,
        }
    }

    /// Of a run without `soak` every so many places: a replica's start is much the same in all of them.
    fn step(self) -> usize {
        match self {
            Self::First | Self::Restore | Self::Rotation => 1,
            _ if repeat() > 1 => 1,
            _ => 3,
        }
    }
}

/// An agent before the start that is to be killed.
struct Case {
    names: Names,
    disk: TempDir,
    setup: AgentSetup,
    /// The key that it had before.
    old: Option<String>,
    /// The key that it must come back with, if that is known.
    key: Option<String>,
}

impl Case {
    async fn prepare(start: Start, name: &str) -> Self {
        let names = names(name.trim());
        let disk = tempfile::tempdir().unwrap();
        // One worker: the run is the same each time, but for the order of answers.
        let setup = full(disk.path(), &names).await.set("TOKIO_WORKER_THREADS", "1");
        // What a start leaves undone a running replica does.
        let mut setup = setup.set("BINDU_RECONCILE_INTERVAL", "1s");
        let mut old = None;
        if start != Start::First {
            let agent = setup.start().await;
            http::healthy(&agent.url).await;
            old = Some(public_key(&agent.url, &names.did).await);
            agent.kill();
            setup.until_port_is_free().await;
        }
        let mut key = old.clone();
        match start {
            Start::First => {}
            Start::Restore => std::fs::remove_dir_all(data_dir(&disk)).unwrap(),
            Start::Rotation => key = Some(rotate(&names).await),
            Start::WriteBack => delete(&names, "metadata").await,
            Start::Deleted => delete(&names, "data").await,
            Start::Activation => key = Some(prepare_a_key(&setup, &names).await),
            Start::Recreation => {
                let fingerprint = old.as_ref().unwrap().parse::<PublicKey>().unwrap().fingerprint();
                setup = setup.set("BINDU_RECREATE_KEYS", fingerprint.to_string());
                key = None;
            }
        }
        Self { names, disk, setup, old, key }
    }

    /// Waits until the agent has ended, or has come to its end: it is healthy, and all three know the same key.
    async fn has_ended_or_is_done(&self, agent: &mut AgentProcess, start: Start) {
        if agent.listens().await.is_err() {
            return;
        }
        let url = format!("{}/health", agent.url);
        http::eventually("it has ended or done all", async || {
            if agent.has_ended() {
                return Some(());
            }
            let health = http::client().get(&url).send().await.ok()?.text().await.ok()?;
            let (version, record) = bao().await.record(&self.names.keys_path()).await?;
            let key = key_in(&record);
            let client = hydra().await.client(&self.names.did).await?;
            let is_named = client["metadata"]["public_key"] == key.as_str();
            (health.contains("\"healthy\"") && version >= start.version() && is_named).then_some(())
        })
        .await;
    }

    /// That the next start is right without any hand.
    async fn comes_back(&self, start: Start, how: &str) {
        self.setup.until_port_is_free().await;
        let mut agent = self.setup.start().await;
        self.has_ended_or_is_done(&mut agent, start).await;
        http::healthy(&agent.url).await;
        let held = public_key(&agent.url, &self.names.did).await;
        if let Some(key) = &self.key {
            assert_eq!(*key, held, "{how}:\n{}", agent.log());
        }
        let (version, record) = bao().await.record(&self.names.keys_path()).await.expect("keys");
        assert_eq!((version, key_in(&record)), (start.version(), held.clone()), "{how}:\n{}", agent.log());
        let client = hydra().await.client(&self.names.did).await.expect("a client");
        assert_eq!(client["metadata"]["public_key"], held.as_str(), "{how}");
        match start {
            Start::First | Start::Restore | Start::WriteBack => {
                assert_eq!(is_one(&self.names).await, held, "{how}");
            }
            Start::Activation | Start::Recreation => {
                assert_ne!(self.old.as_ref(), Some(&held), "{how}");
                assert_eq!(record["generation"], 1, "{how}: rotated once");
                assert!(record.get("next_private_key").is_none(), "{how}");
            }
            Start::Rotation | Start::Deleted => {}
        }
        self.disk_is_whole(how);
    }

    fn disk_is_whole(&self, how: &str) {
        let leftovers = std::fs::read_dir(data_dir(&self.disk)).unwrap();
        let names: Vec<_> =
            leftovers.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.starts_with(".writing-")), "{how}: {names:?}");
        for file in ["private.pem", "public.pem", "identity.json", "oauth_credentials.json"] {
            assert!(names.iter().any(|name| name == file), "{how}: {file} is missing");
        }
    }
}

fn data_dir(disk: &TempDir) -> std::path::PathBuf {
    disk.path().join(".bindu")
}

fn key_in(record: &Value) -> String {
    let pem = record["public_key"].as_str().expect("a PEM");
    bindu_identity::pem::decode_public_key(pem).expect("a key").to_string()
}

async fn delete(names: &Names, kind: &str) {
    let path = format!("secret/{kind}/bindu/{}", names.keys_path());
    let (status, answer) = bao().await.call("DELETE", &path, None).await;
    assert_eq!(status, 204, "{answer}");
}

/// Prepares a key by command, and makes it due at once. The prepared key.
async fn prepare_a_key(setup: &AgentSetup, names: &Names) -> String {
    let command = setup.clone().command(&["identity", "rotate", "--apply"]);
    let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    let (_, mut record) = bao().await.record(&names.keys_path()).await.expect("keys");
    record["next_at"] = "2026-01-01T00:00:00Z".into();
    bao().await.put(&names.keys_path(), &record).await;
    let pem = record["next_public_key"].as_str().expect("a PEM");
    bindu_identity::pem::decode_public_key(pem).expect("a key").to_string()
}

/// The places of one kind of start, from its exec until all is done: those of the shortest of three runs. On a busy machine
/// Hydra's answer may come after Vault's, and a write-back then takes passes that other runs don't have.
async fn places_of(start: Start, round: usize) -> Vec<Place> {
    let mut shortest = record_places(start, &format!("Recorded {start:?} {round}")).await;
    for run in 1..3 {
        let places = record_places(start, &format!("Recorded {start:?} {round} {run}")).await;
        if places.len() < shortest.len() {
            shortest = places;
        }
    }
    shortest
}

async fn record_places(start: Start, name: &str) -> Vec<Place> {
    let case = Case::prepare(start, name).await;
    let trace = case.disk.path().join("trace");
    let mut agent = case.setup.clone().under(&install::strace(), kills::recording(&trace)).start().await;
    case.has_ended_or_is_done(&mut agent, start).await;
    agent.kill();
    let text = std::fs::read_to_string(&trace).unwrap();
    kills::places(&text, Path::new(".bindu"))
}

/// A case's name of a place that DIDs and paths can have.
fn named(how: &str) -> String {
    how.replace(['"', ':', '/', '.', '(', ')', '{', '}', ','], " ").trim().to_owned()
}

/// Says how many of the places were hit; fails if more than a quarter was missed.
fn assert_hit(what: &str, places: &[Place], hits: &[bool]) {
    let hit = hits.iter().filter(|hit| **hit).count();
    let missed: Vec<_> = places.iter().zip(hits).filter(|(_, hit)| !**hit).map(|(place, _)| place).collect();
    println!("{what}: {} places, {hit} hit", places.len());
    assert!(hit * 4 >= places.len() * 3, "{what}: {hit} of {} were hit, not {missed:?}", places.len());
}

/// kill -9 at every open, write, fsync, rename, mkdir and lock in the data directory, and at every connect, send and
/// receive to Vault and Hydra, from exec to the end of all work: a first start, a restore, a rotation record; and (at every
/// third place, in `soak` at each) a write-back of a record that is gone or deleted, the activation of a prepared key, a
/// rotation by `recreate_keys`.
///
/// Promise: the next start is right without any hand: one key, one client, each step written once, nothing half-written left
/// behind. At least three quarters of the places are hit.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_system_call() {
    // One round in two repeats of a soak: it takes a while.
    for (round, start) in (0..repeat().div_ceil(2)).flat_map(|round| STARTS.map(|start| (round, start))) {
        let places = places_of(start, round).await;
        assert!(places.len() > 25, "{start:?}: {places:?}");
        let places: Vec<_> = places.into_iter().skip(round % start.step()).step_by(start.step()).collect();
        let hits: Vec<bool> = stream::iter(&places)
            .map(|place| async move {
                let how = format!("{start:?} {round} killed at {place:?}");
                let case = Case::prepare(start, &named(&how)).await;
                let killed = kills::killing(place, Path::new(".bindu"), case.disk.path());
                let mut agent = case.setup.clone().under(&install::strace(), killed).spawn();
                case.has_ended_or_is_done(&mut agent, start).await;
                let was_hit = agent.has_ended();
                agent.kill();
                case.comes_back(start, &how).await;
                was_hit
            })
            .buffered(4)
            .collect()
            .await;
        assert_hit(&format!("{start:?}"), &places, &hits);
    }
}

/// kill -9 at each system call of `bindu identity rotate --at-once --apply` (at every second one, in `soak` at each); then a start.
///
/// Promise: the key is rotated once or not at all, and a prepared one is activated by the start: the agent, the store and Hydra
/// have the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotating_command_killed_at_each_system_call() {
    let step = if repeat() > 1 { 1 } else { 2 };
    let rotate = |case: &Case| case.setup.clone().command(&["identity", "rotate", "--at-once", "--apply"]);
    let places: Vec<_> = {
        let case = Case::prepare(Start::Restore, "Recorded Command").await;
        let trace = case.disk.path().join("trace");
        case.setup.start().await.kill();
        case.setup.until_port_is_free().await;
        let command = rotate(&case).under(&install::strace(), kills::recording(&trace));
        let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        assert_eq!(code, 0, "{stderr}");
        let places = kills::places(&std::fs::read_to_string(&trace).unwrap(), Path::new(".bindu"));
        places.into_iter().step_by(step).collect()
    };
    assert!(places.len() > 10, "{places:?}");
    let hits: Vec<bool> = stream::iter(&places)
        .map(|place| async move {
            let how = format!("Command killed at {place:?}");
            let case = Case::prepare(Start::Restore, &named(&how)).await;
            case.setup.start().await.kill();
            case.setup.until_port_is_free().await;
            let killed = kills::killing(place, Path::new(".bindu"), case.disk.path());
            let command = rotate(&case).under(&install::strace(), killed);
            let (code, _, _) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
            let agent = case.setup.start().await;
            let (version, record) = http::eventually("no key is prepared", async || {
                let found = bao().await.record(&case.names.keys_path()).await?;
                found.1.get("next_private_key").is_none().then_some(found)
            })
            .await;
            let key = key_in(&record);
            http::eventually("all have the same key", async || {
                let client = hydra().await.client(&case.names.did).await?;
                let shown = public_key(&agent.url, &case.names.did).await;
                (client["metadata"]["public_key"] == key.as_str() && shown == key).then_some(())
            })
            .await;
            http::healthy(&agent.url).await;
            match version {
                1 => assert_eq!(Some(&key), case.old.as_ref(), "{how}"),
                _ => assert_eq!((version, &record["generation"]), (3, &1.into()), "{how}: rotated once"),
            }
            code == -1
        })
        .buffered(4)
        .collect()
        .await;
    assert_hit("a rotating command", &places, &hits);
}

/// kill -9 at each system call of `bindu identity rotate --compromised --apply` (at every third one, in `soak` at each), while
/// no replica runs; then a start.
///
/// Promise: the key was withdrawn or nothing has begun. In the first case the next replica ends what the command has left,
/// without a hand: one rotation without an overlap, the old key's private half out of the record, Hydra names the new one, and
/// the tokens from before are revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_killed_at_each_system_call() {
    let step = if repeat() > 1 { 1 } else { 3 };
    let withdraw =
        |case: &Case| case.setup.clone().command(&["identity", "rotate", "--compromised", "--apply"]);
    let places: Vec<_> = {
        let case = Case::prepare(Start::Restore, "Recorded Withdrawal").await;
        let trace = case.disk.path().join("trace");
        case.setup.start().await.kill();
        case.setup.until_port_is_free().await;
        let command = withdraw(&case).under(&install::strace(), kills::recording(&trace));
        let (code, _, stderr) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        assert_eq!(code, 0, "{stderr}");
        let places = kills::places(&std::fs::read_to_string(&trace).unwrap(), Path::new(".bindu"));
        places.into_iter().step_by(step).collect()
    };
    assert!(places.len() > 10, "{places:?}");
    let ends: Vec<(bool, bool)> = stream::iter(&places)
        .map(|place| async move {
            let how = format!("Withdrawal killed at {place:?}");
            let case = Case::prepare(Start::Restore, &named(&how)).await;
            case.setup.start().await.kill();
            case.setup.until_port_is_free().await;
            let token = token_of(&case.names).await;
            assert!(is_active(&token).await, "{how}");
            let killed = kills::killing(place, Path::new(".bindu"), case.disk.path());
            let command = withdraw(&case).under(&install::strace(), killed);
            let (code, _, _) = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
            let agent = case.setup.start().await;
            http::healthy(&agent.url).await;
            let (version, record) = http::eventually("nothing is left to do", async || {
                let found = bao().await.record(&case.names.keys_path()).await?;
                let left = ["next_private_key", "previous_private_key", "revoke_tokens"];
                left.iter().all(|field| found.1.get(field).is_none()).then_some(found)
            })
            .await;
            let key = key_in(&record);
            let client = http::eventually("all have the same key", async || {
                let client = hydra().await.client(&case.names.did).await?;
                let shown = public_key(&agent.url, &case.names.did).await;
                (client["metadata"]["public_key"] == key.as_str() && shown == key).then_some(client)
            })
            .await;
            http::healthy(&agent.url).await;
            let is_withdrawn = version > 1;
            if is_withdrawn {
                assert_ne!(Some(&key), case.old.as_ref(), "{how}");
                // Prepared, activated, and noted that the tokens are revoked.
                assert_eq!((version, &record["generation"]), (4, &1.into()), "{how}: rotated once");
                let statement = &client["metadata"]["rotations"][0];
                assert_eq!(statement["at"], statement["until"], "{how}: no overlap");
            } else {
                assert_eq!(Some(&key), case.old.as_ref(), "{how}");
            }
            assert_eq!(is_active(&token).await, !is_withdrawn, "{how}: the token from before");
            (code == -1, is_withdrawn)
        })
        .buffered(4)
        .collect()
        .await;
    let hits: Vec<bool> = ends.iter().map(|(hit, _)| *hit).collect();
    assert_hit("a withdrawing command", &places, &hits);
    let half_way = ends.iter().filter(|(hit, is_withdrawn)| *hit && *is_withdrawn).count();
    let before = ends.iter().filter(|(hit, is_withdrawn)| *hit && !*is_withdrawn).count();
    assert!(half_way > 0 && before > 0, "{half_way} after its first write, {before} before");
    println!("{half_way} of them after its first write");
}

/// A token of the agent's client.
async fn token_of(names: &Names) -> String {
    let (_, credentials) = bao().await.record(&names.credentials_path()).await.expect("credentials");
    let secret = credentials["client_secret"].as_str().expect("a secret");
    let (status, token) = hydra().await.token(&names.did, secret).await;
    assert_eq!(status, 200, "{token}");
    token["access_token"].as_str().expect("a token").to_owned()
}

async fn is_active(token: &str) -> bool {
    let url = format!("{}/admin/oauth2/introspect", hydra().await.admin_url);
    let request = http::client().post(url).header("Content-Type", "application/x-www-form-urlencoded");
    http::answer(request.body(format!("token={token}"))).await.1["active"] == true
}

/// kill -9 at each call on the data directory while `recreate_keys` rotates the key of an agent without a Vault, whose client
/// is in Hydra.
///
/// Promise: the next start completes the rotation or begins it again: one more key, which lists the old one, and Hydra names
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_a_store_killed_at_each_system_call() {
    let trace = {
        let (setup, disk, _, old) = alone("Recorded Rotation Alone").await;
        let trace = disk.path().join("trace");
        let agent = setup.under(&install::strace(), kills::recording(&trace)).start().await;
        http::healthy(&agent.url).await;
        agent.kill();
        // The archive's files have the old key's name.
        std::fs::read_to_string(&trace).unwrap().replace(&old, "OLD")
    };
    let places: Vec<Place> =
        kills::places(&trace, Path::new(".bindu")).into_iter().filter(|place| place.file.is_some()).collect();
    assert!(places.len() > 25, "{places:?}");
    let hits: Vec<bool> = stream::iter(places.iter().enumerate())
        .map(|(number, place)| async move {
            let (setup, disk, names, old) = alone(&format!("Rotation Alone {number}")).await;
            let how = format!("killed at {place:?}");
            let file = place.file.as_ref().map(|file| file.replace("OLD", &old));
            let place = Place { file, ..place.clone() };
            let killed = kills::killing(&place, Path::new(".bindu"), disk.path());
            let mut agent = setup.clone().under(&install::strace(), killed).spawn();
            if agent.listens().await.is_ok() {
                // Its last calls come after the first answer.
                let url = format!("{}/health", agent.url);
                http::eventually("it has ended or done all", async || {
                    let answer = http::client().get(&url).send().await.ok()?.text().await.ok()?;
                    (agent.has_ended() || answer.contains("\"healthy\"")).then_some(())
                })
                .await;
            }
            let was_hit = agent.has_ended();
            agent.kill();
            setup.until_port_is_free().await;
            let agent = setup.start().await;
            let held = public_key(&agent.url, &names.did).await;
            let named = async || {
                let client = hydra().await.client(&names.did).await?;
                (client["metadata"]["public_key"] == held.as_str()).then_some(())
            };
            let mut is_named = None;
            for _ in 0..2400 {
                is_named = named().await;
                if is_named.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            assert!(is_named.is_some(), "{how}: Hydra names another key:\n{}", agent.log());
            http::healthy(&agent.url).await;
            let text = std::fs::read_to_string(disk.path().join(".bindu/identity.json")).unwrap();
            let identity: serde_json::Value = serde_json::from_str(&text).unwrap();
            let keys = &identity["records"]["keys"];
            assert_eq!(keys["extra"]["replaces"], old.as_str(), "{how}: {identity}");
            // Prepared, and made the current one.
            assert_eq!(keys["version"], 3, "{how}: rotated once: {identity}");
            let public = std::fs::read_to_string(disk.path().join(".bindu/public.pem")).unwrap();
            let public = bindu_identity::pem::decode_public_key(&public).unwrap();
            assert_eq!(public.to_string(), held, "{how}");
            was_hit
        })
        .buffered(4)
        .collect()
        .await;
    assert_hit("a rotation without a store", &places, &hits);
}

/// An agent without a Vault, with a client in Hydra, that is to rotate its key at its next start; the old fingerprint.
async fn alone(name: &str) -> (AgentSetup, TempDir, Names, String) {
    let (names, disk) = (names(name), tempfile::tempdir().unwrap());
    let setup = crate::agent(disk.path()).named(crate::AUTHOR, name).set_all(hydra().await.environment());
    // A Hydra that is patched by many at once answers 500 now and then: a repair that failed waits for the next pass.
    let setup = setup.set("TOKIO_WORKER_THREADS", "1").set("BINDU_RECONCILE_INTERVAL", "1s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key: bindu_identity::PublicKey = public_key(&agent.url, &names.did).await.parse().unwrap();
    agent.kill();
    setup.until_port_is_free().await;
    let old = key.fingerprint().to_string();
    (setup.set("BINDU_RECREATE_KEYS", &old), disk, names, old)
}

/// kill -9 at random moments (63 here, 50 times the repeats in `soak`), one to three times in a row, over all of these
/// kinds of starts.
///
/// Promise: as at each system call.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random() {
    let rounds = if repeat() > 1 { repeat() * 50 } else { 63 };
    stream::iter(0..rounds)
        .for_each_concurrent(4, |round| async move {
            let start = STARTS[round % STARTS.len()];
            let case = Case::prepare(start, &format!("Random {round}")).await;
            let mut how = format!("{start:?} killed after");
            for _ in 0..=rand::random_range(0..3) {
                let pause = Duration::from_micros(rand::random_range(0..90_000));
                how.push_str(&format!(" {pause:?}"));
                let agent = case.setup.spawn();
                tokio::time::sleep(pause).await;
                agent.kill();
            }
            case.comes_back(start, &how).await;
        })
        .await;
}
