//! On real sockets; what is faked is what names resolve to.

use super::*;
use std::sync::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Answers each lookup with the next list.
struct Names(Mutex<Vec<Vec<IpAddr>>>);

impl Lookup for Names {
    fn addresses(&self, _: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let mut lists = self.0.lock().expect("no panic");
        let next = if lists.is_empty() { None } else { Some(lists.remove(0)) };
        Box::pin(async move { next.ok_or_else(|| io::Error::other("looked up once too often")) })
    }
}

fn client(allowed: &[&str], lists: &[&[[u8; 4]]]) -> GuardedClient {
    let list = |list: &&[[u8; 4]]| list.iter().map(|octets| IpAddr::from(*octets)).collect();
    let names = Names(Mutex::new(lists.iter().map(list).collect()));
    let allowed = AllowedTargets::read(allowed.iter().copied()).expect("targets");
    GuardedClient::new(allowed, Duration::from_secs(20), TlsSettings::default(), names)
}

/// A receiver that answers each connection with this, and says what it was sent.
async fn receiver(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
            while !text.ends_with(b"the body") {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => text.extend_from_slice(&buffer[..length]),
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, received)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

async fn post(client: &GuardedClient, url: &str) -> Result<(), NotSent> {
    client.post(url.parse().expect("a URL"), HeaderMap::new(), "the body".to_owned()).await
}

#[tokio::test]
async fn it_connects_to_the_checked_address_of_one_lookup() {
    let (port, mut received) = receiver(OK).await;
    let client = client(&["127.0.0.0/8"], &[&[[127, 0, 0, 1]]]);
    assert_eq!(post(&client, &format!("http://receiver.example:{port}/a?b")).await, Ok(()));
    let text = received.recv().await.expect("a request");
    assert!(text.starts_with("POST /a?b HTTP/1.1\r\n"), "{text}");
    assert!(text.to_lowercase().contains(&format!("host: receiver.example:{port}")), "{text}");
}

#[tokio::test]
async fn a_name_that_turns_to_this_machine_is_refused_at_its_use() {
    let (port, mut received) = receiver(OK).await;
    let loopback = IpAddr::from([127, 0, 0, 1]);
    // Rebinding: another answer each time; one address of several; this machine by its own name.
    let client = client(&[], &[&[[127, 0, 0, 1]], &[[8, 8, 8, 8], [127, 0, 0, 1]]]);
    for _ in 0..2 {
        let refused = post(&client, &format!("http://rebinding.example:{port}/")).await;
        assert_eq!(refused, Err(NotSent::Refused(Refused::Address(loopback))));
    }
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"] {
        let refused = post(&client, &format!("http://{host}:{port}/")).await;
        assert!(matches!(refused, Err(NotSent::Refused(Refused::Address(_)))), "{host}");
    }
    assert!(received.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let (inner, mut received) = receiver(OK).await;
    let answer = format!(
        "HTTP/1.1 307 No\r\nlocation: http://127.0.0.1:{inner}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (port, mut first) = receiver(answer.leak()).await;
    let client = client(&["127.0.0.1"], &[&[[127, 0, 0, 1]]]);
    assert_eq!(post(&client, &format!("http://receiver.example:{port}/")).await, Err(NotSent::Status(307)));
    assert!(first.recv().await.is_some() && received.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_without_end_is_read_to_its_bound() {
    let (port, _received) = receiver(Box::leak(
        format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(64 * 1024))
            .into_boxed_str(),
    ))
    .await;
    let client = client(&["receiver.example"], &[&[[127, 0, 0, 1]]]);
    assert_eq!(post(&client, &format!("http://receiver.example:{port}/")).await, Ok(()));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_no_answer() {
    let client = client(&[], &[]);
    assert!(matches!(post(&client, "http://nowhere.invalid/").await, Err(NotSent::NoAnswer(_))));
}
