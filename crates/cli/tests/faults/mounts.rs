//! Mounts of Vault that are not what the settings say, or that delete what they hold.

use crate::{AUTHOR, agent, assert_refused, names, public_key};
use bindu_testkit::{
    AgentSetup, OpenBao, http,
    proxy::{Proxy, Seen},
};
use serde_json::json;
use std::path::Path;

/// `VAULT__MOUNT` with the API's `data` or `metadata` in it, or with a folder, for an agent that has an identity and an empty
/// disk; `vault check` and `vault setup` with the same settings.
///
/// Promise: exit 1, naming the mount and the settings that were meant; no second key anywhere, and no mount is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_below_a_mount() {
    let (bao, names) = (OpenBao::start().await, names("Below A Mount"));
    let first = tempfile::tempdir().unwrap();
    let setup = |directory: &Path| agent(directory).named(AUTHOR, &names.name).vault(&bao);
    setup(first.path()).start().await.kill();
    let listed = async || bao.call("LIST", "secret/metadata", None).await.1["data"]["keys"].clone();
    let before = listed().await;
    let cases = [
        ("secret/data", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
        ("secret/metadata", "VAULT__MOUNT=secret and VAULT__PREFIX=bindu"),
        ("secret/data/x", "VAULT__MOUNT=secret and VAULT__PREFIX=x/bindu"),
        ("secret/x", "VAULT__MOUNT=secret and VAULT__PREFIX=x/bindu"),
    ];
    for (mount, meant) in cases {
        let disk = tempfile::tempdir().unwrap();
        let setup = setup(disk.path()).set("VAULT__MOUNT", mount);
        assert_refused(setup.output(), 1, &[meant]);
        assert!(!disk.path().join(".bindu/private.pem").exists(), "{mount}");
        assert_refused(setup.clone().command(&["vault", "check"]).output(), 1, &[meant]);
        let (code, stdout, stderr) =
            setup.command(&["vault", "setup", "--auth", "token", "--apply"]).output();
        assert_eq!(code, 1, "{mount}: {stdout}{stderr}");
        assert!(stdout.contains(meant), "{mount}: {stdout}{stderr}");
        assert!(stderr.contains("nothing was changed"), "{mount}: {stderr}");
    }
    assert_eq!(listed().await, before, "nothing was written");
}

/// A mount whose versions are deleted after an hour, and a record whose versions are after half an hour; an agent that starts in
/// it, and starts again, with the least policy.
///
/// Promise: its log, `vault check` and `vault setup` say so, with the commands that fix it; the start asks nothing more for it;
/// `vault setup --apply` sets what is the record's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_deletes_by_itself() {
    let (bao, names) = (OpenBao::start().await, names("Deleted By Itself"));
    let disk = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&bao.url).await;
    let policy = "path \"secret/data/bindu/*\" { capabilities = [\"create\", \"read\", \"update\"] }";
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(&bao);
    let administrator = setup.clone();
    let setup = setup.set("VAULT__TOKEN", bao.token_with(policy).await).set("VAULT__URL", &proxy.url);
    let requests = || {
        let seen: Vec<Seen> = proxy.take_seen();
        // The token is looked after some seconds later.
        seen.into_iter()
            .map(|seen| seen.path)
            .filter(|path| !path.contains("/auth/token/"))
            .collect::<Vec<_>>()
    };
    let start = async |setup: &AgentSetup| {
        let agent = setup.start().await;
        let key = public_key(&agent.url, &names.did).await;
        let log = agent.log();
        agent.kill();
        setup.until_port_is_free().await;
        (key, log, requests())
    };
    let (key, log, _) = start(&setup).await;
    assert!(!log.contains("delete_version_after"), "{log}");
    let (_, _, usual) = start(&setup).await;
    let set = async |path: &str, after: &str| {
        let (status, answer) = bao.call("POST", path, Some(json!({"delete_version_after": after}))).await;
        assert_eq!(status, 204, "{answer}");
    };
    let metadata = format!("secret/metadata/bindu/{}", names.keys_path());
    set("secret/config", "1h").await;
    set(&metadata, "30m").await;
    // The record's next version has an end.
    let (_, record) = bao.record(&names.keys_path()).await.unwrap();
    bao.put(&names.keys_path(), &record).await;
    let undelete = format!("vault kv undelete -mount=secret -versions=2 bindu/{}", names.keys_path());
    let (still, log, asked) = start(&setup).await;
    assert_eq!((still, asked), (key, usual), "the same key, by the same requests");
    for words in
        ["Vault will delete this version", "vault write secret/config delete_version_after=0s", &undelete]
    {
        assert!(log.contains(words), "{words:?} is missing in:\n{log}");
    }
    let (code, stdout, _) = setup.clone().command(&["vault", "check"]).output();
    assert_eq!(code, 0);
    assert!(stdout.contains("warning  ") && stdout.contains(&undelete), "{stdout}");
    let set_up = ["vault", "setup", "--auth", "token", "--output", "json"];
    let steps = |arguments: &[&str]| {
        let (code, stdout, stderr) = administrator.clone().command(arguments).output();
        assert_eq!(code, 0, "{stdout}{stderr}");
        let steps: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let lifetimes = steps.as_array().unwrap().iter().filter(|step| step["what"] == "lifetime");
        lifetimes
            .map(|step| format!("{} {}", step["state"].as_str().unwrap(), step["path"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let by_hand = "by_hand secret/config".to_owned();
    assert_eq!(steps(&set_up), [by_hand.clone(), format!("change {metadata}")]);
    assert_eq!(steps(&[&set_up[..], &["--apply"]].concat()), [by_hand, format!("changed {metadata}")]);
    // The other two commands are for a person.
    set("secret/config", "0s").await;
    let undelete = format!("secret/undelete/bindu/{}", names.keys_path());
    bao.call("POST", &undelete, Some(json!({"versions": [2]}))).await;
    assert_eq!(steps(&set_up), Vec::<String>::new());
    let (code, stdout, _) = setup.clone().command(&["vault", "check"]).output();
    assert!(code == 0 && !stdout.contains("warning"), "{stdout}");
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    assert!(!agent.log().contains("delete_version_after"), "{}", agent.log());
}
