//! Connections: how many there may be, and how long each may keep us waiting. A caller that says nothing, or says it
//! slowly, costs a socket for a few seconds and nothing else.

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service as _;

/// The longest request line and headers together, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// How long an answer may lie there without the caller taking any of it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Files that connections leave to the rest of the agent.
const RESERVED_FILES: usize = 128;

/// A pause where the system has no sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// How many there are at a time; more wait to be accepted.
    pub(crate) most: usize,
    /// How long a request's headers may take, the wait for their first byte included.
    pub(crate) header_patience: Duration,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Accepts and serves connections until `shutdown` is ready; then ends each one after the request that it is at.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) {
    // Some files are needed for ourselves: to ask Hydra and the store, to write a copy.
    let files = raise_file_limit().saturating_sub(RESERVED_FILES).max(1);
    let places = Arc::new(Semaphore::new(limits.most.min(files)));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok(accepted) => spawn(accepted, router.clone(), limits, &graceful),
            Err(error) => {
                // Out of sockets, or a connection that was gone before it was taken: both pass.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// A connection, where it comes from, and its place among those that there may be.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

fn spawn(
    (stream, peer, place): Accepted,
    router: Router,
    limits: ConnectionLimits,
    graceful: &GracefulShutdown,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_patience)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        // What goes wrong on a connection is the caller's business.
        let _ = connection.await;
        drop(place);
    });
}

/// Each connection is a file: takes as many as the operator allows. How many that is.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, the limit stays what it is, and accepting pauses there.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}
