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

/// PgBouncer: its program and its libraries, each a file.
///
/// # Panics
/// If the packages can't be had.
#[must_use]
pub fn pgbouncer() -> Vec<PathBuf> {
    let place = installed("pgbouncer", "downloading PgBouncer from Debian", |to| {
        unpack(&["pgbouncer", "libevent-2.1-7", "libc-ares2"], to);
    });
    let mut files = vec![place.join("usr/sbin/pgbouncer")];
    for folder in fs::read_dir(place.join("usr/lib")).into_iter().flatten().flatten() {
        let libraries = fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        files.extend(libraries.filter(|path| path.is_file() && path.to_string_lossy().contains(".so.")));
    }
    files
}

/// Debian's Chromium without a window: the program, and where it finds its libraries (`LD_LIBRARY_PATH`).
///
/// # Panics
/// If the packages can't be had.
#[must_use]
pub fn chromium() -> (PathBuf, String) {
    // What it links to beyond what a server has anyway; what is here already does no harm.
    const PACKAGES: [&str; 46] = [
        "chromium-headless-shell",
        "chromium-common",
        "fonts-dejavu-core",
        "libasound2",
        "libasyncns0",
        "libatk1.0-0",
        "libatspi2.0-0",
        "libdav1d6",
        "libdbus-1-3",
        "libdouble-conversion3",
        "libdrm2",
        "libexpat1",
        "libflac12",
        "libfontconfig1",
        "libfreetype6",
        "libgbm1",
        "libglib2.0-0",
        "libharfbuzz-subset0",
        "libharfbuzz0b",
        "libjpeg62-turbo",
        "liblcms2-2",
        "libminizip1",
        "libmp3lame0",
        "libmpg123-0",
        "libnspr4",
        "libnss3",
        "libogg0",
        "libopenh264-7",
        "libopenjp2-7",
        "libopus0",
        "libpng16-16",
        "libpulse0",
        "libsndfile1",
        "libvorbis0a",
        "libvorbisenc2",
        "libx11-6",
        "libxau6",
        "libxcb1",
        "libxcomposite1",
        "libxdamage1",
        "libxdmcp6",
        "libxext6",
        "libxfixes3",
        "libxkbcommon0",
        "libxnvctrl0",
        "libxrandr2",
    ];
    let place = installed("chromium", "downloading Chromium from Debian (330 MB)", |to| {
        unpack(&PACKAGES, to);
        remove_packages(to);
    });
    let mut libraries = Vec::new();
    for folder in ["usr/lib", "lib"] {
        let found =
            fs::read_dir(place.join(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
        let found = found.filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
        for path in found.flat_map(|path| [path.join("pulseaudio"), path.join("nss"), path]) {
            libraries.push(path.display().to_string());
        }
    }
    (place.join("usr/lib/chromium/chromium-headless-shell"), libraries.join(":"))
}

fn is_on_the_path(program: &str, version: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg(version).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// Unpacks packages into a directory.
pub(super) fn unpack(packages: &[&str], to: &Path) {
    run(Command::new("apt-get").current_dir(to).arg("download").args(packages));
    for entry in fs::read_dir(to).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(to));
        }
    }
}

/// Removes the packages that were unpacked into a directory.
pub(super) fn remove_packages(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(entry.path()).expect("a file in the cache can be removed");
        }
    }
}
