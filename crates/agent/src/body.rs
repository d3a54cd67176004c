//! Request bodies: as long as they may be and no longer, and not for ever.

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// How much of a body is taken, and for how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// No more is set aside for a body that only says it will be long.
const FIRST_ROOM: usize = 16 * 1024;

/// How much of a body that is too long is read and thrown away, so that its sender gets to read the answer: as long as more of it
/// keeps coming, and not for longer than a second.
const DISCARDED: usize = 16 * 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_secs(1);
const DISCARD_IDLE: Duration = Duration::from_millis(250);

/// Reads a whole body. What is declared too long is not begun; of what turns out to be, no more than the limit is held.
/// Each frame is copied and let go: a frame of one byte keeps a whole read buffer alive.
///
/// # Errors
/// 413, 408, or 400 where it breaks off.
pub(crate) async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, StatusCode> {
    let limit = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    if body.size_hint().lower() > limit {
        // A sender whose connection is closed while it writes sees a broken pipe, and no answer.
        let _ = timeout(limits.timeout.min(DISCARD_FOR), discard(body)).await;
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    timeout(limits.timeout, collect(body, limits.bytes)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}

/// A body that holds something until it has gone out, or the connection is gone.
pub(crate) fn holding(body: Body, held: impl Send + Unpin + 'static) -> Body {
    Body::new(Holding { body, _held: held })
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while let Ok(Some(Ok(frame))) = timeout(DISCARD_IDLE, body.frame()).await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > DISCARDED {
            return;
        }
    }
}

async fn collect(mut body: Body, most: usize) -> Result<Bytes, StatusCode> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(declared.min(FIRST_ROOM));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    const LIMITS: BodyLimits = BodyLimits { bytes: 8, timeout: Duration::from_millis(50) };

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
