//! A load of requests that were made before the clock runs: connections that are kept, one request at a time on each.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Between two looks at a task that is not completed.
const POLL: Duration = Duration::from_millis(1);

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

/// Sends what comes through `requests` over so many connections, until there is no more or the time is up. It runs on
/// one thread of its own, so that the other core is the server's.
pub(super) fn run<R: Into<Request> + Send + 'static>(
    address: &str,
    connections: usize,
    requests: mpsc::Receiver<R>,
    most: Duration,
) -> Outcome {
    let address = address.to_owned();
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let begun = Instant::now();
            let each = (0..connections).map(|_| connection(&address, &requests, begun + most));
            let all = futures_util::future::join_all(each).await;
            let sum = |count: fn(&Outcome) -> usize| all.iter().map(count).sum();
            Outcome {
                answered: sum(|one| one.answered),
                failed: sum(|one| one.failed),
                took: begun.elapsed(),
            }
        })
    });
    load.join().expect("no panic")
}

async fn connection<R: Into<Request>>(
    address: &str,
    requests: &mpsc::Receiver<R>,
    until: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut stream = connect(address).await;
    let mut buffer = Vec::with_capacity(64 * 1024);
    while Instant::now() < until {
        let Ok(request) = requests.recv() else { break };
        let good = match whole(&mut stream, &request.into(), &mut buffer).await {
            Ok(good) => good,
            Err(_) => {
                stream = connect(address).await;
                false
            }
        };
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

async fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP connection");
    stream
}

/// A request, and what comes of it.
async fn whole(stream: &mut TcpStream, request: &Request, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut good = exchange(stream, &request.first, buffer).await?;
    let Some(poll) = &request.poll else { return Ok(good) };
    while good && find(buffer, b"\"completed\"").is_none() {
        tokio::time::sleep(POLL).await;
        good = exchange(stream, poll, buffer).await?;
    }
    Ok(good)
}

/// Whether the answer is a 200 with a result.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = find(buffer, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        if buffer.len() >= head + 4 + length {
            return Ok(text.starts_with("http/1.1 200") && find(&buffer[head..], b"\"result\"").is_some());
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
