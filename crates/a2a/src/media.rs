//! SKELETON: what a body is made of: JSON in UTF-8, as it is.

use crate::A2aError;

/// Refuses what the headers say of a body that cannot be read, before it comes. Several values of one header are joined
/// by commas.
///
/// # Errors
/// [`A2aError::Media`].
pub fn check_headers(_content_type: Option<&str>, _content_encoding: Option<&str>) -> Result<(), A2aError> {
    Ok(())
}

/// The JSON text of a body.
///
/// # Errors
/// [`A2aError::Media`], [`A2aError::Parse`].
pub fn json_text(_body: &[u8]) -> Result<&str, A2aError> {
    Err(A2aError::Internal)
}
