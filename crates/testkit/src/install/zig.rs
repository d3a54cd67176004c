//! What makes and tries programs for other kinds of machines: Zig, whose C compiler brings musl for each of them, from PyPI;
//! qemu, which runs their programs, from Debian.

use super::{debian, installed, make_executable, unpack_wheel};
use std::{fs, path::PathBuf};

const ZIG: &str = "ziglang==0.16.0";

/// A C compiler for musl on this kind of machine (`aarch64`).
///
/// # Panics
/// If the wheel can't be had.
#[must_use]
pub fn cross_compiler(machine: &str) -> PathBuf {
    let place = installed("zig-0.16.0", "downloading Zig from PyPI (95 MB)", |to| {
        unpack_wheel(ZIG, to);
        make_executable(&to.join("ziglang/zig"));
        for machine in ["aarch64", "x86_64"] {
            // cc-rs names the target as clang does, and Zig has names of its own. Without optimisation Zig checks for undefined
            // behaviour, by functions that only its own linker brings.
            let script = format!(
                "#!/bin/sh\nhere=$(dirname \"$0\")\n\
                 for word; do\n  shift\n  case $word in --target=*) ;; *) set -- \"$@\" \"$word\" ;; esac\ndone\n\
                 export ZIG_GLOBAL_CACHE_DIR=\"$here/cache\" ZIG_LOCAL_CACHE_DIR=\"$here/cache\"\n\
                 exec \"$here/ziglang/zig\" cc -target {machine}-linux-musl -fno-sanitize=all \"$@\"\n"
            );
            let file = to.join(format!("{machine}-linux-musl-cc"));
            fs::write(&file, script).expect("a file in the cache");
            make_executable(&file);
        }
    });
    place.join(format!("{machine}-linux-musl-cc"))
}

/// What runs programs of another kind of machine (`aarch64`) on this one.
///
/// # Panics
/// If the package can't be had.
#[must_use]
pub fn emulator(machine: &str) -> PathBuf {
    let place = installed("qemu-user-1", "downloading qemu's user emulation from Debian (60 MB)", |to| {
        debian::unpack(&["qemu-user-static"], to);
        debian::remove_packages(to);
        // It has one for each of thirty kinds of machines, 200 MB in all.
        for entry in fs::read_dir(to.join("usr/bin")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !["qemu-aarch64-static", "qemu-x86_64-static"].iter().any(|kept| name == *kept) {
                fs::remove_file(entry.path()).expect("a file in the cache can be removed");
            }
        }
    });
    place.join(format!("usr/bin/qemu-{machine}-static"))
}
