//! What callers do to a connection, on real ones.

use super::*;
use axum::routing::{get, post};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    task::JoinHandle,
};

/// Far longer than anything here takes, far shorter than what must not be waited for.
const SOON: Duration = Duration::from_secs(60);

const LIMITS: ConnectionLimits = ConnectionLimits {
    most: 64,
    header_timeout: Duration::from_secs(3600),
    idle_timeout: Duration::from_secs(3600),
    write_timeout: Duration::from_secs(3600),
};

struct Server {
    address: SocketAddr,
    stages: watch::Sender<Stage>,
    serving: JoinHandle<()>,
    /// `/slow` answers when it is told to.
    go: Arc<Notify>,
    /// How many requests have come to a handler.
    heard: watch::Receiver<usize>,
}

async fn serving(limits: ConnectionLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let go = Arc::new(Notify::new());
    let (count, heard) = watch::channel(0);
    let (stages, stage) = watch::channel(Stage::Serving);
    let (told, slow_count) = (Arc::clone(&go), count.clone());
    let slow = move || {
        let (told, count) = (Arc::clone(&told), slow_count.clone());
        async move {
            count.send_modify(|count| *count += 1);
            told.notified().await;
            "slow"
        }
    };
    let read = move |body: Body| {
        let count = count.clone();
        async move {
            count.send_modify(|count| *count += 1);
            let length = body.collect().await.map(|body| body.to_bytes().len());
            length.map_or_else(|_| "broken".to_owned(), |length| format!("{length} bytes"))
        }
    };
    let router = Router::new().route("/slow", get(slow)).route("/read", post(read));
    let serving = tokio::spawn(serve(listener, router.route("/", get(async || "here")), limits, stage));
    Server { address, stages, serving, go, heard }
}

impl Server {
    async fn say(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn has_heard(&mut self, count: usize) {
        timeout(SOON, self.heard.wait_for(|heard| *heard == count)).await.unwrap().unwrap();
    }
}

async fn all_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let _ = timeout(SOON, stream.read_to_string(&mut answer)).await.expect("it ends");
    answer
}

/// Found: each of these was waited for until the drain deadline.
#[tokio::test]
async fn half_of_a_body_prolongs_no_end() {
    let mut server = serving(LIMITS).await;
    let head = "POST /read HTTP/1.1\r\nHost: a\r\n";
    let halves = [
        "Content-Length: 100\r\n\r\nabc",
        "Content-Length: 100\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    ];
    let mut callers = Vec::new();
    for half in halves {
        callers.push(server.say(&format!("{head}{half}")).await);
    }
    let mut trickling = server.say(&format!("{head}Content-Length: 1000000\r\n\r\n")).await;
    server.has_heard(6).await;
    let trickle = tokio::spawn(async move { while trickling.write_all(b"a").await.is_ok() {} });
    server.stages.send_replace(Stage::Draining);
    server.stages.send_replace(Stage::Closing);
    timeout(SOON, server.serving).await.expect("it ends without them").unwrap();
    timeout(SOON, trickle).await.expect("it is cut off").unwrap();
}

#[tokio::test]
async fn whole_requests_are_answered_after_the_end_has_begun() {
    let mut server = serving(LIMITS).await;
    let slow = server.say("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut rest = server.say("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na").await;
    server.has_heard(2).await;
    server.stages.send_replace(Stage::Closing);
    rest.write_all(b"b").await.unwrap();
    let answer = all_of(rest).await;
    assert!(answer.ends_with("2 bytes"), "the rest of a body that comes at once: {answer:?}");
    server.go.notify_one();
    assert!(all_of(slow).await.ends_with("slow"));
    timeout(SOON, server.serving).await.expect("it ends").unwrap();
}

/// Found: each was answered with 200 (RFC 9112, section 3.2: a server MUST refuse them).
#[tokio::test]
async fn a_request_names_one_host() {
    let server = serving(LIMITS).await;
    let status = async |version: &str, hosts: &str| {
        let stream = server.say(&format!("GET / HTTP/{version}\r\nConnection: close\r\n{hosts}\r\n")).await;
        all_of(stream).await.split(' ').nth(1).map(str::to_owned).unwrap_or_default()
    };
    for good in
        ["a", "a:80", "127.0.0.1:3773", "[::1]:80", "[::1]", "my_agent.svc", "a.example.com.", "a:", ""]
    {
        assert_eq!(status("1.1", &format!("Host: {good}\r\n")).await, "200", "{good:?}");
    }
    for bad in ["a b", "a/b", "http://a", "a@b", "a:b", "a:99999", "[::1", "a?b", "\u{e4}", "a:1:2"] {
        assert_eq!(status("1.1", &format!("Host: {bad}\r\n")).await, "400", "{bad:?}");
    }
    assert_eq!(status("1.1", "").await, "400");
    assert_eq!(status("1.1", "Host: a\r\nHost: a\r\n").await, "400");
    assert_eq!(status("1.0", "").await, "200", "HTTP/1.0 knows no Host");
    assert_eq!(status("1.0", "Host: a\r\nHost: b\r\n").await, "400");
}

/// Found: no answer, and the handler's future was dropped.
#[tokio::test]
async fn who_has_sent_all_and_closes_its_half_is_answered() {
    let mut server = serving(LIMITS).await;
    let requests = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "here"),
        ("GET / HTTP/1.0\r\n\r\n", "here"),
        ("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "3 bytes"),
    ];
    for (request, end) in requests {
        let mut stream = server.say(request).await;
        stream.shutdown().await.unwrap();
        let answer = all_of(stream).await;
        assert!(answer.ends_with(end), "{request}: {answer:?}");
    }
    let mut slow = server.say("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    slow.shutdown().await.unwrap();
    server.has_heard(2).await;
    server.go.notify_one();
    assert!(all_of(slow).await.ends_with("slow"));
    // Half of a request is none.
    let mut half = server.say("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").await;
    half.shutdown().await.unwrap();
    assert!(!all_of(half).await.contains("bytes"));
}

/// It may as well be gone, which looks the same.
#[tokio::test]
async fn who_has_closed_its_half_is_not_waited_for_for_ever() {
    let mut server = serving(ConnectionLimits { write_timeout: Duration::from_millis(50), ..LIMITS }).await;
    let mut slow = server.say("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    slow.shutdown().await.unwrap();
    server.has_heard(1).await;
    assert_eq!(all_of(slow).await, "");
}
