//! Bytes out, answers in. Reads whatever the server sends on the connection, however it ends.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A connection that stays open longer says no more.
const PATIENCE: Duration = Duration::from_secs(8);

/// One answer on a connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request, and reads every answer to it.
pub(crate) async fn send(address: &str, request: &[u8], half_close: bool) -> Vec<Answer> {
    let mut stream = TcpStream::connect(address).await.expect("the agent listens");
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // The agent may have heard enough before the end.
        let _ = timeout(PATIENCE, writer.write_all(request)).await;
        if half_close {
            let _ = writer.shutdown().await;
        }
    };
    let read = async {
        let mut buffer = [0; 16 * 1024];
        while let Ok(Ok(length @ 1..)) = timeout(PATIENCE, reader.read(&mut buffer)).await {
            answer.extend_from_slice(&buffer[..length]);
        }
    };
    tokio::join!(write, read);
    answers(&String::from_utf8_lossy(&answer))
}

/// Every status line, wherever it stands, with what follows it.
fn answers(text: &str) -> Vec<Answer> {
    let starts: Vec<usize> = text.match_indices("HTTP/1.").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let answer = |(start, end): (&usize, usize)| {
        let one = &text[*start..end];
        let status = one.get(9..12)?.parse().ok()?;
        let body = one.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Some(Answer { status, body: body.to_owned() })
    };
    starts.iter().zip(ends).filter_map(answer).collect()
}
