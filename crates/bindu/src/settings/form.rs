//! The forms of values: each a pure function from a text to its type, or to what the text must be.

use super::json;
use bindu_agent::caller::CallerKeys;
use bindu_http_client::{AllowedTargets, Exemptions, RedirectHost, proxy_url};
use bindu_identity::{Did, PublicKey};
use secrecy::SecretString;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};
use url::Url;

type Form<T> = Result<T, String>;

fn must<T>(value: Option<T>, expected: impl Display) -> Form<T> {
    value.ok_or_else(|| format!("it must be {expected}"))
}

/// Any text.
pub(super) fn text(text: &str) -> Form<String> {
    Ok(text.to_owned())
}

pub(super) fn file(text: &str) -> Form<PathBuf> {
    Ok(PathBuf::from(text))
}

/// What a type reads by itself.
pub(super) fn parsed<T: FromStr>(text: &str, expected: &str) -> Form<T> {
    must(text.parse().ok(), expected)
}

/// One of some words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Form<T> {
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
    let expected = match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.concat(),
    };
    must(found, expected)
}

pub(super) fn flag(text: &str) -> Form<bool> {
    must(boolean(text), "`true` or `false`")
}

/// A boolean, or something else that names one case.
pub(super) fn flag_or<T>(
    text: &str,
    cases: (T, T),
    other: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Form<T> {
    match boolean(text) {
        Some(true) => Ok(cases.0),
        Some(false) => Ok(cases.1),
        None => must(other(text), format!("`true`, `false` or {expected}")),
    }
}

/// Python's spellings too (pydantic's).
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// A number in these bounds.
pub(super) fn count(text: &str, least: usize, most: usize) -> Form<usize> {
    must(
        text.parse().ok().filter(|count| (least..=most).contains(count)),
        format!("a number from {least} to {most}"),
    )
}

/// A duration in these bounds, with its unit.
pub(super) fn lasting(text: &str, least: Duration, most: Duration) -> Form<Duration> {
    let found = must(duration(text), "a duration with its unit, such as 500ms, 30s or 5m")?;
    bounded(found, least, most)
}

/// A duration under a name of Python Bindu's: a bare number is seconds.
pub(super) fn seconds(text: &str, least: Duration, most: Duration) -> Form<Duration> {
    let bare = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let found = must(bare.or_else(|| duration(text)), "a number of seconds, or a duration with its unit")?;
    bounded(found, least, most)
}

fn bounded(found: Duration, least: Duration, most: Duration) -> Form<Duration> {
    match (least..=most).contains(&found) {
        true => Ok(found),
        false if found < least => Err(format!("it must be at least {}", spelled(least))),
        false => Err(format!("it must be at most {}", spelled(most))),
    }
}

fn spelled(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A duration with its unit, such as `500ms`, `30s` or `1h30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    // A day of 24 hours: jiff leaves days to calendars.
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.trim_end().parse::<u64>().ok()) {
        return days.checked_mul(24 * 3600).map(Duration::from_secs);
    }
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

/// A number of bytes from 1 KiB to 1 GiB, with a unit or without.
pub(super) fn size(text: &str) -> Form<usize> {
    must(bytes(text), "a number of bytes from 1KiB to 1GiB, such as 65536, 512KiB or 2MiB")
}

/// The size of a file of tasks: below the least there would be no room for its tables.
pub(super) fn file_size(text: &str) -> Form<usize> {
    let bytes = bytes(text).filter(|bytes| *bytes >= LEAST_FILE);
    must(bytes, "a number of bytes from 256KiB to 1GiB, such as 64MiB")
}

const LEAST_FILE: usize = 256 * 1024;

fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    let bytes = number.parse::<usize>().ok()?.checked_mul(factor)?;
    (1024..=1024 * 1024 * 1024).contains(&bytes).then_some(bytes)
}

/// Where tasks are kept. It may hold a password.
pub(super) fn database(text: &str) -> Form<SecretString> {
    if text.starts_with("postgres")
        && let Some(parameter) = bindu_tasks::unknown_parameter(text)
    {
        return Err(format!(
            "it must have only parameters that PostgreSQL URLs know here (`sslmode`, `sslrootcert`, `options`, ...), not {parameter}"
        ));
    }
    let is_known = text == "memory"
        || text.strip_prefix("sqlite:").is_some_and(|path| !path.trim_matches('/').is_empty())
        || bindu_tasks::is_postgres_url(text);
    must(
        is_known.then(|| SecretString::from(text)),
        "`postgres://user:password@host/name`, `sqlite:PATH` or `memory`",
    )
}

/// The address of a server. It is published and logged, so it holds no password.
pub(super) fn address(text: &str) -> Form<Url> {
    let url: Option<Url> = text.parse().ok();
    let url = url.filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = must(url, "a URL that begins with http:// or https://")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "it holds a user or a password, which would be logged and published; take them out".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "it has a query (`?`) or a fragment (`#`), which an address of a server has not".to_owned()
        );
    }
    Ok(url)
}

pub(super) fn vault_address(text: &str) -> Form<Url> {
    let url = address(text)?;
    match url.path().trim_end_matches('/').ends_with("/v1") {
        true => Err("it ends with /v1, which is added to it; take that off".to_owned()),
        false => Ok(url),
    }
}

pub(super) fn proxy(text: &str) -> Form<Url> {
    let url = must(proxy_url(text), "a proxy's URL, or its host and port")?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => {
            Err(format!("this program knows no {scheme} proxies: it must begin with http:// or https://"))
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a parser; Go takes every text here")]
pub(super) fn exemptions(text: &str) -> Form<Exemptions> {
    Ok(Exemptions::read(text))
}

pub(super) fn redirect_hosts(text: &str) -> Form<Vec<RedirectHost>> {
    // Without brackets, the hosts alone: a JSON list can't be written alike for `docker run --env-file` and for `.env`.
    let hosts = match text.starts_with('[') {
        true => strings(text),
        false => Some(text.split(',').map(|host| host.trim().to_owned()).collect()),
    };
    let read = |hosts: Vec<String>| hosts.iter().map(|host| host.parse().ok()).collect();
    must(hosts.and_then(read), "hosts, each with a port or without, such as vault-1,vault-2:8200")
}

/// Targets that need not be public.
pub(super) fn targets(text: &str) -> Form<AllowedTargets> {
    let targets = match text.starts_with('[') {
        true => strings(text),
        false => Some(text.split(',').map(|target| target.trim().to_owned()).collect()),
    };
    let read = |targets: Vec<String>| AllowedTargets::read(targets.iter().map(String::as_str)).ok();
    must(targets.and_then(read), "hosts, domains and networks, such as hook.internal,.example.com,10.0.0.0/8")
}

pub(super) fn list(text: &str) -> Form<Vec<String>> {
    must(strings(text), "a list, such as [\"one\", \"two\"]")
}

fn strings(text: &str) -> Option<Vec<String>> {
    json::read(text).ok()
}

/// `host:port`.
pub(super) fn endpoint(text: &str) -> Form<String> {
    let parts = text.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    must(parts.map(|_| text.to_owned()), "an address and a port, such as 0.0.0.0:9090")
}

/// A path in Vault: segments of which none is empty or dots, since such a path would be redirected to a page.
pub(super) fn path(text: &str) -> Form<String> {
    let path = text.trim_matches('/');
    let good = path.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    must(good.then(|| path.to_owned()), "a path without empty segments")
}

/// Where a login method is mounted.
pub(super) fn auth_mount(text: &str) -> Form<String> {
    let path = path(text)?;
    match path.strip_prefix("auth/") {
        Some(mount) => Err(format!("it is written without `auth/`: `{mount}`")),
        None => Ok(path),
    }
}

/// What goes into a header of each request.
pub(super) fn namespace(text: &str) -> Form<String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    must(good.then(|| text.to_owned()), "a namespace's path, such as team-a/agents, without spaces")
}

pub(super) fn token(text: &str) -> Form<SecretString> {
    let good = text.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        Ok(SecretString::from(text))
    } else {
        Err("it contains characters that no token has".to_owned())
    }
}

pub(super) fn origins(text: &str) -> Form<Vec<String>> {
    let origins = strings(text).filter(|origins| origins.iter().all(|origin| is_origin(origin)));
    must(origins, "a list of origins without a path, such as [\"https://app.example.com\"]")
}

/// Whether a text is an origin (RFC 6454): scheme, host and port, nothing behind.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    text.parse::<Url>().is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}

/// Scopes by method.
pub(super) fn permissions(text: &str) -> Form<BTreeMap<String, Vec<String>>> {
    must(json::read(text).ok(), "an object of lists, such as {\"tasks/get\": [\"agent:read\"]}")
}

/// Keys by DID.
pub(super) fn pinned_keys(text: &str) -> Form<HashMap<Did, CallerKeys>> {
    let read = |text: &str| {
        let pinned: BTreeMap<String, Value> = json::read(text).ok()?;
        pinned.into_iter().map(|(did, keys)| Some((did.parse().ok()?, caller_keys(&keys)?))).collect()
    };
    must(
        read(text),
        "an object of keys in base58 by DID, such as {\"did:bindu:...\": \"4zvw...\"}; of lists of up to 8 keys; or of \
         objects with `public_key` and `derived_public_key`, each a key or a list",
    )
}

/// How many keys are pinned for one DID: the old one, the new one, and some to spare. Each is tried.
const MOST_PINNED: usize = 8;

fn caller_keys(keys: &Value) -> Option<CallerKeys> {
    let read = |value: &Value| value.as_str()?.parse::<PublicKey>().ok();
    let some = |value: &Value| match value {
        Value::Array(listed) if (1..=MOST_PINNED).contains(&listed.len()) => {
            listed.iter().map(read).collect()
        }
        Value::Array(_) => None,
        one => Some(vec![read(one)?]),
    };
    match keys {
        Value::Object(keys) => {
            let named = |name: &str| keys.get(name).map_or(Some(Vec::new()), some);
            let known = ["public_key", "derived_public_key"];
            let is_known = !keys.is_empty() && keys.keys().all(|name| known.contains(&name.as_str()));
            is_known.then(|| Some(CallerKeys::pinned(named(known[0])?, named(known[1])?)))?
        }
        keys => Some(CallerKeys::pinned(some(keys)?, Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pinned_keys_are_one_or_several() {
        let key = |seed| bindu_identity::SigningKey::from_seed(&[seed; 32]).public_key();
        let (one, other) = (key(1), key(2));
        let read = |keys: Value| caller_keys(&keys).map(|keys| (keys.request, keys.message));
        assert_eq!(read(json!(one)), Some((vec![one], vec![])));
        assert_eq!(read(json!([one, other])), Some((vec![one, other], vec![])));
        let both = json!({"public_key": one, "derived_public_key": other});
        assert_eq!(read(both), Some((vec![one], vec![other])));
        let lists = json!({"public_key": [one, other], "derived_public_key": [other]});
        assert_eq!(read(lists), Some((vec![one, other], vec![other])));
        assert_eq!(read(json!({"derived_public_key": one})), Some((vec![], vec![one])));
        let many = json!(vec![json!(one); MOST_PINNED + 1]);
        for odd in
            [json!([]), json!({}), json!(1), json!([one, 1]), json!([[one]]), json!({"key": one}), many]
        {
            assert_eq!(read(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn parameters_of_database_urls_are_refused_by_name_without_their_values() {
        assert!(database("postgres://u:p@db/x?sslmode=verify-full&sslrootcert=/ca.pem").is_ok());
        for (query, name) in [("sslpassword=hidden", "`sslpassword`"), ("passwrd=hidden", "`passwrd`")] {
            let refused = database(&format!("postgres://u:p@db/x?{query}")).expect_err("unknown");
            assert!(refused.contains(name) && !refused.contains("hidden"), "{refused}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("2MiB"), Ok(2 * 1024 * 1024));
        assert_eq!(size("65536"), Ok(65536));
        for odd in ["", "2MB", "-1", "0", "1023", "2GiB", "99999999999999999999", "1.5MiB"] {
            assert!(size(odd).is_err(), "{odd}");
        }
        assert_eq!(file_size("256KiB"), Ok(256 * 1024));
        for odd in ["1KiB", "255KiB", "262143", "2GiB"] {
            assert!(file_size(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn origins_have_no_path_and_no_pattern() {
        assert!(is_origin("https://app.example.com") && is_origin("http://localhost:3000"));
        for odd in ["*", "null", "https://app.example.com/", "app.example.com", "https://*.example.com/x"] {
            assert!(!is_origin(odd), "{odd}");
        }
    }

    #[test]
    fn addresses_hold_no_password_and_no_api_path() {
        assert!(address("https://vault.example.com:8200/behind/a/path").is_ok());
        for bad in [
            "https://me:secret@vault",
            "https://me@vault",
            "ftp://vault",
            "vault:8200",
            "https://v/?a=b",
            "https://v/#a",
        ] {
            let told = address(bad).expect_err(bad);
            assert!(!told.contains("secret"), "{told}");
        }
        assert!(vault_address("https://vault/v1").is_err() && vault_address("https://vault/v12").is_ok());
        assert_eq!(auth_mount("auth/approle"), Err("it is written without `auth/`: `approle`".to_owned()));
        assert_eq!(auth_mount("/approle/"), Ok("approle".to_owned()));
    }

    #[test]
    fn zero_and_for_ever_are_no_durations() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(3600));
        for bad in [
            "0",
            "0s",
            "0ms",
            "99ms",
            "3601s",
            "292277026596y",
            "-1s",
            "nan",
            "inf",
            "1e300",
            "5 parsecs",
            "",
        ] {
            assert!(lasting(bad, least, most).is_err() && seconds(bad, least, most).is_err(), "{bad}");
        }
        assert_eq!(lasting("0s", least, most), Err("it must be at least 100ms".to_owned()));
        assert_eq!(lasting("2h", least, most), Err("it must be at most 1h".to_owned()));
        assert_eq!(
            (seconds("1.5", least, most), lasting("5", least, most).is_err()),
            (Ok(Duration::from_millis(1500)), true)
        );
    }
}
