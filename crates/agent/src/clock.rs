//! Wall-clock time, for what is shown to people. Lifetimes are measured with `Instant`.

/// Now, as Python's `datetime.now(timezone.utc).isoformat()` writes it.
pub(crate) fn timestamp() -> String {
    bindu_time::python_timestamp(bindu_time::Clock::system().now())
}
