//! Settings of who may call, and of what a call may cost.

use super::{
    Entry,
    reader::Reader,
    registry::{
        AUTH_ALLOWED_DIDS, AUTH_AUDIENCE, AUTH_CONCURRENCY, AUTH_ENABLED, AUTH_JWT, AUTH_PERMISSIONS,
        AUTH_PINNED_KEYS, AUTH_RATE_LIMIT, AUTH_REPLAY_QUOTA, AUTH_REQUIRE_PERMISSIONS,
        AUTH_STALE_IF_UNAVAILABLE, CALL_ALLOWED_ORIGINS, CALL_DANGEROUS_ALLOW_HTTP, HTTP_BODY_TIMEOUT,
        HTTP_CORS_ORIGINS, HTTP_HEADER_TIMEOUT, HTTP_IDLE_TIMEOUT, HTTP_MAX_BODY, HTTP_MAX_CONNECTIONS,
        HTTP_STREAM_KEEP_ALIVE, HTTP_WRITE_TIMEOUT, HYDRA_CACHE_TTL, HYDRA_SENSITIVE_SCOPES,
        PUSH_ALLOWED_HOSTS, PUSH_ENABLED, nearest,
    },
};
use bindu_agent::{
    HttpLimits,
    caller::{CallerKeys, MOST_FRESH, PermitSettings, TokenSettings},
};
use bindu_http_client::AllowedTargets;
use bindu_identity::Did;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Who may call, where authentication is on.
#[derive(Debug, Clone)]
pub struct AuthChoice {
    /// Whose tokens are let in.
    pub token: TokenSettings,
    /// What callers may do.
    pub permit: PermitSettings,
    /// How many requests of one caller are worked on at a time.
    pub concurrency: usize,
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

/// Where events of tasks are sent.
#[derive(Debug, Clone)]
pub struct PushChoice {
    /// Whether callers may ask for it.
    pub enabled: bool,
    /// Receivers that need not be public.
    pub allowed: AllowedTargets,
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

impl Reader {
    /// Who may call. `enabled`: authentication is on and its Hydra is known.
    pub(super) fn auth(&mut self, enabled: bool) -> AuthChoice {
        let require_permissions = self.value(&AUTH_REQUIRE_PERMISSIONS);
        self.idle_restrictions(enabled, require_permissions);
        let permissions = self.permissions();
        if permissions.is_some() && enabled && !require_permissions {
            self.mistake(&AUTH_PERMISSIONS, "it has no effect without AUTH__REQUIRE_PERMISSIONS=true");
        }
        AuthChoice {
            token: self.token(),
            permit: PermitSettings {
                allowed: self.allowed(),
                scopes: require_permissions.then(|| permissions.unwrap_or_default()),
                rate: self.get(&AUTH_RATE_LIMIT),
            },
            concurrency: self.value(&AUTH_CONCURRENCY),
            pinned_keys: self.value(&AUTH_PINNED_KEYS),
            replay_quota: self.value(&AUTH_REPLAY_QUOTA),
        }
    }

    /// Settings that keep somebody out: said while authentication is off, they would be believed and do nothing.
    fn idle_restrictions(&mut self, enabled: bool, require_permissions: bool) {
        if enabled || self.get(&AUTH_ENABLED) == Some(true) {
            return;
        }
        let restrictions: [&Entry; 4] =
            [&AUTH_ALLOWED_DIDS, &AUTH_PERMISSIONS, &AUTH_AUDIENCE, &AUTH_RATE_LIMIT];
        let said = restrictions.into_iter().filter(|setting| self.is_said(setting));
        let idle: Vec<&Entry> =
            said.chain(require_permissions.then_some(AUTH_REQUIRE_PERMISSIONS.entry())).collect();
        for setting in idle {
            let problem = "it has no effect without authentication; set AUTH__ENABLED=true, or unset it";
            self.mistake(setting, problem);
        }
    }

    fn token(&mut self) -> TokenSettings {
        let cache_ttl = self.value(&HYDRA_CACHE_TTL);
        if cache_ttl > MOST_FRESH {
            // Python Bindu's default is 300: not a reason to refuse a start, and not one to be late by minutes.
            self.warnings.push(format!(
                "`hydra.cache_ttl`: Hydra's word on a token counts for {} s at most, so that a revocation is noticed",
                MOST_FRESH.as_secs()
            ));
        }
        TokenSettings {
            jwt: self.value(&AUTH_JWT),
            cache_ttl,
            stale_if_unavailable: self.value(&AUTH_STALE_IF_UNAVAILABLE),
            sensitive_scopes: self.value(&HYDRA_SENSITIVE_SCOPES).into_iter().collect(),
            audience: self.get(&AUTH_AUDIENCE),
        }
    }

    fn allowed(&mut self) -> Option<BTreeSet<String>> {
        let allowed = self.get(&AUTH_ALLOWED_DIDS)?;
        if allowed.iter().all(String::is_empty) {
            self.mistake(&AUTH_ALLOWED_DIDS, "an empty list lets nobody in; name somebody, or unset it");
        }
        if let Some(odd) = allowed.iter().find(|id| id.trim() != id.as_str() || id.contains('*')) {
            let problem =
                format!("{odd:?} is no client id: entries are exact, without patterns and spaces around");
            self.mistake(&AUTH_ALLOWED_DIDS, &problem);
        }
        Some(allowed.into_iter().collect())
    }

    fn permissions(&mut self) -> Option<BTreeMap<String, Vec<String>>> {
        let permissions = self.get(&AUTH_PERMISSIONS);
        let unknown =
            permissions.iter().flat_map(BTreeMap::keys).find(|name| !METHODS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            let near = nearest(unknown, METHODS.into_iter());
            let hint = near.map(|near| format!("; do you mean {near:?}?")).unwrap_or_default();
            let problem = format!("there is no method {unknown:?}{hint}");
            self.mistake(&AUTH_PERMISSIONS, &problem);
        }
        permissions
    }

    pub(super) fn http(&mut self) -> HttpLimits {
        let origins = self.value(&HTTP_CORS_ORIGINS);
        HttpLimits {
            body: self.value(&HTTP_MAX_BODY),
            header_timeout: self.value(&HTTP_HEADER_TIMEOUT),
            body_timeout: self.value(&HTTP_BODY_TIMEOUT),
            idle_timeout: self.value(&HTTP_IDLE_TIMEOUT),
            write_timeout: self.value(&HTTP_WRITE_TIMEOUT),
            keep_alive: self.value(&HTTP_STREAM_KEEP_ALIVE),
            connections: self.value(&HTTP_MAX_CONNECTIONS),
            cors_origins: origins.iter().filter_map(|origin| origin.parse().ok()).collect(),
        }
    }

    pub(super) fn push(&mut self) -> PushChoice {
        PushChoice { enabled: self.value(&PUSH_ENABLED), allowed: self.value(&PUSH_ALLOWED_HOSTS) }
    }

    pub(super) fn call(&mut self) -> CallChoice {
        CallChoice {
            allowed_origins: self.value(&CALL_ALLOWED_ORIGINS),
            dangerous_allow_http: self.value(&CALL_DANGEROUS_ALLOW_HTTP),
        }
    }
}
