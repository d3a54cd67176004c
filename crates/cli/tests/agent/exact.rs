//! What callers send comes back as it was, or is refused in words that say why.

use crate::{AUTHOR, agent, authentication::guarded, hydra};
use bindu_testkit::{
    caller::{TestCaller, now},
    http::{self, eventually},
};
use std::path::Path;

/// Numbers that no machine's number type keeps.
const NUMBERS: [&str; 12] = [
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890123456789012345678901234567890",
    "1.0",
    "-0",
    "-0.0",
    "1e308",
    "1E-400",
    "0.1000000000000000055511151231257827021181583404541015625",
    "1.00",
    "12345678901234567890.123456789",
    "2e0",
];

fn send(task: &str, id: &str, number: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"message/send","params":{{"message":{{"kind":"message","role":"user","messageId":"{task}","contextId":"{task}","taskId":"{task}","metadata":{{"m":{number}}},"parts":[{{"kind":"data","data":{{"n":[{number}]}},"metadata":{{"p":{number}}}}}]}}}}}}"#
    )
}

/// That a number is everywhere in an answer as it was sent.
fn holds(answer: &str, number: &str) {
    for part in
        [format!(r#"{{"m":{number}}}"#), format!(r#"{{"n":[{number}]}}"#), format!(r#"{{"p":{number}}}"#)]
    {
        assert!(answer.contains(&part), "{part} is missing in {answer}");
    }
}

async fn text(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_come_back_as_they_were_sent() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Exact").start().await;
    let post = |body: String| http::client().post(&agent.url).body(body);
    for (place, number) in NUMBERS.iter().enumerate() {
        let task = format!("exact-{place}");
        let (status, sent) = text(post(send(&task, number, number))).await;
        assert_eq!(status, 200, "{sent}");
        holds(&sent, number);
        assert!(sent.contains(&format!(r#""id":{number}}}"#)), "the request's id: {sent}");
        let get = format!(
            r#"{{"jsonrpc":"2.0","id":{number},"method":"tasks/get","params":{{"taskId":"{task}"}}}}"#
        );
        eventually("the echo", async || {
            let (_, task) = text(post(get.clone())).await;
            holds(&task, number);
            // The handler gets the same text, and its answer is signed.
            let echoed = format!(r#""text":"{{\"n\":[{number}]}}""#);
            (task.contains(&echoed) && task.contains("did.message.signature")).then_some(())
        })
        .await;
    }
    let (_, list) = text(post(r#"{"jsonrpc":"2.0","id":1,"method":"tasks/list"}"#.to_owned())).await;
    NUMBERS.iter().for_each(|number| holds(&list, number));
    // What readers would make infinite is refused.
    for number in ["1e400", "-1e400", &"9".repeat(400)] {
        for body in [send("beyond", "1", number), send("beyond", number, "1")] {
            let (status, refused) = text(post(body)).await;
            assert_eq!(status, 400, "{refused}");
            assert!(refused.contains("beyond the range of a double"), "{refused}");
        }
    }
    let (status, error) =
        text(post(format!(r#"{{"jsonrpc":"2.0","id":{},"method":"x"}}"#, NUMBERS[0]))).await;
    assert_eq!(status, 404);
    assert!(error.contains(&format!(r#""id":{}"#, NUMBERS[0])), "an error's id: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_numbers_come_back_as_they_were_sent() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Exact Signed").await;
    let caller = TestCaller::new(hydra().await, "did:bindu:exact:caller:1").await;
    for (place, number) in NUMBERS.iter().enumerate() {
        let body = send(&format!("signed-{place}"), number, number);
        let (status, sent) = eventually("it is let in", async || {
            let answer = text(caller.request_text(&agent.url, body.clone(), now())).await;
            (!answer.1.contains("timestamp_before_start")).then_some(answer)
        })
        .await;
        assert_eq!(status, 200, "{sent}");
        holds(&sent, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_is_called_what_it_is() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Media").start().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/list"}"#;
    let script = "import gzip,sys\nopen('body.gz','wb').write(gzip.compress(sys.argv[1].encode()))\n";
    let zipped = |disk: &Path| {
        let made = std::process::Command::new("python3")
            .args(["-c", script, call])
            .current_dir(disk)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::read(disk.join("body.gz")).unwrap()
    };
    let gzip = zipped(disk.path());
    let utf16: Vec<u8> = call.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_bom = [b"\xef\xbb\xbf".as_slice(), call.as_bytes()].concat();
    let plain = call.as_bytes().to_vec();
    let form = b"jsonrpc=2.0&id=1".to_vec();
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u16, &'a str);
    let cases: [Case<'_>; 12] = [
        (&[], plain.clone(), 200, "result"),
        (&[("Content-Type", "text/plain")], plain.clone(), 200, "result"),
        (&[("Content-Encoding", "identity")], plain.clone(), 200, "result"),
        (&[("Content-Encoding", "gzip"), ("Content-Type", "application/json")], gzip.clone(), 415, "gzip"),
        (&[("Content-Type", "application/json")], gzip, 415, "gzip"),
        (&[("Content-Encoding", "br")], plain.clone(), 415, "br"),
        (&[("Content-Encoding", "zstd")], plain.clone(), 415, "zstd"),
        (&[("Content-Type", "application/json; charset=utf-16")], utf16.clone(), 415, "utf-16"),
        (&[("Content-Type", "application/json")], utf16, 415, "UTF-16"),
        (&[("Content-Type", "application/json; charset=iso-8859-1")], plain, 415, "iso-8859-1"),
        (&[], with_bom, 400, "byte order mark"),
        (&[("Content-Type", "application/x-www-form-urlencoded")], form, 415, "x-www-form-urlencoded"),
    ];
    for path in ["/", "/did/resolve", "/agent/negotiation"] {
        for (headers, body, status, word) in &cases {
            if *status == 200 && path != "/" {
                continue;
            }
            let mut request = http::client().post(format!("{}{path}", agent.url)).body(body.clone());
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (got, answer) = text(request).await;
            // Python Bindu's words of a negotiation that is no JSON.
            if *status == 400 && path == "/agent/negotiation" {
                assert_eq!(got, 400, "{answer}");
                continue;
            }
            assert_eq!(got, *status, "{path} {headers:?}: {answer}");
            assert!(answer.contains(word), "{path} {headers:?}: {answer}");
            assert!(!answer.contains("expected value"), "{path} {headers:?}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_too_long_is_not_called_revoked() {
    let disk = tempfile::tempdir().unwrap();
    let agent = guarded(disk.path(), "Long Token").await;
    for token in [format!("e30.{}.AAAA", "e".repeat(5000)), "x".repeat(4097)] {
        let request = http::client().post(&agent.url).bearer_auth(token).body("{}");
        let (status, answer) = text(request).await;
        assert_eq!(status, 401, "{answer}");
        assert!(answer.contains("longer than 4096 bytes") && !answer.contains("revoked"), "{answer}");
    }
    let counted = "bindu_auth_decisions_total{outcome=\"refused\",reason=\"token_too_long\"} 2";
    let (_, metrics) = http::get(&format!("{}/metrics", agent.url)).await;
    assert!(metrics.as_str().unwrap().contains(counted), "{metrics}");
}
