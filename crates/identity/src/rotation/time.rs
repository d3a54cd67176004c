//! The one form in which a statement writes a time: `2026-11-26T08:00:00Z`, UTC, whole seconds.

use jiff::Timestamp;

/// A time in the form of the statements. `None` outside of the years 0 to 9999.
#[must_use]
pub fn utc(epoch_seconds: i64) -> Option<String> {
    let text = Timestamp::from_second(epoch_seconds).ok()?.to_string();
    seconds(&text).map(|_| text)
}

/// Epoch seconds of a time in exactly this form.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    let is_canonical = text.len() == "2026-11-26T08:00:00Z".len() && time.to_string() == text;
    is_canonical.then(|| time.as_second())
}

/// Any RFC 3339 time in the statements' form, without its fraction; another text as it is.
pub(super) fn canonical(text: &str) -> String {
    text.parse().ok().and_then(|time: Timestamp| utc(time.as_second())).unwrap_or_else(|| text.to_owned())
}
