//! What is read off a `DATABASE_URL` and a DID: how to connect, and the names of schema and channel.

use super::parameters::unknown_parameter;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;

/// A URL that is not one of PostgreSQL's. The text names no part of it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database URL is not valid")]
pub struct BadUrl;

/// The schema of a DID, as Python Bindu names it (`sanitize_did_for_schema`).
#[must_use]
pub fn schema_of(did: &str) -> String {
    let plain: String = did
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
        .collect();
    let name = match plain.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("schema_{plain}"),
        _ => plain,
    };
    if name.len() <= 63 {
        return name;
    }
    let hash = hex(&Sha256::digest(name.as_bytes()));
    format!("{}_{}", name.get(..54).unwrap_or_default(), hash.get(..8).unwrap_or_default())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The channel of a DID's news: a name of fixed length, as a DID may be long.
pub(super) fn channel(did: &str) -> String {
    let hash = hex(&Sha256::digest(did.as_bytes()));
    format!("bindu_{}", hash.get(..16).unwrap_or_default())
}

/// Python Bindu takes URLs without a scheme, and names its driver in them.
pub(super) fn connect_options(url: &str) -> Result<PgConnectOptions, BadUrl> {
    let url = match url.split_once("://") {
        Some(("postgres" | "postgresql" | "postgresql+asyncpg", rest)) => format!("postgresql://{rest}"),
        Some(_) => return Err(BadUrl),
        None => format!("postgresql://{url}"),
    };
    if has_a_torn_password(&url) {
        return Err(BadUrl);
    }
    // The driver would write it into the log.
    if unknown_parameter(&url).is_some() {
        return Err(BadUrl);
    }
    let options: PgConnectOptions = url.parse().map_err(|_| BadUrl)?;
    // An address of IPv6 stands in brackets in a URL, and nowhere else.
    let host = options.get_host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    let options = match address {
        Some(address) => options.host(&address),
        None => options,
    };
    // Of what sqlx says at the start of a session, poolers take no `extra_float_digits` unless they are told to.
    Ok(options.application_name("bindu").statement_cache_capacity(0).extra_float_digits(None))
}

/// Whether a password has a character in it that ends the place where it may stand (`/`, `?`, `#`): the rest of it would be taken for
/// the database's name, its beginning for a port, and both would be shown.
fn has_a_torn_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    authority.contains(':') && !authority.contains('@') && behind.contains('@')
}

/// Whether a text is the URL of a database of PostgreSQL's, with a scheme.
#[must_use]
pub fn is_postgres_url(text: &str) -> bool {
    text.contains("://") && connect_options(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are those that `sanitize_did_for_schema` of Python Bindu 2026.36.7 gives.
    #[test]
    fn schemas_are_named_as_python_bindu_names_them() {
        for (did, schema) in [
            ("did:bindu:alice:agent1:abc123", "did_bindu_alice_agent1_abc123"),
            (
                "did:bindu:alice_smith_at_example_com:echo_agent:5c908f70-ec50-7e33-bf7d-2735c15d5c13",
                "did_bindu_alice_smith_at_example_com_echo_agent_5c908f_75822da2",
            ),
            ("1did:A B\"c", "schema_1did_a_b_c"),
            ("did:bindu:h\u{e9}llo:w", "did_bindu_h_llo_w"),
        ] {
            assert_eq!(schema_of(did), schema);
        }
    }

    #[test]
    fn urls_are_taken_as_python_bindu_takes_them_and_never_shown() {
        for url in [
            "postgres://u:secret@db:5432/x?sslmode=require",
            "postgresql://u:secret@db/x",
            "postgresql+asyncpg://u:secret@db/x",
            "u:secret@db:5432/x",
        ] {
            let options = connect_options(url).expect("a URL");
            assert_eq!((options.get_host(), options.get_database()), ("db", Some("x")));
        }
        assert!(connect_options("postgres://u@db/x?sslpassword=secret").is_err(), "it would be logged");
        assert!(connect_options("mysql://u:secret@db/x").is_err());
        let address = connect_options("postgres://u:secret@[::1]:5432/x").expect("an address");
        assert_eq!((address.get_host(), address.get_port()), ("::1", 5432));
        // Neither the beginning of a password is a port, nor its end a database.
        for torn in ["postgres://u:12/secret@db/x", "postgres://u:12?secret@db/x", "u:12#secret@db/x"] {
            assert!(connect_options(torn).is_err(), "{torn}");
        }
        assert!(connect_options("postgres://db:5432/x@y").is_err(), "%40 in a name");
        assert!(connect_options("postgres://u@db:5432/x@y").is_ok());
        assert!(!BadUrl.to_string().contains("secret"));
    }
}
