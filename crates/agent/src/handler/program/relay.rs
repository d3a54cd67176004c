//! What a program writes to stderr, line by line to somewhere that does not wait. It is not given our own stderr: a program
//! that logs would wait for whoever reads our log, and so would its callers.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A longer line goes on in a line of its own.
const MAX_LINE: usize = 8 * 1024;

/// Passes lines on until the end.
pub(super) async fn relay(mut from: impl AsyncRead + Unpin, to: fn(&[u8])) {
    let (mut line, mut buffer) = (Vec::new(), [0; MAX_LINE]);
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        for byte in buffer.iter().take(length) {
            line.push(*byte);
            if *byte == b'\n' || line.len() >= MAX_LINE {
                pass(&mut line, to);
            }
        }
    }
    if !line.is_empty() {
        pass(&mut line, to);
    }
}

fn pass(line: &mut Vec<u8>, to: fn(&[u8])) {
    if line.last() != Some(&b'\n') {
        line.push(b'\n');
    }
    to(line);
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static LINES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

    #[tokio::test]
    async fn lines_are_whole_and_have_an_end() {
        let long = "x".repeat(MAX_LINE + 1);
        relay(format!("one\n\ntwo\n{long}").as_bytes(), |line| {
            LINES.lock().expect("no panic").push(line.to_vec())
        })
        .await;
        let lines = LINES.lock().expect("no panic");
        let lines: Vec<&str> = lines.iter().map(|line| std::str::from_utf8(line).expect("text")).collect();
        assert_eq!(lines, ["one\n", "\n", "two\n", &format!("{}\n", "x".repeat(MAX_LINE)), "x\n"]);
    }
}
