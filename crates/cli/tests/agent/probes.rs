//! Probes on an address of their own, from the first moment of a start to the end of a drain.

use crate::{agent, bao, names};
use bindu_testkit::{
    http::{self, eventually},
    proxy::{Fault, Proxy},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_can_be_watched_before_anything_listens() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("Probed"));
    let vault = Proxy::start(&bao().await.url).await;
    vault.script(|_, _| Fault::Hang);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = agent(disk.path()).named(crate::AUTHOR, &names.name).vault(bao().await);
    let setup = setup.set("VAULT__URL", &vault.url).set("BINDU_PROBE_LISTEN", free.to_string());
    let mut agent = setup.spawn();
    let probe = format!("http://{free}");
    let status = async |path: &str| {
        let answer = http::client().get(format!("{probe}{path}")).send().await.ok();
        answer.map(|answer| answer.status().as_u16())
    };
    eventually("it lives", async || (status("/livez").await == Some(200)).then_some(())).await;
    assert_eq!(status("/readyz").await, Some(503), "it waits for the store");
    assert_eq!(status("/metrics").await, Some(200));
    assert_eq!(status("/").await, Some(404), "nothing else");
    assert!(http::client().get(&agent.url).send().await.is_err(), "the agent's own port does not listen yet");
    vault.script(|_, _| Fault::None);
    agent.listens().await.expect("it starts");
    assert_eq!(status("/readyz").await, Some(200));
    let (_, metrics) = http::get(&format!("{probe}/metrics")).await;
    assert!(metrics.as_str().unwrap().contains(&names.did), "the agent answers for itself now");
    // The address is taken: nothing is changed.
    let other = tempfile::tempdir().unwrap();
    let second = crate::agent(other.path()).set("BINDU_PROBE_LISTEN", free.to_string());
    crate::assert_refused(second.output(), 64, &["bind", "nothing was changed"]);
    assert!(!other.path().join(".bindu").exists());
    let wrong = crate::agent(other.path()).set("BINDU_PROBE_LISTEN", "9090");
    crate::assert_refused(wrong.output(), 64, &["probe_listen"]);
}
