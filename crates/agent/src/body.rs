//! Request bodies: as long as they may be and no longer, and not for ever.

use crate::places::{NoRoom, Place, SMALL};
use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::StatusCode,
};
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::timeout;

/// How much of a body is taken, and for how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// How much of a body that is too long is read and thrown away, so that its sender gets to read the answer: as long as more of it
/// keeps coming, and not for longer than a second.
const DISCARDED: usize = 16 * 1024 * 1024;
const DISCARD_FOR: Duration = Duration::from_secs(1);
const DISCARD_IDLE: Duration = Duration::from_millis(250);

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It is longer than a body may be.
    TooLong,
    /// It did not come in time.
    TooSlow,
    /// It breaks off.
    Broken,
    /// There is no room for more bodies of this caller's, or of anybody's.
    NoRoom,
}

impl NotTaken {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// A label, from a closed set.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "payload_too_large",
            Self::TooSlow => "body_too_slow",
            Self::Broken => "body_broken",
            Self::NoRoom => "too_many_at_once",
        }
    }
}

/// Reads a whole body. What is declared too long is not begun; of what turns out to be, no more than the limit is held, and
/// nothing long without room for it. Each frame is copied and let go: a frame of one byte keeps a whole read buffer alive.
///
/// # Errors
/// Why it was not taken.
pub(crate) async fn read(body: Body, limits: BodyLimits, place: &mut Place) -> Result<Bytes, NotTaken> {
    let limit = u64::try_from(limits.bytes).unwrap_or(u64::MAX);
    if body.size_hint().lower() > limit {
        // A sender whose connection is closed while it writes sees a broken pipe, and no answer.
        let _ = timeout(limits.timeout.min(DISCARD_FOR), discard(body)).await;
        return Err(NotTaken::TooLong);
    }
    let read = timeout(limits.timeout, collect(body, limits.bytes, place)).await;
    let read = read.unwrap_or(Err(NotTaken::TooSlow));
    place.body_has_come(read.as_ref().map_or(0, Bytes::len));
    read
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

async fn collect(mut body: Body, most: usize, place: &mut Place) -> Result<Bytes, NotTaken> {
    let no_room = |NoRoom| NotTaken::NoRoom;
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut room = SMALL;
    if declared > room {
        place.room_for_body(declared).await.map_err(no_room)?;
        room = declared;
    }
    // All of it at once, once there is room for it: a buffer that grows by doubling would cost twice as much.
    let mut bytes = Vec::with_capacity(declared.min(most));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NotTaken::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        let length = bytes.len() + data.len();
        if length > most {
            return Err(NotTaken::TooLong);
        }
        if length > room {
            place.room_for_body(most).await.map_err(no_room)?;
            bytes.reserve_exact(most - bytes.len());
            room = most;
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{PlaceLimits, Places};
    use futures_util::stream;

    const LIMITS: BodyLimits = BodyLimits { bytes: 8, timeout: Duration::from_millis(50) };

    #[tokio::test]
    async fn a_body_is_as_long_as_it_may_be() {
        let places = Places::new(PlaceLimits { requests: 1, body: 8 });
        let read = async |body: Body| {
            let mut place = places.public().expect("a place");
            super::read(body, LIMITS, &mut place).await
        };
        assert_eq!(read(Body::from("12345678")).await, Ok(Bytes::from_static(b"12345678")));
        assert_eq!(read(Body::from("123456789")).await, Err(NotTaken::TooLong));
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>("12345"));
        assert_eq!(read(Body::from_stream(endless)).await, Err(NotTaken::TooLong));
        let never = stream::pending::<Result<&str, std::io::Error>>();
        assert_eq!(read(Body::from_stream(never)).await, Err(NotTaken::TooSlow));
        let broken = stream::iter([Ok("1"), Err(std::io::Error::other("broken"))]);
        assert_eq!(read(Body::from_stream(broken)).await, Err(NotTaken::Broken));
    }
}
