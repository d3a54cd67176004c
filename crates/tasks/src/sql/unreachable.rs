//! Why there is no connection to PostgreSQL: where it would lead, the cause in the server's or the system's own words, and one
//! setting or command that helps. Never a password, nor a part of a URL that may hold one.

use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};
use std::{fmt, io::ErrorKind, time::Duration};
use tokio::time::timeout;

/// How long one attempt may take that only asks why there is no connection.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Why a database cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct Unreachable {
    /// Host, port and database.
    place: String,
    cause: String,
    hint: String,
}

impl Unreachable {
    /// What helps: one setting, or one command.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

/// Where a connection leads.
struct Place<'a> {
    host: String,
    port: u16,
    user: &'a str,
    database: &'a str,
    ssl_mode: PgSslMode,
    /// Which setting says so.
    setting: &'a str,
}

impl<'a> Place<'a> {
    fn of(options: &'a PgConnectOptions, setting: &'a str) -> Self {
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let user = options.get_username();
        // As the server does.
        let database = options.get_database().unwrap_or(user);
        Self { host, port: options.get_port(), user, database, ssl_mode: options.get_ssl_mode(), setting }
    }

    fn is_ready(&self) -> String {
        let Self { host, port, .. } = self;
        format!("see whether PostgreSQL answers there: pg_isready -h {host} -p {port}")
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}, database \"{database}\"")
        } else {
            write!(f, "{host}:{port}, database \"{database}\"")
        }
    }
}

/// Tries one connection; why there is none.
///
/// # Errors
/// [`Unreachable`].
pub(super) async fn attempt(options: &PgConnectOptions, setting: &str) -> Result<(), Unreachable> {
    match timeout(ATTEMPT, options.connect()).await {
        Ok(Ok(connection)) => {
            let _ = timeout(ATTEMPT, sqlx::Connection::close(connection)).await;
            Ok(())
        }
        Ok(Err(error)) => Err(explain(&error, options, setting)),
        Err(_) => Err(explain(&sqlx::Error::PoolTimedOut, options, setting)),
    }
}

/// What an error of a connection that was not made means.
pub(super) fn explain(error: &sqlx::Error, options: &PgConnectOptions, setting: &str) -> Unreachable {
    let place = Place::of(options, setting);
    let (cause, hint) = match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let hint = of_server(&code, error.message(), &place);
            (format!("the server refuses: {} (code {code})", error.message()), hint)
        }
        // What rustls refuses comes so: "invalid peer certificate: UnknownIssuer".
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            (format!("TLS to the database failed: {error}"), of_certificate(&place))
        }
        sqlx::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ("the connection was closed before PostgreSQL answered".to_owned(), place.is_ready())
        }
        sqlx::Error::Io(error) => (error.to_string(), of_system(error, &place)),
        sqlx::Error::Tls(error) => {
            (format!("TLS to the database failed: {error}"), of_tls(&error.to_string(), &place))
        }
        sqlx::Error::Protocol(problem) => (
            // Without the line of sqlx's that has found it.
            format!(
                "what answers there is not PostgreSQL: {}",
                problem.split(" (sqlx").next().unwrap_or_default()
            ),
            format!("correct host and port in {setting}"),
        ),
        sqlx::Error::PoolTimedOut => ("no answer in time".to_owned(), place.is_ready()),
        sqlx::Error::Configuration(problem) => (problem.to_string(), format!("correct {setting}")),
        other => (other.to_string(), place.is_ready()),
    };
    Unreachable { place: place.to_string(), cause, hint }
}

/// What helps against a refusal of the server, by its SQLSTATE.
fn of_server(code: &str, message: &str, place: &Place<'_>) -> String {
    let Place { host, port, user, database, setting, .. } = place;
    match code {
        // "no pg_hba.conf entry for host ..., no encryption" and "..., SSL encryption".
        "28000" if message.contains("no encryption") => format!("add sslmode=require to {setting}"),
        "28000" if message.contains("SSL encryption") || message.contains("SSL on") => {
            format!("add sslmode=disable to {setting}, or allow the login with TLS in pg_hba.conf")
        }
        "28000" if message.contains("pg_hba.conf") => {
            "allow the login in pg_hba.conf of the server".to_owned()
        }
        "28P01" | "28000" => format!("correct user and password in {setting}"),
        "3D000" => format!("createdb -h {host} -p {port} -U {user} {database}"),
        "53300" => {
            "set BINDU_STORAGE_CONNECTIONS to fewer, or max_connections of the server to more".to_owned()
        }
        "57P03" => "it is starting or stopping: it is used when it comes".to_owned(),
        _ => place.is_ready(),
    }
}

fn of_system(error: &std::io::Error, place: &Place<'_>) -> String {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => format!("correct the path in {}", place.setting),
        _ if text.contains("lookup") || text.contains("resolve") => {
            format!("correct the host in {}", place.setting)
        }
        _ => place.is_ready(),
    }
}

fn of_tls(problem: &str, place: &Place<'_>) -> String {
    if problem.contains("does not support TLS") {
        return format!("turn TLS on in the server (ssl = on), or set sslmode=disable in {}", place.setting);
    }
    of_certificate(place)
}

fn of_certificate(place: &Place<'_>) -> String {
    let Place { setting, .. } = place;
    match place.ssl_mode {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
            format!(
                "set sslrootcert in {setting} to the certificate of the server's authority, and the host to its name"
            )
        }
        _ => format!("correct sslcert and sslkey in {setting}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn explained(error: &sqlx::Error) -> Unreachable {
        let options: PgConnectOptions =
            "postgresql://alice:pass-word@db.example:5433/tasks".parse().expect("a URL");
        explain(error, &options, "DATABASE_URL")
    }

    #[test]
    fn each_cause_names_the_place_its_own_words_and_what_helps() {
        let lookup = "failed to lookup address information: Name or service not known";
        let cases = [
            (
                io::Error::from_raw_os_error(111).into(),
                "Connection refused",
                "pg_isready -h db.example -p 5433",
            ),
            (io::Error::other(lookup).into(), lookup, "correct the host in DATABASE_URL"),
            (sqlx::Error::PoolTimedOut, "no answer in time", "pg_isready"),
            (
                sqlx::Error::Tls("server does not support TLS".into()),
                "does not support TLS",
                "sslmode=disable",
            ),
            (sqlx::Error::Protocol("0x48".to_owned()), "not PostgreSQL", "host and port"),
        ];
        for (error, cause, hint) in cases {
            let told = explained(&error);
            let text = told.to_string();
            assert!(text.starts_with("db.example:5433, database \"tasks\": "), "{text}");
            assert!(text.contains(cause), "{text}");
            assert!(told.hint().contains(hint), "{}", told.hint());
            assert!(!format!("{told:?}").contains("pass-word"));
        }
    }
}
