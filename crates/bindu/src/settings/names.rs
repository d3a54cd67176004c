//! Names that are no settings: of Python Bindu's, of other programs, or slips.

/// Settings that change who gets in, or what is kept, and that this version does not serve: refused where they are
/// set, since ignoring them would open a door or lose data.
pub(super) const NOT_YET: &[&str] = &["HYDRA__ALLOWED_DIDS"];

/// Variables of ours that are no settings, or of Python Bindu's without effect here: no warning.
pub(super) const KNOWN_OTHERWISE: &[&str] = &[
    "BINDU_CONFIG",
    "BINDU_STARTED_BY",
    "AUTH__PROVIDER",
    "HYDRA__ENABLED",
    "HYDRA__MAX_RETRIES",
    "HYDRA__MAX_CACHE_SIZE",
];

/// The same, as keys of a file in Python Bindu's shape.
pub(super) const KNOWN_OTHERWISE_IN_FILE: &[&str] = &["auth.provider"];

/// Settings of Python Bindu's that say which identity it is, and have one value here: refused with another.
pub(super) const PYTHONS_ALONE: &[(&str, &str)] = &[
    ("DID__PRIVATE_KEY_FILENAME", "private.pem"),
    ("DID__PUBLIC_KEY_FILENAME", "public.pem"),
    ("DID__METHOD_BINDU", "bindu"),
];

/// Settings of Python Bindu's for what this program does not have: a warning says that they have no effect.
pub(super) const WITHOUT_EFFECT: &[&str] = &[
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
pub(super) const OUR_PREFIXES: &[&str] = &["BINDU_", "VAULT__", "AUTH__", "HYDRA__"];

/// Prefixes of Python Bindu's settings that must not be ignored: that would give work away, or drop TLS.
pub(super) const REFUSED_PREFIXES: &[&str] = &["X402__", "MTLS__"];

/// Keys of a file (Python Bindu's too) that change who gets in or what is paid: refused like [`NOT_YET`].
pub(super) const NOT_YET_IN_FILE: &[&str] = &["auth.", "allowed_dids", "execution_cost", "mtls"];
