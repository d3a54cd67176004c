//! Free ports.

use std::{
    fs::{self, File},
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range from which the kernel draws ports for outgoing connections, so that none is taken in between.
const FIRST: u16 = 15_000;
/// How many pairs of ports one test run has for itself, and how many runs at once there can be on a machine.
const PAIRS: u16 = 850;
const RUNS: u16 = 10;

/// The part of the range that is this process's own. The kernel lets go of the lock when the process dies.
static OWN: LazyLock<(u16, Option<File>)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("bindu-test-ports");
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    let lock = |run: u16| {
        let file = File::create(folder.join(run.to_string())).ok()?;
        file.try_lock().ok()?;
        Some((run, Some(file)))
    };
    (0..RUNS).find_map(lock).unwrap_or((0, None))
});

/// One after the other: who is given a port may bind it much later, or once more after a crash, and must find nobody else
/// there.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that is free, as is the next one (OpenBao takes both).
pub(crate) fn free_pair() -> u16 {
    for _ in 0..PAIRS {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed) % PAIRS;
        let port = FIRST + (OWN.0 * PAIRS + nth) * 2;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports next to each other from {FIRST} on");
}
