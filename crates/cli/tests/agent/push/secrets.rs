//! The secrets of configurations: nowhere on the disk in clear, and there for a delivery whatever becomes of the key that sealed
//! them.

use super::{CREDENTIALS, Receiver, TOKEN, call, comes_to, config, ended, events, outcomes, sent, setup};
use crate::{bao, names, public_key};
use bindu_testkit::http;
use serde_json::json;
use std::{os::unix::fs::DirBuilderExt as _, path::Path};

/// All bytes below a directory.
fn bytes_below(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        text += &match path.is_dir() {
            true => bytes_below(&path),
            false => String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned(),
        };
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_and_the_end_of_the_old_key_cost_no_receiver_its_secrets() {
    let disk = tempfile::tempdir().unwrap();
    let names = names("Rotates With Receivers");
    let receiver = Receiver::start(503).await;
    let setup = setup(disk.path(), &names.name).vault(bao().await);
    let setup = setup.set("BINDU_RECONCILE_INTERVAL", "1s").set("BINDU_ROTATION_OVERLAP", "4s");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    let task = sent(&agent, &url).await;
    ended(&agent, &task).await;
    let stored = bytes_below(disk.path());
    assert!(stored.contains(&url) && stored.contains("sealed:v1:"), "the configuration is there");
    assert!(!stored.contains(TOKEN) && !stored.contains(CREDENTIALS), "in the clear");
    let params = json!({"taskId": task, "id": "hook"});
    let read = async |url: &str| http::post(url, &call("GetTaskPushNotificationConfig", &params)).await.1;
    let before = read(&agent.url).await;
    for (name, value) in config(&url).as_object().unwrap() {
        assert_eq!(before["result"][name], *value, "its owner reads it as it was set: {before}");
    }

    let old = public_key(&agent.url, &names.did).await;
    let rotate = ["identity", "rotate", "--at-once", "--apply"];
    let (code, said, told) = setup.clone().command(&rotate).output();
    assert_eq!(code, 0, "{said}{told}");
    http::eventually("the old key is retired", async || {
        let (_, record) = bao().await.record(&names.keys_path()).await?;
        let is_retired = record.get("previous_private_key").is_none() && record["generation"] == 1;
        (is_retired && public_key(&agent.url, &names.did).await != old).then_some(())
    })
    .await;
    // What this process remembers does not count: the next one has the new key alone.
    agent.kill();
    let (_, record) = bao().await.record(&names.keys_path()).await.unwrap();
    assert_eq!(record["generation"], 1);
    receiver.always(200);
    let agent = setup.start().await;
    assert_eq!(read(&agent.url).await["result"]["token"], TOKEN);
    receiver.has_the_end(&task).await;
    assert_eq!(receiver.taken(), events(&task));
    let last = receiver.got().pop().unwrap();
    assert_eq!((last.header("x-a2a-notification-token"), outcomes(&agent, "sealed").await), (TOKEN, 0));
}

/// The key is gone with the disk's other files, and the tasks are still there.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_nobody_can_open_is_told_and_costs_nobody_else_anything() {
    let (disk, new_disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(503).await;
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    let agent = setup(disk.path(), "Lost Its Key").start().await;
    let task = sent(&agent, &url).await;
    ended(&agent, &task).await;
    agent.kill();
    let data = new_disk.path().join(".bindu");
    std::fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
    for name in ["tasks.db", "tasks.db-wal"] {
        let _ = std::fs::copy(disk.path().join(".bindu").join(name), data.join(name));
    }
    receiver.always(200);
    let before = receiver.got().len();
    let setup = setup(new_disk.path(), "Lost Its Key");
    let agent = setup.start().await;
    comes_to(&agent, "sealed").await;
    assert_eq!(receiver.got().len(), before, "nothing is sent without its secrets");
    http::eventually("the reason is told", async || {
        agent.log().contains("sealed with a key that is not in the key ring").then_some(())
    })
    .await;
    let other = sent(&agent, &url).await;
    receiver.has_the_end(&other).await;
    assert_eq!(receiver.taken(), events(&other), "others are told");
    // Its owner reads it without its secrets, and can set it again; the task is there as before.
    let params = json!({"taskId": task, "id": "hook"});
    let (_, read) = http::post(&agent.url, &call("GetTaskPushNotificationConfig", &params)).await;
    assert_eq!((&read["result"]["url"], read["result"].get("token")), (&json!(url), None), "{read}");
    ended(&agent, &task).await;
    for secret in [TOKEN, CREDENTIALS] {
        assert!(!agent.log().contains(secret));
    }
}
