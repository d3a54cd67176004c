//! Free ports.

use std::net::TcpListener;

/// Below the range from which the kernel draws ports for outgoing connections, so that none is taken in between.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port that is free, as is the next one (OpenBao takes both).
pub(crate) fn free_pair() -> u16 {
    for _ in 0..200 {
        let port = rand::random_range(RANGE) & !1;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
    panic!("no two free ports next to each other in {RANGE:?}");
}
