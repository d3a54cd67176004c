//! Connections: how many there may be, and how long each may keep us waiting. A caller that says nothing, or says it
//! slowly, costs a socket for a few seconds and nothing else.

use crate::connection::{Answer, Asked, ConnectionLimits, Held, Progress, Watched, until, within};
use axum::{
    Router,
    body::Body,
    http::{StatusCode, Version, header, uri::Authority},
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

/// The longest request line and headers together, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// Files that connections leave to the rest of the agent.
const RESERVED_FILES: usize = 128;

/// How long the end waits for a connection that is not being answered: before its request, and after its answer.
const LINGER: Duration = Duration::from_millis(250);

/// The same for HTTP/2, whose streams end a moment before.
const HTTP2_END: Duration = Duration::from_secs(1);

/// How many bytes of answers the system takes of one connection beyond those that are on their way.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// A pause where the system has no sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It answers on each for as long as the caller likes.
    Serving,
    /// It takes new ones, and each ends after its next answer. Those between two requests are closed.
    Draining,
    /// It takes no new ones. What was asked is answered; the others are closed, after a moment.
    Closing,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How many calls there may be on one connection of HTTP/2 at a time, and how much each may send before it is read.
const HTTP2_STREAMS: u32 = 128;
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 512 * 1024;

/// The type of an answer that goes on for as long as something happens.
const EVENT_STREAM: &str = "text/event-stream";

/// How often a silent peer of HTTP/2 is asked whether it is there, and how long it may take to say so.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// Accepts and serves connections until [`Stage::Closing`], and returns when the last one is closed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stages: watch::Receiver<Stage>,
) {
    let at_stage = stages.clone();
    let answer = |accepted| answer(accepted, router.clone(), limits, at_stage.clone());
    accept_all(listener, limits, stages, answer).await;
}

/// The same for HTTP/2 without TLS, by prior knowledge: gRPC.
pub(crate) async fn serve_http2(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stages: watch::Receiver<Stage>,
) {
    let at_stage = stages.clone();
    let answer = |accepted| answer_http2(accepted, router.clone(), limits, at_stage.clone());
    accept_all(listener, limits, stages, answer).await;
}

async fn accept_all<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    limits: ConnectionLimits,
    mut stages: watch::Receiver<Stage>,
    answer: impl Fn(Accepted) -> F,
) {
    // Some files are needed for ourselves: to ask Hydra and the store, to write a copy.
    let files = raise_file_limit().saturating_sub(RESERVED_FILES).max(1);
    let places = Arc::new(Semaphore::new(limits.most.min(files)));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            // An error is a server that is gone.
            _ = stages.wait_for(|stage| *stage == Stage::Closing) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                connections.spawn(answer(accepted));
            }
            Err(error) => {
                // Out of sockets, or a connection that was gone before it was taken: both pass.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A connection, where it comes from, and its place among those that there may be.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// What is small goes out at once, and no more of an answer is taken than soon goes out: else the system would keep some
/// megabytes for each caller who reads nothing.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

/// Answers on one connection until it ends.
async fn answer(
    (stream, peer, _place): Accepted,
    router: Router,
    limits: ConnectionLimits,
    mut stages: watch::Receiver<Stage>,
) {
    prepare(&stream);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let progress = Progress::new();
    let of_requests = Arc::clone(&progress);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        of_requests.request_begins();
        let progress = Arc::clone(&of_requests);
        let has_one_host = has_one_host(&request);
        let mut request = request.map(|body| Body::new(Asked::new(body, Arc::clone(&progress))));
        request.extensions_mut().insert(Peer(peer));
        // A router is always ready.
        let answer = has_one_host.then(|| router.clone().call(request));
        async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Ok(which_host()),
            };
            answer.map(|mut answer| {
                let held = answer.extensions_mut().remove::<Held>();
                if answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM) {
                    progress.answer_streams();
                }
                answer.map(|body| Answer::new(body, progress, held))
            })
        }
    });
    let connection = http1::Builder::new()
        .keep_alive(*stages.borrow_and_update() == Stage::Serving)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&progress))), service);
    tokio::pin!(connection);
    loop {
        let stage = tokio::select! {
            // First, so that a request that has come is one when the next stage is looked at.
            biased;
            // What goes wrong on a connection is the caller's business.
            () = within(connection.as_mut(), &progress, &limits) => return,
            changed = stages.changed() => changed.map_or(Stage::Closing, |()| *stages.borrow_and_update()),
        };
        match stage {
            Stage::Serving => {}
            Stage::Draining if progress.is_between_requests() => return,
            Stage::Draining if progress.has_begun() => connection.as_mut().graceful_shutdown(),
            // Not so a new one, which hyper would close: its caller has said nothing yet, and would not try again. Its
            // answer will say that it is the last.
            Stage::Draining => {}
            Stage::Closing => return finish(connection, &progress).await,
        }
    }
}

/// Whether a request says once which host it is for, as RFC 9112, section 3.2, asks for. Else whoever stands before us may have
/// read another one.
fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (Some(_), Some(_)) => false,
    }
}

/// Whether a text is a host, with a port or without (RFC 9110, section 7.2). Empty where the target has none.
fn is_host(text: &str) -> bool {
    let is_port = |authority: &Authority| {
        let behind = authority.as_str().strip_prefix(authority.host());
        behind.is_some_and(|behind| {
            behind.is_empty()
                || behind.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
        })
    };
    text.is_empty() || text.parse().is_ok_and(|authority| is_port(&authority))
}

fn which_host() -> Response {
    let told = "A request needs exactly one Host header, which holds a host\n";
    (StatusCode::BAD_REQUEST, [(header::CONNECTION, "close")], told).into_response()
}

/// Answers on one connection of HTTP/2 until it ends.
async fn answer_http2(
    (stream, peer, _place): Accepted,
    router: Router,
    limits: ConnectionLimits,
    mut stages: watch::Receiver<Stage>,
) {
    prepare(&stream);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    // How many calls are being answered, and since when there is none.
    let calls = Arc::new(Calls::default());
    let of_calls = Arc::clone(&calls);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let call = of_calls.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        let answer = router.clone().call(request);
        async move {
            let kept = move |body: Body| {
                Body::new(body.map_frame(move |frame| {
                    // For as long as there is a body.
                    let _ = &call;
                    frame
                }))
            };
            answer.await.map(|answer| answer.map(kept))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING)
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(LONGEST_HEAD)
        .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    if *stages.borrow_and_update() != Stage::Serving {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        let stage = tokio::select! {
            _ = connection.as_mut() => return,
            () = calls.are_over(&limits) => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(LINGER, connection).await;
                return;
            }
            changed = stages.changed() => changed.map_or(Stage::Closing, |()| *stages.borrow_and_update()),
        };
        match stage {
            Stage::Serving => {}
            Stage::Draining => connection.as_mut().graceful_shutdown(),
            Stage::Closing => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(HTTP2_END, connection).await;
                return;
            }
        }
    }
}

/// The calls on a connection of HTTP/2.
#[derive(Default)]
struct Calls {
    running: watch::Sender<usize>,
    have_begun: AtomicBool,
}

/// One of them.
struct OneCall(Arc<Calls>);

impl Calls {
    fn begin(self: &Arc<Self>) -> OneCall {
        self.have_begun.store(true, Ordering::Relaxed);
        self.running.send_modify(|running| *running += 1);
        OneCall(Arc::clone(self))
    }

    /// Waits until there was none for too long.
    async fn are_over(&self, limits: &ConnectionLimits) {
        let mut running = self.running.subscribe();
        loop {
            // The sender is here.
            let _ = running.wait_for(|running| *running == 0).await;
            let begun = self.have_begun.load(Ordering::Relaxed);
            let idle = if begun { limits.idle_timeout } else { limits.header_timeout };
            if timeout(idle, running.wait_for(|running| *running > 0)).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for OneCall {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// Answers what was asked on a connection, and nothing else.
async fn finish<C: Future>(mut connection: Pin<&mut C>, progress: &Progress) {
    loop {
        // A request that is on its way when the end comes is heard, and so is one whose body is.
        if timeout(LINGER, until(connection.as_mut(), || progress.is_busy())).await != Ok(false)
            || until(connection.as_mut(), || !progress.is_busy()).await
        {
            return;
        }
        if !progress.awaits_body() {
            // What the caller sent beyond its request would reset the connection, and take the answer with it.
            let _ = timeout(LINGER, connection).await;
            return;
        }
    }
}

/// Each connection is a file: takes as many as the operator allows. How many that is.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, the limit stays what it is, and accepting pauses there.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
