//! Secrets of push configurations: sealed in the database, opened for their owner and for a delivery, sealed again after a
//! rotation.

use crate::{
    contract::{id, key, message, owner, submission, working},
    places::{self, eventually},
};
use bindu_a2a::call::{PushAuthentication, PushConfig};
use bindu_identity::{
    SigningKey,
    sealed::{self, SealingKey},
};
use bindu_tasks::{
    Owner, PostgresOptions, PostgresStore, Pushed, Sealer, SqliteOptions, SqliteStore, Submission, TaskStore,
};
use sqlx::Row as _;
use std::sync::{Arc, Mutex, PoisonError};

const TOKEN: &str = "a-token-that-nobody-else-reads";
const CREDENTIALS: &str = "credentials-that-nobody-else-reads";

/// A ring of keys by their seeds, the current one first.
struct Ring(Mutex<Vec<u8>>);

impl Ring {
    fn of(seeds: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(seeds.to_vec())))
    }

    fn turn(&self, seeds: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seeds.to_vec();
    }

    fn keys(&self) -> Vec<SealingKey> {
        let seeds = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seeds.iter().map(|seed| SealingKey::of(&SigningKey::from_seed(&[*seed; 32]))).collect()
    }
}

impl Sealer for Ring {
    fn seal(&self, place: &str, secret: &str) -> Option<String> {
        sealed::seal(&self.keys()[0], place, secret).ok()
    }

    fn open(&self, place: &str, text: &str) -> Option<String> {
        sealed::open(&self.keys(), place, text).ok().map(|secret| secret.to_string())
    }

    fn is_current(&self, text: &str) -> bool {
        sealed::is_sealed_with(&self.keys()[0], text)
    }

    fn current(&self) -> String {
        self.keys()[0].thumbprint().to_owned()
    }
}

/// A database, of which stores can be opened, and read as an administrator reads it.
enum Database {
    File(SqliteOptions, tempfile::TempDir),
    Server(PostgresOptions),
}

impl Database {
    fn all() -> [Self; 2] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = places::sqlite_options(&directory);
        let server = places::postgres_options(places::shared_postgres(), &places::did());
        [Self::File(file, directory), Self::Server(server)]
    }

    async fn open(&self, sealer: Option<&Arc<Ring>>) -> Arc<dyn TaskStore> {
        let sealer = sealer.map(|ring| Arc::clone(ring) as Arc<dyn Sealer>);
        match self {
            Self::File(options, _) => {
                let options = SqliteOptions { sealer, ..options.clone() };
                Arc::new(SqliteStore::open(options).await.expect("a file"))
            }
            Self::Server(options) => {
                let options = PostgresOptions { sealer, ..options.clone() };
                Arc::new(PostgresStore::open(options).expect("a URL"))
            }
        }
    }

    /// All that a dump has of push configurations; of a file, all of its bytes and of those beside it.
    async fn dump(&self) -> String {
        match self {
            Self::File(options, directory) => {
                let entries = std::fs::read_dir(directory.path()).expect("a directory");
                let files = entries.map(|entry| std::fs::read(entry.expect("an entry").path()));
                let bytes: Vec<u8> = files.flat_map(|file| file.expect("a file")).collect();
                assert!(options.path.exists());
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Server(_) => self.rows("SELECT * FROM {s}bindu_pushes").await,
        }
    }

    /// The rows of a statement, as text.
    async fn rows(&self, statement: &str) -> String {
        let (mut texts, statement) = (Vec::new(), statement.replace("{s}", &self.schema()));
        match self {
            Self::File(options, _) => {
                let url = format!("sqlite:{}", options.path.display());
                let pool = sqlx::SqlitePool::connect(&url).await.expect("a file");
                for row in sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(&pool).await.expect("rows") {
                    texts.extend((0..row.columns().len()).map(|at| row.try_get::<String, _>(at)));
                }
                pool.close().await;
            }
            Self::Server(options) => {
                let pool = sqlx::PgPool::connect(&options.url).await.expect("a server");
                for row in sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(&pool).await.expect("rows") {
                    let columns = row.columns().iter().map(sqlx::Column::ordinal);
                    texts.extend(columns.map(|at| row.try_get::<String, _>(at)));
                }
                pool.close().await;
            }
        }
        texts.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    fn schema(&self) -> String {
        match self {
            Self::File(..) => String::new(),
            Self::Server(options) => format!("\"{}\".", bindu_tasks::schema_of(&options.did)),
        }
    }

    /// The configurations, as they are stored.
    async fn stored(&self) -> String {
        self.rows("SELECT config FROM {s}bindu_pushes").await
    }
}

fn config(id: &str) -> PushConfig {
    PushConfig {
        dialect: bindu_a2a::Dialect::V1,
        id: id.to_owned(),
        task_id: String::new(),
        url: "https://hook.example/".to_owned(),
        token: Some(TOKEN.to_owned()),
        authentication: Some(PushAuthentication {
            scheme: "Bearer".to_owned(),
            credentials: Some(CREDENTIALS.to_owned()),
        }),
    }
}

fn is_clear(text: &str) -> bool {
    text.contains(TOKEN) || text.contains(CREDENTIALS)
}

/// A task with a receiver from its first message on, and another one; something is due to both.
async fn task_with_receivers(store: &dyn TaskStore, of: &Owner, task: &str) {
    let first = submission(of, message(task, "c", "hi"));
    let run = store.submit(Submission { push: Some(config("p")), ..first }).await.expect("taken").run;
    store.put_push(&key(of, task), config("q")).await.expect("set");
    store.append(&run.expect("a run"), vec![working()]).await.expect("told");
}

async fn due(store: &dyn TaskStore) -> Vec<Pushed> {
    let mut due = store.due_pushes(10).await.expect("asked");
    due.sort_by(|one, other| one.config.id.cmp(&other.config.id));
    due
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_shows_no_secret_and_its_owner_and_its_receiver_get_it() {
    for database in Database::all() {
        let (of, task, ring) = (owner("alice"), id(), Ring::of(&[1]));
        let store = database.open(Some(&ring)).await;
        task_with_receivers(&*store, &of, &task).await;
        assert_eq!(store.pushes(&key(&of, &task)).await, Ok(vec![config("p"), config("q")]));
        let due = due(&*store).await;
        assert_eq!(due.iter().map(|pushed| &pushed.config).collect::<Vec<_>>(), [&config("p"), &config("q")]);
        assert!(due.iter().all(|pushed| pushed.is_open));
        let dump = database.dump().await;
        assert!(dump.contains("https://hook.example/") && dump.contains("sealed:v1:"), "it is a dump");
        assert!(!is_clear(&dump), "{dump}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_seals_again_and_the_old_key_can_go() {
    for database in Database::all() {
        let (of, task, ring) = (owner("alice"), id(), Ring::of(&[1]));
        let store = database.open(Some(&ring)).await;
        task_with_receivers(&*store, &of, &task).await;
        let before = database.stored().await;
        ring.turn(&[2, 1]);
        let new = SealingKey::of(&SigningKey::from_seed(&[2; 32])).thumbprint().to_owned();
        eventually("all is sealed with the new key", async || {
            let stored = database.stored().await;
            (stored.matches(&new).count() == 4).then_some(())
        })
        .await;
        assert!(!before.contains(&new));
        // The old key has ended.
        ring.turn(&[2]);
        drop(store);
        let store = database.open(Some(&ring)).await;
        assert_eq!(store.pushes(&key(&of, &task)).await, Ok(vec![config("p"), config("q")]));
        let due = due(&*store).await;
        assert!(due.len() == 2 && due.iter().all(|pushed| pushed.is_open), "{due:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_version_before_has_left_in_clear_is_used_and_sealed() {
    for database in Database::all() {
        let (of, task, ring) = (owner("alice"), id(), Ring::of(&[1]));
        let store = database.open(None).await;
        task_with_receivers(&*store, &of, &task).await;
        assert!(is_clear(&database.stored().await), "as the version before has written it");
        drop(store);
        let store = database.open(Some(&ring)).await;
        assert_eq!(store.pushes(&key(&of, &task)).await, Ok(vec![config("p"), config("q")]));
        eventually("it is sealed", async || (!is_clear(&database.stored().await)).then_some(())).await;
        assert_eq!(store.pushes(&key(&of, &task)).await, Ok(vec![config("p"), config("q")]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_comes_without_its_secrets_and_holds_up_no_other() {
    for database in Database::all() {
        let (of, task) = (owner("alice"), id());
        let store = database.open(Some(&Ring::of(&[1]))).await;
        task_with_receivers(&*store, &of, &task).await;
        drop(store);
        let ring = Ring::of(&[9]);
        let store = database.open(Some(&ring)).await;
        let other = id();
        task_with_receivers(&*store, &owner("bob"), &other).await;
        let read = store.pushes(&key(&of, &task)).await.expect("there");
        let bare = |config: &PushConfig| {
            let authentication = config.authentication.as_ref().expect("its scheme");
            config.token.is_none() && authentication.credentials.is_none()
        };
        assert!(read.len() == 2 && read.iter().all(bare), "{read:?}");
        let due = due(&*store).await;
        let opened = |of: &Owner| due.iter().filter(|due| due.is_open && due.task.owner == *of).count();
        assert_eq!((due.len(), opened(&of), opened(&owner("bob"))), (4, 0, 2));
        assert!(due.iter().all(|pushed| pushed.is_open || bare(&pushed.config)));
        // It stays as it was stored, for whoever has the key; its owner can set it again.
        store.put_push(&key(&of, &task), config("p")).await.expect("set");
        assert_eq!(store.pushes(&key(&of, &task)).await.expect("there")[0], config("p"));
        ring.turn(&[9, 1]);
        assert_eq!(store.pushes(&key(&of, &task)).await, Ok(vec![config("p"), config("q")]));
    }
}

/// One of two configurations that is moved below the other's task is not opened, and one that no version reads holds up
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_or_damaged_in_the_database_is_not_used() {
    let [Database::File(options, directory), _] = Database::all() else { return };
    let database = Database::File(options, directory);
    let (of, thief, task, stolen) = (owner("alice"), owner("mallory"), id(), id());
    let store = database.open(Some(&Ring::of(&[1]))).await;
    task_with_receivers(&*store, &of, &task).await;
    task_with_receivers(&*store, &thief, &stolen).await;
    let change =
        "UPDATE bindu_pushes SET config = (SELECT config FROM bindu_pushes AS other WHERE other.task = 1
        AND other.id = 'p') WHERE task = 2 AND id = 'p' RETURNING 'moved'";
    assert_eq!(database.rows(change).await, "moved");
    let damage =
        "UPDATE bindu_pushes SET config = '{\"v\": 99}' WHERE task = 2 AND id = 'q' RETURNING 'damaged'";
    assert_eq!(database.rows(damage).await, "damaged");
    let due = due(&*store).await;
    let of_thief: Vec<_> = due.iter().filter(|pushed| pushed.task.owner == thief).collect();
    assert!(
        of_thief.len() == 1 && !of_thief[0].is_open && of_thief[0].config.token.is_none(),
        "{of_thief:?}"
    );
    assert_eq!(due.iter().filter(|pushed| pushed.is_open && pushed.task.owner == of).count(), 2);
}

/// A process that was killed while it delivered has claimed for a minute what nobody else delivers.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_alone_delivers_at_once_what_another_had_claimed() {
    let [Database::File(options, directory), _] = Database::all() else { return };
    let database = Database::File(SqliteOptions { is_alone: true, ..options }, directory);
    let (of, task, ring) = (owner("alice"), id(), Ring::of(&[1]));
    let store = database.open(Some(&ring)).await;
    task_with_receivers(&*store, &of, &task).await;
    assert_eq!(due(&*store).await.len(), 2);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
    store.note_push(&key(&of, &task), "q", Err(later)).await.expect("noted");
    assert_eq!(due(&*store).await.len(), 0);
    drop(store);
    let store = database.open(Some(&ring)).await;
    let due: Vec<_> = due(&*store).await.into_iter().map(|pushed| pushed.config.id).collect();
    assert_eq!(due, ["p"], "not the one that waits after a failure");
}
