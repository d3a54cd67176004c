//! Our own tokens, on tokio's paused clock: when they are fetched, by whom, and how often after a failure.

use bindu_hydra::{
    ClientCredentials, ClientRegistration, CredentialsSource, HydraError, ProvenToken, TokenError,
    TokenSource, TokenSourceParts,
};
use bindu_identity::{AgentId, AgentName, Did};
use bindu_testkit::fake::{FakeHydra, Fate, HydraOp};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn did() -> Did {
    let name = AgentName { author: "a@example.com".to_owned(), name: "Ada".to_owned() };
    Did::bindu(&name, AgentId::derive(&name.author, &name.name))
}

/// Knows the secret that it was told last.
struct Known {
    secrets: Mutex<(&'static str, Option<&'static str>)>,
    reads: AtomicUsize,
}

#[async_trait::async_trait]
impl CredentialsSource for Known {
    async fn credentials(&self) -> Result<ClientCredentials, TokenError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let (secret, next) = *self.secrets.lock().expect("no panic");
        Ok(ClientCredentials {
            secret: SecretString::from(secret),
            next_secret: next.map(SecretString::from),
            scopes: vec!["agent:read".to_owned()],
        })
    }
}

struct Bench {
    hydra: Arc<FakeHydra>,
    known: Arc<Known>,
    source: Arc<TokenSource>,
}

/// A client with the secret `good`, which is known. Its tokens last 1,000 s.
fn bench() -> Bench {
    let hydra = Arc::new(FakeHydra::new());
    hydra.register(&ClientRegistration {
        did: did(),
        secret: SecretString::from("good"),
        name: "Ada".to_owned(),
        scopes: vec!["agent:read".to_owned()],
        audiences: Vec::new(),
        metadata: serde_json::Map::new(),
    });
    hydra.tokens_last(seconds(1000));
    let known = Arc::new(Known { secrets: Mutex::new(("good", None)), reads: AtomicUsize::new(0) });
    let source = Arc::new(TokenSource::new(TokenSourceParts {
        did: did(),
        registry: Arc::clone(&hydra) as _,
        credentials: Arc::clone(&known) as _,
        proven: Arc::new(ProvenToken::default()),
        // As late as may be: then all is exact.
        jitter: || 1.0,
    }));
    Bench { hydra, known, source }
}

impl Bench {
    async fn token(&self) -> Result<String, TokenError> {
        self.source.token(None).await.map(|token| token.expose_secret().to_owned())
    }

    fn asked(&self, op: HydraOp) -> usize {
        self.hydra.times(op).len()
    }
}

#[tokio::test(start_paused = true)]
async fn one_fetches_for_all_that_wait() {
    let bench = bench();
    bench.hydra.script(|_, _| Fate::After(seconds(2)));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let source = Arc::clone(&bench.source);
            tokio::spawn(
                async move { source.token(None).await.map(|token| token.expose_secret().to_owned()) },
            )
        })
        .collect();
    for waiter in waiting {
        assert_eq!(waiter.await.expect("no panic").expect("a token"), "token 0");
    }
    assert_eq!(bench.asked(HydraOp::Token), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_of_all_that_wait() {
    let bench = bench();
    bench.hydra.script(|_, _| Fate::After(seconds(2)));
    bench.hydra.lie(true);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let source = Arc::clone(&bench.source);
            tokio::spawn(async move { source.token(None).await.map(|_| ()) })
        })
        .collect();
    for waiter in waiting {
        let error = waiter.await.expect("no panic").expect_err("Hydra is down");
        assert!(matches!(error, TokenError::Hydra(HydraError::Unavailable { .. })));
    }
    assert_eq!((bench.asked(HydraOp::Token), bench.asked(HydraOp::Ready)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_handed_out_for_nine_tenths_of_its_life() {
    let bench = bench();
    assert_eq!(bench.token().await.expect("a token"), "token 0");
    tokio::time::sleep(seconds(899)).await;
    assert_eq!(bench.token().await.expect("a token"), "token 0");
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(bench.token().await.expect("a token"), "token 1");
    assert_eq!(bench.known.reads.load(Ordering::SeqCst), 1, "the secret is read once");
}

/// What is left of a token's life is better than nothing.
#[tokio::test(start_paused = true)]
async fn in_an_outage_a_token_is_used_until_it_ends() {
    let bench = bench();
    bench.token().await.expect("a token");
    bench.hydra.script(|_, _| Fate::Down);
    tokio::time::sleep(seconds(999)).await;
    assert_eq!(bench.token().await.expect("a token"), "token 0");
    tokio::time::sleep(seconds(1)).await;
    assert!(bench.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_kept_token_is_replaced_at_four_fifths_of_its_life() {
    let bench = bench();
    let source = Arc::clone(&bench.source);
    let keeping = tokio::spawn(async move { source.keep().await });
    tokio::time::sleep(seconds(2)).await;
    let first = *bench.hydra.times(HydraOp::Token).first().expect("a token");
    tokio::time::sleep(seconds(3 * 1000)).await;
    let times = bench.hydra.times(HydraOp::Token);
    let ages: Vec<u64> = times.iter().map(|at| (*at - first).as_secs()).collect();
    assert_eq!(ages, [0, 800, 1600, 2400]);
    keeping.abort();
}

/// From one second to thirty, and at once when it is over.
#[tokio::test(start_paused = true)]
async fn tokens_that_are_not_to_be_had_are_asked_for_less_and_less_often() {
    let bench = bench();
    bench.hydra.script(|_, _| Fate::Down);
    let source = Arc::clone(&bench.source);
    let keeping = tokio::spawn(async move { source.keep().await });
    tokio::time::sleep(seconds(600)).await;
    let times = bench.hydra.times(HydraOp::Token);
    // Each with the second between two looks.
    let pauses: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses.get(..7), Some([2, 3, 5, 9, 17, 31, 31].as_slice()));
    bench.hydra.script(|_, _| Fate::Pass);
    tokio::time::sleep(seconds(31)).await;
    assert_eq!(bench.token().await.expect("a token"), "token 0");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refused_secret_is_read_again_and_the_prepared_one_is_tried() {
    let bench = bench();
    bench.token().await.expect("a token");
    // Another replica has rotated the secret.
    bench.hydra.change_secret(&did(), "better");
    *bench.known.secrets.lock().expect("no panic") = ("good", Some("better"));
    bench.source.forget(&SecretString::from("token 0"));
    assert!(bench.token().await.is_ok());
    assert_eq!(bench.known.reads.load(Ordering::SeqCst), 2);
}

/// A refusal counts only between two good answers of `/health/ready`.
#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_told_from_an_outage() {
    let bench = bench();
    bench.hydra.lie(true);
    assert!(matches!(bench.token().await, Err(TokenError::Hydra(HydraError::Unavailable { .. }))));
    bench.hydra.lie(false);
    bench.hydra.change_secret(&did(), "another");
    let before = bench.asked(HydraOp::Ready);
    assert!(matches!(bench.token().await, Err(TokenError::WrongSecret)));
    assert!(bench.asked(HydraOp::Ready) - before >= 2);
}
