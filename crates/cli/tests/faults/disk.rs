//! What can be wrong with a disk. With a store none of it stops a start; without one each gives its own error and hint.

use crate::{AUTHOR, Names, agent, assert_refused, bao, degraded, full, is_one, names, public_key, reasons};
use bindu_testkit::{
    AgentSetup, http, install,
    proxy::{Fault, Proxy},
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};
use tempfile::TempDir;

/// Runs an agent with a file system of its own at its data directory.
fn with_mount(setup: &AgentSetup, script: &str) -> AgentSetup {
    let script = format!("{script} && exec \"$@\"");
    let arguments = ["-rm", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    setup.clone().under(Path::new("unshare"), arguments)
}

/// An agent whose identity is in the store, and a new disk for it.
async fn restored(names: &Names) -> (String, TempDir) {
    let first = tempfile::tempdir().unwrap();
    let agent = full(first.path(), names).await.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(disk.path().join(".bindu")).unwrap();
    (key, disk)
}

/// A data directory without a byte of room, with a store.
///
/// Promise: the agent starts, degraded `directory_not_writable`; when there is room again it writes its copy without a
/// restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_a_store() {
    let names = names("Full Disk");
    let (key, disk) = restored(&names).await;
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let full = "mount -t tmpfs -o size=4k none .bindu && head -c 4096 /dev/zero > .bindu/filler";
    let agent = with_mount(&setup, full).start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    degraded(&agent.url, "directory_not_writable").await;
    let inside = |file: &str| {
        let path = disk.path().join(".bindu").join(file);
        Path::new(&format!("/proc/{}/root", agent.pid())).join(path.strip_prefix("/").unwrap())
    };
    // A page for each file and name.
    let mount = format!(
        "nsenter -t {} -U -m mount -o remount,size=64k {}",
        agent.pid(),
        disk.path().join(".bindu").display()
    );
    let status = std::process::Command::new("sh").args(["-c", &mount]).status().unwrap();
    assert!(status.success(), "{mount}");
    http::healthy(&agent.url).await;
    http::eventually("the copy is written", async || inside("private.pem").is_file().then_some(())).await;
    assert_eq!(is_one(&names).await, key);
}

/// A data directory without room, without a store: from not a byte of it to enough, page by page.
///
/// Promise: exit 64 with a hint about room, and no file of a key is left that the next start would use; or all of them are
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_alone() {
    let (mut refused, mut kept) = (0, 0);
    for pages in 0..8 {
        let disk = tempfile::tempdir().unwrap();
        fs::create_dir(disk.path().join(".bindu")).unwrap();
        let setup = agent(disk.path()).named(AUTHOR, "Full Alone");
        // Ends when the program has ended, or has a key and was asked to end; and says what is there then.
        let script = format!(
            "mount -t tmpfs -o size={}k none .bindu && head -c 4096 /dev/zero > .bindu/filler; \
             \"$@\" & pid=$!; \
             until [ -e .bindu/private.pem ] || ! kill -0 $pid 2> /dev/null; do sleep 0.02; done; \
             kill $pid 2> /dev/null; wait $pid; code=$?; ls -A .bindu > listing; exit $code",
            (pages + 1) * 4
        );
        let arguments = ["-rm", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
        let ended = setup.under(Path::new("unshare"), arguments).output();
        let listing = fs::read_to_string(disk.path().join("listing")).unwrap();
        let holds = |name: &str| listing.lines().any(|line| line == name);
        let code = ended.0;
        if code == 64 {
            assert_refused(ended, 64, &["BINDU_DATA_DIR"]);
            assert_eq!(listing, "filler\nlock\n", "{pages} pages");
            refused += 1;
        } else {
            assert_eq!(code, 0, "{pages} pages: {}", ended.2);
            assert!(holds("private.pem") && holds("identity.json"), "{pages} pages: {listing}");
            kept += 1;
        }
    }
    assert!(refused > 1 && kept > 0, "{refused} refused, {kept} kept");
}

/// A read-only data directory: with a store, without one, and without one but with the key in it.
///
/// Promise: with a store it starts, degraded; without one, exit 64; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk() {
    let names = names("Read Only");
    let (key, disk) = restored(&names).await;
    let setup = full(disk.path(), &names).await;
    let read_only = "mount -t tmpfs -o ro none .bindu";
    let agent = with_mount(&setup, read_only).start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
    degraded(&agent.url, "directory_not_writable").await;
    is_one(&names).await;
    drop(agent);
    let alone = crate::agent(disk.path()).named(AUTHOR, "Read Only Alone");
    assert_refused(with_mount(&alone, read_only).output(), 64, &["BINDU_DATA_DIR"]);
}

/// Files that an earlier crash left: an empty private.pem, half a private.pem, an empty or foreign public.pem, an empty or
/// broken identity.json and oauth_credentials.json, temporary files; with a store.
///
/// Promise: the agent comes back as itself, and the files are whole again.
#[tokio::test(flavor = "multi_thread")]
async fn half_written_files_with_a_store() {
    let names = names("Half Written");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await;
    let agent = setup.start().await;
    http::healthy(&agent.url).await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    let file = |name: &str| disk.path().join(".bindu").join(name);
    let whole = fs::read_to_string(file("private.pem")).unwrap();
    let cases: [(&str, &str); 8] = [
        ("private.pem", ""),
        ("private.pem", &whole[..60]),
        ("public.pem", ""),
        (
            "public.pem",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\n-----END PUBLIC KEY-----\n",
        ),
        ("identity.json", ""),
        ("oauth_credentials.json", ""),
        (".writing-private.pem", "half"),
        (".writing-identity.json", "half"),
    ];
    for (name, content) in cases {
        fs::write(file(name), content).unwrap();
        let agent = setup.start().await;
        http::healthy(&agent.url).await;
        assert_eq!(public_key(&agent.url, &names.did).await, key, "{name}");
        assert_eq!(is_one(&names).await, key, "{name}");
        agent.kill();
        assert_eq!(fs::read_to_string(file("private.pem")).unwrap(), whole, "{name}");
        assert_eq!(fs::read_to_string(file("public.pem")).unwrap().len(), 113, "{name}");
        assert!(fs::read_to_string(file("identity.json")).unwrap().contains(&key), "{name}");
        assert!(fs::read_to_string(file("oauth_credentials.json")).unwrap().contains(&names.did), "{name}");
        assert!(!file(".writing-private.pem").exists() && !file(".writing-identity.json").exists());
    }
    // What can't be understood is not thrown away: the agent works without the directory.
    for name in ["identity.json", "oauth_credentials.json"] {
        let before = fs::read_to_string(file(name)).unwrap();
        fs::write(file(name), "{\"half").unwrap();
        let agent = setup.start().await;
        assert_eq!(public_key(&agent.url, &names.did).await, key, "{name}");
        agent.kill();
        fs::write(file(name), before).unwrap();
    }
}

/// The same without a store.
///
/// Promise: what can be derived is derived (`public.pem`, `identity.json`); else an error that names the file, and
/// nothing is changed or made.
#[tokio::test(flavor = "multi_thread")]
async fn half_written_files_alone() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Half Alone");
    let names = names("Half Alone");
    let agent = setup.start().await;
    let key = public_key(&agent.url, &names.did).await;
    agent.kill();
    let file = |name: &str| disk.path().join(".bindu").join(name);
    let whole = fs::read_to_string(file("private.pem")).unwrap();
    for (name, content) in [("public.pem", ""), ("identity.json", "")] {
        fs::write(file(name), content).unwrap();
        let agent = setup.start().await;
        assert_eq!(public_key(&agent.url, &names.did).await, key, "{name}");
        agent.kill();
    }
    for content in ["", &whole[..60], "garbage"] {
        fs::write(file("private.pem"), content).unwrap();
        assert_refused(setup.output(), 1, &["private.pem"]);
        assert_eq!(fs::read_to_string(file("private.pem")).unwrap(), content, "it is left as it was");
    }
    fs::write(file("private.pem"), &whole).unwrap();
    fs::write(file("identity.json"), "{\"half").unwrap();
    assert_refused(setup.output(), 1, &["identity.json"]);
    fs::remove_file(file("identity.json")).unwrap();
    let agent = setup.start().await;
    assert_eq!(public_key(&agent.url, &names.did).await, key);
}

/// Files and a directory that others could read, as an earlier version or a person left them.
///
/// Promise: 0600 and 0700 after the start.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_modes_are_put_right() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, "Modes");
    setup.start().await.kill();
    let directory = disk.path().join(".bindu");
    let entries = || fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&directory, 0o755);
    entries().for_each(|path| set(&path, 0o644));
    setup.start().await.kill();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for name in ["private.pem", "identity.json"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

/// A symbolic link where a file should be, to somebody else's file.
///
/// Promise: it is neither read nor written through; without a store exit 64 with a hint, with one the agent starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_where_a_file_should_be() {
    let names = names("Link");
    let (key, disk) = restored(&names).await;
    let target = disk.path().join("somebody-elses");
    for file in ["private.pem", "identity.json", "oauth_credentials.json", "lock"] {
        fs::write(&target, "precious").unwrap();
        let link = disk.path().join(".bindu").join(file);
        symlink(&target, &link).unwrap();
        let agent = full(disk.path(), &names).await.start().await;
        assert_eq!(public_key(&agent.url, &names.did).await, key, "{file}");
        assert!(!reasons(&agent.url).await.is_empty(), "{file}: it says so");
        agent.kill();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{file}");
        assert!(link.is_symlink(), "{file}");
        let alone = crate::agent(disk.path()).named(AUTHOR, "Link Alone");
        assert_refused(alone.output(), 64, &["link"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{file}");
        fs::remove_dir_all(disk.path().join(".bindu")).unwrap();
        fs::create_dir(disk.path().join(".bindu")).unwrap();
    }
}

/// The data directory of another agent; with a store and without.
///
/// Promise: with a store the agent starts without it, and not a byte of it changes; without one, exit 64.
#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_another_agent() {
    let (ours, theirs) = (names("Ours"), names("Theirs"));
    let disk = tempfile::tempdir().unwrap();
    agent(disk.path()).named(AUTHOR, &theirs.name).start().await.kill();
    let contents = || {
        let entries = fs::read_dir(disk.path().join(".bindu")).unwrap();
        let mut all: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    };
    let before = contents();
    let running = full(disk.path(), &ours).await.start().await;
    degraded(&running.url, "directory_of_another_agent").await;
    is_one(&ours).await;
    running.kill();
    assert_eq!(contents(), before);
    assert_refused(
        agent(disk.path()).named(AUTHOR, &ours.name).output(),
        64,
        &["another agent", "--data-dir"],
    );
    assert_eq!(contents(), before);
}

/// Two agents that start at once in one fresh directory while Vault is away, ten times.
///
/// Promise: each has a key of its own when Vault is back; the directory is one agent's, and holds nothing of the other's.
#[tokio::test(flavor = "multi_thread")]
async fn two_agents_in_one_fresh_directory() {
    for round in 0..10 {
        let disk = tempfile::tempdir().unwrap();
        let proxy = Proxy::start(&bao().await.url).await;
        proxy.script(|_, _| Fault::Drop);
        let both = ["One Of Two", "Other Of Two"].map(|name| names(&format!("{name} {round}")));
        let mut agents = Vec::new();
        for names in &both {
            agents.push(full(disk.path(), names).await.set("VAULT__URL", &proxy.url).spawn());
        }
        // Both have looked at the directory and wait for the store.
        http::eventually("both wait", async || {
            agents.iter().all(|agent| agent.log().contains("waiting for the store")).then_some(())
        })
        .await;
        proxy.script(|_, _| Fault::None);
        let mut keys = Vec::new();
        for (agent, names) in agents.iter_mut().zip(&both) {
            agent.listens().await.unwrap_or_else(|code| panic!("{code}: {}", agent.log()));
            keys.push(is_one(names).await);
        }
        assert_ne!(keys[0], keys[1], "round {round}");
        drop(agents);
        let text = fs::read_to_string(disk.path().join(".bindu/identity.json")).unwrap();
        let owner = usize::from(text.contains(&both[1].did));
        assert!(text.contains(&keys[owner]) && !text.contains(&both[1 - owner].did), "{text}");
        let public = fs::read_to_string(disk.path().join(".bindu/public.pem")).unwrap();
        assert_eq!(bindu_identity::pem::decode_public_key(&public).unwrap().to_string(), keys[owner]);
    }
}

/// Runs it without root's right to read what it may not.
fn without_override(setup: AgentSetup) -> AgentSetup {
    if !rustix::process::geteuid().is_root() {
        return setup;
    }
    let dropped = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
    setup.under(Path::new("setpriv"), dropped.map(str::to_owned).to_vec())
}

/// A file or folder that can't be read, and its name in an error.
struct Closed {
    what: &'static str,
    /// Relative to the agent's directory; its mode is taken away.
    path: Option<&'static str>,
    /// The file that cannot be read because of an error of the disk.
    broken: Option<&'static str>,
    named: &'static str,
}

const CLOSED: [Closed; 5] = [
    Closed { what: "private.pem", path: Some(".bindu/private.pem"), broken: None, named: "private.pem" },
    Closed {
        what: "identity.json",
        path: Some(".bindu/identity.json"),
        broken: None,
        named: "identity.json",
    },
    Closed { what: "the directory", path: Some(".bindu"), broken: None, named: ".bindu" },
    Closed { what: "its parent", path: Some("volume"), broken: None, named: "volume" },
    Closed {
        what: "identity.json, by the disk",
        path: None,
        broken: Some(".bindu/identity.json"),
        named: "identity.json",
    },
];

impl Closed {
    /// An agent with files of its own that it can't read any more.
    fn close(&self, setup: AgentSetup, disk: &Path) -> AgentSetup {
        let setup = match self.what {
            "its parent" => {
                fs::create_dir(disk.join("volume")).unwrap();
                fs::rename(disk.join(".bindu"), disk.join("volume/.bindu")).unwrap();
                setup.set("BINDU_DATA_DIR", "volume/.bindu")
            }
            _ => setup,
        };
        if let Some(path) = self.path {
            fs::set_permissions(disk.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        match self.broken {
            None => without_override(setup),
            Some(file) => {
                let arguments = [
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-P",
                    file,
                    "-e",
                    "trace=openat",
                    "-e",
                    "inject=openat:error=EIO",
                ];
                setup.under(&install::strace(), arguments.map(str::to_owned).to_vec())
            }
        }
    }

    fn open(&self, disk: &Path) {
        if let Some(path) = self.path {
            fs::set_permissions(disk.join(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}

/// A data directory with the agent's files that it can't read: a key of another owner's, `identity.json` alone, the directory,
/// the folder above it, an I/O error; and Vault has no record, has the record, or there is no Vault.
///
/// Promise: no second key is made: without a record exit 64, naming the file and its owner; with one the agent
/// starts by it, and not a byte on the disk changes; without Vault exit 64.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_absent() {
    for (number, closed) in CLOSED.iter().enumerate() {
        let names = names(&format!("Closed {number}"));
        let disk = tempfile::tempdir().unwrap();
        let alone = agent(disk.path()).named(AUTHOR, &names.name);
        alone.start().await.kill();
        alone.until_port_is_free().await;
        let before = fs::read(disk.path().join(".bindu/private.pem")).unwrap();
        let shut = closed.close(alone, disk.path());
        let ended = shut.output();
        assert!(ended.2.contains(closed.named), "{}: {}", closed.what, ended.2);
        assert_refused(ended, 64, &[]);
        // Vault is on, and has nothing of it.
        let with = shut.vault(bao().await);
        let (code, _, stderr) = with.output();
        assert_eq!(code, 64, "{}: {stderr}", closed.what);
        assert!(stderr.contains(closed.named), "{}: {stderr}", closed.what);
        if closed.path.is_some() {
            assert!(stderr.contains("belongs to uid "), "{}: {stderr}", closed.what);
        }
        assert!(bao().await.record(&names.keys_path()).await.is_none(), "{}: a second key", closed.what);
        // Vault has the record.
        let (record, key) = crate::new_record(&names);
        bao().await.put(&names.keys_path(), &record).await;
        let running = with.start().await;
        assert_eq!(public_key(&running.url, &names.did).await, key, "{}", closed.what);
        degraded(&running.url, "directory_not_writable").await;
        running.kill();
        closed.open(disk.path());
        let file =
            if closed.what == "its parent" { "volume/.bindu/private.pem" } else { ".bindu/private.pem" };
        assert_eq!(fs::read(disk.path().join(file)).unwrap(), before, "{}", closed.what);
    }
}

/// Two processes in one directory; with a store and without.
///
/// Promise: with a store both run, one writes, and the other takes over writing when the first ends; without one the
/// second gets exit 64.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_in_one_directory() {
    let names = names("Two");
    let disk = tempfile::tempdir().unwrap();
    let setup = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s");
    let first = setup.start().await;
    http::healthy(&first.url).await;
    let second = full(disk.path(), &names).await.set("BINDU_RECONCILE_INTERVAL", "1s").start().await;
    degraded(&second.url, "directory_not_writable").await;
    first.kill();
    http::healthy(&second.url).await;
    is_one(&names).await;
    let alone = tempfile::tempdir().unwrap();
    let first = agent(alone.path()).start().await;
    assert_refused(agent(alone.path()).output(), 64, &["in use", "BINDU_DATA_DIR"]);
    drop(first);
}
