//! Every setting, once.

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file.
    pub key: &'static str,
    /// Its variables; the first that is set counts.
    pub variables: &'static [&'static str],
    /// What it is where nobody says, as text; empty for none.
    pub default: &'static str,
    /// What counts where nobody says and `default` is empty, in words; empty where nothing does.
    pub otherwise: &'static str,
    /// Never shown.
    pub secret: bool,
    /// What it does: for docs/CONFIGURATION.md, in Markdown. A page is named as `docs/PAGE.md#heading`.
    pub about: &'static str,
}

const fn setting(
    key: &'static str,
    variables: &'static [&'static str],
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { key, variables, default, otherwise: "", secret: false, about }
}

const fn secret(
    key: &'static str,
    variables: &'static [&'static str],
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { secret: true, ..setting(key, variables, default, about) }
}

impl Setting {
    const fn otherwise(self, otherwise: &'static str) -> Self {
        Self { otherwise, ..self }
    }
}

/// All settings, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    setting("name", &["BINDU_NAME"], "", "what the agent is called; part of its DID"),
    setting(
        "author",
        &["BINDU_AUTHOR"],
        "",
        "who is responsible for it, usually an e-mail address; part of its DID",
    ),
    setting("id", &["BINDU_AGENT_ID"], "", "its UUID; else derived from author and name"),
    setting("description", &["BINDU_DESCRIPTION"], "", "what it does, for its card"),
    setting("version", &["BINDU_VERSION"], "", "its version, for its card and `/health`")
        .otherwise("this program's"),
    setting("data_dir", &["BINDU_DATA_DIR", "DID__PKI_DIR"], ".bindu", "where it keeps its files"),
    setting("host", &["BINDU_HOST"], "127.0.0.1", "the address to listen on"),
    setting("port", &["BINDU_PORT", "PORT"], "3773", "the port to listen on, 0 to 65535; 0 takes a free one"),
    setting(
        "probe_listen",
        &["BINDU_PROBE_LISTEN"],
        "",
        "`host:port` of their own for `/livez`, `/readyz` and `/metrics`, which answer there from the first moment of a start (docs/OPERATIONS.md#probes)",
    ),
    setting(
        "deployment.url",
        &["BINDU_DEPLOYMENT_URL"],
        "",
        "where it is called, for the card, did:web and Hydra",
    )
    .otherwise("what it listens on"),
    setting(
        "take_over",
        &["BINDU_TAKE_OVER"],
        "false",
        "consent to replace the key of a Hydra client that is not provably ours: `true`, or the fingerprint of the key to replace (docs/HYDRA.md#taking-over)",
    ),
    setting(
        "on_absent",
        &["BINDU_ON_ABSENT"],
        "create",
        "where there is positively no key: `create` one, or `refuse` for deployments that have their identity",
    ),
    setting(
        "on_unavailable",
        &["BINDU_ON_UNAVAILABLE"],
        "wait",
        "where the store does not answer and there is no key: `wait`, or `generate` a provisional key that yields to the store's",
    ),
    setting(
        "recreate_keys",
        &["BINDU_RECREATE_KEYS"],
        "false",
        "rotate the key at a start, where the store is sure of the current one: once, if the current key has this fingerprint, or with `true` (Python Bindu's switch) where the record was written more than ten minutes ago. The old key goes to the archive and into the record's `replaces`",
    ),
    setting(
        "start_deadline",
        &["BINDU_START_DEADLINE"],
        "60s",
        "how long a start without a key waits for an unavailable store",
    ),
    setting(
        "reconcile_interval",
        &["BINDU_RECONCILE_INTERVAL"],
        "60s",
        "how often all is compared again, give or take 10 %; at least `1s`",
    ),
    setting(
        "drain_deadline",
        &["BINDU_DRAIN_DEADLINE"],
        "25s",
        "how long an end waits for requests and tasks",
    ),
    setting(
        "key_password_file",
        &["BINDU_KEY_PASSWORD_FILE"],
        "",
        "a file with the private key's password (UTF-8; one line feed at its end is not part of it). A new key is encrypted with it",
    ),
    setting(
        "echo",
        &[],
        "",
        "`true`: answer with what was said. So does an agent for which no handler is named",
    ),
    setting("command", &["BINDU_COMMAND"], "", "answer by this program: a list of words (docs/HANDLERS.md)"),
    setting(
        "command_timeout",
        &["BINDU_COMMAND_TIMEOUT"],
        "300s",
        "how long the program may take for one task",
    ),
    setting(
        "command_workers",
        &["BINDU_COMMAND_WORKERS"],
        "1",
        "how many of the program run at the same time, 1 to 256",
    ),
    setting("vault.enabled", &["VAULT__ENABLED"], "false", "keep the identity in Vault (docs/VAULT.md)"),
    setting("vault.url", &["VAULT__URL", "VAULT_ADDR"], "http://localhost:8200", "Vault's address"),
    secret("vault.token", &["VAULT__TOKEN", "VAULT_TOKEN"], "", "the token to work with"),
    setting(
        "vault.auth",
        &["VAULT__AUTH"],
        "",
        "how to log in (docs/VAULT.md#logging-in): `token`, `token_file`, `kubernetes`, `approle`, `jwt` or `cert`; else `token` where there is one, or `token_file` where one is named",
    ),
    setting(
        "vault.role",
        &["VAULT__ROLE"],
        "",
        "the role to log in with. Needed with `kubernetes`; with `jwt` and `cert` else the mount's default and any that fits",
    ),
    setting(
        "vault.auth_mount",
        &["VAULT__AUTH_MOUNT"],
        "",
        "where the login method is mounted, without `auth/`",
    )
    .otherwise("the method's name"),
    setting("vault.token_file", &["VAULT__TOKEN_FILE"], "", "a file with the token, read at each use"),
    setting(
        "vault.jwt_file",
        &["VAULT__JWT_FILE"],
        "",
        "a file with the JWT to log in with, read at each login. Needed with `jwt`",
    )
    .otherwise("with `kubernetes` the service account's token"),
    setting(
        "vault.role_id_file",
        &["VAULT__ROLE_ID_FILE"],
        "",
        "a file with the AppRole's role id, read at each login. Needed with `approle`",
    ),
    setting(
        "vault.secret_id_file",
        &["VAULT__SECRET_ID_FILE"],
        "",
        "a file with the AppRole's secret id, read at each login. Needed with `approle`",
    ),
    setting(
        "vault.secret_id_wrapped",
        &["VAULT__SECRET_ID_WRAPPED"],
        "false",
        "the secret id is wrapped: the file holds the wrapping token",
    ),
    setting("vault.mount", &["VAULT__MOUNT"], "secret", "the KV version 2 mount"),
    setting("vault.prefix", &["VAULT__PREFIX"], "bindu", "the folder below the mount"),
    setting("vault.namespace", &["VAULT_NAMESPACE"], "", "the namespace"),
    setting(
        "vault.tls.ca_cert",
        &["VAULT_CACERT"],
        "",
        "a PEM file with the authorities to trust, instead of the system's. Certificates that change in their files count from the next request on",
    )
    .otherwise("the system's"),
    setting(
        "vault.tls.ca_path",
        &["VAULT_CAPATH"],
        "",
        "a directory of such files, read as a whole but for names that begin with a dot; the file counts where both are named",
    ),
    setting(
        "vault.tls.server_name",
        &["VAULT_TLS_SERVER_NAME"],
        "",
        "the name that Vault's certificate must have, and that is asked for (SNI)",
    ).otherwise("the address\'s"),
    setting(
        "vault.tls.client_cert",
        &["VAULT_CLIENT_CERT"],
        "",
        "a PEM file with the client certificate to show, and its chain. Needed with `cert`, shown with any login",
    ),
    setting(
        "vault.tls.client_key",
        &["VAULT_CLIENT_KEY"],
        "",
        "a PEM file with that certificate's key. The two go together",
    ),
    setting(
        "vault.tls.skip_verify",
        &["VAULT_SKIP_VERIFY"],
        "false",
        "trust any certificate. For development only",
    ),
    setting(
        "auth.enabled",
        &["AUTH__ENABLED"],
        "false",
        "let in only callers with a token of Hydra's, and register with it (docs/HYDRA.md). `false`, said outright, lets everybody in on any address",
    ),
    setting(
        "auth.allowed_dids",
        &["AUTH__ALLOWED_DIDS"],
        "",
        "let in only these client ids, a list. Exact, without patterns; clients that are no DIDs are named the same way",
    ),
    setting(
        "auth.require_permissions",
        &["AUTH__REQUIRE_PERMISSIONS"],
        "false",
        "ask for the scope `agent:read` for what only reads (`tasks/get`, `tasks/list`), `agent:write` for the rest. Neither stands for the other",
    ),
    setting(
        "auth.permissions",
        &["AUTH__PERMISSIONS"],
        "",
        "other scopes for some methods, an object: `{\"tasks/list\": [\"agent:read\", \"agent:list\"]}`. All of them are needed; an empty list asks for none. A method that Python Bindu's dialect does not have is a mistake",
    ),
    setting("auth.audience", &["AUTH__AUDIENCE"], "", "the audience that a token must have been granted for"),
    setting(
        "auth.jwt",
        &["AUTH__JWT"],
        "introspect",
        "for tokens that are JWTs. `introspect`: the signature and Hydra's word; the signature alone while Hydra can't be asked. `local`: the signature alone, always, so a revoked token lives until it expires",
    ),
    setting(
        "auth.stale_if_unavailable",
        &["AUTH__STALE_IF_UNAVAILABLE"],
        "5m",
        "how long a known token and a known key count while Hydra can't be asked, from Hydra's last answer; never past the token's own end",
    ),
    setting(
        "auth.pinned_keys",
        &["AUTH__PINNED_KEYS"],
        "",
        "keys that count whatever Hydra says, of callers and of agents that are called, an object: `{\"DID\": \"KEY\"}`, or `{\"DID\": {\"public_key\": \"KEY\", \"derived_public_key\": \"KEY\"}}` where the caller signs HTTP messages too. Base58",
    ),
    setting(
        "auth.rate_limit",
        &["AUTH__RATE_LIMIT"],
        "",
        "how often one caller may call: `100/s`, `600/m`, `1000/h`. All of them may come at once",
    ),
    setting(
        "auth.concurrency",
        &["AUTH__CONCURRENCY"],
        "256",
        "how many requests of one caller are worked on at a time, each until its answer has gone out, 1 to 1,000,000",
    ),
    setting(
        "auth.replay_quota",
        &["AUTH__REPLAY_QUOTA"],
        "50000",
        "how many signed requests of one caller are remembered, for ten minutes each, some 260 bytes each, 1 to 500,000 (which is all that is remembered of all callers) (docs/PROTOCOL.md#sent-twice)",
    ),
    setting("http.max_body", &["BINDU_MAX_BODY"], "2MiB", "the longest request body, 1 KiB to 1 GiB"),
    setting(
        "http.header_timeout",
        &["BINDU_HEADER_TIMEOUT"],
        "15s",
        "how long a request's headers may take, the wait for their first byte included; at least `100ms`",
    ),
    setting(
        "http.body_timeout",
        &["BINDU_BODY_TIMEOUT"],
        "30s",
        "how long a request's body may take; at least `100ms`",
    ),
    setting(
        "http.max_connections",
        &["BINDU_MAX_CONNECTIONS"],
        "4096",
        "how many connections there may be, 1 to 1,000,000, and never more than the limit of open files less 128; more wait to be accepted",
    ),
    setting(
        "http.cors_origins",
        &["BINDU_CORS_ORIGINS"],
        "[]",
        "origins of web pages that may call, a list: `[\"https://app.example.com\"]`. No path, no pattern",
    ),
    setting(
        "call.allowed_origins",
        &["BINDU_CALL_ALLOWED_ORIGINS"],
        "[]",
        "origins that the card of another agent may send our calls to, beside its own, a list (docs/HYDRA.md#calling-others)",
    ),
    setting(
        "call.dangerous_allow_http",
        &["BINDU_CALL_DANGEROUS_ALLOW_HTTP"],
        "false",
        "call agents beyond this machine over plain http: tokens can be read on the way",
    ),
    setting(
        "hydra.admin_url",
        &["HYDRA__ADMIN_URL"],
        "",
        "Hydra's admin address. Needed where authentication is on",
    ),
    setting(
        "hydra.public_url",
        &["HYDRA__PUBLIC_URL"],
        "",
        "Hydra's public address. Needed where authentication is on",
    ),
    setting(
        "hydra.timeout",
        &["HYDRA__TIMEOUT"],
        "10s",
        "bounds all of Hydra's work for one call, and each request to it",
    ),
    setting(
        "hydra.verify_ssl",
        &["HYDRA__VERIFY_SSL"],
        "true",
        "check Hydra's certificate, by the system's authorities",
    ),
    setting(
        "hydra.cache_ttl",
        &["HYDRA__CACHE_TTL"],
        "30s",
        "how long Hydra's word on a token counts. More than `30s` (Python Bindu's default is 300) counts as `30s`, with a warning",
    ),
    setting(
        "hydra.sensitive_scopes",
        &["HYDRA__SENSITIVE_SCOPES"],
        "[\"admin\", \"agent:execute\", \"payment:capture\", \"key:rotate\"]",
        "tokens with one of these scopes are asked about at each call, a list",
    ),
    setting(
        "hydra.auto_register_agents",
        &["HYDRA__AUTO_REGISTER_AGENTS"],
        "true",
        "register and repair our client",
    ),
    setting(
        "hydra.default_agent_scopes",
        &["HYDRA__DEFAULT_AGENT_SCOPES"],
        "[\"openid\", \"offline\", \"agent:read\", \"agent:write\"]",
        "the scopes to register, a list",
    ),
    setting(
        "hydra.audiences",
        &["HYDRA__AUDIENCES"],
        "[]",
        "the audiences to register, a list. A call to another agent asks for the one that is the URL it goes to, or the DID that was asked for",
    ),
    setting("storage.type", &["STORAGE_TYPE"], "memory", "where tasks are kept; this version knows `memory`"),
    setting("log.level", &["RUST_LOG", "LOG_LEVEL"], "info", "what is logged (docs/OPERATIONS.md#logs)"),
    setting("log.format", &["LOG_FORMAT"], "", "`text` or `json`").otherwise("text on a terminal, else json"),
];

/// Settings that change who gets in, or what is kept, and that this version does not serve: refused where they are
/// set, since ignoring them would open a door or lose data.
pub const NOT_YET: &[&str] = &["HYDRA__ALLOWED_DIDS", "DATABASE_URL"];

/// Variables of ours that are no settings, or of Python Bindu's without effect here: no warning.
pub const KNOWN_OTHERWISE: &[&str] =
    &["BINDU_CONFIG", "AUTH__PROVIDER", "HYDRA__ENABLED", "HYDRA__MAX_RETRIES", "HYDRA__MAX_CACHE_SIZE"];

/// The same, as keys of a file in Python Bindu's shape.
pub const KNOWN_OTHERWISE_IN_FILE: &[&str] = &["auth.provider"];

/// Settings of Python Bindu's that say which identity it is, and have one value here: refused with another.
pub const PYTHONS_ALONE: &[(&str, &str)] = &[
    ("DID__PRIVATE_KEY_FILENAME", "private.pem"),
    ("DID__PUBLIC_KEY_FILENAME", "public.pem"),
    ("DID__METHOD_BINDU", "bindu"),
];

/// Settings of Python Bindu's for what this program does not have: a warning says that they have no effect.
pub const WITHOUT_EFFECT: &[&str] = &[
    "SCHEDULER_TYPE",
    "REDIS_URL",
    "REDIS_POLL_TIMEOUT",
    "SENTRY_ENABLED",
    "SENTRY_DSN",
    "OLTP_ENDPOINT",
    "OLTP_SERVICE_NAME",
    "OLTP_HEADERS",
    "TUNNEL_ENABLED",
    "WEBHOOK_URL",
    "WEBHOOK_TOKEN",
];

/// Prefixes under which an unknown variable is probably a slip.
pub const OUR_PREFIXES: &[&str] = &["BINDU_", "VAULT__", "AUTH__", "HYDRA__"];

/// Prefixes of Python Bindu's settings that must not be ignored: that would give work away, or drop TLS.
pub const REFUSED_PREFIXES: &[&str] = &["X402__", "MTLS__"];

/// Keys of a file (Python Bindu's too) that change who gets in or what is paid: refused like [`NOT_YET`].
pub const NOT_YET_IN_FILE: &[&str] = &["auth.", "allowed_dids", "execution_cost", "mtls"];

/// Settings that are an object of their own: a table in the file, JSON in a variable.
pub const OBJECTS: &[&str] = &["auth.permissions", "auth.pinned_keys"];

/// The setting of a key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The known name that is nearest, if one is near.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
