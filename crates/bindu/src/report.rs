//! How a refusal is told: `error`, `caused by`, `hint`, on stderr.

use crate::Refusal;
use std::{fmt::Write as _, io::Write as _, process::ExitCode};

/// Tells a refusal on stderr and returns its exit code.
#[must_use]
pub fn tell(refusal: &Refusal) -> ExitCode {
    // Where stderr is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text(refusal).as_bytes());
    ExitCode::from(refusal.class.code())
}

/// The text of a refusal.
#[must_use]
pub fn text(refusal: &Refusal) -> String {
    let mut text = format!("error: {}\n", refusal.message);
    for cause in refusal.causes.iter().filter(|cause| !cause.is_empty()) {
        let _ = writeln!(text, "caused by: {cause}");
    }
    if !refusal.hint.is_empty() {
        let _ = writeln!(text, "\nhint: {}", refusal.hint);
    }
    text
}
