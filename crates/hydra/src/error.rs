//! What can go wrong with Hydra, by what can be done about it.

use bindu_http_client::{NoReply, Reply};
use serde_json::Value;
use std::time::Duration;

/// Why Hydra did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HydraError {
    /// A client of this id exists already. Says nothing about whose secret it has.
    #[error("Hydra has a client of this id already")]
    Conflict,
    /// There is no client of this id.
    #[error("Hydra has no client of this id")]
    NoClient,
    /// Id and secret do not belong together, or there is no such client, or Hydra's database is down.
    #[error("Hydra does not accept the client's secret")]
    InvalidClient,
    /// Hydra understood and refused; trying again will not help.
    #[error("Hydra refused: {error}: {description}")]
    Refused {
        /// Hydra's `error`.
        error: String,
        /// Hydra's `error_description`.
        description: String,
    },
    /// The id holds a `/` and can't be addressed.
    #[error("a client id with a `/` cannot be addressed in Hydra")]
    Unaddressable,
    /// No answer that can be believed.
    #[error("Hydra is not available: {detail}")]
    Unavailable {
        /// For people; no secret, no body.
        detail: String,
        /// How long Hydra asked us to wait.
        retry_after: Option<Duration>,
    },
}

impl HydraError {
    pub(crate) fn unavailable(what: &str, reply: &Reply) -> Self {
        let words = words(reply).map(|words| format!(" {words:?}")).unwrap_or_default();
        let asked = if reply.url.is_empty() { String::new() } else { format!(" from {}", reply.asked()) };
        let detail = format!(
            "{what}: status {}{words}, {} bytes{asked}{}",
            reply.status,
            reply.body.len(),
            wrong_base(reply)
        );
        Self::Unavailable { detail, retry_after: reply.retry_after() }
    }

    /// The error in an answer that is not what was hoped for. The three shapes of FACTS §1.1 have `error` as a text;
    /// an unknown route has an object there, and a proxy a page.
    pub(crate) fn of(reply: &Reply) -> Self {
        let body = reply.json().unwrap_or_default();
        let Some(error) = body.get("error").and_then(Value::as_str) else {
            return Self::unavailable("an answer that is not Hydra's", reply);
        };
        let description = body.get("error_description").and_then(Value::as_str).unwrap_or_default();
        match (reply.status, error) {
            (404, "Unable to locate the resource") => Self::NoClient,
            (409, _) => Self::Conflict,
            (401, "invalid_client") => Self::InvalidClient,
            (400..500, _) if reply.status != 429 => {
                Self::Refused { error: error.to_owned(), description: description.to_owned() }
            }
            _ => Self::unavailable("it failed", reply),
        }
    }
}

/// What Hydra itself says: the texts of FACTS §1.1, no others.
fn words(reply: &Reply) -> Option<String> {
    let body = reply.json()?;
    let error = body.get("error")?;
    let text = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let described = text(body.get("error_description"));
    described
        .or_else(|| text(error.get("reason")))
        .or_else(|| text(error.get("message")))
        .or_else(|| text(Some(error)))
}

/// The admin address already ends with what is added to it.
fn wrong_base(reply: &Reply) -> &'static str {
    let doubled = reply.url.contains("/admin/admin/") || reply.url.ends_with("/admin/health/ready");
    if doubled && reply.status == 404 {
        "; HYDRA__ADMIN_URL ends with /admin, which is added to it: take that off"
    } else {
        ""
    }
}

impl From<NoReply> for HydraError {
    fn from(error: NoReply) -> Self {
        Self::Unavailable { detail: error.to_string(), retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> HydraError {
        HydraError::of(&Reply { status, body: body.as_bytes().to_vec(), ..Reply::default() })
    }

    #[test]
    fn an_admin_address_that_ends_with_admin_is_told() {
        let body =
            r#"{"error":{"code":404,"message":"Not Found","reason":"The requested route does not exist."}}"#;
        let told = |url: &str| {
            let reply = Reply { status: 404, body: body.into(), url: url.to_owned(), ..Reply::default() };
            HydraError::of(&reply).to_string()
        };
        let wrong = told("http://h:4445/admin/admin/clients/x");
        assert!(wrong.contains("HYDRA__ADMIN_URL ends with /admin"), "{wrong}");
        for part in ["404", "http://h:4445/admin/admin/clients/x", "The requested route does not exist."] {
            assert!(wrong.contains(part), "{part} in {wrong}");
        }
        assert!(told("http://h:4445/admin/health/ready").contains("HYDRA__ADMIN_URL"));
        assert!(!told("http://h:4445/admin/clients/x").contains("HYDRA__ADMIN_URL"));
    }

    #[test]
    fn absence_is_in_hydras_own_words_only() {
        assert_eq!(
            error(404, r#"{"error":"Unable to locate the resource","error_description":""}"#),
            HydraError::NoClient
        );
        for body in
            ["", "404 page not found", "<html></html>", r#"{"error":{"code":404,"message":"Not Found"}}"#]
        {
            assert!(matches!(error(404, body), HydraError::Unavailable { .. }), "{body}");
        }
    }

    #[test]
    fn a_stopped_database_is_an_outage() {
        let body = r#"{"error":"error","error_description":"The error is unrecognizable"}"#;
        assert!(matches!(error(500, body), HydraError::Unavailable { .. }));
    }
}
