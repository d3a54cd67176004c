//! `cargo xtask fuzz`: each parser of outside bytes, for a while, from the corpus of its earlier runs.

use std::{path::Path, process::Command};

/// The targets, in `fuzz/fuzz_targets`.
const TARGETS: [&str; 12] = [
    "request",
    "dialect_v1",
    "dialect_v03",
    "dialect_bindu",
    "rest",
    "grpc",
    "signature",
    "token",
    "answer",
    "identity",
    "rotation",
    "settings",
];

/// No input is worth more bytes; a record of Vault's is shorter.
const LONGEST_INPUT: u32 = 4096;

/// Runs every target for so many seconds; whether none has found anything.
pub(crate) fn run(seconds: u64) -> bool {
    let cargo_fuzz = bindu_testkit::install::cargo_fuzz();
    let fuzz = bindu_testkit::install::source_tree().join("fuzz");
    let cache = bindu_testkit::install::cache().join("fuzz");
    TARGETS.iter().all(|target| {
        let corpus = cache.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).expect("the cache can be written");
        // Without a sanitizer, which needs a nightly compiler: there is no unsafe code of ours that it could look at.
        // The stable compiler takes all that is left but `--cfg fuzzing`, which cargo-fuzz adds.
        let status = command(&cargo_fuzz)
            .args(["run", "--sanitizer", "none", "--fuzz-dir"])
            .arg(&fuzz)
            .args(["--target-dir"])
            .arg(cache.join("target"))
            .arg(target)
            .arg(&corpus)
            .arg("--")
            .args([format!("-max_total_time={seconds}"), format!("-max_len={LONGEST_INPUT}")])
            .args(["-timeout=5", "-rss_limit_mb=2048", "-verbosity=0"])
            .status();
        let good = status.is_ok_and(|status| status.success());
        println!("   fuzz {target}: {}", if good { "nothing found" } else { "FAILED: see the input above" });
        good
    })
}

fn command(path: &Path) -> Command {
    let mut command = crate::program(path);
    command.arg("fuzz");
    command
}
