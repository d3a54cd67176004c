//! A whole run in this process, on a store that breaks.

pub(super) mod restarts;

use super::*;
use crate::settings::Layers;
use bindu_agent::handler::EchoHandler;
use bindu_keeper::Status;
use bindu_store::{Answer, Expected, Fields, RecordName, SecretStore, Version, WriteError};
use bindu_testkit::http;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A store that panics when it is told to, and whose login keeper ends the first time and panics the second.
struct Breaking {
    store: Arc<dyn SecretStore>,
    panics: Arc<AtomicBool>,
    /// Panics where `/metrics` asks for the life of the login.
    panics_in_metrics: Arc<AtomicBool>,
    kept: AtomicUsize,
}

#[async_trait::async_trait]
impl SecretStore for Breaking {
    async fn read(&self, name: &RecordName) -> Answer {
        assert!(!self.panics.load(Ordering::SeqCst), "a bug in the store");
        self.store.read(name).await
    }

    async fn read_version(&self, name: &RecordName, version: Version) -> Answer {
        self.store.read_version(name, version).await
    }

    async fn write(
        &self,
        name: &RecordName,
        fields: &Fields,
        expected: Expected,
    ) -> Result<Version, WriteError> {
        self.store.write(name, fields, expected).await
    }

    async fn keep(&self) {
        match self.kept.fetch_add(1, Ordering::SeqCst) {
            0 => {}
            1 => panic!("a bug in the login"),
            _ => std::future::pending().await,
        }
    }

    fn login_lasts(&self) -> Option<Duration> {
        assert!(!self.panics_in_metrics.load(Ordering::SeqCst), "a bug in a request");
        None
    }

    fn locate(&self, name: &RecordName) -> String {
        self.store.locate(name)
    }
}

struct Running {
    url: String,
    status: Arc<Status>,
    panics: Arc<AtomicBool>,
    panics_in_metrics: Arc<AtomicBool>,
    end: CancellationToken,
    run: tokio::task::JoinHandle<Result<(), Refusal>>,
    _disk: tempfile::TempDir,
}

impl Running {
    fn begin() -> Self {
        let disk = tempfile::tempdir().unwrap();
        let mut layers = Layers::default();
        layers.flag("data_dir", disk.path().join("data").display().to_string());
        layers.flag("reconcile_interval", "1s");
        let settings = Settings::load(layers).unwrap();
        let port = ReservedPort::reserve("127.0.0.1:0").unwrap();
        let url = format!("http://{}", port.address());
        let mut parts = Parts::open(&settings, &url).unwrap();
        let (panics, panics_in_metrics) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let store = Arc::clone(&parts.keeper.store);
        parts.keeper.store = Arc::new(Breaking {
            store,
            panics: Arc::clone(&panics),
            panics_in_metrics: Arc::clone(&panics_in_metrics),
            kept: AtomicUsize::new(0),
        });
        let (status, end) = (Arc::clone(&parts.keeper.status), CancellationToken::new());
        let run = Run {
            settings,
            handler: Arc::new(EchoHandler),
            begun: Instant::now(),
            port,
            probe_port: None,
            grpc_port: None,
            url: url.clone(),
            end: end.clone(),
            ready: None,
        };
        let run = tokio::spawn(run.with(parts));
        Self { url, status, panics, panics_in_metrics, end, run, _disk: disk }
    }

    async fn health(&self) -> Option<Value> {
        let asked = http::client().get(format!("{}/health", self.url)).send().await.ok()?;
        serde_json::from_str(&asked.text().await.ok()?).ok()
    }

    async fn has_reason(&self, reason: &str) -> bool {
        let health = self.health().await.unwrap_or_default();
        let has = health["reasons"].as_array().is_some_and(|all| all.iter().any(|found| found == reason));
        assert!(!has || health["health"] == "degraded", "{health}");
        has
    }

    /// A number of the metrics.
    async fn metric(&self, line: &str) -> f64 {
        let (_, text) = http::get(&format!("{}/metrics", self.url)).await;
        let text = text.as_str().unwrap_or_default();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found
            .and_then(|rest| rest.trim().parse().ok())
            .unwrap_or_else(|| panic!("{line} is missing in\n{text}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn background_work_that_ends_is_told_and_begun_again() {
    let agent = Running::begin();
    http::eventually("it serves", async || agent.health().await.map(|_| ())).await;
    let restarts = |part: &str| format!("bindu_background_restarts_total{{part=\"{part}\"}}");
    // The login keeper ends, and panics.
    http::eventually("the login is kept", async || {
        (agent.metric(&restarts("store_login")).await >= 2.0).then_some(())
    })
    .await;
    assert!(agent.has_reason("background_work_failed").await);
    // The reconciler panics at each pass.
    let reconciler = restarts("reconciler");
    assert!(agent.metric(&reconciler).await < 1.0);
    agent.panics.store(true, Ordering::SeqCst);
    http::eventually("the reconciler dies twice", async || {
        (agent.metric(&reconciler).await >= 2.0).then_some(())
    })
    .await;
    assert!(agent.has_reason("background_work_failed").await);
    // Well again, its passes go on by themselves.
    agent.panics.store(false, Ordering::SeqCst);
    let passes = "bindu_reconcile_total{outcome=\"ok\"}";
    let before = agent.metric(passes).await;
    http::eventually("passes end well", async || (agent.metric(passes).await >= before + 2.0).then_some(()))
        .await;
    agent.end.cancel();
    agent.run.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_no_fresher_than_the_last_pass() {
    let agent = Running::begin();
    http::eventually("it serves", async || agent.health().await.map(|_| ())).await;
    assert!(!agent.has_reason("reconciler_stalled").await);
    let health = agent.health().await.unwrap();
    assert!(health["seconds_since"]["reconciler"].is_u64(), "{health}");
    // A pass that is due after no time at all is late.
    agent.status.expect_passes(Duration::ZERO);
    assert!(agent.has_reason("reconciler_stalled").await);
    let (status, text) = http::get(&format!("{}/readyz?verbose", agent.url)).await;
    assert_eq!(status, 200, "it serves");
    assert!(text.as_str().unwrap().contains("[~] reconciler: reconciler_stalled"), "{text}");
    assert!(agent.metric("bindu_degraded{reason=\"reconciler_stalled\"}").await > 0.0);
    agent.end.cancel();
    agent.run.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_a_bug_is_answered_and_ends_nothing_else() {
    let agent = Running::begin();
    http::eventually("it serves", async || agent.health().await.map(|_| ())).await;
    agent.panics_in_metrics.store(true, Ordering::SeqCst);
    let (status, answer) = http::get(&format!("{}/metrics", agent.url)).await;
    assert_eq!((status, &answer["error"]["code"]), (500, &(-32603).into()), "{answer}");
    assert!(
        !answer.to_string().contains("a bug in a request"),
        "what it was is not for the caller: {answer}"
    );
    agent.panics_in_metrics.store(false, Ordering::SeqCst);
    let failed = "http_requests_total{method=\"GET\",endpoint=\"/metrics\",status=\"500\"}";
    assert!(agent.metric(failed).await > 0.0, "it is counted");
    assert!(agent.metric("http_requests_in_flight").await < 1.5, "and is under way no more");
    agent.end.cancel();
    agent.run.await.unwrap().unwrap();
}
