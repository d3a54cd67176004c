//! What may be a receiver: the running program's guard, with names, addresses, proxies and certificates.

use super::{Receiver, call, comes_to, config, events, outcomes, sent, setup, uuid};
use crate::{AUTHOR, agent};
use bindu_testkit::{AgentProcess, Nginx, certificates, http};
use serde_json::{Value, json};

/// Sets a configuration of a task; the error's code, or 0.
async fn set(agent: &AgentProcess, task: &str, url: &str) -> i64 {
    let mut params = config(url);
    params["taskId"] = json!(task);
    let (_, answer) = http::post(&agent.url, &call("CreateTaskPushNotificationConfig", &params)).await;
    assert!(answer.get("result").is_some() || answer.get("error").is_some(), "{answer}");
    answer["error"]["code"].as_i64().unwrap_or(0)
}

/// A task that waits for nobody.
async fn task(agent: &AgentProcess) -> String {
    let message = json!({"messageId": uuid(), "role": "ROLE_USER", "parts": [{"text": "hello"}]});
    let (_, answer) = http::post(&agent.url, &call("SendMessage", &json!({"message": message}))).await;
    answer["result"]["task"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_not_public_are_refused_when_they_are_set() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Guards Addresses").start().await;
    let task = task(&agent).await;
    for url in [
        "http://127.0.0.1:9/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://user:password@hook.example/",
        "ftp://hook.example/",
        "file:///etc/passwd",
    ] {
        assert_eq!(set(&agent, &task, url).await, -32602, "{url}");
    }
    assert_eq!(set(&agent, &task, "https://hook.invalid/").await, 0, "a name is looked up when it is used");
    // With the first message as well: then the message is not taken either.
    let message = json!({"messageId": uuid(), "role": "ROLE_USER", "parts": [{"text": "hello"}]});
    let configuration = json!({"taskPushNotificationConfig": {"url": "http://169.254.169.254/"}});
    let params = json!({"message": message, "configuration": configuration});
    let (_, answer) = http::post(&agent.url, &call("SendMessage", &params)).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

/// `localhost` is a name that leads to this machine, as any name of an attacker's may.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_refused_when_it_is_used_unless_it_is_allowed() {
    let receiver = Receiver::start(200).await;
    let url = format!("http://localhost:{}/", receiver.port);
    for allowed in ["", "127.0.0.2", ".localhost", "hook.example,10.0.0.0/8"] {
        let disk = tempfile::tempdir().unwrap();
        let mut setup = agent(disk.path()).named(AUTHOR, "Guards Names");
        if !allowed.is_empty() {
            setup = setup.set("BINDU_PUSH_ALLOWED_HOSTS", allowed);
        }
        let agent = setup.start().await;
        sent(&agent, &url).await;
        comes_to(&agent, "refused").await;
        assert_eq!((receiver.got().len(), outcomes(&agent, "delivered").await), (0, 0), "{allowed}");
        assert!(agent.log().contains("not a public one"), "{}", agent.log());
    }
    for allowed in ["localhost", "127.0.0.0/8,::1"] {
        let disk = tempfile::tempdir().unwrap();
        let setup = agent(disk.path()).named(AUTHOR, "Guards Names").set("BINDU_PUSH_ALLOWED_HOSTS", allowed);
        let agent = setup.start().await;
        let task = sent(&agent, &url).await;
        receiver.has_the_end(&task).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_is_used() {
    let disk = tempfile::tempdir().unwrap();
    let (receiver, proxy) = (Receiver::start(200).await, Receiver::start(200).await);
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let mut setup =
        setup(disk.path(), "Uses No Proxy").set("BINDU_PUSH_ALLOWED_HOSTS", "localhost,127.0.0.1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        setup = setup.set(name, &address);
    }
    let agent = setup.start().await;
    for host in ["localhost", "127.0.0.1"] {
        let task = sent(&agent, &format!("http://{host}:{}/", receiver.port)).await;
        receiver.has_the_end(&task).await;
    }
    // A public one, which a proxy would have taken: with none there is nobody to connect to.
    sent(&agent, "http://hook.invalid/").await;
    comes_to(&agent, "failed").await;
    assert!(proxy.got().is_empty(), "{:?}", proxy.got().first().map(|got| got.target.clone()));
}

/// A real nginx with TLS before the receiver, whose authority the system does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_by_the_systems_authorities() {
    let (disk, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(200).await;
    let authority = certificates::self_signed(files.path(), "authority", "rsa:2048");
    let certificate = certificates::signed(files.path(), "receiver", "IP:127.0.0.1", &authority);
    let nginx = Nginx::start(|address| {
        format!(
            "listen {address} ssl;\nssl_certificate {};\nssl_certificate_key {};\n\
             location / {{ proxy_pass http://127.0.0.1:{}; }}",
            certificate.certificate.display(),
            certificate.key.display(),
            receiver.port
        )
    })
    .await;
    let url = format!("https://{}/hook", nginx.address);
    let setup = setup(disk.path(), "Sends Over Tls");
    let agent = setup.start().await;
    let task = sent(&agent, &url).await;
    comes_to(&agent, "failed").await;
    assert!(receiver.got().is_empty() && outcomes(&agent, "delivered").await == 0);
    http::eventually("why it failed is told", async || agent.log().contains("certificate").then_some(()))
        .await;
    agent.kill();
    // What could not be delivered is, once the operator's system knows the authority.
    let authority = authority.certificate.display().to_string();
    let _agent = setup.set("SSL_CERT_FILE", authority).start().await;
    receiver.has_the_end(&task).await;
    assert_eq!(receiver.taken(), events(&task));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_push_says_so_in_each_form() {
    let disk = tempfile::tempdir().unwrap();
    let agent = agent(disk.path()).named(AUTHOR, "Pushes Nothing").set("BINDU_PUSH_ENABLED", "false");
    let agent = agent.start().await;
    let (_, card) = http::get(&format!("{}/.well-known/agent-card.json", agent.url)).await;
    assert_ne!(card["capabilities"]["pushNotifications"], true, "{card}");
    let task = task(&agent).await;
    let inner = json!({"url": "https://hook.example/"});
    let old = json!({"taskId": task, "pushNotificationConfig": inner});
    let post = async |body: &Value, version: Option<&str>| {
        let request = http::client().post(&agent.url).header("Content-Type", "application/json");
        let request = match version {
            Some(version) => request.header("A2A-Version", version),
            None => request,
        };
        http::answer(request.body(body.to_string())).await
    };
    let new = json!({"taskId": task, "id": "p", "url": "https://hook.example/"});
    for (method, params, version) in [
        ("CreateTaskPushNotificationConfig", &new, Some("1.0")),
        ("GetTaskPushNotificationConfig", &new, Some("1.0")),
        ("ListTaskPushNotificationConfigs", &new, Some("1.0")),
        ("DeleteTaskPushNotificationConfig", &new, Some("1.0")),
        ("tasks/pushNotificationConfig/set", &old, Some("0.3")),
        ("tasks/pushNotificationConfig/set", &old, None),
    ] {
        let (status, answer) = post(&call(method, params), version).await;
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32003)), "{method}: {answer}");
    }
    let rest = format!("{}/tasks/{task}/pushNotificationConfigs", agent.url);
    let (status, answer) = http::post(&rest, &json!({"url": "https://hook.example/"})).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{answer}");
    let reason = &answer["error"]["details"][0]["reason"];
    assert_eq!(reason, "PUSH_NOTIFICATION_NOT_SUPPORTED", "{answer}");
    let message = json!({"messageId": uuid(), "role": "ROLE_USER", "parts": [{"text": "hello"}]});
    let configuration = json!({"taskPushNotificationConfig": {"url": "https://hook.example/"}});
    let params = json!({"message": message, "configuration": configuration});
    let (_, answer) = post(&call("SendMessage", &params), Some("1.0")).await;
    assert_eq!(answer["error"]["code"], -32003, "a message that asks for it: {answer}");
}
