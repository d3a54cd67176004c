//! One agent with its keeper, on fakes.

use bindu_hydra::{ClientRegistration, ProvenToken};
use bindu_identity::{AgentId, AgentName, Did, Lineage, PublicKey, SigningKey, pem};
use bindu_keeper::{
    AgentProfile, ClientProfile, HeldIdentity, Keeper, Reason, StartError, Status, StoreKind, plan::Policy,
};
use bindu_store::{DataDirectory, Fields, FileStore, KeyRecord, RecordName, SecretStore};
use bindu_testkit::fake::{self, FakeHydra, FakeStore};
use secrecy::SecretString;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) const DEADLINE: Duration = seconds(60);
pub(crate) const INTERVAL: Duration = seconds(60);
pub(crate) const OVERLAP: Duration = seconds(24 * 3600);

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The servers, and whose they are. Each replica has its own [`Bench`] on them.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) hydra: Arc<FakeHydra>,
}

impl Servers {
    pub(crate) fn new() -> Self {
        Self { store: Arc::new(FakeStore::new(fake::clock(0))), hydra: Arc::new(FakeHydra::new()) }
    }

    /// A record of this key, as Python Bindu writes it: without a past.
    pub(crate) fn python_record(&self, seed: u8) {
        self.store.put(&keys_record(), record(seed, None));
    }
}

fn agent() -> AgentProfile {
    let name = AgentName { author: "a@example.com".to_owned(), name: "Ada".to_owned() };
    let id = AgentId::derive(&name.author, &name.name);
    AgentProfile { did: Did::bindu(&name, id), id, name }
}

pub(crate) fn did() -> Did {
    agent().did
}

pub(crate) fn keys_record() -> RecordName {
    RecordName::Keys(agent().id)
}

/// A keys record with this key.
pub(crate) fn record(seed: u8, lineage: Option<Lineage>) -> Fields {
    KeyRecord {
        private_key: pem::encode_private_key(&key(seed)),
        public_key: Some(pem::encode_public_key(&key(seed).public_key())),
        did: Some(did().to_string()),
        created_at: None,
        lineage,
        next: None,
        previous: None,
        next_compromised: false,
        revoke_tokens: false,
        reconcile_interval: None,
    }
    .to_fields()
}

/// A client that names this key, with a secret of somebody else's.
pub(crate) fn foreign_client(seed: u8) -> ClientRegistration {
    let metadata = json!({ "public_key": key(seed).public_key().to_string() });
    ClientRegistration {
        did: did(),
        secret: SecretString::from("somebody else's"),
        name: "Ada".to_owned(),
        scopes: vec!["agent:read".to_owned()],
        audiences: Vec::new(),
        metadata: metadata.as_object().cloned().unwrap_or_default(),
    }
}

/// A replica.
pub(crate) struct Bench {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) servers: Servers,
    pub(crate) disk: Arc<TempDir>,
    running: Option<(Arc<HeldIdentity>, JoinHandle<()>)>,
}

impl Bench {
    /// One with an empty disk.
    pub(crate) fn new(servers: &Servers) -> Self {
        Self::on(servers, Arc::new(tempfile::tempdir().expect("a directory")), |_| {})
    }

    /// One with this disk, its keeper changed.
    pub(crate) fn on(servers: &Servers, disk: Arc<TempDir>, change: impl FnOnce(&mut Keeper)) -> Self {
        let agent = agent();
        let directory = DataDirectory::look(disk.path(), &agent.did, &agent.id.to_string());
        directory.open_again().expect("a directory");
        let profile = ClientProfile {
            scopes: vec!["agent:read".to_owned()],
            audiences: Vec::new(),
            agent_url: "http://127.0.0.1:3773".to_owned(),
            agent_url_is_explicit: false,
            auto_register: true,
        };
        let mut keeper = Keeper {
            agent,
            store: Arc::clone(&servers.store) as Arc<dyn SecretStore>,
            store_kind: StoreKind::Vault,
            directory: Some(Arc::new(directory)),
            hydra: Some((Arc::clone(&servers.hydra) as _, profile)),
            policy: Policy::default(),
            key_password: None,
            start_deadline: DEADLINE,
            reconcile_interval: INTERVAL,
            rotation_overlap: OVERLAP,
            status: Arc::new(Status::default()),
            proven: Arc::new(ProvenToken::default()),
            hint: |_| "a hint".to_owned(),
            clock: fake::clock(0),
            // The longest pauses: then all is exact.
            jitter: || 1.0,
        };
        change(&mut keeper);
        Self { keeper: Arc::new(keeper), servers: servers.clone(), disk, running: None }
    }

    /// One whose disk is its store.
    pub(crate) fn of_files(servers: &Servers, disk: Arc<TempDir>, change: impl FnOnce(&mut Keeper)) -> Self {
        Self::on(servers, disk, |keeper| {
            let directory = keeper.directory.clone().expect("a directory");
            keeper.store = Arc::new(FileStore::new(directory, None));
            keeper.store_kind = StoreKind::File;
            change(keeper);
        })
    }

    /// A start: how long it took, and what came of it.
    pub(crate) async fn try_start(&mut self) -> (Duration, Option<StartError>) {
        let begun = Instant::now();
        let started = self.keeper.start().await;
        let took = begun.elapsed();
        match started {
            Ok(started) => {
                let (held, work) = started.split();
                let keeper = Arc::clone(&self.keeper);
                let reconciling =
                    tokio::spawn(async move { keeper.reconcile(work, std::future::pending()).await });
                self.running = Some((held, reconciling));
                (took, None)
            }
            Err(error) => (took, Some(error)),
        }
    }

    /// A start that goes well, after which the agent runs; how long it took.
    pub(crate) async fn start(&mut self) -> Duration {
        let (took, error) = self.try_start().await;
        assert!(error.is_none(), "{error:?}");
        took
    }

    /// The same, until nothing is left to do.
    pub(crate) async fn start_and_settle(&mut self) {
        self.start().await;
        for _ in 0..100 {
            if self.reasons().is_empty() {
                return;
            }
            tokio::time::sleep(milliseconds(100)).await;
        }
        panic!("it does not settle: {:?}", self.reasons());
    }

    /// The process is killed.
    pub(crate) async fn kill(&mut self) {
        if let Some((_, running)) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    /// Killed, and begun again on the same disk.
    pub(crate) async fn again(mut self, change: impl FnOnce(&mut Keeper)) -> Self {
        self.kill().await;
        let (servers, disk) = (self.servers.clone(), Arc::clone(&self.disk));
        drop(self);
        Self::on(&servers, disk, change)
    }

    pub(crate) fn held(&self) -> Arc<HeldIdentity> {
        Arc::clone(&self.running.as_ref().expect("it runs").0)
    }

    /// The current key of the running agent.
    pub(crate) fn key(&self) -> PublicKey {
        self.held().current().public_key
    }

    pub(crate) fn reasons(&self) -> Vec<Reason> {
        self.keeper.status.snapshot().reasons()
    }

    /// How many passes of the reconciler have ended.
    pub(crate) fn passes(&self) -> u64 {
        let (good, bad) = self.keeper.status.snapshot().passes;
        good + bad
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some((_, running)) = &self.running {
            running.abort();
        }
    }
}
