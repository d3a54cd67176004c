//! strace: on the machine, else Debian's package unpacked into the cache.

use super::{installed, make_executable, run};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The `strace` program.
///
/// # Panics
/// Where it is not there, and Debian's package can't be had.
#[must_use]
pub fn strace() -> PathBuf {
    let mut on_path = Command::new("strace");
    on_path.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if on_path.status().is_ok_and(|status| status.success()) {
        return PathBuf::from("strace");
    }
    let place = installed("strace", "downloading strace from Debian", |to| {
        run(Command::new("apt-get").current_dir(to).args(["download", "strace", "libunwind8"]));
        for entry in fs::read_dir(to).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(to));
            }
        }
        let script = "#!/bin/sh\nhere=$(dirname \"$0\")\nlibraries=$(echo \"$here\"/usr/lib/*-linux-gnu)\n\
                      LD_LIBRARY_PATH=$libraries exec \"$here/usr/bin/strace\" \"$@\"\n";
        fs::write(to.join("strace"), script).expect("a file in the cache");
        make_executable(&to.join("strace"));
    });
    place.join("strace")
}
