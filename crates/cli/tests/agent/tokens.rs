//! Tokens: how long Hydra's word on them counts, what an outage changes, and what a JWT's signature is worth.

use crate::{AUTHOR, agent, hydra};
use bindu_testkit::{
    AgentSetup, Hydra,
    caller::TestCaller,
    http::{self, call, eventually},
    proxy::{Fault, Proxy},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// The Hydra that gives out JWTs.
async fn jwt_hydra() -> &'static Hydra {
    static SHARED: OnceCell<Hydra> = OnceCell::const_new();
    SHARED.get_or_init(Hydra::start_with_jwts).await
}

fn list() -> Value {
    call("tasks/list", &json!({}))
}

/// An agent that asks this Hydra's admin port through a proxy, with Hydra's word counting for a second.
async fn proxied(directory: &Path, name: &str, hydra: &Hydra) -> (AgentSetup, Proxy) {
    let admin = Proxy::start(&hydra.admin_url).await;
    let setup = agent(directory).named(AUTHOR, name).set_all(hydra.environment());
    (setup.set("HYDRA__ADMIN_URL", &admin.url).set("HYDRA__CACHE_TTL", "1"), admin)
}

/// How often Hydra was asked about tokens, and whether it is ready, since the last time.
fn questions(admin: &Proxy) -> (usize, usize) {
    let seen = admin.take_seen();
    let count = |path: &str| seen.iter().filter(|seen| seen.path == path).count();
    (count("/admin/oauth2/introspect"), count("/health/ready"))
}

async fn bare(url: &str, token: &str) -> u16 {
    http::answer(http::client().post(url).bearer_auth(token).body(list().to_string())).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn hydra_is_asked_once_for_many() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, admin) = proxied(disk.path(), "Asked Once", hydra().await).await;
    let agent = setup.set("HYDRA__CACHE_TTL", "30").start().await;
    let service = TestCaller::new(hydra().await, "tokens-once").await;
    http::healthy(&agent.url).await;
    questions(&admin);
    let calls = (0..40).map(|number| {
        // With its prefix and without: one token.
        let token =
            if number % 2 == 0 { &service.token } else { service.token.trim_start_matches("ory_at_") };
        bare(&agent.url, token)
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(questions(&admin), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_noticed_and_a_sensitive_one_at_once() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, _admin) = proxied(disk.path(), "Revocations", hydra().await).await;
    let agent = setup.start().await;
    let service = TestCaller::new(hydra().await, "tokens-revoked").await;
    let sensitive = service.new_token(hydra().await, "agent:read agent:execute").await;
    assert_eq!((bare(&agent.url, &service.token).await, bare(&agent.url, &sensitive).await), (200, 200));
    hydra().await.revoke_all(&service.id).await;
    assert_eq!(bare(&agent.url, &sensitive).await, 401, "never cached");
    // As soon as what is remembered (for a second) is asked about again, and not when the token ends.
    eventually("the revocation is noticed", async || {
        (bare(&agent.url, &service.token).await == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_outlives_an_outage_for_a_while() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, admin) = proxied(disk.path(), "Outlives", hydra().await).await;
    let agent = setup.set("AUTH__STALE_IF_UNAVAILABLE", "20s").start().await;
    let known = TestCaller::new(hydra().await, "did:bindu:known:tokens:1").await;
    let refused = TestCaller::new(hydra().await, "tokens-refused").await;
    assert_eq!(known.send(&agent.url, &list()).await.0, 200);
    assert_eq!(bare(&agent.url, &refused.token).await, 200);
    hydra().await.revoke_all(&refused.id).await;
    eventually("it is refused", async || (bare(&agent.url, &refused.token).await == 401).then_some(())).await;
    let begun = Instant::now();
    admin.script(|_, _| Fault::Hang);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(known.send(&agent.url, &list()).await.0, 200);
        took.push(begun.elapsed());
    }
    assert!(took[0] < Duration::from_secs(10), "it waits a moment for Hydra: {took:?}");
    // The quickest: each may meet a busy machine, not all.
    assert!(took[1..].iter().min().unwrap() < &Duration::from_millis(500), "and not each time: {took:?}");
    admin.script(|_, _| Fault::Drop);
    let refused_now = bare(&agent.url, &refused.token).await;
    assert!([401, 503].contains(&refused_now), "a refusal outlives the outage: {refused_now}");
    eventually("the outage is too long", async || {
        (known.send(&agent.url, &list()).await.0 == 503).then_some(())
    })
    .await;
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}", begun.elapsed());
    admin.script(|_, _| Fault::None);
    assert_eq!(known.send(&agent.url, &list()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_has_no_grace() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, admin) = proxied(disk.path(), "No Grace", hydra().await).await;
    let agent = setup.start().await;
    let service = TestCaller::new(hydra().await, "tokens-short").await;
    let lifespans = format!("{}/admin/clients/tokens-short/lifespans", hydra().await.admin_url);
    let body = json!({"client_credentials_grant_access_token_lifespan": "3s"});
    let (status, answer) = http::answer(http::client().put(lifespans).body(body.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    let short = service.new_token(hydra().await, "agent:read").await;
    assert_eq!(bare(&agent.url, &short).await, 200);
    admin.script(|_, _| Fault::Drop);
    // The grace, which it has not, would be five minutes.
    eventually("it ends in the middle of an outage", async || {
        (bare(&agent.url, &short).await == 503).then_some(())
    })
    .await;
    assert_eq!(bare(&agent.url, &service.token).await, 503, "a stranger");
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_are_hydras() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, admin) = proxied(disk.path(), "Lifetimes", hydra().await).await;
    // By our clock the token of an hour has expired long ago; by Hydra's, which says so, it has not.
    admin.set_clock_ahead(-2 * 3600);
    let agent = setup.start().await;
    let service = TestCaller::new(hydra().await, "tokens-lifetimes").await;
    for _ in 0..3 {
        assert_eq!(bare(&agent.url, &service.token).await, 200);
    }
    // And the other way round: what Hydra's clock says has ended is not kept.
    admin.set_clock_ahead(2 * 3600);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    questions(&admin);
    for _ in 0..3 {
        assert_eq!(bare(&agent.url, &service.token).await, 200);
    }
    assert_eq!(questions(&admin).0, 3, "each time anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_hammer_hydra() {
    let disk = tempfile::tempdir().unwrap();
    let (setup, admin) = proxied(disk.path(), "Garbage", hydra().await).await;
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    questions(&admin);
    let begun = Instant::now();
    for round in 0..20 {
        let tokens: Vec<String> = (0..20).map(|number| format!("ory_at_{round}g{number}.garbage")).collect();
        let answers =
            futures_util::future::join_all(tokens.iter().map(|token| bare(&agent.url, token))).await;
        assert!(answers.iter().all(|status| *status == 401), "{answers:?}");
    }
    let (introspections, ready) = questions(&admin);
    let most = begun.elapsed().as_secs_f64() * 10.0 + 5.0;
    assert!((ready as f64) < most, "{ready} questions about readiness in {:?}", begun.elapsed());
    assert!(introspections <= 440, "{introspections} introspections for 400 tokens");
    for _ in 0..20 {
        assert_eq!(bare(&agent.url, "ory_at_same.garbage").await, 401);
        assert_eq!(bare(&agent.url, "no-token-at-all").await, 401);
    }
    assert!(questions(&admin).0 <= 2, "a refusal is remembered, and what is no token is not asked about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_checked_twice_and_carries_through_an_outage() {
    let (hydra, disk) = (jwt_hydra().await, tempfile::tempdir().unwrap());
    let (setup, admin) = proxied(disk.path(), "Jwts", hydra).await;
    // Whoever can't fetch Hydra's keys in time asks about each JWT: on a busy machine that takes longer than by default.
    let agent = setup.set("HYDRA__TIMEOUT", "60s").start().await;
    let caller = TestCaller::new(hydra, "did:bindu:jwt:tokens:1").await;
    assert_eq!(caller.token.split('.').count(), 3, "it is a JWT");
    assert_eq!(caller.send(&agent.url, &list()).await.0, 200);
    let stranger = TestCaller::new(hydra, "tokens-jwt-stranger").await;
    let revoked = TestCaller::new(hydra, "tokens-jwt-revoked").await;
    hydra.revoke_all(&revoked.id).await;
    assert_eq!(bare(&agent.url, &revoked.token).await, 401, "valid by signature, revoked");
    http::healthy(&agent.url).await;
    questions(&admin);
    for forged in forgeries(&stranger.token) {
        assert_eq!(bare(&agent.url, &forged).await, 401, "{forged}");
    }
    assert_eq!(questions(&admin).0, 0, "Hydra is not asked about what it has not signed");
    admin.script(|_, _| Fault::Drop);
    assert_eq!(bare(&agent.url, &stranger.token).await, 200, "the signature alone, in an outage");
    assert_eq!(bare(&agent.url, &revoked.token).await, 401, "not what was refused before");
    for forged in forgeries(&stranger.token) {
        assert_eq!(bare(&agent.url, &forged).await, 401, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jwts_can_be_checked_without_hydra() {
    let (hydra, disk) = (jwt_hydra().await, tempfile::tempdir().unwrap());
    let (setup, admin) = proxied(disk.path(), "Local Jwts", hydra).await;
    let agent = setup.set("AUTH__JWT", "local").start().await;
    let caller = TestCaller::new(hydra, "tokens-jwt-local").await;
    http::healthy(&agent.url).await;
    questions(&admin);
    assert_eq!(bare(&agent.url, &caller.token).await, 200);
    for forged in forgeries(&caller.token) {
        assert_eq!(bare(&agent.url, &forged).await, 401, "{forged}");
    }
    assert_eq!(questions(&admin).0, 0);
    hydra.revoke_all(&caller.id).await;
    assert_eq!(bare(&agent.url, &caller.token).await, 200, "the documented price");
}

/// What others make of a good JWT.
fn forgeries(token: &str) -> Vec<String> {
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("it is a JWT") };
    // {"alg":"none","typ":"JWT"} and {"alg":"HS256","kid":"x","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let symmetric = "eyJhbGciOiJIUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJKV1QifQ";
    let half = &signature[..signature.len() / 2];
    vec![
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{symmetric}.{claims}.{signature}"),
        format!("{header}.{claims}.{half}"),
        format!("{header}.{claims}A.{signature}"),
        format!("{claims}.{header}.{signature}"),
    ]
}
