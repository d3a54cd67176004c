//! `cargo xtask guides`: the guides' own command blocks, run from the top of each page to its end.
//!
//! A block marked `sh` goes on in one shell, `sh terminal` in a terminal of its own (the background), and `sh exit=N` must
//! end with that code. Each page gets a new machine, nearly: an empty directory, a network and processes of its own (so
//! that the ports that a page names are free), and the programs that it names on the path.
//!
//! docs/KUBERNETES.md gets a real cluster with Vault and Hydra, a new one for each of its ways: a block marked
//! `sh kustomize` or `sh helm` is run on that way only. What follows one of its blocks as `text` is what it prints.

mod page;

use bindu_testkit::{
    Cluster,
    cluster::{AGENT_IMAGE, Platform, Policies, agent_image},
    install::{self, source_tree},
};
use page::Block;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// The pages, and what each needs.
const GUIDES: [(&str, Needs); 4] = [
    ("docs/VAULT_INTEGRATION.md", Needs::Servers),
    ("docs/KUBERNETES.md", Needs::Cluster("kustomize")),
    ("docs/KUBERNETES.md", Needs::Cluster("helm")),
    ("docs/MIGRATION.md", Needs::Python),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Vault and Hydra on the path.
    Servers,
    /// Python Bindu besides.
    Python,
    /// A cluster, and this way through the page.
    Cluster(&'static str),
}

/// The image's name in docs/KUBERNETES.md.
const IMAGE_OF_THE_PAGE: &str = "registry.example.com/agents/bindu:0.2.0";

/// How long a page may take before it is taken for stuck.
const LIMIT_SECONDS: u64 = 900;

/// Runs these pages, or all; whether each does what it says.
pub(crate) fn run(pages: &[PathBuf]) -> bool {
    let binary = crate::release_binary();
    let mut unknown = pages.iter().filter(|page| !GUIDES.iter().any(|(guide, _)| page.ends_with(guide)));
    if let Some(page) = unknown.next() {
        println!("{}: not one of the guides", page.display());
        return false;
    }
    let wanted = |guide: &str| pages.is_empty() || pages.iter().any(|page| page.ends_with(guide));
    GUIDES.into_iter().filter(|(guide, _)| wanted(guide)).all(|(guide, needs)| {
        if needs == Needs::Python && install::python_bindu().is_none() {
            println!("{guide}: skipped, it needs Python 3.12 or later");
            return true;
        }
        if matches!(needs, Needs::Cluster(_)) && !Cluster::can_run_here() {
            return true;
        }
        let begun = Instant::now();
        let done = follow(guide, needs, &binary);
        let word = if done { "does what it says" } else { "FAILED" };
        let way = if let Needs::Cluster(way) = needs { format!(" ({way})") } else { String::new() };
        println!("{guide}{way}: {word} ({} s)", begun.elapsed().as_secs());
        done
    })
}

fn follow(guide: &str, needs: Needs, binary: &Path) -> bool {
    let text = fs::read_to_string(source_tree().join(guide)).expect("the page can be read");
    let way = if let Needs::Cluster(way) = needs { Some(way) } else { None };
    let blocks = page::blocks(&text, way);
    if blocks.is_empty() {
        println!("{guide}: it has no command block");
        return false;
    }
    let machine = Machine::new(binary);
    let script = machine.path("page.sh");
    let has_network = way.is_some();
    fs::write(&script, page::script(&blocks, machine.directory.path(), has_network))
        .expect("a file in a temporary directory");
    match needs {
        Needs::Cluster(_) => machine.in_a_cluster(binary, &script, &blocks),
        Needs::Servers | Needs::Python => machine.alone(&script),
    }
}

/// What a page finds: an empty home, and its programs on the path.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new(binary: &Path) -> Self {
        let machine = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        for directory in ["home", "bin"] {
            fs::create_dir(machine.path(directory)).expect("a directory in a temporary one");
        }
        machine.offer("bindu", binary, "");
        for (name, program) in
            [("bao", install::openbao()), ("vault", install::openbao()), ("hydra", install::hydra())]
        {
            machine.offer(name, &program, "");
        }
        if let Some(python) = install::python_bindu() {
            machine.offer("python", &python, "");
        }
        for copied in ["deploy", "examples", ".env.vault.example"].map(|name| source_tree().join(name)) {
            if copied.exists() {
                install::run(Command::new("cp").arg("-r").arg(&copied).arg(machine.path("home")));
            }
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a program on the path, with this as its first argument.
    fn offer(&self, name: &str, program: &Path, first: &str) {
        // By the path that it is installed at: Python finds its environment by that.
        let program = std::path::absolute(program).expect("a path");
        let script = format!("#!/bin/sh\nexec '{}' {first} \"$@\"\n", program.display());
        let file = self.path("bin").join(name);
        fs::write(&file, script).expect("a file in a temporary directory");
        install::make_executable(&file);
    }

    /// Runs the script without any cluster.
    fn alone(&self, script: &Path) -> bool {
        let mut command = crate::program(Path::new("timeout"));
        command.arg(LIMIT_SECONDS.to_string());
        command.args(["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc"]);
        command.args(["--kill-child", "bash", "-euo", "pipefail"]).arg(script).current_dir(self.path("home"));
        self.ends_well(command.env_clear())
    }

    /// Runs it as on a machine that reaches a new cluster, with an administrator's rights there and in Vault.
    fn in_a_cluster(&self, binary: &Path, script: &Path, blocks: &[Block]) -> bool {
        let runtime = tokio::runtime::Runtime::new().expect("the system has threads to give");
        let image = self.path("image.tar");
        agent_image(binary, &image);
        let platform = runtime.block_on(Platform::start_with(Policies::Enforced, &[&image]));
        let cluster = &platform.cluster;
        cluster.tag(AGENT_IMAGE, IMAGE_OF_THE_PAGE);
        self.offer("kubectl", &install::kubernetes().join("kubernetes"), "kubectl");
        self.offer("helm", &install::cluster_tools().join("helm"), "");
        let (kube, home) = (self.path("home").join(".kube"), self.path("home"));
        fs::create_dir(&kube).expect("a directory in a temporary one");
        fs::copy(cluster.kubeconfig(), kube.join("config")).expect("it can be copied");
        fs::write(self.path("vault-authority.pem"), &platform.vault.authority).expect("it can be written");
        // nsenter starts in the root directory.
        let line =
            format!("cd '{}' && exec timeout {LIMIT_SECONDS} bash -euo pipefail \"$0\"", home.display());
        let mut command = cluster.command("bash");
        command.args(["-c", &line]).arg(script).env_clear();
        command.env("VAULT_ADDR", "https://vault.vault.svc:8200").env("VAULT_TOKEN", &platform.vault.token);
        command.env("VAULT_CACERT", self.path("vault-authority.pem"));
        if !self.ends_well(&mut command) {
            return false;
        }
        let differences = page::differences(blocks, self.directory.path());
        differences.iter().for_each(|difference| println!("{difference}"));
        differences.is_empty()
    }

    /// Runs the page; if it doesn't come to its end, what it has said.
    fn ends_well(&self, command: &mut Command) -> bool {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("HOME", self.path("home")).env("LANG", "C.UTF-8");
        let output = command.output().expect("the page can be started");
        let reached_the_end = self.path("the-end").is_file();
        if !output.status.success() || !reached_the_end {
            println!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let logs = fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
            for log in
                logs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
            {
                let text = fs::read_to_string(log.path()).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(30).collect();
                println!("-- {}", log.file_name().display());
                println!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        output.status.success() && reached_the_end
    }
}
