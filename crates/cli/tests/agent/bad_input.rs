//! Bad input: a clear error with its hint and exit code, nothing changed, no secret printed, no panic.

use crate::{AUTHOR, agent, names};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

#[track_caller]
fn assert_told((code, stdout, stderr): (i32, String, String), want: i32, words: &[&str]) {
    assert_eq!(code, want, "{stdout}{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is missing in:\n{stderr}");
    }
    assert!(stderr.contains("error: ") && stderr.contains("hint: "), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("canary"), "{stderr}");
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn three_mistakes_are_told_together() {
    let disk = tempfile::tempdir().unwrap();
    let config = disk.path().join("bindu.toml");
    fs::write(&config, "nmae = \"x\"\nlisten = \"127.0.0.1:http\"\nstart_deadline = \"soon\"\n").unwrap();
    let setup = agent(disk.path())
        .set("BINDU_PORT", "")
        .set("VAULT__ENABLED", "true")
        .set("VAULT__URL", "vault:8200");
    assert_told(
        setup.output(),
        64,
        &[
            "mistakes",
            "`nmae`",
            "`name`",
            "`port`",
            "\"http\"",
            "`start_deadline`",
            "VAULT__TOKEN",
            "`vault.url`",
        ],
    );
    assert!(!disk.path().join(".bindu").exists());
}

#[test]
fn a_rejected_secret_is_never_shown() {
    let disk = tempfile::tempdir().unwrap();
    let setup =
        agent(disk.path()).named("a", "b").set("VAULT__ENABLED", "true").set("VAULT__TOKEN", "canary\u{7f}x");
    assert_told(setup.output(), 64, &["`vault.token`", "VAULT__TOKEN"]);
    let (code, stdout, _) =
        agent(disk.path()).set("VAULT__TOKEN", "canary").command(&["config", "show"]).output();
    assert_eq!(code, 0);
    assert!(stdout.contains("vault.token") && stdout.contains("set   (from VAULT__TOKEN)"), "{stdout}");
    assert!(!stdout.contains("canary"), "{stdout}");
}

#[test]
fn a_pem_that_is_none_is_not_replaced() {
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(disk.path().join(".bindu")).unwrap();
    let pem = disk.path().join(".bindu/private.pem");
    for text in ["canary", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"] {
        fs::write(&pem, text).unwrap();
        assert_told(agent(disk.path()).output(), 1, &["no usable key pair", "private_key"]);
        assert_eq!(fs::read_to_string(&pem).unwrap(), text);
    }
}

#[test]
fn a_lost_private_key_is_not_replaced() {
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(disk.path().join(".bindu")).unwrap();
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n-----END PUBLIC KEY-----\n";
    fs::write(disk.path().join(".bindu/public.pem"), public).unwrap();
    assert_told(agent(disk.path()).output(), 1, &["private.pem is missing", "restore private.pem"]);
    assert_eq!(fs::read_to_string(disk.path().join(".bindu/public.pem")).unwrap(), public);
}

#[test]
fn a_port_in_use_changes_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    assert_told(agent(disk.path()).set("BINDU_PORT", &port).output(), 64, &["cannot bind", &port, "--port"]);
    assert!(is_empty(disk.path()), "not even the data directory was made");
    assert_told(
        agent(disk.path()).set("BINDU_HOST", "no such host").output(),
        64,
        &["cannot resolve", "--host"],
    );
    assert!(is_empty(disk.path()));
}

#[test]
fn a_directory_that_cannot_be_written() {
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("file"), "").unwrap();
    let under_a_file = agent(disk.path()).set("BINDU_DATA_DIR", "file/.bindu");
    assert_told(under_a_file.output(), 64, &["file/.bindu", "--data-dir"]);
    // Root may write anywhere; where these tests don't run as root, permissions are tried too.
    fs::create_dir(disk.path().join("closed")).unwrap();
    fs::set_permissions(disk.path().join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(disk.path().join("closed/probe"), "").is_err() {
        assert_told(
            agent(disk.path()).set("BINDU_DATA_DIR", "closed/.bindu").output(),
            64,
            &["closed/.bindu"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_or_of_another_agent() {
    let disk = tempfile::tempdir().unwrap();
    let first = agent(disk.path()).named(AUTHOR, "Holder").start().await;
    assert_told(
        agent(disk.path()).named(AUTHOR, "Holder").output(),
        64,
        &["in use by another process", "--data-dir"],
    );
    first.kill();
    let key = fs::read_to_string(disk.path().join(".bindu/private.pem")).unwrap();
    let refused = agent(disk.path()).named(AUTHOR, "Intruder").output();
    assert_told(refused, 64, &["belongs to another agent", &names("Holder").did, "--data-dir"]);
    assert_eq!(fs::read_to_string(disk.path().join(".bindu/private.pem")).unwrap(), key);
}

#[test]
fn names_that_break_a_did() {
    let disk = tempfile::tempdir().unwrap();
    for name in ["a:b", "a/b", "x?y", "a#1", "50%"] {
        assert_told(agent(disk.path()).named(AUTHOR, name).output(), 64, &["no new identity", "BINDU_NAME"]);
        assert!(!disk.path().join(".bindu/private.pem").exists(), "{name}");
    }
}

#[test]
fn wrong_usage() {
    let disk = tempfile::tempdir().unwrap();
    for arguments in
        [&["rnu"][..], &["run", "--prot", "1"], &["identity", "shwo"], &["run", "--take-over", "x"]]
    {
        let (code, _, stderr) = agent(disk.path()).command(arguments).output();
        assert_eq!(code, 64, "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = agent(disk.path()).set("RUST_LOG", "loud=,=").output();
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("hint: RUST_LOG or LOG_LEVEL"), "{stderr}");
    let (code, stdout, _) = agent(disk.path()).command(&["--help"]).output();
    assert_eq!((code, stdout.contains("Usage: bindu")), (0, true));
    let (code, _, stderr) = agent(disk.path()).set("BINDU_CONFIG", "nowhere.toml").output();
    assert_eq!((code, stderr.contains("nowhere.toml")), (64, true), "{stderr}");
}
