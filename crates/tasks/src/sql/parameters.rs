//! The parameters of a database's URL: what the driver does not know it writes into the log with its value, which may be a
//! secret, and goes on without. So the parameters are looked at before it sees them.

use url::form_urlencoded;

/// What the driver knows, and `options[...]`.
const KNOWN: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// The longest name that is shown.
const LONGEST_NAME: usize = 40;

/// The first parameter of a PostgreSQL URL that has no effect here: its name, if it is a plain word, and never its value.
#[must_use]
pub fn unknown_parameter(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let is_known = |key: &str| KNOWN.contains(&key) || key == "options" || key.starts_with("options[");
    let (key, _) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| !is_known(key))?;
    // One without a value, or with other characters, may be a piece of a password; so may all, if its `?` was not escaped.
    let is_plain = !query.contains('@')
        && key.len() <= LONGEST_NAME
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'))
        && query.contains(&format!("{key}="));
    Some(if is_plain { format!("`{key}`") } else { "one whose name is not a plain word".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_without_effect_are_named_and_their_values_are_not() {
        let unknown = |query: &str| unknown_parameter(&format!("postgres://u:p@db/x?{query}"));
        for query in [
            "",
            "sslmode=require&sslrootcert=/ca.pem",
            "options[search_path]=a&options=-c%20b=c",
            "ssl-mode=disable",
        ] {
            assert_eq!(unknown(query), None, "{query}");
        }
        for (query, name) in [
            ("sslmode=require&sslpassword=secret", "`sslpassword`"),
            ("passwrd=secret", "`passwrd`"),
            ("connect_timeout=10&channel_binding=require", "`connect_timeout`"),
            ("secret", "one whose name is not a plain word"),
            ("secret=half@db/x", "one whose name is not a plain word"),
            ("Secret1=x", "one whose name is not a plain word"),
            ("target%5fsession_attrs=x", "one whose name is not a plain word"),
        ] {
            assert_eq!(unknown(query).as_deref(), Some(name), "{query}");
        }
        assert_eq!(unknown_parameter("u:p@db/x"), None);
    }
}
