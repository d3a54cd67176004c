//! Databases that cannot be reached: what is told of each.

use crate::places::{self, postgres_options};
use bindu_tasks::{PostgresStore, StoreError, TaskStore};
use bindu_testkit::{Postgres, PostgresSetup, certificates};
use std::net::TcpListener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PASSWORD: &str = "not-to-be-shown";

/// A URL that leads nowhere, and what is told of it.
struct Case {
    what: &'static str,
    url: String,
    place: String,
    cause: &'static str,
    hint: String,
}

/// A server with TLS that lets `alice` in with a password only, `sealed` with TLS only, and `open` without only.
fn strict() -> Postgres {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = certificates::self_signed(directory.path(), "authority", "rsa:2048");
    let tls = certificates::signed(directory.path(), "server", "IP:127.0.0.1", &authority);
    let server = Postgres::start_with(PostgresSetup { tls: Some(tls), ..PostgresSetup::default() });
    for role in ["alice", "sealed", "open"] {
        server.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"));
    }
    let rules = [
        "host all postgres 127.0.0.1/32 trust",
        "host all alice 127.0.0.1/32 scram-sha-256",
        "hostssl all sealed 127.0.0.1/32 trust",
        "hostnossl all open 127.0.0.1/32 trust",
    ];
    let rows: Vec<String> = rules.iter().map(|rule| format!("('{rule}')")).collect();
    let path = server.sql("SHOW hba_file");
    server.sql(&format!("COPY (VALUES {}) TO '{path}'", rows.join(", ")));
    server.sql("SELECT pg_reload_conf()");
    server
}

/// Something that is no PostgreSQL.
async fn another_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read(&mut [0; 64]).await;
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    port
}

/// Each way in which a `DATABASE_URL` can be wrong, on real servers.
///
/// Promise: what is told names host, port and database, the cause in the server's or the system's own words, and one setting or
/// command that helps; never the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_reached_says_where_and_why() {
    let server = tokio::task::spawn_blocking(strict).await.expect("started");
    let plain = places::shared_postgres();
    let plain: u16 =
        plain.split(':').nth(2).and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    // Longer than a label may be: nobody is asked for it.
    let nowhere = "x".repeat(70);
    let (strict, other) = (server.port, another_server().await);
    let case = |what, user: &str, (host, port): (&str, u16), rest: &str, cause, hint: String| Case {
        what,
        url: format!("postgres://{user}:{PASSWORD}@{host}:{port}/{rest}"),
        place: format!("{host}:{port}, database \"{}\"", rest.split('?').next().unwrap_or_default()),
        cause,
        hint,
    };
    let here = "127.0.0.1";
    let set = |text: &str| format!("{text} DATABASE_URL");
    let cases = [
        case("closed", "alice", (here, closed), "postgres", "Connection refused", format!("-p {closed}")),
        case("no host", "alice", (&nowhere, 5432), "postgres", "lookup", set("host in")),
        case(
            "password",
            "alice",
            (here, strict),
            "postgres",
            "password authentication failed for user \"alice\"",
            set("password in"),
        ),
        case(
            "database",
            "postgres",
            (here, strict),
            "tasks",
            "database \"tasks\" does not exist",
            format!("createdb -h {here} -p {strict} -U postgres tasks"),
        ),
        case(
            "no TLS there",
            "postgres",
            (here, plain),
            "postgres?sslmode=require",
            "does not support TLS",
            set("sslmode=disable in"),
        ),
        case(
            "only with TLS",
            "sealed",
            (here, strict),
            "postgres?sslmode=disable",
            "no encryption",
            set("sslmode=require to"),
        ),
        case(
            "only without TLS",
            "open",
            (here, strict),
            "postgres?sslmode=require",
            "SSL encryption",
            set("sslmode=disable to"),
        ),
        case(
            "authority",
            "postgres",
            (here, strict),
            "postgres?sslmode=verify-full",
            "certificate",
            set("sslrootcert in"),
        ),
        case("no PostgreSQL", "alice", (here, other), "postgres", "not PostgreSQL", set("port in")),
    ];
    for Case { what, url, place, cause, hint } in cases {
        let options = postgres_options(&url, &places::did());
        let unreachable = PostgresStore::reach(&options).await.expect_err(what);
        let store = PostgresStore::open(options).expect("a URL");
        let Err(StoreError::Unavailable(told)) = store.check().await else { panic!("{what}: it answers") };
        for told in [unreachable.to_string(), told] {
            println!("{what}: {told}");
            assert!(told.contains(&place) && told.contains(cause), "{what}: {told}");
            assert!(!told.contains(PASSWORD), "{what}: {told}");
        }
        for told in [unreachable.hint().to_owned(), store.hint().expect("a hint")] {
            assert!(told.contains(&hint) && !told.contains(PASSWORD), "{what}: {told}");
            assert!(!told.contains('\n'), "{what}: {told}");
        }
    }
    // What was mended is forgotten.
    let options = postgres_options(places::shared_postgres(), &places::did());
    let store = PostgresStore::open(options.clone()).expect("a URL");
    assert_eq!((PostgresStore::reach(&options).await, store.check().await), (Ok(()), Ok(())));
    assert_eq!(store.hint(), None);
    drop(server);
}
