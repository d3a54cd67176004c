//! `cargo xtask manifests`: what `deploy/` promises, held by the checks that lie beside it, with the real kubectl, helm,
//! hadolint, nginx and promtool.

use bindu_testkit::install::{self, source_tree};
use std::path::Path;

/// Checks everything in `deploy/`; whether it holds.
pub(crate) fn run() -> bool {
    let deploy = source_tree().join("deploy").canonicalize().expect("deploy is in the source tree");
    let (tools, nginx, binary) = (install::cluster_tools(), install::nginx(), crate::release_binary());
    let check = |script: &str, arguments: &[&Path]| {
        let mut command = crate::program(Path::new("python3"));
        command.arg(deploy.join(script)).args(arguments);
        command.env("CLUSTER_TOOLS", &tools).env("BINDU_BINARY", &binary);
        command.status().is_ok_and(|status| status.success())
    };
    // Where we are root, the gate runs as somebody who may not look into our home.
    let public = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory");
    let nginx = if nginx.is_absolute() {
        let copy = public.path().join("nginx");
        std::fs::copy(nginx, &copy).expect("nginx can be copied");
        copy
    } else {
        nginx
    };
    // The alerts play through what alerts_test.yaml says, with the rules taken out of their resource.
    let rules = public.path().join("rules.yaml");
    let alerts_hold = || {
        let tests = public.path().join("alerts_test.yaml");
        let written = deploy.join("kubernetes/cluster/monitoring/alerts_test.yaml");
        std::fs::copy(written, tests).expect("the alerts' tests can be copied");
        [["check", "rules", "rules.yaml"], ["test", "rules", "alerts_test.yaml"]].iter().all(|arguments| {
            let mut command = crate::program(&install::prometheus().join("promtool"));
            command.current_dir(public.path()).args(arguments);
            command.status().is_ok_and(|status| status.success())
        })
    };
    check("check.py", &[])
        && check("check_gate.py", &[&nginx])
        && check("check.py", &[Path::new("--rules"), &rules])
        && alerts_hold()
}
