//! One connection: where it stands, how long each step of it may take, and how it ends.
//!
//! hyper's own timeout begins when the connection is idle, so that one number would have to be short for a caller that
//! sends its headers slowly and long for a proxy that keeps connections open. Here the bytes that come and go are
//! watched: a request that has begun has [`ConnectionLimits::header_timeout`], a connection between two requests
//! [`ConnectionLimits::idle_timeout`].

use crate::places::Place;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

/// How fast an answer must be taken, in bytes a second, after [`ConnectionLimits::write_timeout`].
pub(crate) const SLOWEST: u64 = 64 * 1024;

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

/// Where a connection stands, noted by its stream and its service.
#[derive(Debug)]
pub(crate) struct Progress {
    step: Mutex<Step>,
    /// The places of answers that are complete and have not gone out.
    places: Mutex<Vec<Held>>,
}

/// What an answer holds until its last byte has gone out, or its connection is gone: put into a response's extensions.
#[derive(Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] pub(crate) Arc<Place>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is new, and nothing has come.
    New { since: Instant },
    /// Between two requests.
    Idle { since: Instant },
    /// A request has begun, and its headers are not there yet.
    Headers { since: Instant },
    /// A request's headers are there, and somebody waits for more of its body.
    Body,
    /// A request is being answered.
    Request { half_closed: Option<Instant>, streams: bool },
    /// The answer is complete, and not all of its bytes have gone out.
    Answer { since: Instant, bytes: u64 },
}

const REQUEST: Step = Step::Request { half_closed: None, streams: false };

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { step: Mutex::new(Step::New { since: Instant::now() }), places: Mutex::default() })
    }

    /// A request's headers are there.
    pub(crate) fn request_begins(&self) {
        self.step(|_| REQUEST);
    }

    /// Whether a request is being answered, or its answer has not gone out. Not if the caller owes us the rest of its body.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.now(), Step::Request { .. } | Step::Answer { .. })
    }

    /// Whether the caller owes us the rest of a body.
    pub(crate) fn awaits_body(&self) -> bool {
        self.now() == Step::Body
    }

    fn body_is_awaited(&self, is_awaited: bool) {
        self.step(|step| match step {
            Step::Request { half_closed: None, streams: false } if is_awaited => Step::Body,
            Step::Body if !is_awaited => REQUEST,
            other => other,
        });
    }

    /// A stream of events has begun: an answer whose end is not near.
    pub(crate) fn answer_streams(&self) {
        self.step(|step| match step {
            Step::Request { half_closed, .. } => Step::Request { half_closed, streams: true },
            other => other,
        });
    }

    /// The caller sends nothing more. Whether it still gets the answer: to a request that has come as a whole. Who has closed
    /// the connection looks the same, so that a stream ends.
    fn caller_closes(&self) -> bool {
        self.step(|step| match step {
            Step::Request { half_closed: None, streams: false } => {
                Step::Request { half_closed: Some(Instant::now()), streams: false }
            }
            other => other,
        });
        matches!(self.now(), Step::Request { streams: false, .. } | Step::Answer { .. })
    }

    /// Whether something of a request has come.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self.now(), Step::New { .. })
    }

    /// Whether nothing has come since an answer.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.now(), Step::Idle { .. })
    }

    /// Until when something must come.
    fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        match self.now() {
            // As in Go's server, a new connection is no idle one: nobody keeps a place by connecting alone.
            Step::New { since } | Step::Headers { since } => since.checked_add(limits.header_timeout),
            Step::Idle { since } => since.checked_add(limits.idle_timeout),
            Step::Body => None,
            // Perhaps it is gone: the answer is not waited for as long as a caller that is there would.
            Step::Request { half_closed, .. } => half_closed?.checked_add(limits.write_timeout),
            // Whoever takes it slowly keeps room that others wait for.
            Step::Answer { since, bytes } => {
                since.checked_add(limits.write_timeout)?.checked_add(Duration::from_secs(bytes / SLOWEST))
            }
        }
    }

    fn bytes_came(&self) {
        self.step(|step| match step {
            Step::New { since } => Step::Headers { since },
            Step::Idle { .. } => Step::Headers { since: Instant::now() },
            other => other,
        });
    }

    /// hyper has taken the whole answer, and still holds what has not gone out of it.
    fn answer_ends(&self, held: Option<Held>, bytes: u64) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
        let answer = Step::Answer { since: Instant::now(), bytes };
        self.step(|step| if matches!(step, Step::Body | Step::Request { .. }) { answer } else { step });
    }

    /// Whether that was the rest of an answer.
    fn all_has_gone_out(&self) -> bool {
        let is_answer = matches!(self.now(), Step::Answer { .. });
        if is_answer {
            let gone = std::mem::take(&mut *self.places.lock().unwrap_or_else(PoisonError::into_inner));
            self.step(|_| Step::Idle { since: Instant::now() });
            drop(gone);
        }
        is_answer
    }

    fn now(&self) -> Step {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, next: impl FnOnce(Step) -> Step) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        *step = next(*step);
    }
}

/// Polls a connection to its end, or until a step of it has taken too long.
pub(crate) async fn within<C: Future>(
    mut connection: Pin<&mut C>,
    progress: &Progress,
    limits: &ConnectionLimits,
) {
    let sleep = sleep_until(Instant::now());
    tokio::pin!(sleep);
    poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // The poll may have gone on to another step.
        let Some(deadline) = progress.deadline(limits) else { return Poll::Pending };
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    })
    .await;
}

/// Polls a connection until something is so; whether it has ended before.
pub(crate) async fn until<C: Future>(mut connection: Pin<&mut C>, is_so: impl Fn() -> bool) -> bool {
    poll_fn(|context| {
        let has_ended = connection.as_mut().poll(context).is_ready();
        if has_ended || is_so() { Poll::Ready(has_ended) } else { Poll::Pending }
    })
    .await
}

/// A stream that notes what comes and goes.
pub(crate) struct Watched<S> {
    stream: Pin<Box<S>>,
    progress: Arc<Progress>,
    /// Its end has been read, and hyper has not heard of it.
    has_ended: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream: Box::pin(stream), progress, has_ended: false }
    }
}

impl<S: AsyncRead> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.progress.bytes_came();
        } else if buffer.remaining() > 0 && self.progress.caller_closes() {
            // hyper would drop the request.
            self.has_ended = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    /// hyper flushes when all that it holds has been written, and not before.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_flush(context))?;
        if self.progress.all_has_gone_out() && std::mem::take(&mut self.has_ended) {
            // hyper has looked for the next request already.
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A request's body, which notes when more of it is waited for.
pub(crate) struct Asked<B> {
    body: B,
    progress: Arc<Progress>,
}

impl<B> Asked<B> {
    pub(crate) fn new(body: B, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl<B> Drop for Asked<B> {
    fn drop(&mut self) {
        self.progress.body_is_awaited(false);
    }
}

impl<B: HttpBody + Unpin> HttpBody for Asked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.progress.body_is_awaited(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, which notes when hyper has taken all of it.
pub(crate) struct Answer {
    body: Body,
    progress: Arc<Progress>,
    held: Option<Held>,
    /// How long it is, if that is known from the beginning.
    bytes: u64,
}

impl Answer {
    pub(crate) fn new(body: Body, progress: Arc<Progress>, held: Option<Held>) -> Self {
        let bytes = body.size_hint().lower();
        Self { body, progress, held, bytes }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.answer_ends(self.held.take(), self.bytes);
    }
}

impl HttpBody for Answer {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        caller::owner_named,
        places::{PlaceLimits, Places},
    };
    use std::future::pending;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMITS: ConnectionLimits = ConnectionLimits {
        most: 1,
        header_timeout: Duration::from_secs(15),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
    };

    /// After how many seconds a connection that does nothing more is cut off.
    async fn cut_off(progress: &Progress) -> u64 {
        let begun = Instant::now();
        let connection = pending::<()>();
        tokio::pin!(connection);
        within(connection, progress, &LIMITS).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_own_time() {
        let progress = Progress::new();
        let (mut caller, ours) = tokio::io::duplex(64);
        let mut stream = Watched::new(ours, Arc::clone(&progress));
        assert!(!progress.is_between_requests());
        assert_eq!(cut_off(&progress).await, 15, "a new connection");
        let progress = Progress::new();
        stream.progress = Arc::clone(&progress);
        tokio::time::advance(Duration::from_secs(10)).await;
        caller.write_all(b"POST").await.unwrap();
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.unwrap();
        assert!(!progress.is_between_requests() && !progress.is_busy());
        assert_eq!(cut_off(&progress).await, 5, "its first byte begins no new time");
        progress.request_begins();
        assert!(progress.is_busy());
        let answer = Answer::new(Body::from("done"), Arc::clone(&progress), None);
        stream.flush().await.unwrap();
        assert!(progress.is_busy(), "a flush within an answer does not end it");
        drop(answer);
        assert!(progress.is_busy(), "not all of it has gone out");
        assert_eq!(cut_off(&progress).await, 30, "nobody takes it");
        stream.flush().await.unwrap();
        assert!(progress.is_between_requests());
        tokio::time::advance(Duration::from_secs(60)).await;
        caller.write_all(b"POST").await.unwrap();
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(cut_off(&progress).await, 15, "a request of a kept connection");
        progress.request_begins();
        drop(Answer::new(Body::empty(), Arc::clone(&progress), None));
        stream.flush().await.unwrap();
        assert_eq!(cut_off(&progress).await, 75, "between two requests");
    }

    /// Found: the place of a caller ended when hyper had taken the body, before it had gone out.
    #[tokio::test]
    async fn a_place_is_held_until_the_last_byte_has_gone_out() {
        let places = Places::new(PlaceLimits { requests: 1, body: 1 });
        let alice = owner_named("alice");
        let place = || places.place(&alice, true);
        let progress = Progress::new();
        let mut stream = Watched::new(tokio::io::sink(), Arc::clone(&progress));
        progress.request_begins();
        let held = Some(Held(Arc::new(place().unwrap_or_else(|_| panic!("a place")))));
        drop(Answer::new(Body::from("done"), Arc::clone(&progress), held));
        assert!(place().is_err(), "hyper has it, and the caller does not");
        stream.flush().await.unwrap();
        let held = place().unwrap_or_else(|_| panic!("it has gone out"));
        progress.request_begins();
        drop(Answer::new(Body::from("done"), Arc::clone(&progress), Some(Held(Arc::new(held)))));
        drop((stream, progress));
        assert!(place().is_ok(), "the connection is gone");
    }
}
