//! `docs/faults.md`, made from the tests themselves: what a test's description says before `Promise:` is its case, what
//! stands behind it the promise that it keeps.

use crate::install::source_tree;
use std::{fmt::Write as _, fs, path::Path};

/// Where the tests are, and whether each of them must state a promise.
const SOURCES: [(&str, bool); 8] = [
    ("crates/bindu/src/run/tests", false),
    ("crates/cli/tests/faults", true),
    ("crates/cli/tests/storage", true),
    ("crates/cli/tests/agent", false),
    ("crates/keeper/tests/driver", false),
    ("crates/keeper/tests/model", false),
    ("crates/store/tests", false),
    ("crates/tasks/tests/stores", false),
];

const HEAD: &str = "# Faults: every case, its promise, and the test that keeps it

Made by `cargo xtask faults` from the tests' own descriptions; a test fails where this page and they differ. All of them run
in `cargo xtask test`, on a real OpenBao 2.7, a real Ory Hydra 2.3, a real PostgreSQL and the real Python Bindu; a scripted
proxy stands between where a server can't be made to show a fault. `cargo xtask soak --repeat N` runs races and kills N
times as long, `cargo xtask soak --outside` everything outside at its worst for ten minutes, `cargo xtask soak --storage`
kills 1,000 replicas and restarts their database 20 times.

";

/// The page as it should be.
///
/// # Panics
/// Where a source can't be read, or a test of the fault suite states no promise.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (folder, is_complete) in SOURCES {
        let mut files: Vec<_> = fs::read_dir(source_tree().join(folder))
            .expect("a folder of ours can be read")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect();
        files.sort();
        for file in files {
            section(&mut page, folder, &file, is_complete);
        }
    }
    page
}

/// Where the page is.
#[must_use]
pub fn path() -> std::path::PathBuf {
    source_tree().join("docs/faults.md")
}

fn section(page: &mut String, folder: &str, file: &Path, is_complete: bool) {
    let source = fs::read_to_string(file).expect("a source of ours can be read");
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let rows: Vec<_> = tests(&source)
        .into_iter()
        .filter_map(|(name, text)| match text.split_once("Promise:") {
            Some((case, promise)) => Some((name, case.trim().to_owned(), promise.trim().to_owned())),
            None => {
                assert!(!is_complete, "{folder}/{stem}.rs: `{name}` states no promise");
                None
            }
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let about = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let about = about.collect::<Vec<_>>().join(" ");
    let about = about.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let _ = writeln!(
        page,
        "## {about}\n\nIn `{folder}/{stem}.rs`.\n\n| case | promise | test |\n| --- | --- | --- |"
    );
    for (name, case, promise) in rows {
        let _ =
            writeln!(page, "| {} | {} | `{name}` |", case.replace('|', "\\|"), promise.replace('|', "\\|"));
    }
    page.push('\n');
}

/// Each test of a source with its description in one line.
fn tests(source: &str) -> Vec<(String, String)> {
    let (mut found, mut description, mut is_test) = (Vec::new(), Vec::new(), false);
    for line in source.lines() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            description.push(text.trim());
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[") {
        } else {
            let name =
                line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let (true, Some(name)) = (is_test, name) {
                found.push((name.to_owned(), description.join(" ")));
            }
            (description, is_test) = (Vec::new(), false);
        }
    }
    found
}
