//! The agent's page in a real browser.

use crate::{AUTHOR, agent, names};
use bindu_testkit::{
    caller::TestCaller,
    http, install,
    proxy::{Fault, Proxy, Seen},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A browser that ends with the test.
struct Browser {
    process: Child,
    endpoint: String,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    async fn start() -> Self {
        let (program, libraries) = install::chromium();
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        // A container has no user namespaces for its sandbox, and a small /dev/shm.
        command.args(["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]);
        command.args(["--remote-debugging-port=0", "about:blank"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.env("LD_LIBRARY_PATH", libraries).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("Chromium starts");
        let says = profile.path().join("DevToolsActivePort");
        let endpoint = http::eventually("Chromium listens", async || {
            let text = std::fs::read_to_string(&says).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{path}"))
        })
        .await;
        Self { process, endpoint, _profile: profile }
    }

    /// Opens a page, says something where there is a box, and tells what is to be seen.
    async fn visit(&self, url: &str, say: &str, picture: &str) -> Value {
        let mut command = Command::new(install::node());
        command.arg(install::source_tree().join("testing/chromium/page.mjs"));
        command.args([&self.endpoint, url, say]).arg(pictures().join(picture));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}{stderr}");
        serde_json::from_str(stdout.trim()).expect("JSON")
    }
}

/// Outside of git, for whoever wants to look.
fn pictures() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// One after the other: a message that begins, two chunks, an end.
const STREAM: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"task\":{\"id\":\"t\",\"contextId\":\"c\",\"status\":{\"state\":\"TASK_STATE_SUBMITTED\"}}}}\n\n\
: keep-alive\n\n\
id: 2\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"artifactUpdate\":{\"taskId\":\"t\",\"contextId\":\"c\",\"artifact\":{\"artifactId\":\"a\",\"parts\":[{\"text\":\"<b>Hel\"}]}}}}\n\n\
id: 3\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"artifactUpdate\":{\"taskId\":\"t\",\"contextId\":\"c\",\"append\":true,\"artifact\":{\"artifactId\":\"a\",\"parts\":[{\"text\":\"lo</b>\"}]}}}}\n\n\
id: 4\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"statusUpdate\":{\"taskId\":\"t\",\"contextId\":\"c\",\"status\":{\"state\":\"TASK_STATE_COMPLETED\"}}}}\n\n";

const NO_STREAMS: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"no streams here"}}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"a","parts":[{"text":"in one piece"}]}]}}}"#;
const FAILURE: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"it broke"}}"#;

/// An agent whose words are all hostile: they are shown, and do nothing. What it answers is in the agent's stead.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_page_and_talks_to_the_agent() {
    let disk = tempfile::tempdir().unwrap();
    let named = names("Weather <script>alert(1)<b>");
    let skills = json!([
        {"id": "forecast", "name": "Forecast", "description": "Says what the weather will be for the next ten days.", "tags": ["weather", "forecast"]},
        {"name": "\"'><img src=x onerror=alert(2)>", "description": "</pre></script><script>alert(3)</script>", "tags": ["<i>"]},
    ]);
    let setup = agent(disk.path()).named(AUTHOR, &named.name).set("BINDU_SKILLS", skills.to_string());
    let setup = setup.set("BINDU_DESCRIPTION", "Tells the weather of any place.\nAsk it in your own words.");
    let agent = setup.start().await;
    let proxy = Proxy::start(&agent.url).await;
    let browser = Browser::start().await;

    let count = |answers: &'static [(&'static str, &'static str)]| {
        let at = std::sync::atomic::AtomicUsize::new(0);
        move |seen: &Seen, _| {
            if seen.method != "POST" {
                return Fault::None;
            }
            let (kind, body) = answers[at.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
            Fault::Answer(200, kind, body)
        }
    };
    proxy.script(count(&[("text/event-stream", STREAM)]));
    let seen = browser.visit(&proxy.url, "Will it rain?", "talk.png").await;
    assert_eq!((&seen["title"], &seen["status"]), (&json!(named.name), &json!("completed")), "{seen}");
    assert_eq!(seen["reply"], "<b>Hello</b>", "chunks are put together, and shown as text");
    assert_eq!(seen["elements"], json!(["link", "script"]), "nothing hostile became an element");
    assert_eq!(
        seen["problems"],
        json!([]),
        "no script error, no dialog, nothing that the policy had to stop"
    );
    let requests = seen["requests"].as_array().unwrap();
    assert!(
        requests.iter().all(|one| {
            let one = one.as_str().unwrap();
            one.ends_with(" data:,") || one.split_once(' ').unwrap().1.starts_with(&proxy.url)
        }),
        "{requests:?}"
    );
    let text = seen["text"].as_str().unwrap();
    for shown in [
        named.did.as_str(),
        "healthy",
        "Forecast",
        "<script>alert(3)</script>",
        "a2a-sdk",
        "curl",
        "Tells the weather",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }

    proxy.script(count(&[("application/json", NO_STREAMS), ("application/json", ANSWER)]));
    let seen = browser.visit(&proxy.url, "Will it rain?", "without-streams.png").await;
    assert_eq!((&seen["reply"], &seen["status"]), (&json!("in one piece"), &json!("completed")), "{seen}");
    // What may have been begun is not sent again.
    proxy.script(count(&[("application/json", FAILURE)]));
    let seen = browser.visit(&proxy.url, "Will it rain?", "failure.png").await;
    assert_eq!(seen["status"], "failed: it broke");
}

/// Where callers need a token there is no box and no script; the page says how to get one.
#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_agents_page_has_no_box() {
    let disk = tempfile::tempdir().unwrap();
    let agent = crate::authentication::guarded(disk.path(), "Guarded Page").await;
    let browser = Browser::start().await;
    let seen = browser.visit(&agent.url, "", "guarded.png").await;
    assert_eq!((&seen["hasBox"], &seen["elements"]), (&json!(false), &json!(["link"])), "{seen}");
    assert!(seen["text"].as_str().unwrap().contains("/oauth2/token"), "{seen}");
    let response = http::client().get(&agent.url).header("Accept", "text/html").send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for directive in
        ["default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

/// The three ways to call that the page shows: shell, Python, JavaScript.
async fn snippets(url: &str) -> [String; 3] {
    let page =
        http::client().get(url).header("Accept", "text/html").send().await.unwrap().text().await.unwrap();
    let blocks: Vec<String> = page
        .split("<pre>")
        .skip(1)
        .map(|block| {
            let text = block.split("</pre>").next().unwrap().to_owned();
            let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'")];
            let text = named.iter().fold(text, |text, (name, is)| text.replace(name, is));
            text.replace("&#60;", "<").replace("&#62;", ">").replace("&#38;", "&").replace("&amp;", "&")
        })
        .collect();
    blocks.try_into().expect("three blocks")
}

/// What is copied from the page works as it stands: with the packages that it names and a token in `TOKEN`.
async fn all_work(url: &str, token: &str) {
    let [shell, python, script] = snippets(url).await;
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("call.py"), python).unwrap();
    std::fs::write(place.path().join("call.mjs"), script).unwrap();
    let (node, packages) = install::a2a_js();
    std::os::unix::fs::symlink(packages.join("node_modules"), place.path().join("node_modules")).unwrap();
    let mut commands = vec![("curl", Command::new("sh")), ("JavaScript", Command::new(node))];
    commands[0].1.arg("-c").arg(shell);
    commands[1].1.arg("call.mjs");
    if let Some(program) = install::a2a_python() {
        let mut command = Command::new(program);
        command.arg("call.py");
        commands.push(("Python", command));
    }
    for (name, mut command) in commands {
        command.current_dir(place.path()).env("TOKEN", token).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}\n{told}");
        // What was said, and what came of it.
        assert!(said.matches("Hello").count() >= 2, "{name}: {said}\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_tells_callers_to_run_works() {
    let disk = tempfile::tempdir().unwrap();
    let open = agent(disk.path()).named(AUTHOR, "Runs As Shown").start().await;
    all_work(&open.url, "").await;
    let disk = tempfile::tempdir().unwrap();
    let guarded = crate::authentication::guarded(disk.path(), "Runs As Shown With A Token").await;
    let caller = TestCaller::new(crate::hydra().await, "as-shown").await;
    all_work(&guarded.url, &caller.token).await;
}
