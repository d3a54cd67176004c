//! Every setting, once: a constant with its type, its parser, its key, its variables, its default and its text.

use super::{
    form,
    setting::{Content, Entry, Setting, setting},
    skills::{self, SkillSource},
    storage::StorageType,
    typed::LogFormat,
    vault::LoginMethod,
};
use bindu_agent::caller::{CallerKeys, JwtMode, Rate};
use bindu_http_client::{AllowedTargets, Exemptions, RedirectHost};
use bindu_identity::{AgentId, Did};
use bindu_keeper::plan::{OnAbsent, OnUnavailable, RecreateKeys, TakeOver};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::Duration,
};
use url::Url;

/// No wait is shorter: it would end before a healthy server could answer.
const SHORTEST: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// A replaced key that stays longer is no overlap.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Declares each setting as a constant, and the list of all.
macro_rules! settings {
    ($($name:ident: $kind:ty = $setting:expr;)*) => {
        $(
            /// A setting; what it does is in its `about`.
            pub static $name: Setting<$kind> = $setting;
        )*

        /// All settings, in the order in which they are shown.
        pub static SETTINGS: &[&Entry] = &[$($name.entry()),*];

        /// What is wrong with a text as the value of a setting.
        pub(super) fn problem(setting: &Entry, text: &str) -> Option<String> {
            $(
                if $name.key == setting.key {
                    return $name.read(text).err();
                }
            )*
            None
        }
    };
}

settings!(
    NAME: String = setting("name", &["BINDU_NAME"], form::text,
        "what the agent is called; part of its DID").content(Content::Name);
    AUTHOR: String = setting("author", &["BINDU_AUTHOR"], form::text,
        "who is responsible for it, usually an e-mail address; part of its DID").content(Content::Name);
    ID: AgentId = setting("id", &["BINDU_AGENT_ID"], |text| form::parsed(text, "a UUID"),
        "its UUID; else derived from author and name");
    DESCRIPTION: String = setting("description", &["BINDU_DESCRIPTION"], form::text,
        "what it does, for its card").content(Content::Prose);
    SKILLS: Vec<SkillSource> = setting("skills", &["BINDU_SKILLS"], skills::sources,
        "what it can do, for everybody: a list of folders with a `skill.yaml` or a `SKILL.md`, and of objects with `name`, `description` and more (docs/CONFIGURATION.md#skills)").default("[]").content(Content::List);
    PRIVATE_SKILLS: Vec<SkillSource> = setting("private_skills", &["BINDU_PRIVATE_SKILLS"], skills::sources,
        "what it can do besides, shown to the callers of `private_skills_for` alone; likewise").default("[]").content(Content::List);
    PRIVATE_SKILLS_FOR: Vec<String> = setting("private_skills_for", &["BINDU_PRIVATE_SKILLS_FOR"], form::list,
        "the client ids that see the private skills, a list. Exact, without patterns").default("[]").content(Content::List);
    VERSION: String = setting("version", &["BINDU_VERSION"], form::text,
        "its version, for its card and `/health`").otherwise("this program's");
    DATA_DIR: PathBuf = setting("data_dir", &["BINDU_DATA_DIR", "DID__PKI_DIR"], form::file,
        "where it keeps its files").default(".bindu");
    HOST: String = setting("host", &["BINDU_HOST"], form::text,
        "the address to listen on").default("127.0.0.1");
    PORT: u16 = setting("port", &["BINDU_PORT", "PORT"], |text| form::parsed(text, "a number from 0 to 65535"),
        "the port to listen on, 0 to 65535; 0 takes a free one").default("3773");
    GRPC_LISTEN: String = setting("grpc_listen", &["BINDU_GRPC_LISTEN"], form::endpoint,
        "an address for A2A over gRPC, without TLS (docs/PROTOCOL.md#grpc). Callers whose client id is a DID cannot sign there, and are not let in");
    PROBE_LISTEN: String = setting("probe_listen", &["BINDU_PROBE_LISTEN"], form::endpoint,
        "`host:port` of their own for `/livez`, `/readyz` and `/metrics`, which answer there from the first moment of a start (docs/OPERATIONS.md#probes)");
    DEPLOYMENT_URL: Url = setting("deployment.url", &["BINDU_DEPLOYMENT_URL"], form::address,
        "where it is called, for the card, did:web and Hydra. Behind a proxy that strips a path, with that path. Needed where the agent listens on all addresses and authentication is on").otherwise("what it listens on");
    TAKE_OVER: TakeOver = setting("take_over", &["BINDU_TAKE_OVER"], |text| {
            let key = |text: &str| text.parse().ok().map(TakeOver::Key);
            form::flag_or(text, (TakeOver::Any, TakeOver::No), key, "a key's fingerprint")
        },
        "consent to replace the key of a Hydra client that is not provably ours: `true`, or the fingerprint of the key to replace (docs/HYDRA.md#taking-over)").default("false").never_empty();
    ON_ABSENT: OnAbsent = setting("on_absent", &["BINDU_ON_ABSENT"], |text| form::choice(text, &[("create", OnAbsent::Create), ("refuse", OnAbsent::Refuse)]),
        "where there is positively no key: `create` one, or `refuse` for deployments that have their identity").default("create").never_empty();
    ON_UNAVAILABLE: OnUnavailable = setting("on_unavailable", &["BINDU_ON_UNAVAILABLE"], |text| {
            form::choice(text, &[("wait", OnUnavailable::Wait), ("generate", OnUnavailable::Generate)])
        },
        "where the store does not answer and there is no key: `wait`, or `generate` a provisional key that yields to the store's").default("wait");
    RECREATE_KEYS: RecreateKeys = setting("recreate_keys", &["BINDU_RECREATE_KEYS"], |text| {
            let key = |text: &str| text.parse().ok().map(RecreateKeys::Once);
            form::flag_or(text, (RecreateKeys::Always, RecreateKeys::No), key, "a key's fingerprint")
        },
        "rotate the key at a start, where the store is sure of the current one: once, if the current key has this fingerprint, or with `true` (Python Bindu's switch) where the record was written more than ten minutes ago. The old key goes to the archive and into the record's `replaces`").default("false").never_empty();
    START_DEADLINE: Duration = setting("start_deadline", &["BINDU_START_DEADLINE"], |text| form::lasting(text, SHORTEST, DAY),
        "how long a start without a key waits for an unavailable store, `100ms` to `24h`").default("60s");
    RECONCILE_INTERVAL: Duration = setting("reconcile_interval", &["BINDU_RECONCILE_INTERVAL"], |text| form::lasting(text, Duration::from_secs(1), DAY),
        "how often all is compared again, give or take 10 %; `1s` to `24h`").default("60s");
    ROTATION_OVERLAP: Duration = setting("rotation.overlap", &["BINDU_ROTATION_OVERLAP"], |text| form::lasting(text, Duration::from_secs(2), YEAR),
        "how long a replaced key stays valid beside its successor, `2s` to `365d`, and at least twice `reconcile_interval` (docs/ROTATION.md)").default("7d");
    DRAIN_DEADLINE: Duration = setting("drain_deadline", &["BINDU_DRAIN_DEADLINE"], |text| form::lasting(text, SHORTEST, DAY),
        "how long an end waits for requests and tasks, `100ms` to `24h`").default("25s");
    DRAIN_GRACE: Duration = setting("drain_grace", &["BINDU_DRAIN_GRACE"], |text| form::lasting(text, Duration::ZERO, DAY),
        "how long a result can be fetched after its task has ended, where the agent ends as well; not longer than `drain_deadline` in all. An end does not wait for results that were fetched. `0s`, not at all, to `24h`").default("5s");
    KEY_PASSWORD_FILE: PathBuf = setting("key_password_file", &["BINDU_KEY_PASSWORD_FILE"], form::file,
        "a file with the private key's password (UTF-8; one line feed at its end is not part of it). An empty password is a mistake. A new key is encrypted with it").never_empty();
    ECHO: bool = setting("echo", &[], form::flag,
        "`true`: answer with what was said. So does an agent for which no handler is named").never_empty();
    COMMAND: Vec<String> = setting("command", &["BINDU_COMMAND"], form::list,
        "answer by this program: a list of words (docs/HANDLERS.md)").content(Content::List);
    COMMAND_TIMEOUT: Duration = setting("command_timeout", &["BINDU_COMMAND_TIMEOUT"], |text| form::lasting(text, SHORTEST, WEEK),
        "how long the program may take for one task, `100ms` to a week").default("300s");
    COMMAND_WORKERS: usize = setting("command_workers", &["BINDU_COMMAND_WORKERS"], |text| form::count(text, 1, 256),
        "how many of the program run at the same time, 1 to 256").default("1");
    RESUMABLE: bool = setting("resumable", &["BINDU_RESUMABLE"], form::flag,
        "`true`: the handler may handle a message again that it was handling when the agent's process ended; else that task fails (docs/HANDLERS.md#handled-again)").default("false").never_empty();
    VAULT_ENABLED: bool = setting("vault.enabled", &["VAULT__ENABLED"], form::flag,
        "keep the identity in Vault (docs/VAULT.md). Settings of Vault while nobody says whether it is on are a mistake at a start").default("false").never_empty();
    VAULT_URL: Url = setting("vault.url", &["VAULT__URL", "VAULT_ADDR"], form::vault_address,
        "Vault's address, without `/v1`, user and password").default("http://localhost:8200");
    VAULT_TOKEN: SecretString = setting("vault.token", &["VAULT__TOKEN", "VAULT_TOKEN"], form::token,
        "the token to work with").secret();
    VAULT_AUTH: LoginMethod = setting("vault.auth", &["VAULT__AUTH"], |text| form::choice(text, &LoginMethod::NAMES),
        "how to log in (docs/VAULT.md#logging-in): `token`, `token_file`, `kubernetes`, `approle`, `jwt` or `cert`; else `token` where there is one, or `token_file` where one is named");
    VAULT_ROLE: String = setting("vault.role", &["VAULT__ROLE"], form::text,
        "the role to log in with. Needed with `kubernetes`; with `jwt` and `cert` else the mount's default and any that fits");
    VAULT_AUTH_MOUNT: String = setting("vault.auth_mount", &["VAULT__AUTH_MOUNT"], form::auth_mount,
        "where the login method is mounted, without `auth/`").otherwise("the method's name");
    VAULT_TOKEN_FILE: PathBuf = setting("vault.token_file", &["VAULT__TOKEN_FILE"], form::file,
        "a file with the token, read at each use");
    VAULT_JWT_FILE: PathBuf = setting("vault.jwt_file", &["VAULT__JWT_FILE"], form::file,
        "a file with the JWT to log in with, read at each login. Needed with `jwt`").otherwise("with `kubernetes` the service account's token");
    VAULT_ROLE_ID_FILE: PathBuf = setting("vault.role_id_file", &["VAULT__ROLE_ID_FILE"], form::file,
        "a file with the AppRole's role id, read at each login. Needed with `approle`");
    VAULT_SECRET_ID_FILE: PathBuf = setting("vault.secret_id_file", &["VAULT__SECRET_ID_FILE"], form::file,
        "a file with the AppRole's secret id, read at each login. Needed with `approle`");
    VAULT_SECRET_ID_WRAPPED: bool = setting("vault.secret_id_wrapped", &["VAULT__SECRET_ID_WRAPPED"], form::flag,
        "the secret id is wrapped: the file holds the wrapping token").default("false").never_empty();
    VAULT_MOUNT: String = setting("vault.mount", &["VAULT__MOUNT"], form::path,
        "the KV version 2 mount").default("secret");
    VAULT_PREFIX: String = setting("vault.prefix", &["VAULT__PREFIX"], form::path,
        "the folder below the mount").default("bindu");
    VAULT_NAMESPACE: String = setting("vault.namespace", &["VAULT_NAMESPACE"], form::namespace,
        "the namespace");
    VAULT_REDIRECT_HOSTS: Vec<RedirectHost> = setting("vault.redirect_hosts", &["VAULT__REDIRECT_HOSTS"], form::redirect_hosts,
        "hosts, each with a port or without, that a standby of Vault may redirect to beside the host of the address: `vault-1.example.com,vault-2.example.com:8200`, or a list. Once, over https only (docs/VAULT.md#standbys)").default("[]").content(Content::List);
    VAULT_PROXY: Url = setting("vault.proxy", &["VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY"], form::proxy,
        "the proxy that Vault is asked through, whatever `proxy.exempt` says; never for loopback (docs/CONFIGURATION.md#proxies)").content(Content::Proxy);
    VAULT_CACERT: PathBuf = setting("vault.tls.ca_cert", &["VAULT_CACERT"], form::file,
        "a PEM file with the authorities to trust, instead of the system's; or with Vault's own certificate, which is then trusted itself. Certificates that change in their files count from the next request on").otherwise("the system's");
    VAULT_CAPATH: PathBuf = setting("vault.tls.ca_path", &["VAULT_CAPATH"], form::file,
        "a directory of such files, read as a whole but for names that begin with a dot and for keys; the file counts where both are named");
    VAULT_TLS_SERVER_NAME: String = setting("vault.tls.server_name", &["VAULT_TLS_SERVER_NAME"], form::text,
        "the name that Vault's certificate must have, and that is asked for (SNI)").otherwise("the address's");
    VAULT_CLIENT_CERT: PathBuf = setting("vault.tls.client_cert", &["VAULT_CLIENT_CERT"], form::file,
        "a PEM file with the client certificate to show, and its chain. Needed with `cert`, shown with any login");
    VAULT_CLIENT_KEY: PathBuf = setting("vault.tls.client_key", &["VAULT_CLIENT_KEY"], form::file,
        "a PEM file with that certificate's key. The two go together");
    VAULT_SKIP_VERIFY: bool = setting("vault.tls.skip_verify", &["VAULT_SKIP_VERIFY"], form::flag,
        "trust any certificate. For development only").default("false").never_empty();
    AUTH_ENABLED: bool = setting("auth.enabled", &["AUTH__ENABLED"], form::flag,
        "let in only callers with a token of Hydra's, and register with it (docs/HYDRA.md). `false`, said outright, lets everybody in on any address").default("false").never_empty();
    AUTH_ALLOWED_DIDS: Vec<String> = setting("auth.allowed_dids", &["AUTH__ALLOWED_DIDS"], form::list,
        "let in only these client ids, a list. Exact, without patterns; clients that are no DIDs are named the same way").content(Content::List).never_empty();
    AUTH_REQUIRE_PERMISSIONS: bool = setting("auth.require_permissions", &["AUTH__REQUIRE_PERMISSIONS"], form::flag,
        "ask for the scope `agent:read` for what only reads (`tasks/get`, `tasks/list`), `agent:write` for the rest. Neither stands for the other").default("false").never_empty();
    AUTH_PERMISSIONS: BTreeMap<String, Vec<String>> = setting("auth.permissions", &["AUTH__PERMISSIONS"], form::permissions,
        "other scopes for some methods, an object: `{\"tasks/list\": [\"agent:read\", \"agent:list\"]}`. All of them are needed; an empty list asks for none. A method that Python Bindu's dialect does not have is a mistake").content(Content::Object).never_empty();
    AUTH_AUDIENCE: String = setting("auth.audience", &["AUTH__AUDIENCE"], form::text,
        "the audience that a token must have been granted for").never_empty();
    AUTH_JWT: JwtMode = setting("auth.jwt", &["AUTH__JWT"], |text| {
            form::choice(text, &[("introspect", JwtMode::Introspect), ("local", JwtMode::Local)])
        },
        "for tokens that are JWTs. `introspect`: the signature and Hydra's word; the signature alone while Hydra can't be asked. `local`: the signature alone, always, so a revoked token lives until it expires").default("introspect");
    AUTH_STALE_IF_UNAVAILABLE: Duration = setting("auth.stale_if_unavailable", &["AUTH__STALE_IF_UNAVAILABLE"], |text| form::lasting(text, Duration::ZERO, WEEK),
        "how long a known token and a known key count while Hydra can't be asked, from Hydra's last answer; never past the token's own end. `0s`: not at all").default("5m");
    AUTH_PINNED_KEYS: HashMap<Did, CallerKeys> = setting("auth.pinned_keys", &["AUTH__PINNED_KEYS"], form::pinned_keys,
        "keys that count whatever Hydra says, of callers and of agents that are called, an object: `{\"DID\": \"KEY\"}`, or `{\"DID\": {\"public_key\": \"KEY\", \"derived_public_key\": \"KEY\"}}` where the caller signs HTTP messages too. Instead of a KEY a list of up to 8 (`[\"OLD\", \"NEW\"]`), of which each counts: a rotation is not followed. Base58").content(Content::Object).never_empty();
    AUTH_RATE_LIMIT: Rate = setting("auth.rate_limit", &["AUTH__RATE_LIMIT"], |text| form::parsed(text, "a rate, such as 100/s, 600/m or 1000/h"),
        "how often one caller may call: `100/s`, `600/m`, `1000/h`. All of them may come at once").never_empty();
    AUTH_CONCURRENCY: usize = setting("auth.concurrency", &["AUTH__CONCURRENCY"], |text| form::count(text, 1, 1_000_000),
        "how many requests of one caller are worked on at a time, each until its answer has gone out, 1 to 1,000,000").default("256");
    AUTH_REPLAY_QUOTA: usize = setting("auth.replay_quota", &["AUTH__REPLAY_QUOTA"], |text| form::count(text, 1, 500_000),
        "how many signed requests of one caller are remembered, for ten minutes each, some 260 bytes each, 1 to 500,000 (which is all that is remembered of all callers) (docs/PROTOCOL.md#sent-twice)").default("50000");
    HTTP_MAX_BODY: usize = setting("http.max_body", &["BINDU_MAX_BODY"], form::size,
        "the longest request body, 1 KiB to 1 GiB").default("2MiB");
    HTTP_HEADER_TIMEOUT: Duration = setting("http.header_timeout", &["BINDU_HEADER_TIMEOUT"], |text| form::lasting(text, SHORTEST, HOUR),
        "how long a request's headers may take, from their first byte on; on a new connection from its beginning on; `100ms` to `1h`").default("15s");
    HTTP_IDLE_TIMEOUT: Duration = setting("http.idle_timeout", &["BINDU_IDLE_TIMEOUT"], |text| form::lasting(text, SHORTEST, DAY),
        "how long a connection may wait for its next request; longer than a proxy before the agent keeps its own, which is 60 s for most (docs/OPERATIONS.md#behind-a-proxy); `100ms` to `24h`").default("75s");
    HTTP_WRITE_TIMEOUT: Duration = setting("http.write_timeout", &["BINDU_WRITE_TIMEOUT"], |text| form::lasting(text, SHORTEST, HOUR),
        "how long an answer or an event of a stream may wait for its reader to take any of it; then the connection is closed; `100ms` to `1h`").default("30s");
    HTTP_STREAM_KEEP_ALIVE: Duration = setting("http.stream_keep_alive", &["BINDU_STREAM_KEEP_ALIVE"], |text| form::lasting(text, SHORTEST, HOUR),
        "how long a stream is silent before it sends a comment, so that no proxy takes it for dead; `100ms` to `1h`").default("15s");
    HTTP_BODY_TIMEOUT: Duration = setting("http.body_timeout", &["BINDU_BODY_TIMEOUT"], |text| form::lasting(text, SHORTEST, HOUR),
        "how long a request's body may take; `100ms` to `1h`").default("30s");
    HTTP_MAX_CONNECTIONS: usize = setting("http.max_connections", &["BINDU_MAX_CONNECTIONS"], |text| form::count(text, 1, 1_000_000),
        "how many connections there may be, 1 to 1,000,000, and never more than the limit of open files less 128; more wait to be accepted").default("4096");
    HTTP_CORS_ORIGINS: Vec<String> = setting("http.cors_origins", &["BINDU_CORS_ORIGINS"], form::origins,
        "origins of web pages that may call, a list: `[\"https://app.example.com\"]`. No path, no pattern").default("[]").content(Content::List);
    CALL_ALLOWED_ORIGINS: Vec<String> = setting("call.allowed_origins", &["BINDU_CALL_ALLOWED_ORIGINS"], form::origins,
        "origins that the card of another agent may send our calls to, beside its own, a list (docs/HYDRA.md#calling-others)").default("[]").content(Content::List);
    CALL_DANGEROUS_ALLOW_HTTP: bool = setting("call.dangerous_allow_http", &["BINDU_CALL_DANGEROUS_ALLOW_HTTP"], form::flag,
        "call agents beyond this machine over plain http: tokens can be read on the way").default("false").never_empty();
    PUSH_ENABLED: bool = setting("push.enabled", &["BINDU_PUSH_ENABLED", "BINDU_PUSH__ENABLED"], form::flag,
        "send the events of tasks to where callers ask for them (docs/PUSH.md)").default("true").never_empty();
    PUSH_ALLOWED_HOSTS: AllowedTargets = setting("push.allowed_hosts", &["BINDU_PUSH_ALLOWED_HOSTS", "BINDU_PUSH__ALLOWED_HOSTS"], form::targets,
        "receivers of events that are taken though their addresses are not public: hosts, domains with a dot before them, addresses and networks, such as `hook.internal,.svc.cluster.local,10.0.0.0/8`, or a list (docs/PUSH.md#which-receivers)").default("[]").content(Content::List);
    PROXY_HTTP: Url = setting("proxy.http", &["http_proxy", "HTTP_PROXY"], form::proxy,
        "the proxy for `http://` addresses (docs/CONFIGURATION.md#proxies)").content(Content::Proxy);
    PROXY_HTTPS: Url = setting("proxy.https", &["https_proxy", "HTTPS_PROXY"], form::proxy,
        "the proxy for `https://` addresses").content(Content::Proxy);
    PROXY_EXEMPT: Exemptions = setting("proxy.exempt", &["no_proxy", "NO_PROXY"], form::exemptions,
        "what goes through neither: `*`, hosts, domains, IP addresses and networks, with ports or without, separated by commas. Loopback never does");
    HYDRA_ADMIN_URL: Url = setting("hydra.admin_url", &["HYDRA__ADMIN_URL"], form::address,
        "Hydra's admin address. Needed where authentication is on");
    HYDRA_PUBLIC_URL: Url = setting("hydra.public_url", &["HYDRA__PUBLIC_URL"], form::address,
        "Hydra's public address. Needed where authentication is on");
    HYDRA_TIMEOUT: Duration = setting("hydra.timeout", &["HYDRA__TIMEOUT"], |text| form::seconds(text, SHORTEST, HOUR),
        "bounds all of Hydra's work for one call, and each request to it, `100ms` to `1h`").default("10s");
    HYDRA_VERIFY_SSL: bool = setting("hydra.verify_ssl", &["HYDRA__VERIFY_SSL"], form::flag,
        "check Hydra's certificate, by the system's authorities").default("true").never_empty();
    HYDRA_CACHE_TTL: Duration = setting("hydra.cache_ttl", &["HYDRA__CACHE_TTL"], |text| form::seconds(text, Duration::ZERO, WEEK),
        "how long Hydra's word on a token counts. More than `30s` (Python Bindu's default is 300) counts as `30s`, with a warning. `0`: each call asks").default("30s");
    HYDRA_SENSITIVE_SCOPES: Vec<String> = setting("hydra.sensitive_scopes", &["HYDRA__SENSITIVE_SCOPES"], form::list,
        "tokens with one of these scopes are asked about at each call, a list").default("[\"admin\", \"agent:execute\", \"payment:capture\", \"key:rotate\"]").content(Content::List);
    HYDRA_AUTO_REGISTER_AGENTS: bool = setting("hydra.auto_register_agents", &["HYDRA__AUTO_REGISTER_AGENTS"], form::flag,
        "register and repair our client").default("true").never_empty();
    HYDRA_DEFAULT_AGENT_SCOPES: Vec<String> = setting("hydra.default_agent_scopes", &["HYDRA__DEFAULT_AGENT_SCOPES"], form::list,
        "the scopes to register, a list").default("[\"openid\", \"offline\", \"agent:read\", \"agent:write\"]").content(Content::List);
    HYDRA_AUDIENCES: Vec<String> = setting("hydra.audiences", &["HYDRA__AUDIENCES"], form::list,
        "the audiences to register, a list. A call to another agent asks for the one that is the URL it goes to, or the DID that was asked for").default("[]").content(Content::List);
    STORAGE_TYPE: StorageType = setting("storage.type", &["STORAGE_TYPE"], |text| form::choice(text, &StorageType::NAMES),
        "where tasks are kept: `memory`, `sqlite` or `postgres` (docs/STORAGE.md)").otherwise("what `storage.url` says, else `tasks.db` in the data directory; memory if that can't be used").never_empty();
    STORAGE_URL: SecretString = setting("storage.url", &["DATABASE_URL"], form::database,
        "the database: `postgres://user:password@host/name`, `sqlite:PATH` or `memory`").secret().never_empty();
    STORAGE_LISTEN_URL: SecretString = setting("storage.listen_url", &["BINDU_STORAGE_LISTEN_URL"], form::database,
        "with a pooler in front of PostgreSQL: the database without it, for notifications").secret();
    STORAGE_CONNECTIONS: usize = setting("storage.connections", &["BINDU_STORAGE_CONNECTIONS"], |text| form::count(text, 2, 1000),
        "how many connections to PostgreSQL there may be, 2 to 1000").default("10");
    STORAGE_MAX_BYTES: usize = setting("storage.max_bytes", &["BINDU_STORAGE_MAX_BYTES"], form::file_size,
        "the most bytes of the SQLite file, 256 KiB to 1 GiB").default("1GiB");
    STORAGE_RETENTION: Duration = setting("storage.retention", &["BINDU_STORAGE_RETENTION"], |text| form::lasting(text, Duration::from_secs(60), YEAR),
        "how long a task is kept in a database that has ended, or that waits for its caller, `60s` to `365d`").default("7d");
    STORAGE_MAX_TASKS: usize = setting("storage.max_tasks", &["BINDU_STORAGE_MAX_TASKS"], |text| form::count(text, 1, 100_000_000),
        "how many tasks of one caller are kept in a database, 1 to 100,000,000: the oldest that have ended go first").default("5000");
    LOG_LEVEL: String = setting("log.level", &["RUST_LOG", "LOG_LEVEL"], form::text,
        "what is logged (docs/OPERATIONS.md#logs)").default("info");
    LOG_FORMAT: LogFormat = setting("log.format", &["LOG_FORMAT"], |text| form::choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        "`text` or `json`").otherwise("text on a terminal, else json"););

/// The setting of a key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Entry> {
    SETTINGS.iter().find(|setting| setting.key == key).copied()
}

/// Whether a key is not a setting, and settings are below it.
pub(super) fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
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
