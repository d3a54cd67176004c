//! Streams: a task's events as server-sent events.
//!
//! A stream pulls: its next event is read and written when the reader has taken the ones before, so a reader that stalls
//! costs what its socket holds and one event, until the connection's write timeout cuts it off. An event is written once
//! for all readers of a dialect ([`EncodedEvents`]).

use crate::{
    encoded::{Coding, EncodedEvents},
    places::Place,
    server::AgentServer,
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bindu_a2a::{Dialect, Json, call::StreamItem};
use bindu_tasks::TaskStream;
use futures_util::{StreamExt as _, stream};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a stream that has to end waits for an event that is on its way.
const LAST_EVENT: Duration = Duration::from_millis(300);

/// An event that is not longer than this is copied into one piece with its frame.
const ONE_PIECE: usize = 4 * 1024;

/// What is around an event.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// A JSON-RPC response with the request's id.
    Rpc(Dialect, Json),
    /// Nothing: HTTP+JSON.
    Rest,
}

impl Frame {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Rpc(dialect, _) => *dialect,
            Self::Rest => Dialect::V1,
        }
    }

    /// An event as server-sent event, in pieces.
    fn pieces(&self, number: u64, event: &Bytes) -> VecDeque<Bytes> {
        let (before, after) = match self {
            Self::Rpc(Dialect::Bindu, id) => {
                let id = id.text();
                (format!("id: {number}\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id}"), "\n\n")
            }
            Self::Rpc(_, id) => {
                let id = id.text();
                (format!("id: {number}\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":"), "}\n\n")
            }
            Self::Rest => (format!("id: {number}\ndata: "), "\n\n"),
        };
        if event.len() <= ONE_PIECE {
            let whole = [before.as_bytes(), event, after.as_bytes()].concat();
            return VecDeque::from([Bytes::from(whole)]);
        }
        VecDeque::from([Bytes::from(before), event.clone(), Bytes::from_static(after.as_bytes())])
    }
}

/// A stream on its way to its reader.
struct Events {
    events: TaskStream,
    frame: Frame,
    encoded: Arc<EncodedEvents>,
    pieces: VecDeque<Bytes>,
    has_begun: bool,
    keep_alive: Duration,
    /// Cancelled when all streams have to end.
    closing: CancellationToken,
    place: Place,
}

/// A response with a task's events.
pub(crate) fn respond(server: &AgentServer, events: TaskStream, frame: Frame, mut place: Place) -> Response {
    place.is_a_stream();
    let events = Events {
        events,
        frame,
        encoded: Arc::clone(&server.encoded),
        pieces: VecDeque::new(),
        has_begun: false,
        keep_alive: server.stream_keep_alive(),
        closing: server.closing.clone(),
        place,
    };
    let body = stream::unfold(events, |mut events| async {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(piece), events))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would keep events until it has a buffer full of them.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// The next event; once all streams have to end, only what comes without a pause: what is committed is told.
pub(crate) async fn next_until_closing(
    events: &mut TaskStream,
    closing: &CancellationToken,
) -> Option<StreamItem> {
    tokio::select! {
        biased;
        item = events.next() => return item,
        () = closing.cancelled() => {}
    }
    timeout(LAST_EVENT, events.next()).await.ok().flatten()
}

impl Events {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        // What came before has been taken. The task at the beginning may be long, and has its room until then.
        if std::mem::replace(&mut self.has_begun, true) {
            self.place.answer_is_gone();
        }
        let item = tokio::select! {
            item = next_until_closing(&mut self.events, &self.closing) => item,
            () = sleep_until(Instant::now() + self.keep_alive) => return Some(Bytes::from_static(b": keep-alive\n\n")),
        };
        let item = item?;
        let event = self.encoded.encode(Coding::Json(self.frame.dialect()), &item, &self.place).await;
        self.place.has_read();
        self.pieces = self.frame.pieces(item.number, &event);
        self.pieces.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_number_and_is_one_line_of_data() {
        let frame = Frame::Rpc(Dialect::V1, Json::of("x"));
        let text = |pieces: VecDeque<Bytes>| {
            let pieces: Vec<Bytes> = pieces.into();
            String::from_utf8(pieces.concat()).expect("UTF-8")
        };
        let short = frame.pieces(7, &Bytes::from_static(b"{\"a\":1}"));
        assert_eq!(short.len(), 1);
        assert_eq!(text(short), "id: 7\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{\"a\":1}}\n\n");
        let long = Bytes::from(format!("\"{}\"", "x".repeat(ONE_PIECE)));
        let pieces = Frame::Rest.pieces(8, &long);
        assert_eq!(pieces[1].as_ptr(), long.as_ptr(), "what is long is shared, not copied");
        assert!(text(pieces).starts_with("id: 8\ndata: \"xxx"));
    }
}
