//! The audit log: one line for each refusal, with who, what, why and which request. Never a token, a signature, a header
//! or a body: whoever reads the log must not become who is in it.

use crate::connections::Peer;
use axum::http::{HeaderMap, HeaderValue, request::Parts};
use bindu_tasks::Owner;

/// The header that names a request, in and out.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The longest name of a request that a caller may choose.
const LONGEST_ID: usize = 64;

/// How much of a path is told: paths are the caller's, up to 64 KiB.
const MAX_PATH: usize = 256;

/// A request's name: the caller's where it has a plain one, else a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let is_plain = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=LONGEST_ID).contains(&bytes.len())
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        Self(headers.get(REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(|| {
            let name = format!("{:032x}", rand::random::<u128>());
            HeaderValue::from_str(&name).expect("hex digits make a header")
        }))
    }
}

/// What a line says of the request.
pub(crate) struct Occasion<'a> {
    head: &'a Parts,
}

impl<'a> Occasion<'a> {
    pub(crate) fn of(head: &'a Parts) -> Self {
        Self { head }
    }

    /// A caller was refused. `who` is its client, where its token was found good.
    pub(crate) fn refused(&self, why: &'static str, who: Option<&Owner>) {
        let request_id = self.head.extensions.get::<RequestId>().and_then(|id| id.0.to_str().ok());
        let from = self.head.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string());
        let path: String = self.head.uri.path().chars().take(MAX_PATH).flat_map(char::escape_debug).collect();
        tracing::info!(
            target: "audit",
            who = who.map_or_else(|| "unknown".to_owned(), ToString::to_string),
            what = format!("{} {path}", self.head.method),
            why,
            request_id = request_id.unwrap_or_default(),
            from = from.unwrap_or_default(),
            "refused a caller"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_bring_a_plain_name() {
        let named = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(name).expect("a header"));
            RequestId::of(&headers).0
        };
        assert_eq!(named("abc-1.2_3"), "abc-1.2_3");
        for odd in ["", "a b", "\"x\"", &"a".repeat(65)] {
            let given = named(odd);
            assert!(given != odd && given.len() == 32, "{odd}");
        }
    }
}
