//! Programs and libraries of Debian's that may be missing on a machine: unpacked into the cache, without any right.

use super::{installed, make_executable, run};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The `strace` program: the machine's, else Debian's.
///
/// # Panics
/// Where it is not there, and the package can't be had.
#[must_use]
pub fn strace() -> PathBuf {
    if is_on_the_path("strace", "--version") {
        return PathBuf::from("strace");
    }
    let place = installed("strace", "downloading strace from Debian", |to| {
        unpack(&["strace", "libunwind8"], to);
        let script = "#!/bin/sh\nhere=$(dirname \"$0\")\nlibraries=$(echo \"$here\"/usr/lib/*-linux-gnu)\n\
                      LD_LIBRARY_PATH=$libraries exec \"$here/usr/bin/strace\" \"$@\"\n";
        fs::write(to.join("strace"), script).expect("a file in the cache");
        make_executable(&to.join("strace"));
    });
    place.join("strace")
}

/// libfaketime, to be preloaded: the wall clock of one process jumps as a file says.
///
/// # Panics
/// Where the package can't be had.
#[must_use]
pub fn libfaketime() -> PathBuf {
    let place = installed("libfaketime", "downloading libfaketime from Debian", |to| {
        unpack(&["libfaketime"], to);
        let libraries = fs::read_dir(to.join("usr/lib")).expect("the package holds a library");
        let library = libraries.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library = library.into_iter().find(|library| library.is_file()).expect("the package holds it");
        fs::copy(library, to.join("libfaketime.so")).expect("a file can be copied within the cache");
    });
    place.join("libfaketime.so")
}

/// The `nginx` program: the machine's, else Debian's.
///
/// # Panics
/// Where it is not there, and the package can't be had.
#[must_use]
pub fn nginx() -> PathBuf {
    if is_on_the_path("nginx", "-v") {
        return PathBuf::from("nginx");
    }
    installed("nginx", "downloading nginx from Debian", |to| unpack(&["nginx"], to)).join("usr/sbin/nginx")
}

fn is_on_the_path(program: &str, version: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg(version).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

fn unpack(packages: &[&str], to: &Path) {
    run(Command::new("apt-get").current_dir(to).arg("download").args(packages));
    for entry in fs::read_dir(to).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(to));
        }
    }
}
