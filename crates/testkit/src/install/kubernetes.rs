//! A whole Kubernetes: its parts from Go modules, by the program in `testing/kubernetes`; what a node needs besides from
//! Debian.

use super::{debian, installed, run, source_tree};
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, process::Command};

/// The version of the module `k8s.io/kubernetes` in `go.mod`. The API server refuses to start without being told it.
const VERSION: &str = "v1.34.4";

/// The directory with the programs `kubernetes` and `probe`.
///
/// # Panics
/// If Go is missing or the build fails.
#[must_use]
pub fn kubernetes() -> PathBuf {
    let source = source_tree().join("testing/kubernetes");
    let mut digest = Sha256::new();
    digest.update(VERSION);
    for file in ["go.mod", "go.sum", "main.go", "names.go", "policies.go", "probe/main.go"] {
        digest.update(fs::read(source.join(file)).expect("a file of ours can be read"));
    }
    let version: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    installed(&format!("kubernetes-{version}"), "building Kubernetes with Go (5 to 10 minutes)", |to| {
        // 3 GB that nothing else has a use for.
        let objects = tempfile::tempdir_in(to).expect("a directory in the cache");
        let variable = |name: &str, value: &str| format!("-X {name}={value}");
        let flags = [
            "-s -w".to_owned(),
            variable("k8s.io/component-base/version.gitVersion", VERSION),
            variable("k8s.io/component-base/version.gitMajor", "1"),
            variable("k8s.io/component-base/version.gitMinor", "34"),
            variable("k8s.io/client-go/pkg/version.gitVersion", VERSION),
        ];
        for (package, program) in [("./probe", "probe"), (".", "kubernetes")] {
            run(Command::new("go")
                .current_dir(&source)
                .env("CGO_ENABLED", "0")
                .env("GOCACHE", objects.path())
                .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &flags.join(" "), "-o"])
                .arg(to.join(program))
                .arg(package));
        }
    })
}

/// Debian's packages of a node, and the libraries that are not on every machine.
const NODE: [&str; 23] = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "nftables",
    "ipset",
    "conntrack",
    "iproute2",
    "libbpf1",
    "libcap2",
    "libedit2",
    "libelf1",
    "libip4tc2",
    "libip6tc2",
    "libipset13",
    "libjansson4",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
];

/// The directory in which the packages of a node are unpacked: container runtime, network plugins, packet filters. Nothing
/// of it is installed on the machine.
///
/// # Panics
/// If the packages can't be had.
#[must_use]
pub fn node_tools() -> PathBuf {
    installed("kubernetes-node-1", "downloading containerd and its like from Debian (40 MB)", |to| {
        debian::unpack(&NODE, to);
        // The packages' own scripts would choose this by `update-alternatives`.
        for family in ["iptables", "ip6tables"] {
            for suffix in ["", "-save", "-restore"] {
                let link = to.join("usr/sbin").join(format!("{family}{suffix}"));
                std::os::unix::fs::symlink("xtables-nft-multi", link).expect("a link in the cache");
            }
        }
        debian::remove_packages(to);
    })
}
