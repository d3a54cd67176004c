//! One transaction of a database, whichever it is: statements with `$1` placeholders, and three types of values.

use super::key::Hash;
use crate::StorageKind;
use std::{fmt, future::Future, time::Duration};

/// A value of a column. Nothing else is used, so that both databases mean the same.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A 64-bit number: times (milliseconds, or nanoseconds where said), counts, flags.
    Int(i64),
    /// A text without NUL.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing: only in results.
    Null,
}

impl fmt::Debug for Value {
    /// Without content: it is callers'.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Null => "nothing",
        })
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<[u8; 32]> for Value {
    fn from(bytes: [u8; 32]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// A row of a result.
#[derive(Debug)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// A number; 0 for nothing.
    pub fn int(&self, column: usize) -> Result<i64, Fault> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(*number),
            Some(Value::Null) => Ok(0),
            _ => Err(unexpected(column)),
        }
    }

    /// A count, or a number that only grows.
    pub fn count(&self, column: usize) -> Result<u64, Fault> {
        u64::try_from(self.int(column)?).map_err(|_| unexpected(column))
    }

    /// A text; an empty one for nothing.
    pub fn text(&self, column: usize) -> Result<&str, Fault> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Null) => Ok(""),
            _ => Err(unexpected(column)),
        }
    }

    /// A hash.
    pub fn hash(&self, column: usize) -> Result<[u8; 32], Fault> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => bytes.as_slice().try_into().map_err(|_| unexpected(column)),
            _ => Err(unexpected(column)),
        }
    }

    /// Whether there is nothing in a column.
    pub fn is_null(&self, column: usize) -> bool {
        matches!(self.0.get(column), Some(Value::Null) | None)
    }
}

fn unexpected(column: usize) -> Fault {
    Fault::Refused(format!("column {column} of a result is not what was asked for"))
}

/// Why a statement was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The database does not answer, or not now. What was sent to it may have been done.
    Away(String),
    /// This statement has waited too long, for somebody else's lock for example; others need not wait.
    Late(String),
    /// Somebody else was there first: the same transaction again will see it.
    Again(String),
    /// There is no room for it.
    Full(String),
    /// The database refuses this very statement; others are not affected.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(text)
        | Self::Late(text)
        | Self::Again(text)
        | Self::Full(text)
        | Self::Refused(text)) = self;
        f.write_str(text)
    }
}

/// Which of the two dialects of SQL.
#[derive(Debug, Clone)]
pub(super) enum Dialect {
    /// SQLite: one writer at a time, so nothing is locked.
    Sqlite,
    /// PostgreSQL, with the schema's name, quoted.
    Postgres(String),
}

impl Dialect {
    /// A statement in this dialect. `{s}` stands in front of the name of each table, `{now}` is the database's clock in
    /// milliseconds, `{lock}` locks the rows that are read, `{skip}` leaves out those that another transaction has locked, `{ids}`
    /// is a query for the numbers in `$1`, a text with commas between them, `{total}` is the sum of tasks, and where from.
    pub(super) fn text(&self, statement: &str) -> String {
        let (schema, now, lock, skip, ids) = match self {
            Self::Sqlite => (
                "",
                "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
                "",
                "",
                "SELECT value FROM json_each('[' || $1 || ']')",
            ),
            Self::Postgres(schema) => (
                schema.as_str(),
                "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)",
                "FOR UPDATE",
                "FOR UPDATE SKIP LOCKED",
                "SELECT unnest(CAST(string_to_array($1, ',') AS BIGINT[]))",
            ),
        };
        let mut text = String::with_capacity(statement.len() + 64);
        let mut rest = statement;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            match name {
                "s" => text.push_str(schema),
                "now" => text.push_str(now),
                "lock" => text.push_str(lock),
                "skip" => text.push_str(skip),
                "ids" => text.push_str(ids),
                "total" => match self {
                    Self::Sqlite => text.push_str("coalesce(sum(tasks), 0) FROM bindu_counts"),
                    Self::Postgres(schema) => text.extend(["count(*) FROM ", schema, "bindu_tasks"]),
                },
                other => {
                    text.push('{');
                    text.push_str(other);
                    text.push('}');
                }
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

/// An open transaction. Dropped, it has changed nothing, unless it is one for single statements.
pub trait Session: Send {
    /// The rows of a statement.
    fn rows(
        &mut self,
        statement: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, Fault>> + Send;

    /// Does a statement; how many rows it has changed.
    fn execute(
        &mut self,
        statement: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, Fault>> + Send;

    /// Waits until nobody else takes from these owners' shares; nobody does until the transaction ends. The owners come in order.
    /// If one writes at a time anyway there is nothing to wait for.
    fn hold_shares(&mut self, owners: &[Hash]) -> impl Future<Output = Result<(), Fault>> + Send {
        let _ = owners;
        std::future::ready(Ok(()))
    }

    /// Does a statement together with whatever comes next: only then a fault of it shows, at the latest at the end.
    fn execute_with_next(
        &mut self,
        statement: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        async { self.execute(statement, values).await.map(|_| ()) }
    }

    /// Ends it, with everything done. After [`Fault::Away`] nobody knows whether.
    fn commit(self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Ends it, with nothing done.
    fn roll_back(self) -> impl Future<Output = ()> + Send;
}

/// A database that opens transactions.
pub trait Backend: Send + Sync + 'static {
    /// Its transactions.
    type Session: Session + 'static;

    /// Begins one that writes.
    fn write(&self) -> impl Future<Output = Result<Self::Session, Fault>> + Send;

    /// Begins one that reads, and sees one state of the whole.
    fn read(&self) -> impl Future<Output = Result<Self::Session, Fault>> + Send;

    /// For one statement that reads, outside of a transaction.
    fn glance(&self) -> impl Future<Output = Result<Self::Session, Fault>> + Send;

    /// Is told now and then, so that what nobody has used for a while is closed.
    fn rest(&self);

    /// How many transactions of the group commit are open at a time.
    fn lanes(&self) -> usize;

    /// How many questions with long answers are asked at a time: the other connections are for short ones.
    fn long_reads(&self) -> usize;

    /// How often what is watched is looked for that other processes may have written.
    fn poll_interval(&self) -> Duration;

    /// Is told that it did not answer, or that what it holds is not what it held.
    fn lost(&self);

    /// Tells other processes of new events. They may miss it.
    fn tell(&self, news: &[([u8; 32], u64)]);

    /// The bytes that it takes, and the most that it may take; nothing if it is somebody else's disk.
    fn size(&self) -> impl Future<Output = Option<(u64, u64)>> + Send;

    /// The bytes that may still be written before its own bound; nothing if it has none.
    fn left(&self, session: &mut Self::Session) -> impl Future<Output = Result<Option<u64>, Fault>> + Send {
        let _ = session;
        std::future::ready(Ok(None))
    }

    /// The bytes beside the file that count as its own.
    fn beside(&self) -> u64 {
        0
    }

    /// Gives such bytes back, if nobody needs them any more.
    fn shorten(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Connections: open, and idle.
    fn connections(&self) -> (u64, u64);

    /// The most connections.
    fn max_connections(&self) -> u64;

    /// Which database it is.
    fn kind(&self) -> StorageKind;

    /// Which history it is in: another one after a failover.
    fn timeline(&self) -> u64 {
        0
    }

    /// What helps against what keeps it away, if that is known.
    fn hint(&self) -> Option<String> {
        None
    }
}
