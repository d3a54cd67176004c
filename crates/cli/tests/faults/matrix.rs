//! Each fault at each request of a start, and each fault for as long as it lasts.

use crate::{Names, agent, bao, degraded, full, hydra, is_one, names, public_key, reasons};
use bindu_testkit::{
    AgentSetup, http,
    proxy::{Fault, Proxy},
};
use futures_util::{StreamExt as _, stream};
use std::{path::Path, time::Duration};

/// A fault as it looks from Vault, the same as it looks from Hydra, and the exit codes with which a start without a key
/// may end because of it. All others wait.
struct Kind {
    name: &'static str,
    vault: Fault,
    hydra: Fault,
    ends: &'static [i32],
    /// Whether the request takes effect, or is answered rightly in the end.
    is_slow_only: bool,
}

fn kinds() -> Vec<Kind> {
    let page = Fault::Answer(200, "text/html", "<html>log in</html>");
    let hydras_500 = "{\"error\":\"error\",\"error_description\":\"The error is unrecognizable\"}";
    let kind =
        |name, vault: Fault, hydra: Fault, ends| Kind { name, vault, hydra, ends, is_slow_only: false };
    let same = |name, fault: Fault| kind(name, fault.clone(), fault, &[]);
    let bao = |name, status, body, hydra: &Fault, ends| {
        kind(name, Fault::Answer(status, "application/json", body), hydra.clone(), ends)
    };
    let failed = Fault::Answer(500, "application/json", hydras_500);
    vec![
        same("refused", Fault::Drop),
        same("hang", Fault::Hang),
        Kind { is_slow_only: true, ..same("delay", Fault::Delay(Duration::from_millis(1500))) },
        same("cut in the middle", Fault::Cut),
        same("answer lost", Fault::LoseAnswer),
        same("page of a proxy", page),
        same("redirect", Fault::Answer(302, "text/html", "")),
        same("busy", Fault::Busy),
        bao("failure", 500, "{\"errors\":[\"internal error\"]}", &failed, &[]),
        bao("sealed", 503, "{\"errors\":[\"Vault is sealed\"]}", &failed, &[]),
        same("empty 404", Fault::Answer(404, "application/json", "")),
        bao(
            "missing mount",
            404,
            "{\"errors\":[\"no handler for route \\\"secret/data\\\". route entry not found.\"]}",
            &failed,
            &[1],
        ),
        bao("KV version 1", 200, "{\"data\":{\"private_key\":\"x\"}}", &failed, &[1]),
        bao(
            "denied",
            403,
            "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}",
            &failed,
            &[77],
        ),
        bao("expired token", 403, "{\"errors\":[\"permission denied\"]}", &failed, &[]),
    ]
}

/// The three roads to servers, each through a proxy of its own.
struct Roads {
    vault: Proxy,
    admin: Proxy,
    public: Proxy,
}

impl Roads {
    async fn build() -> Self {
        let (bao, hydra) = (bao().await, hydra().await);
        Self {
            vault: Proxy::start(&bao.url).await,
            admin: Proxy::start(&hydra.admin_url).await,
            public: Proxy::start(&hydra.public_url).await,
        }
    }

    /// How many requests came by each of them since the last time this was asked: Vault, Hydra's admin port, its public one.
    fn take_counts(&self) -> [usize; 3] {
        [&self.vault, &self.admin, &self.public].map(|proxy| proxy.take_seen().len())
    }

    async fn agent(&self, directory: &Path, names: &Names) -> AgentSetup {
        let setup = full(directory, names).await.set("VAULT__URL", &self.vault.url);
        let setup = setup.set("HYDRA__ADMIN_URL", &self.admin.url).set("HYDRA__PUBLIC_URL", &self.public.url);
        setup.set("HYDRA__TIMEOUT", "1")
    }
}

const FIRST: [usize; 3] = [5, 2, 1];
const LOST: [usize; 3] = [2, 1, 1];
const KEPT: [usize; 3] = [2, 1, 1];

/// Starts an agent as a supervisor does: again, where it ended with one of these codes.
async fn supervised(setup: &AgentSetup, case: &str, may_end: &[i32]) -> bindu_testkit::AgentProcess {
    let mut agent = setup.spawn();
    match agent.listens().await {
        Ok(()) => agent,
        Err(code) => {
            assert!(may_end.contains(&code), "{case}: it ended with {code}:\n{}", agent.log());
            setup.start().await
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// Nothing anywhere.
    First,
    /// The store has the identity, the disk was lost.
    Lost,
    /// The disk was kept.
    Kept,
}

impl Disk {
    /// How many requests a start makes until it is healthy: to Vault, to Hydra's admin port, to its public one.
    fn requests(self) -> [usize; 3] {
        match self {
            Self::First => FIRST,
            Self::Lost => LOST,
            Self::Kept => KEPT,
        }
    }
}

/// Any fault (refused, hang, delay, cut answer, lost answer, a proxy's page, redirect, 429, 500, sealed, empty 404, missing
/// mount, KV version 1, denial, expired token) at any single request of a start to Vault, Hydra's admin port or its token
/// endpoint; first start, lost disk, kept disk.
///
/// Promise: one key, one credentials record, one client, each written once; at most one more start.
#[tokio::test(flavor = "multi_thread")]
async fn one_fault_at_each_request_of_a_start() {
    let mut cases = Vec::new();
    for disk in [Disk::First, Disk::Lost, Disk::Kept] {
        // A busy machine makes more of them, never fewer.
        let counted = requests_of_a_start(disk).await;
        let told = disk.requests();
        println!("{disk:?}: {counted:?} requests");
        assert!(counted.iter().zip(told).all(|(counted, told)| *counted >= told), "{disk:?}: {counted:?}");
        let requests =
            told.into_iter().enumerate().flat_map(|(road, count)| (0..count).map(move |n| (road, n)));
        for (road, nth) in requests {
            cases.extend((0..kinds().len()).map(|kind| (kind, disk, road, nth)));
        }
    }
    println!("{} cases", cases.len());
    let each = |(kind, disk, road, nth)| one_fault(kind, disk, road, nth);
    stream::iter(cases).for_each_concurrent(12, each).await;
}

/// An agent before the start that is met with a fault.
struct Before {
    names: Names,
    roads: Roads,
    setup: AgentSetup,
    key: Option<String>,
    _directory: tempfile::TempDir,
}

impl Before {
    async fn prepare(disk: Disk, name: &str) -> Self {
        let names = names(name);
        let directory = tempfile::tempdir().unwrap();
        let roads = Roads::build().await;
        let setup = roads.agent(directory.path(), &names).await;
        let mut key = None;
        if disk != Disk::First {
            let agent = setup.start().await;
            http::healthy(&agent.url).await;
            key = Some(public_key(&agent.url, &names.did).await);
            agent.kill();
            if disk == Disk::Lost {
                std::fs::remove_dir_all(directory.path().join(".bindu")).unwrap();
            }
        }
        let _ = roads.take_counts();
        Self { names, roads, setup, key, _directory: directory }
    }
}

/// Counted in a start without a fault.
async fn requests_of_a_start(disk: Disk) -> [usize; 3] {
    let before = Before::prepare(disk, &format!("Requests Of {disk:?}")).await;
    let agent = before.setup.start().await;
    http::healthy(&agent.url).await;
    before.roads.take_counts()
}

async fn one_fault(kind: usize, disk: Disk, road: usize, nth: usize) {
    let kind = kinds().swap_remove(kind);
    let case = format!("{} {disk:?} road {road} request {nth}", kind.name);
    let Before { names, roads, setup, key, _directory } = Before::prepare(disk, &case).await;
    let (proxy, fault) = match road {
        0 => (&roads.vault, kind.vault),
        1 => (&roads.admin, kind.hydra),
        _ => (&roads.public, kind.hydra),
    };
    proxy.script(move |_, before| if before == nth { fault.clone() } else { Fault::None });
    let agent = supervised(&setup, &case, kind.ends).await;
    let held = public_key(&agent.url, &names.did).await;
    http::healthy(&agent.url).await;
    assert_eq!(proxy.faults(), 1, "{case}: the start makes this request");
    assert_eq!(is_one(&names).await, held, "{case}");
    assert_eq!(public_key(&agent.url, &names.did).await, held, "{case}: the key that was shown first");
    if let Some(key) = key {
        assert_eq!(key, held, "{case}");
    }
}

/// Any of these faults at every request to Vault for as long as a start lasts.
///
/// Promise: without a key on disk nothing is made anywhere and the exit code says why; with one the agent serves under
/// it, degraded, writes nothing, and is healthy once the fault ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_vault_that_lasts() {
    for_each_kind(|kind| async move {
        if kind.is_slow_only {
            return;
        }
        let names = names(&format!("Vault {}", kind.name));
        let directory = tempfile::tempdir().unwrap();
        let roads = Roads::build().await;
        let setup = roads.agent(directory.path(), &names).await;
        let fault = kind.vault.clone();
        // The token stays alive, or a denial would be none.
        let script = move |seen: &bindu_testkit::proxy::Seen, _| {
            if seen.path.ends_with("lookup-self") && !matches!(fault, Fault::Hang | Fault::Drop) {
                Fault::None
            } else {
                fault.clone()
            }
        };
        roads.vault.script(script.clone());
        let late = setup.clone().set("BINDU_START_DEADLINE", "1s");
        let (code, _, stderr) = tokio::task::spawn_blocking(move || late.output()).await.unwrap();
        let want = match (kind.name, kind.ends) {
            ("expired token", _) => 77,
            (_, [code]) => *code,
            _ => 69,
        };
        assert_eq!(code, want, "{}: {stderr}", kind.name);
        let met = roads.vault.faults();
        assert!(met > 0, "{}: it was met with", kind.name);
        roads.vault.script(|_, _| Fault::None);
        assert!(bao().await.record(&names.keys_path()).await.is_none(), "{}: nothing was made", kind.name);
        assert!(hydra().await.client(&names.did).await.is_none(), "{}: nothing was made", kind.name);

        let agent = setup.start().await;
        http::healthy(&agent.url).await;
        let key = public_key(&agent.url, &names.did).await;
        agent.kill();
        roads.vault.script(script);
        let _ = roads.take_counts();
        let agent = setup.start().await;
        assert_eq!(public_key(&agent.url, &names.did).await, key, "{}", kind.name);
        http::eventually("degraded", async || (!reasons(&agent.url).await.is_empty()).then_some(())).await;
        assert!(roads.vault.faults() > met, "{}: it was met with again", kind.name);
        let seen = roads.vault.take_seen();
        assert!(seen.iter().all(|seen| seen.method == "GET"), "{}: it writes nothing: {seen:?}", kind.name);
        roads.vault.script(|_, _| Fault::None);
        http::healthy(&agent.url).await;
        assert_eq!(is_one(&names).await, key, "{}", kind.name);
    })
    .await;
}

/// Any of these faults at every request to both of Hydra's ports, from before the first start on.
///
/// Promise: the agent starts under a stored key, says `hydra_unavailable`, and has its one client once the fault ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_hydra_that_lasts() {
    for_each_kind(|kind| async move {
        if kind.is_slow_only || kind.hydra == Fault::LoseAnswer || kind.hydra == Fault::Cut {
            return;
        }
        let names = names(&format!("Hydra {}", kind.name));
        let directory = tempfile::tempdir().unwrap();
        let roads = Roads::build().await;
        let setup = roads.agent(directory.path(), &names).await;
        for proxy in [&roads.admin, &roads.public] {
            let fault = kind.hydra.clone();
            proxy.script(move |_, _| fault.clone());
        }
        let agent = setup.start().await;
        degraded(&agent.url, "hydra_unavailable").await;
        let key = public_key(&agent.url, &names.did).await;
        assert!(hydra().await.client(&names.did).await.is_none(), "{}", kind.name);
        assert!(roads.admin.faults() > 0, "{}: it was met with", kind.name);
        for proxy in [&roads.admin, &roads.public] {
            proxy.script(|_, _| Fault::None);
        }
        http::healthy(&agent.url).await;
        assert_eq!(is_one(&names).await, key, "{}", kind.name);
    })
    .await;
}

async fn for_each_kind<F: Future<Output = ()>>(case: impl Fn(Kind) -> F) {
    stream::iter(kinds()).for_each_concurrent(8, case).await;
}

/// A token that may write the record and not read it, on an empty disk; Python Bindu took that for an absence, and wrote
/// over the identity.
///
/// Promise: exit 77 with the policy that is needed; nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn denied_reads_with_allowed_writes() {
    let names = names("Write Only");
    let disk = tempfile::tempdir().unwrap();
    let first = full(disk.path(), &names).await.start().await;
    http::healthy(&first.url).await;
    first.kill();
    let token = bao()
        .await
        .token_with("path \"secret/data/bindu/*\" { capabilities = [\"create\", \"update\"] }")
        .await;
    let empty = tempfile::tempdir().unwrap();
    let refused = full(empty.path(), &names).await.set("VAULT__TOKEN", token).output();
    crate::assert_refused(refused, 77, &["capabilities"]);
    is_one(&names).await;
    let _ = agent(empty.path());
}
