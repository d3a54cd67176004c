//! `cargo xtask bench memory`: by how much the peak memory of the agent grows while callers send bodies of every shape, read, and
//! leave answers unread; beside the bound, which is four times the accepted bytes and 32 MiB.

use super::AUTHOR;
use bindu_testkit::{AgentSetup, Hydra, caller::TestCaller, memory};
use std::sync::Arc;

pub(super) async fn run() -> bool {
    let binary = crate::release_binary();
    let hydra = Hydra::start().await;
    println!(
        "growth of VmHWM since the start, each case on a program of its own; bound: 4 x accepted + 32 MiB"
    );
    let mut are_all_bounded = true;
    for storage in ["memory", "sqlite"] {
        for is_known in [false, true] {
            println!("\nstorage {storage}, authentication {}", if is_known { "on" } else { "off" });
            let disk = tempfile::tempdir().expect("a directory");
            let name = format!("Memory {storage}");
            let setup = AgentSetup::new(&binary, disk.path()).named(AUTHOR, &name);
            let mut setup = setup.set("STORAGE_TYPE", storage).set("RUST_LOG", "warn");
            let mut caller = None;
            if is_known {
                setup = setup.set_all(hydra.environment());
                let id = format!("did:bindu:bench:memory:{storage}");
                caller = Some(Arc::new(TestCaller::new(&hydra, &id).await));
            }
            for cost in memory::costs(&setup, caller).await {
                println!("{cost}{}", if cost.is_bounded() { "" } else { "   TOO MUCH" });
                are_all_bounded &= cost.is_bounded();
            }
        }
    }
    are_all_bounded
}
