//! What an answer of KV v2 means. Pure, and strict: what is not KV v2's own answer is an outage, never an absence.
//!
//! The bodies are those of OpenBao 2.7 and Vault 1.x; FACTS §2.1 and §2.2 list them.

use super::kv2;
use crate::{Fields, Outage, OutageReason, Version};
use bindu_http_client::Reply;
use serde_json::Value;

/// An answer to a read that is KV v2's own.
#[derive(Debug, PartialEq)]
pub(super) enum ReadMeaning {
    Present {
        version: Version,
        written_at: Option<String>,
        /// When Vault will delete this version by itself.
        ends_at: Option<String>,
        fields: Fields,
    },
    NotAnObject,
    Deleted {
        version: Version,
        destroyed: bool,
    },
    /// `{"errors":[]}`: absent, if the mount is KV v2.
    Nothing,
    /// The policy's text; a denial, if the token is alive.
    PolicyDenies,
}

/// An answer to a write that is KV v2's own.
#[derive(Debug, PartialEq)]
pub(super) enum WriteMeaning {
    Written { version: Version, ends_at: Option<String> },
    Conflict,
    PolicyDenies,
    Refused(String),
}

pub(super) fn of_read(reply: &Reply) -> Result<ReadMeaning, Outage> {
    let Some(body) = reply.json() else { return Err(not_the_store(reply)) };
    let data = body.get("data");
    let metadata = data.and_then(|data| data.get("metadata")).and_then(Value::as_object);
    let version = metadata.and_then(|metadata| metadata.get("version")).and_then(Value::as_u64);
    match (reply.status, version) {
        (200, Some(version)) => Ok(match data.and_then(|data| data.get("data")) {
            Some(Value::Object(fields)) => {
                let time = |name: &str| time(metadata.and_then(|metadata| metadata.get(name)));
                let (written_at, ends_at) = (time("created_time"), time("deletion_time"));
                ReadMeaning::Present { version, written_at, ends_at, fields: Fields::new(fields.clone()) }
            }
            _ => ReadMeaning::NotAnObject,
        }),
        // What KV v1 answers: the data without the metadata.
        (200, None) if data.is_some_and(Value::is_object) => Err(wrong_mount("it is not KV version 2")),
        (404, Some(version)) => {
            let destroyed =
                metadata.and_then(|metadata| metadata.get("destroyed")) == Some(&Value::Bool(true));
            Ok(ReadMeaning::Deleted { version, destroyed })
        }
        (404, None) if is_empty_errors(&body) => Ok(ReadMeaning::Nothing),
        (403, _) if policy_denies(&body) => Ok(ReadMeaning::PolicyDenies),
        _ => Err(failure(reply, &body)),
    }
}

/// A time of KV v2's; an empty one is none.
fn time(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn of_write(reply: &Reply) -> Result<WriteMeaning, Outage> {
    if reply.status == 204 {
        // KV v1 has taken the write, without any compare-and-set. The mount was checked, so it was changed since.
        return Err(wrong_mount("it took a write as KV version 1 does"));
    }
    let Some(body) = reply.json() else { return Err(not_the_store(reply)) };
    match reply.status {
        200 => {
            let data = body.get("data");
            match data.and_then(|data| data.get("version")).and_then(Value::as_u64) {
                Some(version) => {
                    let ends_at = time(data.and_then(|data| data.get("deletion_time")));
                    Ok(WriteMeaning::Written { version, ends_at })
                }
                None => Err(not_the_store(reply)),
            }
        }
        400 => match errors(&body).first() {
            Some(text) if text.contains("check-and-set parameter did not match") => {
                Ok(WriteMeaning::Conflict)
            }
            Some(text) if text.starts_with("Upgrading from non-versioned") => Err(failure(reply, &body)),
            Some(text) => Ok(WriteMeaning::Refused(text.clone())),
            None => Err(not_the_store(reply)),
        },
        403 if policy_denies(&body) => Ok(WriteMeaning::PolicyDenies),
        _ => Err(failure(reply, &body)),
    }
}

/// Whether the mount is there, by its own name, and KV v2. Vault answers for any path below a mount with that mount's
/// description (FACTS, found since 0.2.0, 6): `secret/data` is none, and records below it would be somewhere else.
pub(super) fn of_mount(reply: &Reply, mount: &[String], prefix: &[String]) -> Result<(), Outage> {
    let Some(body) = reply.json() else { return Err(not_the_store(reply)) };
    let data = body.get("data");
    let text = |pointer: &str| data.and_then(|data| data.pointer(pointer)).and_then(Value::as_str);
    let name = mount.join("/");
    match reply.status {
        200 if text("/type").is_some() => match text("/path").map(super::path_segments) {
            None => Err(not_the_store(reply)),
            Some(real) if real != mount => {
                Err(wrong_mount(&kv2::mount_that_is_meant(&real.join("/"), &name, &prefix.join("/"))))
            }
            Some(_) if text("/type") == Some("kv") && text("/options/version") == Some("2") => Ok(()),
            Some(_) => Err(wrong_mount(&format!("`{name}` is not KV version 2"))),
        },
        // The same words for a mount that is not there and for a token that reaches nothing below it.
        403 if errors(&body).iter().any(|text| text.contains("preflight capability check")) => {
            Err(wrong_mount(&format!("there is no mount `{name}`, or the token reaches nothing below it")))
        }
        _ => Err(failure(reply, &body)),
    }
}

pub(super) fn of_token_lookup(reply: &Reply) -> Result<(), Outage> {
    match reply.json() {
        Some(body) if reply.status == 200 && body.get("data").is_some_and(Value::is_object) => Ok(()),
        // `no_default_policy`: the token is alive and may not look at itself.
        Some(body) if reply.status == 403 && policy_denies(&body) => Ok(()),
        Some(body) => Err(failure(reply, &body)),
        None => Err(not_the_store(reply)),
    }
}

/// What a login or a renewal has answered: its `auth`.
pub(super) fn of_login(reply: &Reply) -> Result<Value, Outage> {
    let body = reply.json().ok_or_else(|| not_the_store(reply))?;
    match body.get("auth").filter(|auth| reply.status == 200 && auth.is_object()) {
        Some(auth) => Ok(auth.clone()),
        None => Err(rejected(reply, "the login was refused")),
    }
}

/// What `sys/capabilities-self` says of a path.
pub(super) fn of_capabilities(reply: &Reply, path: &str) -> Result<Vec<String>, Outage> {
    let body = reply.json().ok_or_else(|| not_the_store(reply))?;
    let list = body.get("data").and_then(|data| data.get(path)).and_then(Value::as_array);
    match list.filter(|_| reply.status == 200) {
        Some(list) => Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        // `no_default_policy`: the token is alive and may not ask what it may do.
        None if reply.status == 403 && policy_denies(&body) => {
            Err(Outage::new(OutageReason::NotAllowed, answered(reply, &errors(&body))))
        }
        None => Err(failure(reply, &body)),
    }
}

/// An answer to an administrator.
pub(super) enum Administration {
    /// What it says; nothing where there is nothing there, or nothing to say.
    Done(Option<Value>),
    PolicyDenies,
    Refused(String),
}

pub(super) fn of_administration(reply: &Reply) -> Result<Administration, Outage> {
    if reply.status == 204 {
        return Ok(Administration::Done(None));
    }
    let body = reply.json().ok_or_else(|| not_the_store(reply))?;
    match reply.status {
        200 if body.get("data").is_some() => Ok(Administration::Done(body.get("data").cloned())),
        404 if is_empty_errors(&body) => Ok(Administration::Done(None)),
        403 if policy_denies(&body) => Ok(Administration::PolicyDenies),
        400 if !errors(&body).is_empty() => Ok(Administration::Refused(words(&errors(&body)))),
        400 => Err(not_the_store(reply)),
        _ => Err(failure(reply, &body)),
    }
}

/// A login that came to nothing. Every refusal is one that waiting may mend: a Kubernetes login is 403 as well while
/// Kubernetes itself is down (FACTS §2.5).
pub(super) fn rejected(reply: &Reply, what: &str) -> Outage {
    let body = reply.json().unwrap_or_default();
    if errors(&body).is_empty() {
        return not_the_store(reply);
    }
    match reply.status {
        400 | 403 => {
            let answered = answered(reply, &errors(&body));
            Outage::new(OutageReason::LoginRejected, format!("{what}: {answered}"))
        }
        _ => failure(reply, &body),
    }
}

/// Whether an answer says that the token is none: unknown, expired, revoked, used up. OpenBao says so by `permission
/// denied` alone (FACTS §2.2), HashiCorp Vault 1.21 by `2 errors occurred:`, of which the second is `invalid token`.
pub(super) fn refuses_token(reply: &Reply) -> bool {
    let says_so = |text: &String| text == "permission denied" || text.contains("* invalid token");
    reply.status == 403 && reply.json().is_some_and(|body| errors(&body).iter().any(says_so))
}

/// Whether an answer shows that the token counts: it is the store's own, and neither a refusal nor trouble of the server's.
pub(super) fn accepts_token(reply: &Reply) -> bool {
    let is_answer = reply.status == 204 || reply.json().is_some();
    is_answer && reply.status < 500 && reply.status != 429 && !refuses_token(reply)
}

fn failure(reply: &Reply, body: &Value) -> Outage {
    let errors = errors(body);
    let says = |part: &str| errors.iter().any(|text| text.contains(part));
    let reason = match reply.status {
        404 if says("no handler for route") || says("namespace not found") => OutageReason::WrongMount,
        404 if body.get("warnings").is_some() && body.get("errors").is_none() => OutageReason::WrongMount,
        403 if says("permission denied") => OutageReason::LoginRejected,
        429 => OutageReason::Busy,
        503 if says("sealed") => OutageReason::Sealed,
        400 if says("Upgrading from non-versioned") => OutageReason::Busy,
        500.. if !errors.is_empty() => OutageReason::ServerFailed,
        // Vault's own words, and not what it says about a record: told as they are.
        400.. if !errors.is_empty() => OutageReason::NotTheStore,
        _ => return not_the_store(reply),
    };
    Outage { reason, detail: answered(reply, &errors), retry_after: reply.retry_after() }
}

/// The status, Vault's own words, and what was asked.
fn answered(reply: &Reply, errors: &[String]) -> String {
    format!("Vault answered {} {:?}{}", reply.status, words(errors), asked(reply))
}

fn asked(reply: &Reply) -> String {
    if reply.url.is_empty() { String::new() } else { format!(" ({})", reply.asked()) }
}

fn not_the_store(reply: &Reply) -> Outage {
    let kind = reply.header("content-type").unwrap_or("no content type");
    let detail = format!(
        "an answer that is not Vault's: status {}, {kind}, {} bytes{}",
        reply.status,
        reply.body.len(),
        asked(reply)
    );
    Outage { reason: OutageReason::NotTheStore, detail, retry_after: reply.retry_after() }
}

fn wrong_mount(detail: &str) -> Outage {
    Outage::new(OutageReason::WrongMount, format!("the mount: {detail}"))
}

fn errors(body: &Value) -> Vec<String> {
    let list = body.get("errors").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The first error, on one line.
fn words(errors: &[String]) -> String {
    errors.first().map(|text| text.replace(['\n', '\t'], " ")).unwrap_or_default()
}

/// Exactly `{"errors":[]}`.
fn is_empty_errors(body: &Value) -> bool {
    let only_member = body.as_object().is_some_and(|members| members.len() == 1);
    only_member && body.get("errors").and_then(Value::as_array).is_some_and(Vec::is_empty)
}

/// The policy's text differs from that of a dead token: `1 error occurred:\n\t* permission denied\n\n`.
fn policy_denies(body: &Value) -> bool {
    errors(body)
        .iter()
        .any(|text| text.starts_with("1 error occurred:") && text.contains("permission denied"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.as_bytes().to_vec(), ..Reply::default() }
    }

    fn read_reason(status: u16, body: &str) -> OutageReason {
        of_read(&reply(status, body)).expect_err("an outage").reason
    }

    #[test]
    fn only_kv2_own_words_are_an_absence() {
        assert_eq!(of_read(&reply(404, r#"{"errors":[]}"#)), Ok(ReadMeaning::Nothing));
        for (body, want) in [
            ("", OutageReason::NotTheStore),
            ("<html>not found</html>", OutageReason::NotTheStore),
            ("{}", OutageReason::NotTheStore),
            (
                r#"{"errors":["no handler for route \"x\". route entry not found."]}"#,
                OutageReason::WrongMount,
            ),
            (r#"{"errors":["namespace not found"]}"#, OutageReason::WrongMount),
            (
                r#"{"warnings":["Invalid path for a versioned K/V secrets engine."],"data":null}"#,
                OutageReason::WrongMount,
            ),
            (r#"{"errors":["1 error occurred:\n\t* unsupported path\n\n"]}"#, OutageReason::NotTheStore),
            (r#"{"errors":[]"#, OutageReason::NotTheStore),
        ] {
            assert_eq!(read_reason(404, body), want, "{body}");
        }
    }

    #[test]
    fn deleted_and_destroyed_are_not_absent() {
        let body = r#"{"data":{"data":null,"metadata":{"version":3,"destroyed":true,"deletion_time":""}}}"#;
        assert_eq!(of_read(&reply(404, body)), Ok(ReadMeaning::Deleted { version: 3, destroyed: true }));
        let body = r#"{"data":{"data":null,"metadata":{"version":2,"destroyed":false,"deletion_time":"2026-01-01T00:00:00Z"}}}"#;
        assert_eq!(of_read(&reply(404, body)), Ok(ReadMeaning::Deleted { version: 2, destroyed: false }));
    }

    #[test]
    fn a_record_is_present_with_its_version_or_it_is_something_else() {
        let body = r#"{"data":{"data":{"k":"v"},"metadata":{"version":7}}}"#;
        assert!(matches!(of_read(&reply(200, body)), Ok(ReadMeaning::Present { version: 7, .. })));
        for body in [
            r#"{"data":{"data":null,"metadata":{"version":7}}}"#,
            r#"{"data":{"data":[],"metadata":{"version":7}}}"#,
        ] {
            assert_eq!(of_read(&reply(200, body)), Ok(ReadMeaning::NotAnObject));
        }
        assert_eq!(read_reason(200, r#"{"data":{"private_key":"x"}}"#), OutageReason::WrongMount);
        assert_eq!(read_reason(200, "<html>log in</html>"), OutageReason::NotTheStore);
        assert_eq!(read_reason(200, r#"{"data":{"data":{"k":"v"},"metad"#), OutageReason::NotTheStore);
        assert_eq!(read_reason(307, ""), OutageReason::NotTheStore);
    }

    #[test]
    fn a_version_may_have_an_end() {
        let read = |at: &str| {
            let body = json!({"data": {"data": {}, "metadata": {"version": 1, "deletion_time": at}}});
            match of_read(&reply(200, &body.to_string())) {
                Ok(ReadMeaning::Present { ends_at, .. }) => ends_at,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((read(""), read("2027-01-01T00:00:00Z").as_deref()), (None, Some("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn statuses_that_wait() {
        assert_eq!(read_reason(503, r#"{"errors":["Vault is sealed"]}"#), OutageReason::Sealed);
        assert_eq!(read_reason(429, r#"{"errors":[]}"#), OutageReason::Busy);
        assert_eq!(read_reason(403, r#"{"errors":["permission denied"]}"#), OutageReason::LoginRejected);
        assert_eq!(
            read_reason(500, r#"{"errors":["local node not active but active cluster node not found"]}"#),
            OutageReason::ServerFailed
        );
        assert_eq!(
            of_read(&reply(403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#)),
            Ok(ReadMeaning::PolicyDenies)
        );
    }

    #[test]
    fn a_dead_token_is_no_denial() {
        let vault = r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
        for body in [vault, r#"{"errors":["permission denied"]}"#] {
            assert!(refuses_token(&reply(403, body)), "{body}");
            assert_eq!(read_reason(403, body), OutageReason::LoginRejected);
        }
        let denied = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(!refuses_token(&reply(403, denied)));
    }

    #[test]
    fn vaults_own_words_are_told_with_what_was_asked() {
        let url = "http://vault:8200/v1/secret/data/x";
        for status in [400, 404, 405, 412] {
            let body = r#"{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#;
            let reply = Reply { url: url.to_owned(), ..reply(status, body) };
            let told = of_read(&reply).expect_err("an outage").detail;
            assert!(told.contains("unsupported operation") && told.contains(url), "{told}");
            assert!(told.contains(&status.to_string()), "{told}");
        }
    }

    /// Seen on OpenBao 2.7.2: a token without the default policy may not ask; a dead one says it in other words.
    #[test]
    fn a_token_that_may_not_ask_is_not_a_dead_one() {
        let asked =
            |body: &str| of_capabilities(&reply(403, body), "secret/data/x").expect_err("an outage").reason;
        let alive = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert_eq!(asked(alive), OutageReason::NotAllowed);
        assert_eq!(asked(r#"{"errors":["permission denied"]}"#), OutageReason::LoginRejected);
    }

    #[test]
    fn only_a_version_proves_a_write() {
        assert_eq!(
            of_write(&reply(200, r#"{"data":{"version":1}}"#)),
            Ok(WriteMeaning::Written { version: 1, ends_at: None })
        );
        let conflict = r#"{"errors":["check-and-set parameter did not match the current version"]}"#;
        assert_eq!(of_write(&reply(400, conflict)), Ok(WriteMeaning::Conflict));
        assert_eq!(of_write(&reply(204, "")).expect_err("an outage").reason, OutageReason::WrongMount);
        assert_eq!(of_write(&reply(200, "{}")).expect_err("an outage").reason, OutageReason::NotTheStore);
        let upgrading = r#"{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable"]}"#;
        assert_eq!(of_write(&reply(400, upgrading)).expect_err("an outage").reason, OutageReason::Busy);
    }

    #[test]
    fn a_mount_is_kv2_or_wrong() {
        let names = |path: &str| crate::vault::path_segments(path);
        let of_mount = |status, body: &str| of_mount(&reply(status, body), &names("secret"), &names("bindu"));
        let kv2 = r#"{"data":{"type":"kv","path":"secret/","options":{"version":"2"}}}"#;
        assert_eq!(of_mount(200, kv2), Ok(()));
        let nameless = r#"{"data":{"type":"kv","options":{"version":"2"}}}"#;
        assert_eq!(of_mount(200, nameless).expect_err("whose?").reason, OutageReason::NotTheStore);
        for (status, body) in [
            (200, r#"{"data":{"type":"kv","path":"secret/","options":{"version":"1"}}}"#),
            (200, r#"{"data":{"type":"kv","path":"secret/","options":null}}"#),
            (200, r#"{"data":{"type":"pki","path":"secret/"}}"#),
            (200, r#"{"data":{"type":"kv","path":"sec/","options":{"version":"2"}}}"#),
            (
                403,
                r#"{"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"secret/\""]}"#,
            ),
        ] {
            assert_eq!(of_mount(status, body).expect_err("wrong").reason, OutageReason::WrongMount, "{body}");
        }
    }
}
