//! Vault and Hydra restored from backups of different days: by raft snapshots and copies of the database.

use crate::{AUTHOR, Names, agent, assert_refused, degraded, names, public_key};
use bindu_identity::PublicKey;
use bindu_testkit::{AgentSetup, Hydra, Postgres, RaftOpenBao, http};
use std::path::Path;

/// Both servers, and what they were on three days: before the agent, with its first key, with its second.
struct Servers {
    bao: RaftOpenBao,
    postgres: Postgres,
    hydra: Hydra,
    names: Names,
    days: Vec<(Vec<u8>, tempfile::TempDir)>,
    /// The keys of the second and the third day.
    keys: [String; 2],
    /// A disk that has been there all the time.
    disk: tempfile::TempDir,
}

impl Servers {
    async fn start() -> Self {
        let mut postgres = Postgres::start();
        let (bao, hydra) = (RaftOpenBao::start(1).await, Hydra::start_on(&postgres.dsn).await);
        let before = (bao.snapshot().await, postgres.backup());
        let mut servers = Self {
            bao,
            postgres,
            hydra,
            names: names("Backups"),
            days: vec![before],
            keys: [String::new(), String::new()],
            disk: tempfile::tempdir().unwrap(),
        };
        for day in 0..2 {
            let mut setup = servers.agent(servers.disk.path());
            if day == 1 {
                setup = setup.set("BINDU_RECREATE_KEYS", fingerprint(&servers.keys[0]));
            }
            let agent = setup.start().await;
            http::healthy(&agent.url).await;
            servers.keys[day] = public_key(&agent.url, &servers.names.did).await;
            servers.hydra_names(day).await;
            drop(agent);
            servers.days.push((servers.bao.snapshot().await, servers.postgres.backup()));
        }
        assert_ne!(servers.keys[0], servers.keys[1], "the key was rotated between the days");
        servers
    }

    fn agent(&self, disk: &Path) -> AgentSetup {
        let setup = agent(disk).named(AUTHOR, &self.names.name).set("VAULT__ENABLED", "true");
        let setup = setup.set("VAULT__URL", &self.bao.urls[0]).set("VAULT__TOKEN", &self.bao.token);
        setup.set_all(self.hydra.environment()).set("BINDU_RECONCILE_INTERVAL", "1s")
    }

    /// Restores both servers from their backups of these days.
    async fn restore(&mut self, vault: usize, hydra: usize) {
        self.bao.restore(&self.days[vault].0).await;
        self.postgres.restore(&self.days[hydra].1);
        let ready = format!("{}/health/ready", self.hydra.admin_url);
        http::eventually("Hydra has its database", async || (http::get(&ready).await.0 == 200).then_some(()))
            .await;
    }

    /// Waits until Hydra has one client of the agent's, with the key of this day, that the stored secret opens.
    async fn hydra_names(&self, day: usize) {
        http::eventually("Hydra names the key", async || {
            let client = self.hydra.client(&self.names.did).await?;
            let (_, record) = self.bao.record(&self.names.credentials_path()).await?;
            let secret = record["client_secret"].as_str()?;
            let opens = self.hydra.token(&self.names.did, secret).await.0 == 200;
            (client["metadata"]["public_key"] == self.keys[day].as_str() && opens).then_some(())
        })
        .await;
        assert_eq!(self.hydra.clients().await.iter().filter(|id| id.starts_with("did:")).count(), 1);
    }

    /// That a pod with an empty disk is refused in these words, and that nothing is made up. What both servers hold.
    async fn refuse_an_empty_pod(&self, words: &[&str]) -> Held {
        let (before, disk) = (self.held().await, tempfile::tempdir().unwrap());
        assert_refused(self.agent(disk.path()).output(), 1, words);
        assert_eq!(self.held().await, before, "nothing was made up");
        before
    }

    /// What both servers hold of the agent.
    async fn held(&self) -> Held {
        let keys = self.bao.record(&self.names.keys_path()).await.map(|(_, record)| record);
        (keys, self.hydra.client(&self.names.did).await)
    }
}

/// The keys record and Hydra's client.
type Held = (Option<serde_json::Value>, Option<serde_json::Value>);

fn fingerprint(key: &str) -> String {
    key.parse::<bindu_identity::PublicKey>().expect("a key").fingerprint().to_string()
}

/// Vault and Hydra restored from backups of different days, around a rotation of the key: Hydra's older, Vault's older,
/// Hydra's from before the agent, Vault's from before the agent.
///
/// Promise: an older Hydra is brought up to Vault's key without a question. An older Vault is never believed over what Hydra
/// has seen: an empty pod refuses and changes nothing, a kept disk keeps its key; only `--take-over=FINGERPRINT` goes back. There is
/// one client all the time, and never a key that nobody had.
#[tokio::test(flavor = "multi_thread")]
async fn backups_of_different_days() {
    let mut servers = Servers::start().await;
    let did = servers.names.did.clone();
    let empty = || tempfile::tempdir().unwrap();

    // Hydra's is older: it names the key that ours replaces.
    servers.restore(2, 1).await;
    let disk = empty();
    let pod = servers.agent(disk.path()).start().await;
    http::healthy(&pod.url).await;
    assert_eq!(public_key(&pod.url, &did).await, servers.keys[1]);
    servers.hydra_names(1).await;
    drop(pod);

    // Hydra's is from before the agent: its client is missing, and the secret is in Vault.
    servers.restore(2, 0).await;
    let disk = empty();
    let pod = servers.agent(disk.path()).start().await;
    http::healthy(&pod.url).await;
    servers.hydra_names(1).await;
    drop(pod);

    // Vault's is older: Hydra has seen a later key than the record's.
    servers.restore(1, 2).await;
    let before = servers.refuse_an_empty_pod(&["rolled back", "--take-over"]).await;
    let kept = servers.agent(servers.disk.path()).start().await;
    degraded(&kept.url, "rolled_back").await;
    assert_eq!(public_key(&kept.url, &did).await, servers.keys[1], "the kept disk keeps its key");
    assert_eq!(servers.held().await, before, "nothing was changed");
    drop(kept);
    // A `true` that was left in place is no consent to go back behind a rotation.
    let disk = empty();
    let (code, _, stderr) = servers.agent(disk.path()).set("BINDU_TAKE_OVER", "true").output();
    let fingerprint = servers.keys[1].parse::<PublicKey>().unwrap().fingerprint().to_string();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&format!("--take-over={fingerprint}")), "{stderr}");
    assert_eq!(servers.held().await, before, "nothing was changed");
    let pod = servers.agent(disk.path()).set("BINDU_TAKE_OVER", &fingerprint).start().await;
    http::healthy(&pod.url).await;
    assert_eq!(public_key(&pod.url, &did).await, servers.keys[0], "consent takes the backup's key");
    servers.hydra_names(0).await;
    drop(pod);

    // Vault's is from before the agent: a client proves that there is a key somewhere.
    servers.restore(0, 2).await;
    servers.refuse_an_empty_pod(&["--take-over"]).await;
    let kept = servers.agent(servers.disk.path()).start().await;
    http::healthy(&kept.url).await;
    assert_eq!(public_key(&kept.url, &did).await, servers.keys[1], "the kept disk brings it back");
    servers.hydra_names(1).await;
}
