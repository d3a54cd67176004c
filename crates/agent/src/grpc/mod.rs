//! The gRPC binding of A2A 1.0, on a port of its own: the same core, limits and errors as over HTTP.
//!
//! A unary call is one HTTP/2 request with a frame around its message; so hyper serves it, and a body is read like any other:
//! only once its caller's token is known, and in the room that its caller has. `tonic` was rejected: its codecs hold messages
//! of callers that nobody knows yet. No DID signature is defined for gRPC, so a client whose id is a DID is not let in.

mod frame;

use crate::{
    caller::Cover,
    connection::SLOWEST,
    encoded::Coding,
    places::Place,
    route::{
        Done, Failure, Heard, activated, grpc_status, hear, named_version, next_until_closing, perform,
        weight,
    },
    server::AgentServer,
};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bindu_a2a::{
    A2aError,
    grpc::{self, SERVICE},
    version,
};
use bindu_tasks::TaskStream;
use frame::Message;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Answers one call.
pub(crate) async fn call(State(server): State<Arc<AgentServer>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if head.method != Method::POST || !kind.starts_with(b"application/grpc") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match answer(&server, &head, body).await {
        Ok(response) => response,
        Err(failure) => frame::refused(&grpc_status(&server, &head, &failure)),
    }
}

async fn answer(server: &Arc<AgentServer>, head: &Parts, body: Body) -> Result<Response, Failure> {
    let Heard { mut place, caller, proof, body } = hear(server, head, body, Cover::Nothing).await?;
    version::check_v1(named_version(head).as_deref())?;
    let method = method(head.uri.path())?;
    let message = frame::unframe(&body)?;
    drop(body);
    let call = place.work(message.len(), move || grpc::decode(&method, &message)).await;
    place.body_is_gone();
    let mut call = call?;
    let extensions = activated(&head.headers, &server.extensions, &mut call)?;
    let mut response = match perform(server, (&caller, &mut place), proof.as_ref(), call).await? {
        Done::Stream(events) => respond_stream(server, events, place),
        Done::Answer(answer) => {
            let bytes = weight(&answer);
            let message = place.work(bytes, move || grpc::encode(&answer)).await?;
            place.has_read();
            frame::respond(Message::new(message, place))
        }
    };
    response.headers_mut().extend(extensions);
    Ok(response)
}

/// The service of A2A 0.3, which is not spoken here. Its official SDKs send no version.
const SERVICE_OF_V03: &str = "/a2a.v1.A2AService/";

/// The method that a path names.
fn method(path: &str) -> Result<String, A2aError> {
    if path.starts_with(SERVICE_OF_V03) {
        return Err(A2aError::VersionNotSupported("0.3".to_owned()));
    }
    let method = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE))
        .and_then(|rest| rest.strip_prefix('/'));
    method.map(str::to_owned).ok_or_else(|| {
        let shown: String = path.chars().take(64).collect();
        A2aError::Method(format!("{shown} is not a method of {SERVICE}"))
    })
}

/// A stream. Its events wait in a channel of one: HTTP/2 asks for nothing while its reader stalls, so that it is here that a
/// reader is cut off which takes nothing for too long.
fn respond_stream(server: &Arc<AgentServer>, events: TaskStream, mut place: Place) -> Response {
    place.is_a_stream();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(pump(Arc::clone(server), events, place, sender));
    let frames = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    frame::response(Body::new(StreamBody::new(frames)))
}

/// The pieces that a reader has to take before there is room for the next one: one in the channel, and one that HTTP/2 sends.
#[derive(Default)]
struct Ahead([usize; 2]);

impl Ahead {
    /// How long the next piece may wait. A reader that takes a long one slowly, but not slower than others may, is not cut off.
    fn within(&mut self, limit: Duration, next: usize) -> Duration {
        let [sent, waits] = self.0;
        self.0 = [waits, next];
        limit.saturating_add(Duration::from_secs((sent + waits) as u64 / SLOWEST))
    }
}

type Frames = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

async fn pump(server: Arc<AgentServer>, mut events: TaskStream, mut place: Place, frames: Frames) {
    let limit = server.write_timeout();
    let mut ahead = Ahead::default();
    loop {
        let item = tokio::select! {
            () = frames.closed() => return,
            item = next_until_closing(&mut events, &server.closing) => item,
        };
        let Some(item) = item else { break };
        let message = server.encoded.encode(Coding::Proto, &item, &place).await;
        place.has_read();
        for piece in frame::pieces(message) {
            let limit = ahead.within(limit, piece.len());
            let sent = timeout(limit, frames.send(Ok(Frame::data(piece)))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        place.answer_is_gone();
    }
    // Whoever is gone needs no end.
    let _ = timeout(ahead.within(limit, 0), frames.send(Ok(Frame::trailers(frame::done())))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found: a stream over gRPC was cut off while its reader took a long event, slowly.
    #[test]
    fn a_piece_waits_for_those_before_it_as_long_as_they_may_take() {
        let (limit, seconds) = (Duration::from_secs(30), Duration::from_secs);
        let long = 10 * usize::try_from(SLOWEST).expect("a number");
        let mut ahead = Ahead::default();
        let waits: Vec<Duration> = [5, long, 5, long, 0].map(|bytes| ahead.within(limit, bytes)).into();
        assert_eq!(waits, [seconds(30), seconds(30), seconds(40), seconds(40), seconds(40)]);
    }
}
