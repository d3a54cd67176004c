//! What environments make of settings: nothing of it makes another identity, opens a door or shows a secret.

use crate::{AUTHOR, agent, assert_refused, bao, hydra, names};
use bindu_testkit::{AgentSetup, Nginx, caller::TestCaller, http, install::source_tree};
use serde_json::json;
use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path};

fn made_nothing(disk: &Path) -> bool {
    !disk.join(".bindu").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_utf8_opens_no_door() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Not UTF-8").set_all(hydra().await.environment());
    for name in ["AUTH__ALLOWED_DIDS", "AUTH__ENABLED", "AUTH__RATE_LIMIT", "VAULT__ENABLED", "BINDU_NAME"] {
        let broken = setup.clone().set_raw(name, OsString::from_vec(b"[\"did:bindu:a:\xff\"]".to_vec()));
        assert_refused(broken.output(), 64, &[name, "UTF-8"]);
        assert!(made_nothing(disk.path()), "{name}");
    }
}

#[test]
fn vault_that_is_nearly_on_is_never_off() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Nearly On");
    let vault = [("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", "t")];
    let vault = || vault.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for empty in ["", "  "] {
        let refused = setup.clone().set_all(vault()).set("VAULT__ENABLED", empty).output();
        assert_refused(refused, 64, &["VAULT__ENABLED"]);
    }
    assert_refused(
        setup.clone().set_all(vault()).output(),
        64,
        &["VAULT_ADDR", "VAULT_TOKEN", "VAULT__ENABLED=true"],
    );
    for name in ["VAULT__URL", "VAULT__ROLE", "VAULT__PREFIX", "VAULT__TOKEN_FILE"] {
        let value = if name == "VAULT__URL" { "http://127.0.0.1:1" } else { "x" };
        for arguments in [&["run"][..], &["identity", "plan"]] {
            let refused = setup.clone().set(name, value).command(arguments).output();
            assert_refused(refused, 64, &[name, "VAULT__ENABLED=true", "VAULT__ENABLED=false"]);
        }
    }
    fs::write(disk.path().join("agent.json"), r#"{"vault": {"url": "http://127.0.0.1:1", "enabled": null}}"#)
        .unwrap();
    let refused = setup.clone().set("BINDU_CONFIG", "agent.json").output();
    assert_refused(refused, 64, &["vault.enabled", "empty"]);
    assert!(made_nothing(disk.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operators_shell_has_is_a_warning_and_false_is_a_word() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Operator");
    let agent = setup.clone().set("VAULT_ADDR", "http://127.0.0.1:1").start().await;
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("set, and VAULT__ENABLED is not"));
    assert!(line.is_some_and(|line| line.contains("VAULT_ADDR")), "{log}");
    drop(agent);
    let setup = setup.set("VAULT_ADDR", "http://127.0.0.1:1").set("VAULT_TOKEN", "t");
    // Where somebody only looks, beside the vault command, it is a warning as well.
    let (code, _, told) = setup.clone().command(&["identity", "plan"]).output();
    assert!(code == 0 && told.contains("VAULT_ADDR, VAULT_TOKEN"), "{told}");
    let setup = setup.set("VAULT__ROLE", "r");
    setup.set("VAULT__ENABLED", "false").start().await;
}

#[test]
fn a_password_file_without_a_password_encrypts_nothing() {
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("password"), "").unwrap();
    let setup = agent(disk.path()).set("BINDU_KEY_PASSWORD_FILE", "password");
    for text in ["", "\n", "\r\n", "  \n", "\u{feff}secret"] {
        fs::write(disk.path().join("password"), text).unwrap();
        assert_refused(setup.clone().output(), 64, &["BINDU_KEY_PASSWORD_FILE"]);
    }
    assert_refused(
        setup.set("BINDU_KEY_PASSWORD_FILE", "").output(),
        64,
        &["BINDU_KEY_PASSWORD_FILE", "empty"],
    );
    assert!(made_nothing(disk.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_is_no_timeout() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Zero").set_all(hydra().await.environment());
    for (name, value) in [
        ("HYDRA__TIMEOUT", "0"),
        ("BINDU_START_DEADLINE", "0s"),
        ("BINDU_DRAIN_DEADLINE", "0s"),
        ("BINDU_COMMAND_TIMEOUT", "0s"),
        ("BINDU_RECONCILE_INTERVAL", "0s"),
    ] {
        assert_refused(setup.clone().set(name, value).output(), 64, &[name, "at least"]);
    }
    assert!(made_nothing(disk.path()));
}

/// `docker run --env-file` and Compose's older forms take what stands behind the `=` as it is.
fn as_docker_reads(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_the_same_identity_by_docker_and_by_dotenv() {
    let example = fs::read_to_string(source_tree().join(".env.vault.example")).unwrap();
    let mut dids = Vec::new();
    for way in ["docker", "dotenv", "crlf"] {
        let disk = tempfile::tempdir().unwrap();
        // Any of its lines that are off, on: each must be of both forms.
        let mut setup = agent(disk.path()).command(&["config", "show", "--output", "json"]);
        match way {
            "docker" => setup = setup.set_all(as_docker_reads(&example)),
            "dotenv" => fs::write(disk.path().join(".env"), &example).unwrap(),
            _ => fs::write(disk.path().join(".env"), example.replace('\n', "\r\n")).unwrap(),
        }
        let (_, shown, told) = setup.set("VAULT_TOKEN", "t").output();
        let rows: serde_json::Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{told}"));
        let value = |key: &str| {
            let row = rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
            row["value"].as_str().unwrap().to_owned()
        };
        dids.push((value("name"), value("author"), value("vault.enabled"), value("vault.url")));
        assert!(!dids[0].0.is_empty() && !dids[0].0.contains(['"', ' ']), "{dids:?}");
    }
    assert!(dids.iter().all(|did| *did == dids[0]), "{dids:?}");
    // What is commented out, too.
    for line in example.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.contains('=')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            assert!(!value.contains(['"', '\'', ' ']), "{line}: of one form only");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_an_accident_makes_no_identity() {
    for name in ["\"Quoted\"", "'Quoted'", " Spaced", "Spaced ", "Line\n", "\u{feff}Marked"] {
        let (disk, names) = (tempfile::tempdir().unwrap(), names(name));
        let setup = agent(disk.path()).named(AUTHOR, name).vault(bao().await);
        let told = setup.output();
        assert_refused(told, 64, &["no new identity", "BINDU_NAME"]);
        assert!(bao().await.record(&names.keys_path()).await.is_none(), "{name:?}");
        assert!(!disk.path().join(".bindu/private.pem").exists(), "{name:?}");
    }
    let disk = tempfile::tempdir().unwrap();
    let author = agent(disk.path()).named("\"alice@example.com\"", "Author").vault(bao().await);
    assert_refused(author.output(), 64, &["no new identity", "BINDU_AUTHOR", "quotes"]);
    // One that exists is loaded: Python Bindu has made such.
    let odd = names("\"Loaded\"");
    bao().await.put(&odd.keys_path(), &crate::new_record(&odd).0).await;
    let agent = agent(disk.path()).named(AUTHOR, &odd.name).vault(bao().await).start().await;
    http::healthy(&agent.url).await;
    // For other values quotes are refused.
    let quoted = crate::agent(disk.path()).named(AUTHOR, "Other").vault(bao().await);
    for name in ["VAULT__PREFIX", "VAULT__URL", "BINDU_DATA_DIR", "VAULT__MOUNT", "BINDU_DESCRIPTION"] {
        assert_refused(quoted.clone().set(name, "\"x\"").output(), 64, &[name, "quotes"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_end_at_a_value_is_no_part_of_it() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("Line Ends"));
    let setup = agent(disk.path()).named(AUTHOR, &names.name).vault(bao().await);
    let setup = setup.set("VAULT__PREFIX", "bindu\r\n").set("VAULT__ENABLED", "true\n");
    // A namespace is a header: the root namespace by the name that OpenBao has for it.
    let agent = setup.clone().set("VAULT_NAMESPACE", "root\n").start().await;
    http::healthy(&agent.url).await;
    assert!(bao().await.record(&names.keys_path()).await.is_some());
    assert_refused(setup.clone().set("VAULT_NAMESPACE", "a\nb").output(), 64, &["VAULT_NAMESPACE"]);
    // Nor a byte order mark in the file of a token.
    drop(agent);
    fs::write(disk.path().join("token"), format!("\u{feff}{}\r\n", bao().await.token)).unwrap();
    let by_file = setup.set("VAULT__AUTH", "token_file").set("VAULT__TOKEN_FILE", "token");
    let (code, _, told) = by_file.command(&["vault", "check"]).output();
    assert_eq!(code, 0, "{told}");
}

#[test]
fn a_mount_is_told_without_auth_before_it() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Mount").set("VAULT__ENABLED", "true");
    let setup = setup.set("VAULT__AUTH", "approle").set("VAULT__ROLE_ID_FILE", "r");
    let setup = setup.set("VAULT__SECRET_ID_FILE", "s").set("VAULT__AUTH_MOUNT", "auth/approle");
    assert_refused(setup.output(), 64, &["VAULT__AUTH_MOUNT", "without `auth/`: `approle`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_an_address_is_neither_published_nor_printed() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Userinfo").vault(bao().await);
    let setup = setup.set_all(hydra().await.environment());
    for name in ["HYDRA__PUBLIC_URL", "HYDRA__ADMIN_URL", "VAULT__URL", "BINDU_DEPLOYMENT_URL"] {
        let secret = setup.clone().set(name, "http://me:canary@127.0.0.1:1");
        let (code, stdout, stderr) = secret.clone().output();
        assert!(code == 64 && stderr.contains(name) && stderr.contains("password"), "{stderr}");
        let (_, shown, told) = secret.command(&["config", "show"]).output();
        assert!(shown.contains("...@127.0.0.1"), "{shown}");
        for text in [stdout, stderr, shown, told] {
            assert!(!text.contains("canary"), "{text}");
        }
    }
    assert!(made_nothing(disk.path()));
    // A proxy's may be set, and is not shown.
    for proxy in ["me:canary@127.0.0.1:1", "http://me:canary@127.0.0.1:1"] {
        let setup = agent(disk.path()).set("HTTPS_PROXY", proxy).set("VAULT_PROXY_ADDR", proxy);
        let (code, shown, told) = setup.command(&["config", "show"]).output();
        assert!(code == 0 && shown.contains("...@127.0.0.1:1"), "{shown}{told}");
        assert!(!shown.contains("canary") && !told.contains("canary"), "{shown}{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_to_call_0_0_0_0() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Everywhere");
    for host in ["0.0.0.0", "::"] {
        let setup = setup.clone().set("BINDU_HOST", host);
        let guarded = setup.clone().set_all(hydra().await.environment());
        assert_refused(guarded.clone().output(), 64, &["BINDU_DEPLOYMENT_URL", "nothing was changed"]);
        assert!(made_nothing(disk.path()));
        let everywhere = guarded.set("BINDU_DEPLOYMENT_URL", "http://0.0.0.0:3773");
        assert_refused(everywhere.output(), 64, &["BINDU_DEPLOYMENT_URL"]);
        let data = tempfile::tempdir().unwrap();
        let open =
            setup.set("AUTH__ENABLED", "false").set("BINDU_DATA_DIR", data.path().display().to_string());
        let agent = open.start().await;
        let (_, card) = http::get(&format!("{}/.well-known/agent.json", agent.url)).await;
        let (_, web) = http::get(&format!("{}/.well-known/did.json", agent.url)).await;
        let url = card["url"].as_str().unwrap();
        for text in [url, web["id"].as_str().unwrap()] {
            assert!(
                !text.contains("0.0.0.0") && !text.contains("[::]") && !text.contains("%3A%3A"),
                "{text}"
            );
        }
        assert!(agent.log().contains("BINDU_DEPLOYMENT_URL is not set"), "{}", agent.log());
        // It is an address of this machine.
        let (status, same) = http::get(&format!("{url}/.well-known/agent.json")).await;
        assert_eq!((status, &same["id"]), (200, &card["id"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_strips_a_path() {
    let (disk, names) = (tempfile::tempdir().unwrap(), names("Stripped"));
    let setup = agent(disk.path()).named(AUTHOR, &names.name).set_all(hydra().await.environment());
    let port = setup.port();
    let nginx = Nginx::start(|address| {
        format!(
            "listen {address};\nlocation /echo/ {{\n proxy_pass http://127.0.0.1:{port}/;\n proxy_set_header Host $http_host;\n}}\n\
             location = /echo {{\n proxy_pass http://127.0.0.1:{port}/;\n proxy_set_header Host $http_host;\n}}"
        )
    })
    .await;
    let url = format!("http://{}/echo", nginx.address);
    let agent = setup.set("BINDU_DEPLOYMENT_URL", &url).start().await;
    let caller = TestCaller::new(hydra().await, "did:bindu:stripped:caller:1").await;
    let list = http::call("tasks/list", &json!({}));
    for called in [url.clone(), format!("{url}/")] {
        let (status, answer) = http::answer(caller.message(&called, &list, &called)).await;
        assert_eq!(status, 200, "{called}: {answer}");
    }
    // What was signed for another path of the host is not for this agent, whoever passes it on.
    let other = caller.message(&format!("http://{}/", nginx.address), &list, "n3").build().unwrap();
    let mut forged = http::client().post(format!("{url}/")).body(list.to_string());
    for (name, value) in other.headers() {
        forged = forged.header(name, value);
    }
    let (status, answer) = http::answer(forged).await;
    assert_eq!((status, &answer["details"]["reason"]), (403, &json!("invalid_signature")));
    // A browser ends up at the card, below the path.
    let answer = http::client().get(format!("{url}/")).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), location.as_str()), (302, "/echo/.well-known/agent.json"));
    let (status, card) = http::get(&format!("http://{}{location}", nginx.address)).await;
    assert_eq!((status, card["url"].as_str()), (200, Some(url.as_str())));
    drop(agent);
}

/// Every file that a setting names, and those of the data directory: without an end, and a pipe that nobody writes to. It is
/// told, by its name, soon, and without a memory full of zeros.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_an_end_or_a_writer_is_told() {
    let vault = |setup: AgentSetup| {
        let setup = setup.set("VAULT__ENABLED", "true").set("VAULT_ADDR", "https://127.0.0.1:1");
        // Longer than a pipe is waited for.
        setup.set("BINDU_START_DEADLINE", "12s")
    };
    let with_token = |setup| vault(setup).set("VAULT_TOKEN", "t");
    type Set<'a> = &'a dyn Fn(AgentSetup, &str) -> AgentSetup;
    let cases: [(&str, Set<'_>); 8] = [
        ("BINDU_CONFIG", &|setup, file| setup.set("BINDU_CONFIG", file)),
        ("password", &|setup, file| setup.set("BINDU_KEY_PASSWORD_FILE", file)),
        ("token", &|setup, file| {
            vault(setup).set("VAULT__AUTH", "token_file").set("VAULT__TOKEN_FILE", file)
        }),
        ("jwt", &|setup, file| {
            vault(setup).set("VAULT__AUTH", "jwt").set("VAULT__ROLE", "r").set("VAULT__JWT_FILE", file)
        }),
        ("secret id", &|setup, file| {
            let setup = vault(setup).set("VAULT__AUTH", "approle").set("VAULT__ROLE_ID_FILE", "good");
            setup.set("VAULT__SECRET_ID_FILE", file)
        }),
        ("authority", &|setup, file| with_token(setup).set("VAULT_CACERT", file)),
        ("certificate", &|setup, file| {
            with_token(setup).set("VAULT_CLIENT_CERT", file).set("VAULT_CLIENT_KEY", "good")
        }),
        (".env", &|setup, _| setup),
    ];
    let mut runs = Vec::new();
    for (what, set) in cases {
        for file in ["/dev/zero", "pipe"] {
            let disk = tempfile::tempdir().unwrap();
            fs::write(disk.path().join("good"), "good").unwrap();
            let made = std::process::Command::new("mkfifo").arg(disk.path().join("pipe")).status().unwrap();
            assert!(made.success());
            if what == ".env" {
                std::os::unix::fs::symlink(file, disk.path().join(".env")).unwrap();
            }
            // Half a gigabyte for all that a process maps.
            let limits = ["-c", "ulimit -v 1000000; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
            let setup = set(agent(disk.path()).named(AUTHOR, "Endless"), file).under(Path::new("sh"), limits);
            let named = if what == ".env" { ".env" } else { file };
            runs.push(tokio::task::spawn_blocking(move || {
                let begun = std::time::Instant::now();
                let (code, _, told) = setup.output();
                drop(disk);
                (what, named, code, told, begun.elapsed())
            }));
        }
    }
    for run in runs {
        let (what, named, code, told, took) = run.await.unwrap();
        assert!([64, 69, 77].contains(&code), "{what}: {code}: {told}");
        let words =
            if named == "pipe" || told.contains("pipe") { "nobody has written to it" } else { "4 MiB" };
        assert!(told.contains(named) && told.contains(words), "{what} = {named}: {told}");
        assert!(!told.contains("out of memory") && took.as_secs() < 60, "{what} = {named}, {took:?}: {told}");
    }
    for file in ["private.pem", "identity.json", "oauth_credentials.json", "lock"] {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir(disk.path().join(".bindu")).unwrap();
        let pipe = disk.path().join(".bindu").join(file);
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        let setup = agent(disk.path()).named(AUTHOR, "Piped");
        assert_refused(tokio::task::spawn_blocking(move || setup.output()).await.unwrap(), 64, &[file]);
    }
    // One that somebody writes to is read.
    let disk = tempfile::tempdir().unwrap();
    let script = "exec \"$@\" --config <(sleep 0.2; echo 'description = \"from a pipe\"')";
    let arguments = ["-c", script, "bash"].map(str::to_owned).to_vec();
    let shown = agent(disk.path()).command(&["config", "show"]).under(Path::new("bash"), arguments);
    let (code, shown, told) = shown.output();
    assert!(code == 0 && shown.contains("from a pipe"), "{shown}{told}");
}
