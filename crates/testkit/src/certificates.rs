//! Certificates as people make them, by the `openssl` program.

use crate::install::run;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// A certificate that is its own authority, for this machine: `openssl req -x509`, as every how-to has it. `kind` is what
/// `-newkey` takes, with its options: `rsa:2048`, or `ec -pkeyopt ec_paramgen_curve:secp521r1`.
///
/// # Panics
/// If openssl is not there.
#[must_use]
pub fn self_signed(directory: &Path, name: &str, kind: &str) -> Certificate {
    let (certificate, key) = files(directory, name);
    let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}")]);
    command.args(["-addext", names, "-newkey"]).args(kind.split(' '));
    run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    Certificate { certificate, key }
}

/// A certificate of X.509 version 1, signed by another one: `openssl x509 -req` without extensions.
///
/// # Panics
/// If openssl is not there.
#[must_use]
pub fn version_1(directory: &Path, name: &str, authority: &Certificate) -> Certificate {
    let (certificate, key) = files(directory, name);
    let request = directory.join(format!("{name}.csr"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-new",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-subj",
        &format!("/CN={name}"),
        "-keyout",
    ]);
    run(command.arg(&key).arg("-out").arg(&request));
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "30", "-set_serial", "7", "-in"]).arg(&request);
    command.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
    run(command.arg("-out").arg(&certificate));
    Certificate { certificate, key }
}

/// A certificate for these names (`IP:127.0.0.1,DNS:localhost`), signed by another one.
///
/// # Panics
/// If openssl is not there.
#[must_use]
pub fn signed(directory: &Path, name: &str, names: &str, authority: &Certificate) -> Certificate {
    let (certificate, key) = files(directory, name);
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}")]);
    command.args(["-addext", &format!("subjectAltName={names}"), "-addext", "basicConstraints=CA:FALSE"]);
    command.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
    command.args(["-newkey", "rsa:2048", "-keyout"]).arg(&key);
    run(command.arg("-out").arg(&certificate));
    Certificate { certificate, key }
}

fn files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}
