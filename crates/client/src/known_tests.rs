use super::*;
use bindu_identity::{DerivedKey, NewRotation, SigningKey};
use serde_json::json;
use std::sync::Barrier;

/// 2026-11-26T08:00:00Z, and the end of every overlap of these tests.
const AT: i64 = 1_795_680_000;
const UNTIL: i64 = AT + 7 * 24 * 3600;

const URL: &str = "https://a.example";

fn did(name: &str) -> Did {
    format!("did:bindu:a:{name}").parse().expect("a DID")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn first(name: &str, number: u8) -> Known {
    Known::new(did(name), key(number).public_key(), &[], AT)
}

/// The rotations through these keys, newest first.
fn line(keys: &[u8]) -> Vec<RotationStatement> {
    let mut line: Vec<RotationStatement> = Vec::new();
    for (pair, generation) in keys.windows(2).zip(1..) {
        let next = RotationStatement::sign(&NewRotation {
            did: &did("b"),
            from: &key(pair[0]),
            to: key(pair[1]).public_key(),
            to_second: DerivedKey::of(&key(pair[1])).public_key(),
            generation,
            prev: line.first(),
            at: &rotation::utc(AT).expect("a time"),
            until: &rotation::utc(UNTIL).expect("a time"),
        });
        line.insert(0, next);
    }
    line
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("known_agents.json")
    }

    /// As another process would.
    fn open(&self) -> KnownAgents {
        KnownAgents::in_file(self.file())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).expect("the file is there")).expect("JSON")
    }
}

async fn is_done(known: &KnownAgents, url: &str, expected: Option<&Known>, new: &Known) -> bool {
    matches!(known.replace(url, expected, new).await.expect("usable"), Replaced::Done)
}

#[tokio::test]
async fn an_entry_changes_from_what_is_expected_only() {
    let disk = Disk::new();
    for known in [disk.open(), KnownAgents::default()] {
        let (one, other) = (first("b", 1), first("b", 2));
        assert_eq!(known.of(URL).await.expect("usable"), None);
        assert!(is_done(&known, URL, None, &one).await);
        match known.replace(URL, None, &other).await.expect("usable") {
            Replaced::Other(found) => assert_eq!(*found, Some(one.clone())),
            Replaced::Done => panic!("the first is gone"),
        }
        assert_eq!(known.of(URL).await.expect("usable"), Some(one.clone()));
        assert!(is_done(&known, URL, Some(&one), &other).await);
        assert_eq!(known.of(URL).await.expect("usable"), Some(other));
    }
    // What 0.2.0 writes, and reads.
    let want = json!({ URL: {"did": "did:bindu:a:b", "public_key": key(2).public_key()} });
    assert_eq!(disk.json(), want);
}

/// Each with a handle of its own, as processes have. All at once, many times: none may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_first_calls_at_once_each_is_remembered() {
    const AT_ONCE: usize = 8;
    let disk = Disk::new();
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(AT_ONCE));
        let calls = (0..AT_ONCE).map(|number| {
            let (known, barrier) = (disk.open(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let (url, entry) = (format!("https://{round}-{number}.example"), first("b", 1));
                tokio::task::block_in_place(|| barrier.wait());
                is_done(&known, &url, None, &entry).await
            })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(call.await.expect("it ends"));
        }
        assert_eq!(disk.json().as_object().map(Map::len), Some(AT_ONCE * (round + 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_many_keys_at_once_one_is_the_first() {
    let disk = Disk::new();
    let calls = (1..=8).map(|number| {
        let known = disk.open();
        tokio::spawn(async move { is_done(&known, URL, None, &first("b", number)).await })
    });
    let mut done = 0;
    for call in calls.collect::<Vec<_>>() {
        done += usize::from(call.await.expect("it ends"));
    }
    assert_eq!(done, 1);
}

#[tokio::test]
async fn what_is_taken_out_of_the_file_is_forgotten() {
    let (disk, stays) = (Disk::new(), "https://stays.example");
    let known = disk.open();
    assert!(is_done(&known, URL, None, &first("b", 1)).await);
    assert!(is_done(&known, stays, None, &first("c", 1)).await);
    let mut edited = disk.json();
    edited.as_object_mut().expect("an object").remove(URL);
    edited[stays]["note"] = json!("ours");
    std::fs::write(disk.file(), edited.to_string()).expect("writable");
    assert_eq!(known.of(URL).await.expect("usable"), None);
    assert!(is_done(&known, "https://new.example", None, &first("d", 1)).await);
    let entries = disk.json();
    assert!(entries.get(URL).is_none(), "it has not come back");
    assert_eq!(entries[stays]["note"], "ours", "other entries stay as they are");
}

#[tokio::test]
async fn a_file_that_cannot_be_trusted_is_trusted_for_nothing() {
    let entry = json!({"did": "did:bindu:a:b", "public_key": "not a key"});
    let odd = ["[]".to_owned(), String::new(), "{".to_owned(), json!({ URL: entry }).to_string()];
    for content in odd {
        let disk = Disk::new();
        std::fs::write(disk.file(), &content).expect("writable");
        let known = disk.open();
        assert!(known.of(URL).await.is_err(), "{content}");
        assert!(known.replace(URL, None, &first("b", 1)).await.is_err(), "{content}");
        assert_eq!(std::fs::read_to_string(disk.file()).expect("readable"), content, "as it was");
    }
    let disk = Disk::new();
    std::fs::write(disk.0.path().join("elsewhere"), "{}").expect("writable");
    std::os::unix::fs::symlink(disk.0.path().join("elsewhere"), disk.file()).expect("a link");
    assert!(disk.open().of(URL).await.is_err(), "a link");
    let disk = Disk::new();
    File::create(disk.file()).and_then(|file| file.set_len(MOST_BYTES + 1)).expect("a sparse file");
    assert!(disk.open().of(URL).await.is_err(), "too large");
}

#[tokio::test]
async fn what_cannot_be_written_counts_in_this_process() {
    let disk = Disk::new();
    let missing = disk.0.path().join("missing");
    let known = KnownAgents::in_file(missing.join("known_agents.json"));
    let (one, other) = (first("b", 1), Known::new(did("b"), key(2).public_key(), &line(&[1, 2]), AT));
    assert!(is_done(&known, URL, None, &one).await);
    assert_eq!(known.of(URL).await.expect("usable"), Some(one.clone()));
    // Another process can; the newer one of the two counts.
    std::fs::create_dir(&missing).expect("writable");
    let elsewhere = KnownAgents::in_file(missing.join("known_agents.json"));
    assert!(is_done(&elsewhere, URL, None, &other).await);
    assert_eq!(known.of(URL).await.expect("usable"), Some(other));
}

#[tokio::test]
async fn the_number_of_agents_is_bounded_and_none_is_pushed_out() {
    let disk = Disk::new();
    let entry = serde_json::to_value(first("b", 1)).expect("serialises");
    let many: Map<String, Value> =
        (0..MOST_AGENTS).map(|number| (format!("https://{number}.example"), entry.clone())).collect();
    std::fs::write(disk.file(), Value::Object(many).to_string()).expect("writable");
    let known = disk.open();
    assert!(is_done(&known, URL, None, &first("b", 1)).await, "the call goes on");
    assert_eq!(known.of(URL).await.expect("usable"), None, "it is not remembered");
    assert!(is_done(&known, "https://7.example", Some(&first("b", 1)), &first("b", 2)).await);
    assert_eq!(known.of("https://7.example").await.expect("usable"), Some(first("b", 2)));
    assert_eq!(disk.json().as_object().map(Map::len), Some(MOST_AGENTS));
    let long = format!("https://{}.example", "a".repeat(LONGEST_NAME));
    assert!(known.replace(&long, None, &first("b", 1)).await.is_err());
}

/// While another process holds the lock, this one's only runtime thread goes on with other things.
#[tokio::test]
async fn no_runtime_thread_waits_for_the_disk() {
    let disk = Disk::new();
    let held = lock(&disk.file()).expect("the lock");
    let (known, entry) = (disk.open(), first("b", 1));
    let mut change = std::pin::pin!(known.replace(URL, None, &entry));
    tokio::select! {
        biased;
        done = &mut change => panic!("it has not waited for the lock: {done:?}"),
        () = tokio::task::yield_now() => {}
    }
    drop(held);
    assert!(matches!(change.await.expect("usable"), Replaced::Done));
}

#[test]
fn an_old_key_is_remembered_as_long_as_it_counts() {
    let known = Known::new(did("b"), key(3).public_key(), &line(&[1, 2, 3]), AT);
    assert_eq!(known.generation, 2);
    assert_eq!(known.keys(AT), [3, 2, 1].map(|number| key(number).public_key()));
    assert_eq!(known.keys(UNTIL), [key(3).public_key()]);
    let text = serde_json::to_string(&known).expect("serialises");
    assert_eq!(serde_json::from_str::<Known>(&text).expect("reads"), known);
    // It has changed by a hand that is not the agent's.
    let forged = text.replace(&line(&[1, 2, 3])[0].until, &rotation::utc(UNTIL + 1).expect("a time"));
    assert_eq!(serde_json::from_str::<Known>(&forged).expect("reads").keys(UNTIL), [key(3).public_key()]);
    let late = Known::new(did("b"), key(3).public_key(), &line(&[1, 2, 3]), UNTIL);
    assert_eq!((late.generation, late.rotations.len()), (2, 0));
}
