use super::*;

fn did() -> Did {
    "did:bindu:a:b:c".parse().expect("a DID")
}

fn other() -> Did {
    "did:bindu:other:x:y".parse().expect("a DID")
}

fn open(path: &Path) -> Result<DataDirectory, DirectoryError> {
    DataDirectory::open(path, &did(), "c")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[test]
fn files_are_0600_and_the_directory_0700() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join(".bindu");
    fs::create_dir(&path).expect("a directory as Python Bindu makes it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    let directory = open(&path).expect("opens");
    directory.write_pair(&secret("private"), "public").expect("writes");
    directory.write_credentials(&did(), &Fields::default()).expect("writes");
    directory.write_identity(&IdentityFile::new(&did(), "c")).expect("writes");
    for file in RingFile::ALL {
        directory.write_ring_key(file, &secret("key")).expect("writes");
    }
    assert_eq!((mode(&path), mode(&path.join("keyring"))), (0o700, 0o700));
    let ring = ["keyring/next.pem", "keyring/previous.pem"];
    for name in [PRIVATE_KEY, PUBLIC_KEY, CREDENTIALS, IDENTITY, LOCK].iter().chain(&ring) {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
}

#[test]
fn looking_creates_nothing() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join(".bindu");
    let directory = DataDirectory::look(&path, &did(), "c");
    assert!(directory.pair().expect("readable").private_key.is_none());
    assert_eq!(directory.owner(&did()).expect("readable"), DirectoryOwner::Unknown);
    assert!(directory.write_public_key("x").is_err());
    assert!(directory.write_ring_key(RingFile::Next, &secret("x")).is_err());
    assert!(!path.exists());
}

#[test]
fn a_second_process_is_told_so() {
    let parent = tempfile::tempdir().expect("a directory");
    let _first = open(parent.path()).expect("opens");
    let second = open(parent.path()).expect_err("is locked");
    assert_eq!(second.kind, DirectoryErrorKind::InUse);
}

#[test]
fn the_owner_is_named_by_identity_or_credentials() {
    let parent = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| fs::write(parent.path().join(name), text).expect("writes");
    let directory = DataDirectory::look(parent.path(), &did(), "c");
    let owner = || directory.owner(&did()).expect("readable");
    assert_eq!(owner(), DirectoryOwner::Unknown);
    write(CREDENTIALS, serde_json::json!({other().as_str(): {}}).to_string());
    assert_eq!(owner(), DirectoryOwner::Another(other().to_string()));
    write(CREDENTIALS, serde_json::json!({other().as_str(): {}, did().as_str(): {}}).to_string());
    assert_eq!(owner(), DirectoryOwner::This);
    write(IDENTITY, IdentityFile::new(&other(), "y").to_text());
    assert_eq!(owner(), DirectoryOwner::Another(other().to_string()));
}

#[test]
fn nothing_of_another_agents_is_read_or_written() {
    let parent = tempfile::tempdir().expect("a directory");
    let theirs = DataDirectory::open(parent.path(), &other(), "y").expect("opens");
    theirs.write_pair(&secret("private"), "public").expect("writes");
    theirs.write_ring_key(RingFile::Next, &secret("next")).expect("writes");
    drop(theirs);
    let another = |result: Result<(), DirectoryError>, what: &str| {
        let kind = result.err().map(|error| error.kind);
        assert_eq!(kind, Some(DirectoryErrorKind::OfAnotherAgent), "{what}");
    };
    let ours = DataDirectory::look(parent.path(), &did(), "c");
    another(ours.open_again(), "open");
    another(ours.pair().map(drop), "pair");
    another(ours.identity().map(drop), "identity");
    another(ours.credentials(&did()).map(drop), "credentials");
    another(ours.ring_key(RingFile::Next).map(drop), "ring");
    assert!(!ours.is_open());
    let id = DataDirectory::remembered_agent_id(parent.path()).expect("readable");
    assert_eq!(id.as_deref(), Some("y"));
}

#[test]
fn a_fresh_directory_is_claimed_before_a_key_is_written() {
    type Write = fn(&DataDirectory) -> Result<(), DirectoryError>;
    let writes: [(&str, Write); 3] = [
        ("pair", |directory| directory.write_pair(&SecretString::from("private"), "public")),
        ("ring", |directory| directory.write_ring_key(RingFile::Next, &SecretString::from("next"))),
        ("credentials", |directory| directory.write_credentials(&did(), &Fields::default())),
    ];
    for (what, write) in writes {
        let parent = tempfile::tempdir().expect("a directory");
        let first = open(parent.path()).expect("opens");
        // Another agent that has looked at the fresh directory at the same moment, and could not get the lock.
        let second = DataDirectory::look(parent.path(), &other(), "y");
        assert_eq!(second.open_again().expect_err("is locked").kind, DirectoryErrorKind::InUse, "{what}");
        assert!(second.pair().expect("nothing is there").private_key.is_none(), "{what}");
        write(&first).expect("writes");
        let error = second.pair().expect_err("another agent's");
        assert_eq!(error.kind, DirectoryErrorKind::OfAnotherAgent, "{what}");
    }
}

#[test]
fn keys_that_nobody_has_claimed_are_one_agents_only() {
    let parent = tempfile::tempdir().expect("a directory");
    fs::write(parent.path().join(PRIVATE_KEY), "Python's").expect("writes");
    // Whoever only looks sees them.
    let looking = DataDirectory::look(parent.path(), &other(), "y");
    assert!(looking.pair().expect("readable").private_key.is_some());
    // Between the lock and the claim: a lock that an older version holds, which claims later.
    let lock = File::create(parent.path().join(LOCK)).expect("a lock");
    lock.lock().expect("nobody else has it");
    let second = DataDirectory::look(parent.path(), &other(), "y");
    assert_eq!(second.open_again().expect_err("is locked").kind, DirectoryErrorKind::InUse);
    assert_eq!(second.pair().expect_err("whose it will be").kind, DirectoryErrorKind::InUse);
    drop(lock);
    // Opening claims them.
    let first = open(parent.path()).expect("opens");
    assert!(first.pair().expect("ours").private_key.is_some());
    assert_eq!(second.pair().expect_err("another's").kind, DirectoryErrorKind::OfAnotherAgent);
}

#[test]
fn leftovers_of_a_crash_are_swept_and_empty_files_are_no_files() {
    let parent = tempfile::tempdir().expect("a directory");
    fs::create_dir(parent.path().join(ring::FOLDER)).expect("a folder");
    let leftovers = [".writing-abc", "keyring/.writing-0-next.pem"].map(|name| parent.path().join(name));
    for leftover in &leftovers {
        fs::write(leftover, "half").expect("writes");
    }
    fs::write(parent.path().join(PUBLIC_KEY), "").expect("writes");
    let directory = open(parent.path()).expect("opens");
    assert!(leftovers.iter().all(|leftover| !leftover.exists()));
    assert!(directory.pair().expect("readable").public_key.is_none());
}

#[test]
fn the_rings_files_come_and_go() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = open(parent.path()).expect("opens");
    let read = |file| directory.ring_key(file).expect("readable").map(|key| key.expose_secret().to_owned());
    assert_eq!(read(RingFile::Next), None);
    directory.remove_ring_key(RingFile::Next).expect("nothing is to be done");
    directory.write_ring_key(RingFile::Next, &secret("one")).expect("writes");
    directory.write_ring_key(RingFile::Next, &secret("two")).expect("writes");
    assert_eq!((read(RingFile::Next).as_deref(), read(RingFile::Previous)), (Some("two"), None));
    directory.remove_ring_key(RingFile::Next).expect("removes");
    assert_eq!(read(RingFile::Next), None);
}

#[test]
fn the_identity_file_keeps_what_it_does_not_know() {
    let parent = tempfile::tempdir().expect("a directory");
    let text = r#"{"format": 1, "did": "did:bindu:a:b:c", "agent_id": "c", "lineage": [1], "records": {"keys": {}}}"#;
    fs::write(parent.path().join(IDENTITY), text).expect("writes");
    let directory = open(parent.path()).expect("opens");
    let mut identity = directory.identity().expect("readable").expect("there");
    identity.provisional = true;
    // The records are the FileStore's.
    identity.records.clear();
    directory.write_identity(&identity).expect("writes");
    let after = directory.identity().expect("readable").expect("there");
    assert_eq!(after.further.get("lineage"), Some(&serde_json::json!([1])));
    assert!(after.provisional && after.records.contains_key("keys"));
    let shown = format!("{:?}", IdentityFile { public_key: Some("k".to_owned()), ..after });
    assert!(shown.contains("keys") && !shown.contains("[1]"), "{shown}");
}

#[test]
fn a_link_that_leads_nowhere_is_no_absence() {
    let parent = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink("/nowhere/volume", parent.path().join("link")).expect("a link");
    for below in ["link", "link/.bindu", "link/a/.bindu"] {
        let directory = DataDirectory::look(&parent.path().join(below), &did(), "c");
        let error = directory.pair().expect_err("it may be there");
        assert_eq!(error.kind, DirectoryErrorKind::Unreadable, "{below}");
    }
    fs::write(parent.path().join("file"), "").expect("a file");
    let directory = DataDirectory::look(&parent.path().join("file/.bindu"), &did(), "c");
    assert_eq!(directory.pair().expect_err("no folder").kind, DirectoryErrorKind::Unreadable);
}
