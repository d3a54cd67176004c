//! Wall-clock time, for what is shown to people. Lifetimes are measured with `Instant`.

/// Now, as Python's `datetime.now(timezone.utc).isoformat()` writes it.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
