//! The agent that A2A's conformance kit and the official SDKs are tried on: what it does depends on how the message's id begins.
//! `cargo run --example conformance -p bindu`
use bindu::{Agent, Content, HandlerError, Reply, Task};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    Agent::new(answer).run()
}

async fn answer(task: Task) -> Result<Reply, HandlerError> {
    let id = task.message.id.clone();
    let is = |name: &str| id.starts_with(name);
    // Its caller has answered the question that was asked before.
    if task.history.len() > 1 {
        return Ok(Reply::from(task.text()));
    }
    if is("tck-message-response") {
        return Ok(Reply::message(format!("You said: {}", task.text())));
    }
    if is("tck-input-required") {
        return Ok(Reply::question("Which one?"));
    }
    if is("tck-reject-task") {
        return Ok(Reply::rejected("Not this one."));
    }
    if is("test-resubscribe-message-id") {
        work(&task, 8).await?;
    }
    if is("slow") {
        work(&task, 3).await?;
    }
    if is("tck-artifact-file-url") {
        let file = Content::default().link("https://example.com/a.txt", "text/plain");
        task.artifact("result", file).await?;
        return Ok(Reply::done());
    }
    if is("tck-artifact-file") || is("tck-stream-artifact-file") {
        let file = Content::default().file("a.bin", "application/octet-stream", &[0, 1]);
        task.artifact("result", file).await?;
        return Ok(Reply::done());
    }
    if is("tck-artifact-data") {
        let data = Content::default()
            .data(&[("key", "value")].into_iter().collect::<std::collections::BTreeMap<_, _>>());
        task.artifact("result", data).await?;
        return Ok(Reply::done());
    }
    if is("tck-stream-artifact-chunked") {
        for piece in ["one ", "two ", "three"] {
            task.write(piece).await?;
        }
        return Ok(Reply::done());
    }
    if is("tck-stream-ordering-001") {
        for step in ["first", "second", "third"] {
            task.progress(step).await?;
        }
    }
    Ok(Reply::from(task.text()))
}

/// So many half seconds of work, told as it goes on.
async fn work(task: &Task, beats: u32) -> Result<(), HandlerError> {
    for beat in 1..=beats {
        tokio::time::sleep(Duration::from_millis(500)).await;
        task.progress(&format!("{beat} of {beats}")).await?;
    }
    Ok(())
}
