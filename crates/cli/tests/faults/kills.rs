//! kill -9, at each system call and at random.

use crate::{Names, bao, full, hydra, is_one, names, public_key, repeat, rotate};
use bindu_testkit::{
    AgentSetup, http, install,
    kills::{self, Place},
};
use futures_util::{StreamExt as _, stream};
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
}

const STARTS: [Start; 3] = [Start::First, Start::Restore, Start::Rotation];

/// An agent before the start that is to be killed.
struct Case {
    names: Names,
    disk: TempDir,
    setup: AgentSetup,
    /// The key that it must come back with, where it has one already.
    key: Option<String>,
}

impl Case {
    async fn prepare(start: Start, name: &str) -> Self {
        let names = names(name.trim());
        let disk = tempfile::tempdir().unwrap();
        // One worker: the run is the same each time, but for the order of answers.
        let setup = full(disk.path(), &names).await.set("TOKIO_WORKER_THREADS", "1");
        let mut key = None;
        if start != Start::First {
            let agent = setup.start().await;
            http::healthy(&agent.url).await;
            key = Some(public_key(&agent.url, &names.did).await);
            agent.kill();
        }
        match start {
            Start::First => {}
            Start::Restore => std::fs::remove_dir_all(data_dir(&disk)).unwrap(),
            Start::Rotation => key = Some(rotate(&names).await),
        }
        Self { names, disk, setup, key }
    }

    /// That the next start is right without any hand.
    async fn comes_back(&self, start: Start, how: &str) {
        self.setup.until_port_is_free().await;
        let agent = self.setup.start().await;
        http::healthy(&agent.url).await;
        let held = public_key(&agent.url, &self.names.did).await;
        if let Some(key) = &self.key {
            assert_eq!(*key, held, "{how}:\n{}", agent.log());
        }
        if start == Start::Rotation {
            let (version, _) = bao().await.record(&self.names.keys_path()).await.expect("keys");
            assert_eq!(version, 2, "{how}: nothing was written over the rotation");
            let client = hydra().await.client(&self.names.did).await.expect("a client");
            assert_eq!(client["metadata"]["public_key"], held.as_str(), "{how}");
        } else {
            assert_eq!(is_one(&self.names).await, held, "{how}");
        }
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

/// The places of one kind of start, from its exec to the first 200.
async fn places_of(start: Start, round: usize) -> Vec<Place> {
    let case = Case::prepare(start, &format!("Recorded {start:?} {round}")).await;
    let trace = case.disk.path().join("trace");
    let agent = case.setup.clone().under(&install::strace(), kills::recording(&trace)).start().await;
    http::healthy(&agent.url).await;
    agent.kill();
    let text = std::fs::read_to_string(&trace).unwrap();
    kills::places(&text, Path::new(".bindu"))
}

/// kill -9 at every open, write, fsync, rename, mkdir and lock in the data directory, and at every connect, send and
/// receive to Vault and Hydra, from exec to the first answer: a first start, a restore, a rotation record.
///
/// Promise: the next start is right without any hand: one key, one client, nothing half-written left behind.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_system_call() {
    // One round in two repeats of a soak: it takes a while.
    for (round, start) in (0..repeat().div_ceil(2)).flat_map(|round| STARTS.map(|start| (round, start))) {
        let places = places_of(start, round).await;
        assert!(places.len() > 25, "{start:?}: {places:?}");
        let hits: Vec<bool> = stream::iter(&places)
            .map(|place| async move {
                let how = format!("{start:?} {round} killed at {place:?}");
                let case = Case::prepare(
                    start,
                    how.replace(['"', ':', '/', '.', '(', ')', '{', '}', ','], " ").trim(),
                )
                .await;
                let killed = kills::killing(place, Path::new(".bindu"), case.disk.path());
                let mut agent = case.setup.clone().under(&install::strace(), killed).spawn();
                if agent.listens().await.is_ok() {
                    // Its last calls come after the first answer.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                let was_hit = agent.has_ended();
                agent.kill();
                case.comes_back(start, &how).await;
                was_hit
            })
            .buffer_unordered(4)
            .collect()
            .await;
        let hit = hits.iter().filter(|hit| **hit).count();
        println!("{start:?}: {} places, {hit} hit", places.len());
        assert!(hit * 2 > places.len(), "{start:?}: {hit} of {} were hit", places.len());
    }
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
        .buffer_unordered(4)
        .collect()
        .await;
    let hit = hits.iter().filter(|hit| **hit).count();
    let missed: Vec<_> = places.iter().zip(&hits).filter(|(_, hit)| !**hit).map(|(place, _)| place).collect();
    assert!(hit * 4 > places.len() * 3, "{hit} of {} were hit, not {missed:?}", places.len());
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

/// kill -9 at random moments (60 here, 50 times the repeats in `soak`), one to three times in a row, over a first start,
/// a restore and a rotation record.
///
/// Promise: as at each system call.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random() {
    let rounds = if repeat() > 1 { repeat() * 50 } else { 60 };
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
