//! How a refusal is told: `error`, `caused by`, `hint`, on stderr.

use crate::{Refusal, run::log};
use std::{fmt::Write as _, process::ExitCode};

/// Tells a refusal on stderr and returns its exit code.
#[must_use]
pub fn tell(refusal: &Refusal) -> ExitCode {
    // Behind what was logged. Where stderr is closed, full or read by nobody there is nobody to tell.
    log::write(&text(refusal));
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
