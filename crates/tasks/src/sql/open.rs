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
}

impl<D: Sql> fmt::Debug for Open<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

impl<D: Sql> Open<D> {
    /// Begins a transaction by these words.
    pub(super) async fn begin(connection: Taken<D>, words: &str, dialect: Dialect) -> Result<Self, Fault> {
        let mut open = Self { connection, dialect, is_transaction: true };
        D::simple(open.connection.get()?, words).await.map_err(|error| fault::<D>(&error))?;
        Ok(open)
    }

    /// Begins nothing: each statement is a transaction of its own, and saves two round trips.
    pub(super) fn single(connection: Taken<D>, dialect: Dialect) -> Self {
        Self { connection, dialect, is_transaction: false }
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
        let text = self.dialect.text(statement);
        D::fetch(self.connection.get()?, text, values).await.map_err(|error| fault::<D>(&error))
    }

    async fn execute(&mut self, statement: &str, values: Vec<Value>) -> Result<u64, Fault> {
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

    async fn commit(mut self) -> Result<(), Fault> {
        if self.is_transaction {
            D::simple(self.connection.get()?, "COMMIT").await.map_err(|error| fault::<D>(&error))?;
        }
        self.connection.give_back();
        Ok(())
    }

    async fn roll_back(mut self) {
        let Ok(connection) = self.connection.get() else { return };
        if !self.is_transaction || D::simple(connection, "ROLLBACK").await.is_ok() {
            self.connection.give_back();
        }
    }
}
