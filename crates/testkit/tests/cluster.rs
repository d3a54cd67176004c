//! What a cluster promises to the machine that it runs on.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use bindu_testkit::Cluster;
use std::{fs, path::Path, time::Duration};

/// What a kubelet and its like would change of the machine.
fn settings() -> Vec<Option<String>> {
    let settings = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
        "net/ipv4/ip_forward",
        "net/netfilter/nf_conntrack_max",
    ];
    settings.map(|setting| fs::read_to_string(format!("/proc/sys/{setting}")).ok()).to_vec()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mounts").unwrap()
}

/// The cgroups of a cluster that is up.
fn cgroups(name: &str) -> Vec<std::path::PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    roots
        .chain([Path::new("/sys/fs/cgroup").to_owned()])
        .map(|root| root.join(name))
        .filter(|group| group.is_dir())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_run_side_by_side_and_leave_nothing_behind() {
    if !Cluster::can_run_here() {
        return;
    }
    let before = (settings(), mounts());
    let (first, second) = tokio::join!(Cluster::start(&[]), Cluster::start(&[]));
    first.kubectl(&["create", "namespace", "of-the-first"]);
    let seen = second.kubectl(&["get", "namespaces", "--output", "name"]);
    assert!(!seen.contains("of-the-first"), "{seen}");
    // A pod runs, is given an address, and finds a Service by its name.
    first.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: kube-system}
spec:
  restartPolicy: Never
  containers:
    - {name: probe, image: "localhost/pause:1", args: [reach, "kubernetes.default.svc.cluster.local:443", "nobody:1"]}
"#,
    );
    let said = first
        .until("the probe has ended", || {
            let said = first.kubectl(&["--namespace", "kube-system", "logs", "probe", "--ignore-errors"]);
            said.contains("nobody").then_some(said)
        })
        .await;
    assert_eq!(said, "kubernetes.default.svc.cluster.local:443 open\nnobody:1 unknown\n");
    let path = first.path("");
    let names: Vec<String> = [&first, &second].map(|cluster| cluster.cgroup()).to_vec();
    assert!(names.iter().all(|name| !cgroups(name).is_empty()), "{names:?}");
    assert_eq!(before.0, settings(), "settings of the machine");
    drop(first);
    second.kubectl(&["get", "--raw", "/readyz"]);
    drop(second);
    for name in names {
        assert_eq!(cgroups(&name), Vec::<std::path::PathBuf>::new());
    }
    assert!(!path.exists());
    assert_eq!(before, (settings(), mounts()), "settings and mounts of the machine");
}

#[tokio::test]
async fn is_gone_when_the_process_that_started_it_is_killed() {
    if !Cluster::can_run_here() {
        return;
    }
    // This test's own program, once more, as the one that is killed.
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starts_one_and_waits", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let found = lines.find_map(|line| line.unwrap().strip_prefix("up: ").map(str::to_owned)).unwrap();
    let (cgroup, path) = found.split_once(' ').unwrap();
    assert!(!cgroups(cgroup).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while !cgroups(cgroup).is_empty() || Path::new(path).exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("nothing of it is left");
}

#[tokio::test]
#[ignore = "a part of the test above"]
async fn starts_one_and_waits() {
    let cluster = Cluster::start(&[]).await;
    println!("up: {} {}", cluster.cgroup(), cluster.path("").display());
    std::future::pending::<()>().await;
}

/// Runs the test below in a process that can't have a cluster: it finds no `unshare`.
fn on_another_machine(ci: Option<&str>) -> std::process::Output {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "asks_for_one", "--ignored", "--nocapture"]).env("PATH", "/nonexistent");
    match ci {
        Some(ci) => command.env("CI", ci),
        None => command.env_remove("CI"),
    };
    command.output().unwrap()
}

#[test]
fn a_machine_that_cannot_skips_and_ci_fails() {
    let own = on_another_machine(None);
    let said = String::from_utf8_lossy(&own.stderr).into_owned();
    assert!(own.status.success() && said.contains("skipped: needs root"), "{said}");

    // `.ci/run` as it is, with a cargo that says what it was called with.
    let place = tempfile::tempdir().unwrap();
    let cargo = place.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"$CI $*\"\n").unwrap();
    bindu_testkit::install::make_executable(&cargo);
    let mut run = std::process::Command::new(bindu_testkit::install::source_tree().join(".ci/run"));
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let said = bindu_testkit::install::run(run.env("PATH", path).env_remove("CI"));
    let (ci, arguments) = said.trim().split_once(' ').unwrap();
    assert_eq!(arguments, "xtask test --all");
    let in_ci = on_another_machine(Some(ci));
    let said = String::from_utf8_lossy(&in_ci.stderr).into_owned();
    assert!(!in_ci.status.success() && said.contains("need root and namespaces"), "{said}");
}

#[test]
#[ignore = "a part of the test above"]
fn asks_for_one() {
    if Cluster::can_run_here() {
        unreachable!("there is no unshare");
    }
}
