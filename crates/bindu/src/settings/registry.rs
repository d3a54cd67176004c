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
    /// Never shown.
    pub secret: bool,
    /// What it does.
    pub about: &'static str,
}

const fn setting(
    key: &'static str,
    variables: &'static [&'static str],
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { key, variables, default, secret: false, about }
}

/// All settings, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    setting("name", &["BINDU_NAME"], "", "what the agent is called; part of its DID"),
    setting("author", &["BINDU_AUTHOR"], "", "who is responsible for it; part of its DID"),
    setting("id", &["BINDU_AGENT_ID"], "", "its UUID; else derived from author and name"),
    setting("description", &["BINDU_DESCRIPTION"], "", "what it does, for its card"),
    setting("version", &["BINDU_VERSION"], "", "its version, for its card; else this program's"),
    setting("data_dir", &["BINDU_DATA_DIR", "DID__PKI_DIR"], ".bindu", "where it keeps its files"),
    setting(
        "host",
        &["BINDU_HOST"],
        "127.0.0.1",
        "the address to listen on (file: `listen = \"host:port\"`)",
    ),
    setting("port", &["BINDU_PORT", "PORT"], "3773", "the port to listen on; 0 takes a free one"),
    setting(
        "probe_listen",
        &["BINDU_PROBE_LISTEN"],
        "",
        "an address of its own for /livez, /readyz and /metrics, from the first moment: host:port",
    ),
    setting("deployment.url", &["BINDU_DEPLOYMENT_URL"], "", "where it is called; else what it listens on"),
    setting(
        "take_over",
        &["BINDU_TAKE_OVER"],
        "false",
        "consent to replace the key of a Hydra client: true or a fingerprint",
    ),
    setting("on_absent", &["BINDU_ON_ABSENT"], "create", "where there is no key anywhere: create or refuse"),
    setting(
        "on_unavailable",
        &["BINDU_ON_UNAVAILABLE"],
        "wait",
        "where the store does not answer and there is no key: wait or generate",
    ),
    setting(
        "recreate_keys",
        &["BINDU_RECREATE_KEYS"],
        "false",
        "rotate the key at a start: once by its fingerprint, or `true` (at most every ten minutes)",
    ),
    setting(
        "start_deadline",
        &["BINDU_START_DEADLINE"],
        "60s",
        "how long a start waits for an unavailable store",
    ),
    setting(
        "reconcile_interval",
        &["BINDU_RECONCILE_INTERVAL"],
        "60s",
        "how often all is compared again; at least 1s",
    ),
    setting(
        "drain_deadline",
        &["BINDU_DRAIN_DEADLINE"],
        "25s",
        "how long an end waits for requests and tasks",
    ),
    setting("key_password_file", &["BINDU_KEY_PASSWORD_FILE"], "", "a file with the private key's password"),
    setting("echo", &[], "", "answer with what was said: true"),
    setting("command", &["BINDU_COMMAND"], "", "answer by this program: a list of words"),
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
        "how many of the program run at the same time",
    ),
    setting("vault.enabled", &["VAULT__ENABLED"], "false", "keep the identity in Vault"),
    setting("vault.url", &["VAULT__URL", "VAULT_ADDR"], "http://localhost:8200", "Vault's address"),
    Setting {
        key: "vault.token",
        variables: &["VAULT__TOKEN", "VAULT_TOKEN"],
        default: "",
        secret: true,
        about: "the token to work with",
    },
    setting(
        "vault.auth",
        &["VAULT__AUTH"],
        "",
        "how to log in: token, token_file, kubernetes, approle, jwt or cert; else token, or token_file where one is named",
    ),
    setting("vault.role", &["VAULT__ROLE"], "", "the role to log in with"),
    setting(
        "vault.auth_mount",
        &["VAULT__AUTH_MOUNT"],
        "",
        "where the login method is mounted; else under its own name",
    ),
    setting("vault.token_file", &["VAULT__TOKEN_FILE"], "", "a file with the token, read at each use"),
    setting(
        "vault.jwt_file",
        &["VAULT__JWT_FILE"],
        "",
        "a file with the JWT to log in with; with kubernetes else the service account's token",
    ),
    setting("vault.role_id_file", &["VAULT__ROLE_ID_FILE"], "", "a file with the AppRole's role id"),
    setting("vault.secret_id_file", &["VAULT__SECRET_ID_FILE"], "", "a file with the AppRole's secret id"),
    setting(
        "vault.secret_id_wrapped",
        &["VAULT__SECRET_ID_WRAPPED"],
        "false",
        "the secret id is wrapped: the file holds the wrapping token",
    ),
    setting("vault.mount", &["VAULT__MOUNT"], "secret", "the KV version 2 mount"),
    setting("vault.prefix", &["VAULT__PREFIX"], "bindu", "the folder below the mount"),
    setting("vault.namespace", &["VAULT_NAMESPACE"], "", "the namespace"),
    setting("vault.tls.ca_cert", &["VAULT_CACERT"], "", "a file with the authorities to trust"),
    setting(
        "vault.tls.ca_path",
        &["VAULT_CAPATH"],
        "",
        "a directory of such files; the file counts where both are named",
    ),
    setting(
        "vault.tls.server_name",
        &["VAULT_TLS_SERVER_NAME"],
        "",
        "the name that Vault's certificate must have; else its address's",
    ),
    setting(
        "vault.tls.client_cert",
        &["VAULT_CLIENT_CERT"],
        "",
        "a file with the client certificate to show, and its chain",
    ),
    setting("vault.tls.client_key", &["VAULT_CLIENT_KEY"], "", "a file with that certificate's key"),
    setting("vault.tls.skip_verify", &["VAULT_SKIP_VERIFY"], "false", "trust any certificate"),
    setting("auth.enabled", &["AUTH__ENABLED"], "false", "let in only callers with a token of Hydra's"),
    setting(
        "auth.allowed_dids",
        &["AUTH__ALLOWED_DIDS"],
        "",
        "let in only these client ids, exactly: a list",
    ),
    setting(
        "auth.require_permissions",
        &["AUTH__REQUIRE_PERMISSIONS"],
        "false",
        "ask for agent:read and agent:write, by what a method does",
    ),
    setting(
        "auth.permissions",
        &["AUTH__PERMISSIONS"],
        "",
        "other scopes for some methods: {\"METHOD\": [\"SCOPE\"]}",
    ),
    setting("auth.audience", &["AUTH__AUDIENCE"], "", "the audience that tokens must have been granted for"),
    setting(
        "auth.jwt",
        &["AUTH__JWT"],
        "introspect",
        "for tokens that are JWTs: introspect as well, or local (the signature alone)",
    ),
    setting(
        "auth.stale_if_unavailable",
        &["AUTH__STALE_IF_UNAVAILABLE"],
        "5m",
        "how long a known caller counts while Hydra can't be asked",
    ),
    setting(
        "auth.pinned_keys",
        &["AUTH__PINNED_KEYS"],
        "",
        "keys that count whatever Hydra says: {\"DID\": \"KEY\"}",
    ),
    setting(
        "auth.rate_limit",
        &["AUTH__RATE_LIMIT"],
        "",
        "how often one caller may call: 100/s, 600/m, 1000/h",
    ),
    setting(
        "auth.concurrency",
        &["AUTH__CONCURRENCY"],
        "256",
        "how many requests of one caller are worked on at a time",
    ),
    setting(
        "auth.replay_quota",
        &["AUTH__REPLAY_QUOTA"],
        "50000",
        "how many signed requests of one caller are remembered, for ten minutes each",
    ),
    setting("http.max_body", &["BINDU_MAX_BODY"], "2MiB", "the longest request body"),
    setting("http.header_timeout", &["BINDU_HEADER_TIMEOUT"], "15s", "how long a request's headers may take"),
    setting("http.body_timeout", &["BINDU_BODY_TIMEOUT"], "30s", "how long a request's body may take"),
    setting("http.max_connections", &["BINDU_MAX_CONNECTIONS"], "4096", "how many connections there may be"),
    setting(
        "http.cors_origins",
        &["BINDU_CORS_ORIGINS"],
        "[]",
        "origins of web pages that may call: a list such as [\"https://app.example.com\"]",
    ),
    setting(
        "call.allowed_origins",
        &["BINDU_CALL_ALLOWED_ORIGINS"],
        "[]",
        "origins that the card of another agent may send our calls to, beside its own: a list",
    ),
    setting(
        "call.dangerous_allow_http",
        &["BINDU_CALL_DANGEROUS_ALLOW_HTTP"],
        "false",
        "call agents beyond this machine over plain http: tokens can be read on the way",
    ),
    setting("hydra.admin_url", &["HYDRA__ADMIN_URL"], "", "Hydra's admin address"),
    setting("hydra.public_url", &["HYDRA__PUBLIC_URL"], "", "Hydra's public address"),
    setting("hydra.timeout", &["HYDRA__TIMEOUT"], "10s", "bounds all of Hydra's work for one call"),
    setting("hydra.verify_ssl", &["HYDRA__VERIFY_SSL"], "true", "check Hydra's certificate"),
    setting(
        "hydra.cache_ttl",
        &["HYDRA__CACHE_TTL"],
        "30s",
        "how long Hydra's word on a token counts; at most 30s",
    ),
    setting(
        "hydra.sensitive_scopes",
        &["HYDRA__SENSITIVE_SCOPES"],
        "[\"admin\", \"agent:execute\", \"payment:capture\", \"key:rotate\"]",
        "tokens with one of these scopes are asked about at each call",
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
        "the scopes to register",
    ),
    setting("hydra.audiences", &["HYDRA__AUDIENCES"], "[]", "the audiences to register"),
    setting("storage.type", &["STORAGE_TYPE"], "memory", "where tasks are kept; this version knows memory"),
    setting("log.level", &["RUST_LOG", "LOG_LEVEL"], "info", "what is logged"),
    setting("log.format", &["LOG_FORMAT"], "", "text or json; else text on a terminal"),
];

/// Settings that change who gets in, or what is kept, and that this version does not serve: refused where they are
/// set, since ignoring them would open a door or lose data.
pub const NOT_YET: &[&str] = &["HYDRA__ALLOWED_DIDS", "DATABASE_URL"];

/// Variables of ours that are no settings, or of Python Bindu's without effect here: no warning.
pub const KNOWN_OTHERWISE: &[&str] =
    &["BINDU_CONFIG", "AUTH__PROVIDER", "HYDRA__ENABLED", "HYDRA__MAX_RETRIES", "HYDRA__MAX_CACHE_SIZE"];

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
