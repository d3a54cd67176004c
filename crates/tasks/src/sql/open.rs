//! [`Session`] over a connection of `sqlx`, the same for both databases.

use super::{
    connections::Taken,
    key::{self, Hash},
    session::{Dialect, Fault, Row, Session, Value},
};
use sqlx::Database;
use std::{fmt, future::Future};

/// What differs between the databases.
pub trait Sql: Database {
    /// Whether statements with values may be sent together, one `;` between them. Each that is sent alone wakes a thread or
    /// crosses a network, and its answer another one.
    const TOGETHER: bool;

    /// Sends text of ours without values; several statements are possible.
    fn simple(
        connection: &mut Self::Connection,
        text: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The rows of a statement.
    fn fetch(
        connection: &mut Self::Connection,
        text: String,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// Does a statement; how many rows it has changed.
    fn run(
        connection: &mut Self::Connection,
        text: String,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// What an error of this database's own means, by its code.
    fn meaning(code: &str, text: String) -> Fault;
}

/// An open transaction, or single statements. A connection whose transaction was not ended is closed, not given back.
pub struct Open<D: Sql> {
    connection: Taken<D>,
    dialect: Dialect,
    is_transaction: bool,
    /// What begins it, as long as that is not sent: together with the first statement.
    beginning: Option<String>,
    /// A statement that is sent with the next one.
    waiting: Option<(String, Vec<Value>)>,
}

impl<D: Sql> fmt::Debug for Open<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

impl<D: Sql> Open<D> {
    /// Begins a transaction by these words.
    pub(super) async fn begin(connection: Taken<D>, words: &str, dialect: Dialect) -> Result<Self, Fault> {
        let beginning = Some(words.to_owned());
        let mut open = Self { connection, dialect, is_transaction: true, beginning, waiting: None };
        if !D::TOGETHER {
            open.really_begin().await?;
        }
        Ok(open)
    }

    async fn really_begin(&mut self) -> Result<(), Fault> {
        match self.beginning.take() {
            Some(words) => self.simple(&words).await,
            None => Ok(()),
        }
    }

    async fn simple(&mut self, text: &str) -> Result<(), Fault> {
        D::simple(self.connection.get()?, text).await.map_err(|error| fault::<D>(&error))
    }

    /// Does what waits.
    async fn catch_up(&mut self) -> Result<(), Fault> {
        let Some((text, values)) = self.waiting.take() else { return Ok(()) };
        self.really_begin().await?;
        D::run(self.connection.get()?, text, values).await.map(|_| ()).map_err(|error| fault::<D>(&error))
    }

    /// Begins nothing: each statement is a transaction of its own, and saves two round trips.
    pub(super) fn single(connection: Taken<D>, dialect: Dialect) -> Self {
        Self { connection, dialect, is_transaction: false, beginning: None, waiting: None }
    }
}

/// What an error means. Its text names no value of a caller's.
pub(super) fn fault<D: Sql>(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            D::meaning(&code, format!("the database refuses it (code {code})"))
        }
        sqlx::Error::PoolTimedOut => Fault::Away("the database does not answer in time".to_owned()),
        // What rustls refuses comes so: "invalid peer certificate: UnknownIssuer".
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Fault::Away(format!("TLS to the database failed: {error}"))
        }
        sqlx::Error::Io(error) => Fault::Away(format!("the connection to the database: {}", error.kind())),
        sqlx::Error::Tls(error) => Fault::Away(format!("TLS to the database failed: {error}")),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Fault::Away("the store is closed".to_owned()),
        sqlx::Error::Protocol(_) => Fault::Away("the database's answer is not understood".to_owned()),
        _ => Fault::Refused("a statement and its values do not fit".to_owned()),
    }
}

impl<D: Sql> Session for Open<D>
where
    D::Connection: Send,
{
    async fn rows(&mut self, statement: &str, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        self.catch_up().await?;
        let mut text = self.dialect.text(statement);
        if let Some(words) = self.beginning.take() {
            text.insert_str(0, "; ");
            text.insert_str(0, &words);
        }
        D::fetch(self.connection.get()?, text, values).await.map_err(|error| fault::<D>(&error))
    }

    async fn execute(&mut self, statement: &str, values: Vec<Value>) -> Result<u64, Fault> {
        self.catch_up().await?;
        self.really_begin().await?;
        let text = self.dialect.text(statement);
        D::run(self.connection.get()?, text, values).await.map_err(|error| fault::<D>(&error))
    }

    /// By a lock of the database's own, which ends with the transaction: no row that others read, write or keep.
    async fn hold_shares(&mut self, owners: &[Hash]) -> Result<(), Fault> {
        let Dialect::Postgres(schema) = &self.dialect else { return Ok(()) };
        if owners.is_empty() {
            return Ok(());
        }
        let lock = |owner| format!("SELECT pg_advisory_xact_lock({})", key::share(schema, owner));
        let text = owners.iter().map(lock).collect::<Vec<_>>().join("; ");
        D::simple(self.connection.get()?, &text).await.map_err(|error| fault::<D>(&error))
    }

    async fn execute_with_next(&mut self, statement: &str, values: Vec<Value>) -> Result<(), Fault> {
        if !(D::TOGETHER && self.is_transaction) {
            return self.execute(statement, values).await.map(|_| ());
        }
        self.catch_up().await?;
        self.waiting = Some((self.dialect.text(statement), values));
        Ok(())
    }

    async fn commit(mut self) -> Result<(), Fault> {
        if let Some((mut text, values)) = self.waiting.take() {
            self.really_begin().await?;
            text.push_str("; COMMIT");
            let done = D::run(self.connection.get()?, text, values).await;
            done.map_err(|error| fault::<D>(&error))?;
        } else if self.is_transaction && self.beginning.is_none() {
            self.simple("COMMIT").await?;
        }
        self.connection.give_back();
        Ok(())
    }

    async fn roll_back(mut self) {
        let has_begun = self.is_transaction && self.beginning.is_none();
        if !has_begun || self.simple("ROLLBACK").await.is_ok() {
            self.connection.give_back();
        }
    }
}
