//! A wire to a port: it can be cut, and moved to another port, as an address of a service is in a failover; and it can lose the
//! answer to a commit of PostgreSQL's.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// `COMMIT`, as a client of PostgreSQL asks for it in one message, and as the server answers it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// Passes on connections. It ends with the runtime.
pub struct Wire {
    /// Where it listens.
    pub port: u16,
    to: Arc<AtomicU16>,
    cuts: watch::Sender<u64>,
    commits: Arc<Commits>,
}

/// What is done to commits.
#[derive(Default)]
struct Commits {
    /// How many answers are still to be lost.
    to_lose: AtomicUsize,
    lost: AtomicUsize,
    /// Whether new connections are refused after the next one.
    takes_server: AtomicBool,
    refuses: AtomicBool,
}

impl Wire {
    /// A wire to a port of this machine.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, _) = watch::channel(0);
        let to = Arc::new(AtomicU16::new(to));
        let commits = Arc::new(Commits::default());
        let (told, target, script) = (cuts.clone(), Arc::clone(&to), Arc::clone(&commits));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut cut, port) = (told.subscribe(), target.load(Ordering::SeqCst));
                let (commits, all) = (Arc::clone(&script), told.clone());
                tokio::spawn(async move {
                    if commits.refuses.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    // Dropped in the middle of whatever was on its way.
                    tokio::select! {
                        () = pass(near, far, &commits) => {}
                        _ = cut.changed() => {}
                    }
                    if commits.refuses.load(Ordering::SeqCst) {
                        all.send_modify(|cuts| *cuts += 1);
                    }
                });
            }
        });
        Self { port, to, cuts, commits }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// New connections go there; the others are cut.
    pub fn move_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
        self.commits.refuses.store(false, Ordering::SeqCst);
        self.cut();
    }

    /// The next so many commits are done by the server, and their connections are cut in place of the answers.
    pub fn lose_commits(&self, count: usize) {
        self.commits.to_lose.store(count, Ordering::SeqCst);
    }

    /// As [`Wire::lose_commits`], and from then on nobody listens where it leads to.
    pub fn lose_commit_and_server(&self) {
        self.commits.takes_server.store(true, Ordering::SeqCst);
        self.lose_commits(1);
    }

    /// The port that it leads to.
    #[must_use]
    pub fn target(&self) -> u16 {
        self.to.load(Ordering::SeqCst)
    }

    /// How many answers to commits were lost, each after the server had said that it is committed.
    #[must_use]
    pub fn commits_lost(&self) -> usize {
        self.commits.lost.load(Ordering::SeqCst)
    }
}

/// Passes bytes on, until one of both ends, or until the answer to a commit is lost.
async fn pass(mut near: TcpStream, mut far: TcpStream, commits: &Commits) {
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let is_losing = AtomicBool::new(false);
    let questions = async {
        let mut asked = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_near.read(&mut asked).await {
            let is_commit = asked[..read].windows(COMMIT.len()).any(|some| some == COMMIT);
            let one_less = |left: usize| left.checked_sub(1);
            let to_lose = &commits.to_lose;
            if is_commit && to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                is_losing.store(true, Ordering::SeqCst);
            }
            if to_far.write_all(&asked[..read]).await.is_err() {
                return;
            }
        }
    };
    let answers = async {
        let mut answer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_far.read(&mut answer).await {
            if is_losing.load(Ordering::SeqCst) {
                let is_committed = answer[..read].windows(COMMITTED.len()).any(|some| some == COMMITTED);
                if commits.takes_server.swap(false, Ordering::SeqCst) {
                    commits.refuses.store(true, Ordering::SeqCst);
                }
                commits.lost.fetch_add(usize::from(is_committed), Ordering::SeqCst);
                return;
            }
            if to_near.write_all(&answer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = questions => {}
        () = answers => {}
    }
}
