//! Each thing that can come instead of an answer has words of its own, and the proxy is named that may have said it.

use super::*;
use crate::{HttpClient, HttpSettings, ProxySettings};
use rustls::{CertificateError, OtherError, pki_types::ServerName};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server that says this to everybody; its address.
async fn saying(what: impl Into<Vec<u8>>) -> Url {
    let (listener, what) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), what.into());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&what).await;
        }
    });
    format!("http://{address}/").parse().unwrap()
}

async fn asked(base: &Url, proxy: Option<&Url>) -> Result<Reply, NoReply> {
    let mut settings = HttpSettings::new(Duration::from_secs(60));
    settings.proxies =
        ProxySettings { http: proxy.cloned(), https: proxy.cloned(), ..ProxySettings::default() };
    let client = HttpClient::new(base, &settings).unwrap();
    client.send("test", client.request(http::Method::GET, base.clone())).await
}

/// Found: one message for all three, "the answer broke off, is no HTTP or is too long".
#[tokio::test]
async fn a_broken_answer_says_how_it_is_broken() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n{}", "x".repeat(5_000_000));
    for (said, told) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the answer broke off"),
        ("", "the answer broke off"),
        ("220 mail.example.com ESMTP\r\n", "what came is not HTTP"),
        (long.as_str(), "the answer is longer than 4194304 bytes"),
    ] {
        let url = saying(said).await;
        let problem = asked(&url, None).await.unwrap_err().to_string();
        assert!(problem.ends_with(told), "{problem}");
    }
}

/// Found: the proxy's own page was Vault's, and its refusal "tunnel error: unsuccessful".
#[tokio::test]
async fn what_a_proxy_says_itself_names_the_proxy() {
    let page = saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let reply = asked(&"http://vault.example:8200/".parse().unwrap(), Some(&page)).await.unwrap();
    assert_eq!(reply.asked(), format!("http://vault.example:8200/ through the proxy {}", origin(&page)));
    let reply = asked(&page, None).await.unwrap();
    assert_eq!(reply.asked(), page.to_string());
    let needs_password =
        saying("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
    for (proxy, told) in
        [(&page, "refused CONNECT"), (&needs_password, "407"), (&saying("").await, "closed the connection")]
    {
        let problem = asked(&"https://vault.example/".parse().unwrap(), Some(proxy)).await.unwrap_err();
        let problem = problem.to_string();
        assert!(problem.contains(told) && problem.contains(&origin(proxy)), "{problem}");
    }
}

/// Found: Rust's own words, such as `Other(OtherError(CaUsedAsEndEntity))` and `DnsName("localhost")`.
#[test]
fn a_certificate_is_told_in_words() {
    #[derive(Debug, thiserror::Error)]
    #[error("CaUsedAsEndEntity")]
    struct Inner;
    let expected = ServerName::try_from("vault.example.com").unwrap().to_owned();
    let presented = vec!["DnsName(\"localhost\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
    for (problem, told) in [
        (CertificateError::UnknownIssuer, "an authority that is not trusted here"),
        (CertificateError::Other(OtherError(Arc::new(Inner))), "signs itself"),
        (
            CertificateError::NotValidForNameContext { expected, presented },
            "it is for localhost, 127.0.0.1, and not for vault.example.com",
        ),
        (CertificateError::Expired, "has expired"),
    ] {
        let shown = of_tls(&rustls::Error::InvalidCertificate(problem)).to_string();
        assert!(shown.starts_with("TLS: invalid peer certificate: ") && shown.contains(told), "{shown}");
        assert!(!shown.contains("Other") && !shown.contains("DnsName"), "{shown}");
    }
}

/// Found: `Vault answered 400 "you sent TOKEN"` in the log.
#[tokio::test]
async fn our_secrets_are_taken_out_of_a_refusal_that_says_them_back() {
    let saying_back = async |status: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, status) = (listener.local_addr().unwrap(), status.to_owned());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut heard = Vec::new();
                // Each request here ends so.
                while !String::from_utf8_lossy(&heard)
                    .trim_end_matches(|end| "\"}".contains(end))
                    .ends_with("END")
                {
                    let mut buffer = [0; 4096];
                    let length = stream.read(&mut buffer).await.unwrap();
                    heard.extend_from_slice(&buffer[..length]);
                }
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", heard.len());
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&heard).await;
            }
        });
        format!("http://{address}/").parse::<Url>().unwrap()
    };
    let asked = async |base: &Url, content: &'static str| {
        let client = HttpClient::new(base, &HttpSettings::new(Duration::from_secs(60))).unwrap();
        let request = client.request(http::Method::POST, base.clone()).bearer_auth("planted-bearer");
        let request = request.header("x-vault-token", "planted-token").body(content);
        String::from_utf8(client.send("test", request).await.unwrap().body).unwrap()
    };
    for content in [
        "client_secret=planted-form&grant_type=client_credentials&a=END",
        r#"{"role": "echo", "secret_id": "planted-id", "jwt": "planted-jwt", "END": "END"}"#,
    ] {
        for status in ["400 Bad Request", "500 Internal Server Error"] {
            let told = asked(&saying_back(status).await, content).await;
            assert!(told.contains("[redacted]") && !told.contains("planted"), "{told}");
        }
        let told = asked(&saying_back("200 OK").await, content).await;
        assert!(told.contains("planted-token"), "an answer is not changed: {told}");
    }
}
