//! Connections: how many there may be, and how long each may keep us waiting. A caller that says nothing, or says it
//! slowly, costs a socket for a few seconds and nothing else.

use crate::connection::{Answer, Held, Progress, Watched, until, within};
use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
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

/// A pause where the system has no sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// How many there are at a time; more wait to be accepted.
    pub(crate) most: usize,
    /// How long a request's headers may take; of the first request from the moment of the connection on.
    pub(crate) header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub(crate) idle_timeout: Duration,
    /// How long an answer may lie there without the caller taking any of it.
    pub(crate) write_timeout: Duration,
}

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

/// Accepts and serves connections until [`Stage::Closing`], and returns when the last one is closed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    mut stages: watch::Receiver<Stage>,
) {
    // Some files are needed for ourselves: to ask Hydra and the store, to write a copy.
    let files = raise_file_limit().saturating_sub(RESERVED_FILES).max(1);
    let places = Arc::new(Semaphore::new(limits.most.min(files)));
    let connections = TaskTracker::new();
    let at_stage = stages.clone();
    loop {
        let accepted = tokio::select! {
            // An error is a server that is gone.
            _ = stages.wait_for(|stage| *stage == Stage::Closing) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                connections.spawn(answer(accepted, router.clone(), limits, at_stage.clone()));
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

/// Answers on one connection until it ends.
async fn answer(
    (stream, peer, _place): Accepted,
    router: Router,
    limits: ConnectionLimits,
    mut stages: watch::Receiver<Stage>,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let progress = Progress::new();
    let of_requests = Arc::clone(&progress);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        of_requests.request_begins();
        let progress = Arc::clone(&of_requests);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        // A router is always ready.
        let answer = router.clone().call(request);
        async move {
            answer.await.map(|mut answer| {
                let held = answer.extensions_mut().remove::<Held>();
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

/// Answers what was asked on a connection, and nothing else.
async fn finish<C: Future>(mut connection: Pin<&mut C>, progress: &Progress) {
    // A request that is on its way when the end comes is heard.
    let asked = timeout(LINGER, until(connection.as_mut(), || progress.is_busy())).await;
    if asked == Ok(false) && !until(connection.as_mut(), || !progress.is_busy()).await {
        // What the caller sent beyond its request would reset the connection, and take the answer with it.
        let _ = timeout(LINGER, connection).await;
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
