//! Settings of who may call, and of what a call may cost.

use super::typed::Reader;
use bindu_agent::{
    HttpLimits,
    caller::{CallerKeys, JwtMode, MOST_FRESH, MOST_REMEMBERED, PermitSettings, TokenSettings},
};
use bindu_identity::{Did, PublicKey};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// Who may call, where authentication is on.
#[derive(Debug, Clone)]
pub struct AuthChoice {
    /// Whose tokens are let in.
    pub token: TokenSettings,
    /// What callers may do.
    pub permit: PermitSettings,
    /// Keys that count whatever Hydra says.
    pub pinned_keys: HashMap<Did, CallerKeys>,
    /// How many signed requests of one caller are remembered.
    pub replay_quota: usize,
}

/// How other agents are called.
#[derive(Debug, Clone)]
pub struct CallChoice {
    /// Origins that any card may send calls to.
    pub allowed_origins: Vec<String>,
    /// Plain http beyond this machine.
    pub dangerous_allow_http: bool,
}

/// The methods of Python Bindu's dialect, those that are not served yet among them: their scopes may be set all the same.
const METHODS: [&str; 12] = [
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/feedback",
    "contexts/list",
    "contexts/clear",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
];

/// Settings that keep somebody out: said while authentication is off, they would be believed and do nothing.
const RESTRICTIONS: [&str; 4] = ["auth.allowed_dids", "auth.permissions", "auth.audience", "auth.rate_limit"];

impl Reader {
    pub(super) fn auth(&mut self, enabled: bool) -> AuthChoice {
        let require_permissions = self.flag("auth.require_permissions");
        let others = RESTRICTIONS.into_iter().filter(|key| self.optional(key).is_some());
        let idle: Vec<&str> =
            others.chain(require_permissions.then_some("auth.require_permissions")).collect();
        if !enabled && !self.is_said_on("auth.enabled") {
            for key in idle {
                self.mistake(
                    key,
                    "it has no effect without authentication; set AUTH__ENABLED=true, or unset it",
                );
            }
        }
        let permissions = self.permissions();
        if permissions.is_some() && enabled && !require_permissions {
            self.mistake("auth.permissions", "it has no effect without AUTH__REQUIRE_PERMISSIONS=true");
        }
        AuthChoice {
            token: self.token(),
            permit: PermitSettings {
                allowed: self.allowed(),
                scopes: require_permissions.then(|| permissions.unwrap_or_default()),
                rate: self.parsed("auth.rate_limit", "a rate, such as 100/s, 600/m or 1000/h", |text| {
                    text.parse().ok()
                }),
                concurrency: self.count("auth.concurrency"),
            },
            pinned_keys: self.pinned_keys(),
            replay_quota: self.count_up_to("auth.replay_quota", MOST_REMEMBERED),
        }
    }

    fn token(&mut self) -> TokenSettings {
        let jwt = self.parsed("auth.jwt", "`introspect` or `local`", |text| match text {
            "introspect" => Some(JwtMode::Introspect),
            "local" => Some(JwtMode::Local),
            _ => None,
        });
        let cache_ttl = self.seconds("hydra.cache_ttl");
        if cache_ttl > MOST_FRESH {
            // Python Bindu's default is 300: not a reason to refuse a start, and not one to be late by minutes.
            self.warnings.push(format!(
                "`hydra.cache_ttl`: Hydra's word on a token counts for {} s at most, so that a revocation is noticed",
                MOST_FRESH.as_secs()
            ));
        }
        TokenSettings {
            jwt: jwt.unwrap_or_default(),
            cache_ttl,
            stale_if_unavailable: self.duration("auth.stale_if_unavailable"),
            sensitive_scopes: self.list("hydra.sensitive_scopes").into_iter().collect(),
            audience: self.optional("auth.audience"),
        }
    }

    fn allowed(&mut self) -> Option<BTreeSet<String>> {
        self.optional("auth.allowed_dids")?;
        let allowed = self.list("auth.allowed_dids");
        if allowed.iter().all(String::is_empty)
            && self.mistakes.iter().all(|mistake| !mistake.contains("allowed_dids"))
        {
            self.mistake("auth.allowed_dids", "an empty list lets nobody in; name somebody, or unset it");
        }
        if let Some(odd) = allowed.iter().find(|id| id.trim() != id.as_str() || id.contains('*')) {
            let problem =
                format!("{odd:?} is no client id: entries are exact, without patterns and spaces around");
            self.mistake("auth.allowed_dids", &problem);
        }
        Some(allowed.into_iter().collect())
    }

    fn permissions(&mut self) -> Option<BTreeMap<String, Vec<String>>> {
        let permissions: Option<BTreeMap<String, Vec<String>>> = self.parsed(
            "auth.permissions",
            "an object of lists, such as {\"tasks/get\": [\"agent:read\"]}",
            |text| serde_json::from_str(text).ok(),
        );
        let unknown =
            permissions.iter().flat_map(BTreeMap::keys).find(|name| !METHODS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            let near = super::registry::nearest(unknown, METHODS.into_iter());
            let hint = near.map(|near| format!("; do you mean {near:?}?")).unwrap_or_default();
            let problem = format!("there is no method {unknown:?}{hint}");
            self.mistake("auth.permissions", &problem);
        }
        permissions
    }

    fn pinned_keys(&mut self) -> HashMap<Did, CallerKeys> {
        let expected = "an object of keys in base58 by DID, such as {\"did:bindu:...\": \"4zvw...\"}; or of objects \
                        with `public_key` and `derived_public_key`";
        self.parsed("auth.pinned_keys", expected, |text| {
            let pinned: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
            pinned.into_iter().map(|(did, keys)| Some((did.parse().ok()?, caller_keys(&keys)?))).collect()
        })
        .unwrap_or_default()
    }

    pub(super) fn http(&mut self) -> HttpLimits {
        let positive = |reader: &mut Self, key: &str| {
            let duration = reader.duration(key);
            if duration < Duration::from_millis(100)
                && reader.mistakes.iter().all(|mistake| !mistake.contains(key))
            {
                reader.mistake(key, "it must be at least 100ms");
            }
            duration
        };
        HttpLimits {
            body: self
                .parsed(
                    "http.max_body",
                    "a number of bytes from 1KiB to 1GiB, such as 65536, 512KiB or 2MiB",
                    bytes,
                )
                .unwrap_or_default(),
            header_patience: positive(self, "http.header_timeout"),
            body_patience: positive(self, "http.body_timeout"),
            connections: self.count("http.max_connections"),
            cors_origins: {
                let origins = self.origins("http.cors_origins");
                origins.iter().filter_map(|origin| origin.parse().ok()).collect()
            },
        }
    }

    pub(super) fn call(&mut self) -> CallChoice {
        CallChoice {
            allowed_origins: self.origins("call.allowed_origins"),
            dangerous_allow_http: self.flag("call.dangerous_allow_http"),
        }
    }

    fn origins(&mut self, key: &str) -> Vec<String> {
        let expected = "a list of origins without a path, such as [\"https://app.example.com\"]";
        let read = |text: &str| {
            let origins: Vec<String> = serde_json::from_str(text).ok()?;
            origins.iter().all(|origin| is_origin(origin)).then_some(origins)
        };
        self.parsed(key, expected, read).unwrap_or_default()
    }

    fn count(&mut self, key: &str) -> usize {
        self.count_up_to(key, 1_000_000)
    }

    fn count_up_to(&mut self, key: &str, most: usize) -> usize {
        let parse = |text: &str| text.parse().ok().filter(|count| (1..=most).contains(count));
        self.parsed(key, &format!("a number from 1 to {most}"), parse).unwrap_or(1)
    }

    fn is_said_on(&self, key: &str) -> bool {
        self.is_said(key) && super::typed::boolean(&self.text(key)).unwrap_or_default()
    }
}

fn caller_keys(keys: &Value) -> Option<CallerKeys> {
    let read = |value: &Value| value.as_str()?.parse::<PublicKey>().ok();
    match keys {
        Value::Object(keys) => {
            let one = |name: &str| keys.get(name).map(|value| read(value).ok_or(())).transpose().ok();
            let known = ["public_key", "derived_public_key"];
            let is_known = !keys.is_empty() && keys.keys().all(|name| known.contains(&name.as_str()));
            is_known.then(|| Some(CallerKeys { request: one(known[0])?, message: one(known[1])? }))?
        }
        text => Some(CallerKeys { request: Some(read(text)?), message: None }),
    }
}

/// A number of bytes, with a unit or without.
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

/// Whether a text is an origin (RFC 6454): scheme, host and port, nothing behind.
#[must_use]
pub fn is_origin(text: &str) -> bool {
    text.parse::<url::Url>()
        .is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("2MiB"), Some(2 * 1024 * 1024));
        assert_eq!(bytes("65536"), Some(65536));
        for odd in ["", "2MB", "-1", "0", "1023", "2GiB", "99999999999999999999", "1.5MiB"] {
            assert_eq!(bytes(odd), None, "{odd}");
        }
    }

    #[test]
    fn origins_have_no_path_and_no_pattern() {
        assert!(is_origin("https://app.example.com") && is_origin("http://localhost:3000"));
        for odd in ["*", "null", "https://app.example.com/", "app.example.com", "https://*.example.com/x"] {
            assert!(!is_origin(odd), "{odd}");
        }
    }
}
