//! Requests as bytes, on connections of their own.

use crate::caller::{TestCaller, now};
use bindu_identity::request_signature;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long an answer may take.
const LONGEST: Duration = Duration::from_secs(120);

/// A call of A2A 1.0.
pub(super) fn call(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// The answer to a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// 0 for none.
    pub(super) status: u16,
    pub(super) is_error: bool,
    /// The id of its task.
    pub(super) task: Option<String>,
}

/// The way to an agent.
#[derive(Clone)]
pub(super) struct Wire {
    address: SocketAddr,
    caller: Option<Arc<TestCaller>>,
}

impl Wire {
    pub(super) fn new(url: &str, caller: Option<Arc<TestCaller>>) -> Self {
        let address = url.trim_start_matches("http://").parse().expect("an address");
        Self { address, caller }
    }

    fn request(&self, body: &str, version: &str) -> Vec<u8> {
        let mut head = format!(
            "POST / HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n{version}Content-Length: {}\r\n",
            body.len()
        );
        if let Some(caller) = &self.caller {
            let (did, at) = (caller.did(), now());
            let signature = request_signature::sign(&caller.key, &did, body, at);
            head += &format!(
                "Authorization: Bearer {}\r\nX-DID: {did}\r\nX-DID-Timestamp: {at}\r\nX-DID-Signature: {signature}\r\n",
                caller.token
            );
        }
        [head.as_bytes(), b"\r\n", body.as_bytes()].concat()
    }

    /// Sends one request.
    pub(super) async fn send(&self, body: &str) -> Said {
        let request = self.request(body, "A2A-Version: 1.0\r\n");
        let whole = async {
            let mut stream = TcpStream::connect(self.address).await.ok()?;
            exchange(&mut stream, &request).await
        };
        timeout(LONGEST, whole).await.ok().flatten().unwrap_or_default()
    }

    /// Sends all at the same time.
    pub(super) async fn send_all(&self, bodies: &[String]) -> Vec<Said> {
        futures_util::future::join_all(bodies.iter().map(|body| self.send(body))).await
    }

    /// Sends all over so many connections.
    pub(super) async fn send_on(&self, connections: usize, bodies: &[String]) -> Vec<Said> {
        let part = bodies.len().div_ceil(connections);
        let each = bodies.chunks(part).map(async |some| {
            let mut stream = TcpStream::connect(self.address).await.expect("it listens");
            let mut said = Vec::with_capacity(some.len());
            for body in some {
                let request = self.request(body, "A2A-Version: 1.0\r\n");
                said.push(exchange(&mut stream, &request).await.unwrap_or_default());
            }
            said
        });
        futures_util::future::join_all(each).await.into_iter().flatten().collect()
    }

    /// Asks, and reads nothing of the answer.
    pub(super) async fn stall(&self, body: &str) -> Stalled {
        self.stall_on(&self.request(body, "A2A-Version: 1.0\r\n")).await
    }

    /// The same without a version: Python Bindu's dialect.
    pub(super) async fn stall_without_version(&self, body: &str) -> Stalled {
        self.stall_on(&self.request(body, "")).await
    }

    async fn stall_on(&self, request: &[u8]) -> Stalled {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut stream = socket.connect(self.address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        Stalled(stream)
    }
}

/// A reader that reads nothing.
pub(super) struct Stalled(TcpStream);

impl Stalled {
    /// Waits for the beginning of the answer, and leaves it where it is.
    pub(super) async fn begun(&self, longest: Duration) -> Said {
        let mut start = [0; 12];
        let whole = async {
            while self.0.peek(&mut start).await.ok()? < start.len() {
                tokio::task::yield_now().await;
            }
            Some(said(&start, b""))
        };
        timeout(longest, whole).await.ok().flatten().unwrap_or_default()
    }
}

/// Sends a request and reads its answer.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<Said> {
    // One that is refused early may not be taken whole.
    let _ = stream.write_all(request).await;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while bytes.len() < head + 4 + length {
            let read = stream.read(&mut buffer).await.ok()?;
            if read == 0 {
                return None;
            }
            bytes.extend_from_slice(&buffer[..read]);
        }
        return Some(said(&bytes[..head], &bytes[head + 4..]));
    }
}

fn said(head: &[u8], body: &[u8]) -> Said {
    let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let start = String::from_utf8_lossy(&body[..body.len().min(512)]).into_owned();
    let task = start.split_once(r#""task":{"id":""#).and_then(|(_, rest)| rest.split_once('"'));
    Said {
        status: status.unwrap_or(0),
        is_error: start.contains(r#""error":"#),
        task: task.map(|(id, _)| id.to_owned()),
    }
}
