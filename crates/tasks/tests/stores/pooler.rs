//! PostgreSQL behind PgBouncer in transaction mode, and by TLS.

use crate::{
    contract::{begun, id, owner, status},
    places::{self, eventually, postgres_options},
    postgres::{endures, replica},
};
use bindu_a2a::model::TaskState;
use bindu_tasks::{PostgresOptions, PostgresStore, SqlBounds, StoreError, TaskStore};
use bindu_testkit::{PgBouncer, Postgres, PostgresSetup, certificates};
use std::{path::Path, sync::Arc, time::Duration};

/// Few connections to the server for the many of three replicas.
const POOL: usize = 3;

fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// Three replicas by a PgBouncer in transaction mode that has fewer connections than they have, with `LISTEN` on a URL of its own.
///
/// Promise: nothing is lost or doubled, and nothing of one transaction is seen in the next on the same connection; news of other
/// replicas are heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_of_transactions_nothing_is_lost() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("started");
    let (pooler, did) = (PgBouncer::start(server.port, POOL), places::did());
    let stores: Vec<_> = (0..3)
        .map(|_| {
            let bounds = SqlBounds { tasks_of_one: 1_000_000, ..SqlBounds::default() };
            let options = PostgresOptions {
                bounds,
                listen_url: Some(url(server.port)),
                ..postgres_options(&url(pooler.port), &did)
            };
            Arc::new(PostgresStore::open(options).expect("a URL"))
        })
        .collect();
    let changes = || stores.iter().map(|store| store.figures().changes).sum::<u64>();
    let all = endures(stores.clone(), async {
        eventually("there is load", || async { (changes() > 600).then_some(()) }).await;
    })
    .await;
    assert!(all.accepted.len() > 30, "{}", all.accepted.len());
    assert!(stores.iter().all(|store| store.figures().outages == 0), "nothing failed");
    let (server, counts) = tokio::task::spawn_blocking(move || {
        let count = |what: &str| {
            server.sql(&format!(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                 AND pid <> pg_backend_pid() AND {what}"
            ))
        };
        let counts = (count("query ILIKE 'LISTEN%'"), count("query NOT ILIKE 'LISTEN%'"));
        (server, counts)
    })
    .await
    .expect("no panic");
    assert_eq!(counts.0, "3", "each listens beside the pooler");
    assert!(counts.1.parse::<usize>().expect("a count") <= POOL, "the others share: {counts:?}");
    drop(server);
}

/// The same without a URL for `LISTEN`: three replicas under load, and one that waits for another's news.
///
/// Promise: nobody listens where the next one on the same connection would get the notification: no call fails, nothing is lost or doubled,
/// and news of other replicas come by the poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_nobody_listens_and_news_come_by_the_poll() {
    let server = tokio::task::spawn_blocking(Postgres::start).await.expect("started");
    let (pooler, did) = (PgBouncer::start(server.port, POOL), places::did());
    let stores: Vec<_> = (0..3).map(|_| replica(&url(pooler.port), &did)).collect();
    let changes = || stores.iter().map(|store| store.figures().changes).sum::<u64>();
    endures(stores.clone(), async {
        eventually("there is load", || async { (changes() > 1000).then_some(()) }).await;
    })
    .await;
    let run = begun(&*stores[0], &owner("alice"), &id()).await;
    let mut watch = stores[1].watch(&run.task);
    for (before, state) in (2..).zip([TaskState::Working, TaskState::InputRequired]) {
        let number = stores[0].append_after(&run, Some(before), vec![status(state)]).await;
        assert_eq!(number, Ok(before + 1));
        let told = watch.wait_for(|told| *told > before);
        let told = tokio::time::timeout(Duration::from_secs(60), told).await;
        assert!(told.expect("in time").is_ok());
    }
    let figures: Vec<_> = stores.iter().map(|store| store.figures().outages).collect();
    assert_eq!(figures, [0, 0, 0], "nothing failed");
    drop(server);
}

async fn answer(port: u16, host: &str, mode: &str, authority: Option<&Path>) -> Result<(), StoreError> {
    let authority = authority.map(|path| format!("&sslrootcert={}", path.display())).unwrap_or_default();
    let url = format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}{authority}");
    PostgresStore::open(postgres_options(&url, &places::did())).expect("a URL").check().await
}

/// A server with a certificate of an authority of one's own: asked with it, with another one, without, and by another name.
///
/// Promise: `verify-full` takes only the right authority and the right name; what is refused says that it is the certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_the_database_is_checked_as_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = certificates::self_signed(directory.path(), "authority", "rsa:2048");
    let other = certificates::self_signed(directory.path(), "other", "rsa:2048");
    let tls = certificates::signed(directory.path(), "server", "IP:127.0.0.1", &authority);
    let setup = PostgresSetup { tls: Some(tls), ..PostgresSetup::default() };
    let server = tokio::task::spawn_blocking(|| Postgres::start_with(setup)).await.expect("started");
    let (right, wrong) = (Some(authority.certificate.as_path()), Some(other.certificate.as_path()));
    assert_eq!(answer(server.port, "127.0.0.1", "verify-full", right).await, Ok(()));
    assert_eq!(answer(server.port, "localhost", "verify-ca", right).await, Ok(()), "whatever its name");
    assert_eq!(answer(server.port, "127.0.0.1", "require", None).await, Ok(()), "encrypted, unchecked");
    for (host, authority) in [("127.0.0.1", wrong), ("127.0.0.1", None), ("localhost", right)] {
        let refused = answer(server.port, host, "verify-full", authority).await;
        let Err(StoreError::Unavailable(told)) = refused else { panic!("{host} {authority:?}: {refused:?}") };
        println!("{host} {authority:?}: {told}");
        assert!(told.contains("TLS") && told.contains("certificate"), "{host} {authority:?}: {told}");
    }
    drop(server);
}
