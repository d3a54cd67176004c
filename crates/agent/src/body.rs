//! Request bodies: as long as they may be and no longer, and not for ever.

use axum::{
    body::{Body, Bytes, HttpBody as _, to_bytes},
    http::StatusCode,
};
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body is taken, and for how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) patience: Duration,
}

/// Reads a whole body. What is declared too long is not begun; of what turns out to be, no more than the limit is held.
///
/// # Errors
/// 413, 408, or 400 where it breaks off.
pub(crate) async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, StatusCode> {
    let limit = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    if body.size_hint().lower() > limit {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match timeout(limits.patience, to_bytes(body, limits.bytes)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(found) = cause {
        if found.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = found.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const LIMITS: BodyLimits = BodyLimits { bytes: 8, patience: Duration::from_millis(50) };

    #[tokio::test]
    async fn a_body_is_as_long_as_it_may_be() {
        assert_eq!(read(Body::from("12345678"), LIMITS).await, Ok(Bytes::from_static(b"12345678")));
        assert_eq!(read(Body::from("123456789"), LIMITS).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>("12345"));
        assert_eq!(read(Body::from_stream(endless), LIMITS).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let never = stream::pending::<Result<&str, std::io::Error>>();
        assert_eq!(read(Body::from_stream(never), LIMITS).await, Err(StatusCode::REQUEST_TIMEOUT));
        let broken = stream::iter([Ok("1"), Err(std::io::Error::other("broken"))]);
        assert_eq!(read(Body::from_stream(broken), LIMITS).await, Err(StatusCode::BAD_REQUEST));
    }
}
