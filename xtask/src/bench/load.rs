//! A load of requests that were made before the clock runs: connections that are kept, one request at a time on each.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

/// Between two looks at a task that is not completed; the first one follows at once.
const POLL: Duration = Duration::from_millis(1);

/// How long a task may take after the end of the load: those that were begun are counted too.
const COMPLETES: Duration = Duration::from_secs(30);

/// Ends of a task that are no completion.
const OTHER_ENDS: [&[u8]; 3] = [b"\"failed\"", b"\"canceled\"", b"\"rejected\""];

/// One exchange of a load.
pub(super) struct Request {
    /// What is sent first.
    first: Vec<u8>,
    /// What is sent then, again and again, until the answer says that the task is completed.
    poll: Option<Vec<u8>>,
}

impl Request {
    /// A request, and one that asks for what came of it.
    pub(super) fn polled(first: Vec<u8>, poll: Vec<u8>) -> Self {
        Self { first, poll: Some(poll) }
    }
}

impl From<Vec<u8>> for Request {
    fn from(first: Vec<u8>) -> Self {
        Self { first, poll: None }
    }
}

/// What became of a load.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

/// Sends what comes through `requests` over so many connections, each with a thread that waits for its answers, until there is
/// no more or the time is up.
pub(super) fn run<R: Into<Request> + Send + 'static>(
    address: &str,
    connections: usize,
    requests: mpsc::Receiver<R>,
    most: Duration,
) -> Outcome {
    let requests = Arc::new(Mutex::new(requests));
    let begun = Instant::now();
    let each = (0..connections).map(|_| {
        let (address, requests) = (address.to_owned(), Arc::clone(&requests));
        std::thread::spawn(move || connection(&address, &requests, begun + most))
    });
    let threads: Vec<_> = each.collect();
    let all: Vec<Outcome> =
        threads.into_iter().map(|thread| thread.join().expect("a load without a panic")).collect();
    let sum = |count: fn(&Outcome) -> usize| all.iter().map(count).sum();
    Outcome { answered: sum(|one| one.answered), failed: sum(|one| one.failed), took: begun.elapsed() }
}

fn connection<R: Into<Request>>(
    address: &str,
    requests: &Mutex<mpsc::Receiver<R>>,
    until: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stream = connect_blocking(address);
    let mut buffer = Vec::with_capacity(64 * 1024);
    while Instant::now() < until {
        let Ok(request) = requests.lock().expect("no panic").recv() else { break };
        let good = whole(&mut stream, &request.into(), until + COMPLETES, &mut buffer).unwrap_or_else(|_| {
            stream = connect_blocking(address);
            false
        });
        if good {
            outcome.answered += 1;
        } else {
            outcome.failed += 1;
            if outcome.failed == 1 {
                eprintln!("a request failed: {}", String::from_utf8_lossy(&buffer));
            }
        }
    }
    outcome
}

/// A request, and what comes of it until then.
fn whole(
    stream: &mut TcpStream,
    request: &Request,
    until: Instant,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut good = exchange(stream, &request.first, buffer)?;
    let Some(poll) = &request.poll else { return Ok(good) };
    let mut looks = 0;
    while good && find(buffer, b"\"completed\"").is_none() {
        let has_ended = OTHER_ENDS.iter().any(|end| find(buffer, end).is_some());
        if has_ended || Instant::now() >= until {
            return Ok(false);
        }
        if looks > 0 {
            std::thread::sleep(POLL);
        }
        looks += 1;
        good = exchange(stream, poll, buffer)?;
    }
    Ok(good)
}

/// Whether the answer is a 200 with a result.
fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> io::Result<bool> {
    exchange_blocking(stream, request, buffer)?;
    Ok(buffer.starts_with(b"HTTP/1.1 200") && find(buffer, b"\"result\"").is_some())
}

/// A connection for one request at a time.
pub(super) fn connect_blocking(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP connection");
    stream
}

/// Sends a request; its whole answer is in the buffer.
pub(super) fn exchange_blocking(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    stream.write_all(request)?;
    buffer.clear();
    let mut some = [0; 16 * 1024];
    let mut whole = None;
    while whole.is_none_or(|whole| buffer.len() < whole) {
        let read = stream.read(&mut some)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&some[..read]);
        if whole.is_none()
            && let Some(head) = find(buffer, b"\r\n\r\n")
        {
            whole = Some(head + 4 + content_length(&buffer[..head]));
        }
    }
    Ok(())
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
