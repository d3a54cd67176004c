//! `cargo xtask soak`: the races and kills of the fault suite, many times over; or everything outside at once, for ten
//! minutes; or replicas and databases of tasks.

use std::{path::Path, time::Instant};

/// The tests, and what each does (for those that read `BINDU_SOAK_REPEAT`: per repeat).
const TESTS: [(&str, &str); 9] = [
    ("races::fifty_replicas_race", "50 replicas with empty disks at once, 20 ms away from Vault and Hydra"),
    ("races::a_storm_of_starts", "1,000 warm starts in all, 20 at once, a tenth of them without a disk"),
    ("kills::killed_at_each_system_call", "kill -9 at each system call of seven kinds of start"),
    (
        "kills::a_rotating_command_killed_at_each_system_call",
        "kill -9 at each system call of `identity rotate`",
    ),
    (
        "kills::a_withdrawal_killed_at_each_system_call",
        "kill -9 at each system call of `identity rotate --compromised`",
    ),
    (
        "kills::a_rotation_without_a_store_killed_at_each_system_call",
        "kill -9 at each call on the data directory during a rotation",
    ),
    ("kills::killed_at_random", "50 agents killed up to three times each at random moments"),
    (
        "load::a_rotation_under_load",
        "10,000 signed calls in all while a key is rotated and undone, and each of three replicas is killed",
    ),
    ("outages::a_standby_that_answers_late", "3 races of 10 replicas over both nodes of a raft cluster"),
];

/// How long `--outside` lasts, in seconds.
const OUTSIDE: &str = "600";

/// Logs, servers, programs and callers at their worst, for ten minutes; whether all went well.
pub(crate) fn outside() -> bool {
    bindu_testkit::install::all();
    is_good("outside::nothing_outside_silences_or_misleads_it", "BINDU_SOAK_OUTSIDE", OUTSIDE)
}

/// Replicas killed while they work, on databases that are restarted, judged by the history checker; and each system call of a
/// send. Whether all went well.
pub(crate) fn storage(kills: usize, restarts: usize) -> bool {
    bindu_testkit::install::all();
    let counts = [("BINDU_SOAK_KILLS", kills.to_string()), ("BINDU_SOAK_RESTARTS", restarts.to_string())];
    let mut all_good = true;
    for (test, variables) in [
        ("soak::replicas_and_databases_killed_at_random", counts.as_slice()),
        ("kills::a_send_killed_at_each_system_call", &[]),
        ("kills::a_send_to_a_shared_file_killed_at_each_system_call", &[]),
    ] {
        println!("== {test}");
        let begun = Instant::now();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let is_good = is_good_in("storage", test, &variables);
        all_good &= is_good;
        println!("== {test}: {} in {} s", if is_good { "good" } else { "FAILED" }, begun.elapsed().as_secs());
    }
    all_good
}

/// Runs one test of the fault suite with this variable.
fn is_good(test: &str, variable: &str, value: &str) -> bool {
    is_good_in("faults", test, &[(variable, value)])
}

/// Runs one test of the whole program with these variables.
fn is_good_in(suite: &str, test: &str, variables: &[(&str, &str)]) -> bool {
    let package = ["test", "--quiet", "--locked", "--package", "bindu-cli", "--test", suite];
    let mut command = crate::program(Path::new(env!("CARGO")));
    command.args(package).args([test, "--", "--exact", "--nocapture"]).envs(variables.iter().copied());
    command.status().is_ok_and(|status| status.success())
}

/// Runs all of them; whether all went well.
pub(crate) fn run(repeat: usize) -> bool {
    bindu_testkit::install::all();
    let mut all_good = true;
    let mut summary = Vec::new();
    for (test, what) in TESTS {
        println!("== {test}, {repeat} times");
        let begun = Instant::now();
        let is_good = is_good(test, "BINDU_SOAK_REPEAT", &repeat.to_string());
        all_good &= is_good;
        let outcome = if is_good { "good" } else { "FAILED" };
        summary.push(format!("{outcome:6} {test} x {repeat} ({what}): {} s", begun.elapsed().as_secs()));
    }
    println!("\n== soak");
    for line in summary {
        println!("{line}");
    }
    all_good
}
