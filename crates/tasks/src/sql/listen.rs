//! News of other processes, by `LISTEN`.
//!
//! `LISTEN` needs a session of its own. Behind a pooler of transactions the session belongs to whoever has it next, who would get
//! notifications in the middle of an answer and take them for nonsense. So it is looked first whether two connections have sessions
//! of their own; if they don't, nobody listens, and news come by the poll.

use super::write::News;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long is waited before another connection is tried.
const AGAIN: Duration = Duration::from_secs(1);

/// How long until it is looked again whether there are sessions: poolers are set up anew seldom.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// How long a connection for it may take.
const CONNECTS: Duration = Duration::from_secs(3);

/// Which of the two connections is asked for its session: in an order that a pooler's turns do not follow, however many sessions it
/// has.
const ASKED: [usize; 14] = [0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1];

/// Hears what other processes tell. Never ends.
pub(super) async fn hear(
    connect: PgConnectOptions,
    (channel, poll): (String, Duration),
    tell: impl Fn(&[News]),
) {
    let mut has_told = false;
    loop {
        match timeout(CONNECTS, has_sessions(&connect)).await {
            Ok(Ok(true)) => listen(&connect, &channel, &tell).await,
            Ok(Ok(false)) => {
                if !has_told {
                    tracing::warn!(
                        every = ?poll,
                        hint = "set BINDU_STORAGE_LISTEN_URL to the database without the pooler",
                        "the database is behind a pooler of transactions, where nobody can listen: events of other replicas \
                         are found by a poll"
                    );
                    has_told = true;
                }
                sleep(LOOK_AGAIN).await;
            }
            // It is away.
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(AGAIN).await;
    }
}

/// Whether each of two connections keeps a session of its own.
async fn has_sessions(connect: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut connections = [connect.connect().await?, connect.connect().await?];
    let mut sessions: [Option<i32>; 2] = [None, None];
    let mut are_kept = true;
    for at in ASKED {
        let (Some(connection), Some(known)) = (connections.get_mut(at), sessions.get_mut(at)) else {
            continue;
        };
        let session = session(connection).await?;
        are_kept &= known.is_none_or(|known| known == session);
        *known = Some(session);
    }
    for connection in connections {
        let _ = connection.close().await;
    }
    Ok(are_kept && sessions[0] != sessions[1])
}

/// The process of the server that answers.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    // In one round trip: of two, each might go to another session.
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")).await?;
    row.try_get(0)
}

async fn listen(connect: &PgConnectOptions, channel: &str, tell: &impl Fn(&[News])) {
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECTS).connect_lazy_with(connect.clone());
    if let Ok(mut listener) = PgListener::connect_with(&pool).await
        && listener.listen(channel).await.is_ok()
    {
        while let Ok(Some(notification)) = listener.try_recv().await {
            tell(&named(notification.payload()));
        }
    }
    pool.close().await;
}

/// The news of a payload. What is not understood is left out: anybody who may connect can send it.
fn named(payload: &str) -> Vec<News> {
    let one = |text: &str| {
        let (task, number) = text.split_once(':')?;
        let mut hash = [0; 32];
        if task.len() != 64 {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(task.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(News::Number(hash, number.parse().ok()?))
    };
    payload.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_anybody_may_send_is_read_without_harm() {
        let task = [0xab; 32];
        let good = format!("{}:7", hex(&task));
        assert_eq!(named(&good), [News::Number(task, 7)]);
        for bad in ["", ":", "zz:1", &"\u{e9}".repeat(32), &format!("{}:x", "a".repeat(64)), ",,,"] {
            assert_eq!(named(bad), []);
        }
        assert_eq!(named(&format!("junk,{good},")).len(), 1);
    }
}
