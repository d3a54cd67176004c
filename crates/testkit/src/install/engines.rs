//! Container engines from Debian: what somebody has who runs an image without a cluster.

use super::{debian, installed};
use std::path::PathBuf;

/// The packages, and the libraries that are not on every machine. What runs containers is a node's (`node_tools`).
const PACKAGES: [&str; 12] = [
    "buildah",
    "conmon",
    "debootstrap",
    "docker.io",
    "podman",
    "golang-github-containers-common",
    "libassuan0",
    "libdevmapper1.02.1",
    "libgpgme11",
    "libseccomp2",
    "libsubid4",
    "libglib2.0-0",
];

/// The directory in which Docker, podman and buildah (and debootstrap, for its bases) are unpacked. Nothing of it is installed on the machine.
///
/// # Panics
/// If the packages can't be had.
#[must_use]
pub fn engines() -> PathBuf {
    installed("engines-2", "downloading Docker, podman and buildah from Debian (60 MB)", |to| {
        debian::unpack(&PACKAGES, to);
        debian::remove_packages(to);
    })
}
