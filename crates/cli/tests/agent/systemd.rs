//! What systemd is told: nothing before the agent listens, that it lives, that it ends.

use crate::{AUTHOR, agent, bao};
use bindu_testkit::http;
use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

fn socket(directory: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(directory.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// The next thing that is told.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("something is told");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_when_it_listens_lives_and_ends() {
    let disk = tempfile::tempdir().unwrap();
    let socket = socket(disk.path());
    let path = disk.path().join("notify").display().to_string();
    let setup = agent(disk.path()).set("NOTIFY_SOCKET", path).set("WATCHDOG_USEC", "200000");
    let mut agent = setup.spawn();
    assert!(told(&socket).contains("STATUS=looking for its identity"));
    let ready = told(&socket);
    assert!(ready.contains("READY=1") && ready.contains("STATUS=serving did:bindu:"), "{ready}");
    assert_eq!(http::get(&format!("{}/readyz", agent.url)).await.0, 200, "it is ready when it says so");
    for _ in 0..3 {
        assert_eq!(told(&socket).trim(), "WATCHDOG=1");
    }
    assert!(agent.terminate().success());
    let mut last = told(&socket);
    while last.trim() == "WATCHDOG=1" {
        last = told(&socket);
    }
    assert!(last.contains("STOPPING=1"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_is_never_ready() {
    let disk = tempfile::tempdir().unwrap();
    let socket = socket(disk.path());
    let path = disk.path().join("notify").display().to_string();
    let setup = agent(disk.path()).named(AUTHOR, "Never Ready").vault(bao().await);
    let (code, ..) = setup.set("BINDU_ON_ABSENT", "refuse").set("NOTIFY_SOCKET", path).output();
    assert_eq!(code, 1);
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1024];
    while let Ok(length) = socket.recv(&mut buffer) {
        assert!(!String::from_utf8_lossy(&buffer[..length]).contains("READY"));
    }
}
