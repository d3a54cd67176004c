//! Free ports.

use std::{
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range from which the kernel draws ports for outgoing connections, so that none is taken in between.
const FIRST: u16 = 15_000;
const PAIRS: u16 = 8_500;

/// One after the other, from a place of this process's own: who is given a port may bind it much later, or once more
/// after a crash, and must find nobody else there.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(0..PAIRS)));

/// A port that is free, as is the next one (OpenBao takes both).
pub(crate) fn free_pair() -> u16 {
    for _ in 0..200 {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % PAIRS * 2;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports next to each other from {FIRST} on");
}
