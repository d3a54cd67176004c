//! `cargo xtask test`: everything that must hold, one step after the other; the first that fails ends it.

use std::{path::Path, time::Instant};

/// Steps that a release needs, and not each commit.
const OF_A_RELEASE: [&str; 4] = ["the demo on a cluster", "fuzzing", "the release", "the image"];

/// A step: its name, its program, the arguments, the environment.
type Step<'a> = (&'a str, &'a Path, &'a [&'a str], &'a [(&'a str, &'a str)]);

/// Runs the steps of each commit, or all; whether all went well.
pub(crate) fn run(all: bool) -> bool {
    bindu_testkit::install::all();
    let deny = bindu_testkit::install::cargo_deny();
    let cargo = Path::new(env!("CARGO"));
    let stand_in = bindu_testkit::install::source_tree().join("testing/deny/cargo");
    let stand_in = stand_in.to_str().expect("a source tree with a path in UTF-8");
    let deny_environment = [("CARGO", stand_in), ("REAL_CARGO", env!("CARGO"))];
    let steps: [Step<'_>; 14] = [
        ("formatting", cargo, &["fmt", "--all", "--check"], &[]),
        (
            "licences, bans, sources",
            &deny,
            &["-L", "error", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"],
            &deny_environment,
        ),
        (
            "lints",
            cargo,
            &["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"],
            &[],
        ),
        (
            "documentation",
            cargo,
            &["doc", "--quiet", "--workspace", "--no-deps", "--locked"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
        ("tests", cargo, &["test", "--workspace", "--locked", "--no-fail-fast"], &[]),
        ("fuzzing", cargo, &["xtask", "fuzz"], &[]),
        ("examples", cargo, &["build", "--quiet", "--locked", "--package", "bindu", "--examples"], &[]),
        ("demo", cargo, &["xtask", "demo"], &[]),
        ("the demo on a cluster", cargo, &["xtask", "demo", "--cluster"], &[]),
        ("the README's quick start", cargo, &["xtask", "readme"], &[]),
        ("the manifests", cargo, &["xtask", "manifests"], &[]),
        ("the guides", cargo, &["xtask", "guides"], &[]),
        ("the release", cargo, &["xtask", "dist"], &[]),
        ("the image", cargo, &["xtask", "image"], &[]),
    ];
    for (name, program, arguments, environment) in steps {
        if !all && OF_A_RELEASE.contains(&name) {
            continue;
        }
        let begun = Instant::now();
        println!("== {name}");
        let status = crate::program(program).args(arguments).envs(environment.iter().copied()).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("== {name}: FAILED");
            return false;
        }
        println!("== {name}: good ({} s)", begun.elapsed().as_secs());
    }
    true
}
