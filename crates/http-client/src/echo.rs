//! A server's words are logged and shown, and a server may say back what it was sent: our own secrets are taken out of an answer
//! that is a refusal. Answers that are none are not changed, since a secret may be what was asked for.

use reqwest::{Body, Request, header::AUTHORIZATION};
use std::borrow::Cow;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// What stands in place of a secret.
const REDACTED: &[u8] = b"[redacted]";

/// Whatever is shorter is no secret, and would be found in every sentence.
const SHORTEST: usize = 4;

/// Vault's, with which a token is sent.
const VAULT_TOKEN: &str = "x-vault-token";

/// Members of JSON and of forms whose values are secret.
const SECRET_MEMBERS: [&str; 7] =
    ["token", "jwt", "secret_id", "password", "client_secret", "client_assertion", "refresh_token"];

/// The secrets of a request, kept until it is answered.
pub(crate) struct Secrets(Vec<Zeroizing<Vec<u8>>>);

impl Secrets {
    pub(crate) fn of(request: &Request) -> Self {
        let mut secrets = Vec::new();
        for name in [VAULT_TOKEN, AUTHORIZATION.as_str()] {
            for value in request.headers().get_all(name) {
                // Without the scheme, `Bearer` or `Basic`.
                let value = value.as_bytes();
                let start = value.iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
                secrets.extend(value.get(start..).map(<[u8]>::to_vec));
            }
        }
        if let Some(body) = request.body().and_then(Body::as_bytes) {
            secrets.extend(of_body(body));
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets.into_iter().map(Zeroizing::new).collect())
    }

    /// An answer's body without them.
    pub(crate) fn redact(&self, body: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(body, |body, secret| without(body, secret))
    }
}

fn of_body(body: &[u8]) -> Vec<Vec<u8>> {
    let is_secret = |name: &str| SECRET_MEMBERS.contains(&name);
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(members)) => {
            let of_member = |(name, value): (&String, &serde_json::Value)| {
                is_secret(name).then(|| value.as_str().map(|text| text.as_bytes().to_vec())).flatten()
            };
            members.iter().filter_map(of_member).collect()
        }
        Ok(_) => Vec::new(),
        Err(_) => {
            let pairs = form_urlencoded::parse(body);
            let secret = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
                is_secret(&name).then(|| value.into_owned().into_bytes())
            };
            pairs.filter_map(secret).collect()
        }
    }
}

fn without(body: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    if !body.windows(secret.len()).any(|window| window == secret) {
        return body;
    }
    let mut clean = Vec::with_capacity(body.len());
    let mut rest = body.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(secret) {
            clean.extend_from_slice(REDACTED);
            rest = behind;
        } else {
            clean.push(*first);
            rest = behind;
        }
    }
    clean
}
