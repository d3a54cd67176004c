//! `cargo xtask guides`: the guides' own command blocks, run from the top of each page to its end.
//!
//! A block marked `sh` goes on in one shell, `sh terminal` in a terminal of its own (the background), and `sh exit=N` must
//! end with that code. Each page gets a new machine, nearly: an empty directory, a network and processes of its own (so
//! that the ports that a page names are free), and the programs that it names on the path. There is no cluster: what
//! stands for `kubectl` and `helm` renders and validates what would be sent to one.

use bindu_testkit::install::{self, source_tree};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// The pages, and whether they need Python Bindu.
const GUIDES: [(&str, bool); 3] =
    [("docs/VAULT_INTEGRATION.md", false), ("docs/KUBERNETES.md", false), ("docs/MIGRATION.md", true)];

/// A new network has a loopback that is down; `ip` is not on every machine.
const LOOPBACK_UP: &str = "python3 -c 'import fcntl, socket, struct; \
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh22x\", b\"lo\", 0x41))'";

/// How long a page may take before it is taken for stuck.
const PATIENCE_SECONDS: u64 = 600;

/// Runs these pages, or all; whether each does what it says.
pub(crate) fn run(pages: &[PathBuf]) -> bool {
    let all = GUIDES.map(|(page, _)| PathBuf::from(page));
    let pages = if pages.is_empty() { all.as_slice() } else { pages };
    let binary = crate::release_binary();
    pages.iter().all(|page| {
        let needs_python = GUIDES.iter().any(|(guide, needs)| *needs && page.ends_with(guide));
        let python = install::python_bindu();
        if needs_python && python.is_none() {
            println!("{}: skipped, it needs Python 3.12 or later", page.display());
            return true;
        }
        let begun = Instant::now();
        let done = follow(page, &binary, python.as_deref());
        let word = if done { "does what it says" } else { "FAILED" };
        println!("{}: {word} ({} s)", page.display(), begun.elapsed().as_secs());
        done
    })
}

/// A command block.
struct Block {
    line: usize,
    mark: String,
    text: String,
}

fn follow(page: &Path, binary: &Path, python: Option<&Path>) -> bool {
    let text = fs::read_to_string(source_tree().join(page)).expect("the page can be read");
    let blocks = blocks(&text);
    if blocks.is_empty() {
        println!("{}: it has no command block", page.display());
        return false;
    }
    let machine = tempfile::tempdir().expect("a temporary directory");
    let (home, programs) = (machine.path().join("home"), machine.path().join("bin"));
    for directory in [&home, &programs] {
        fs::create_dir(directory).expect("a directory in a temporary one");
    }
    let hydra = install::hydra();
    let bao = install::openbao();
    let cluster = source_tree().join("testing/cluster");
    let mut found = vec![
        ("bindu", binary.to_owned()),
        ("bao", bao.clone()),
        ("vault", bao),
        ("hydra", hydra),
        ("kubectl", cluster.join("kubectl")),
        ("helm", cluster.join("helm")),
    ];
    found.extend(python.map(|python| ("python", python.to_owned())));
    for (name, program) in found {
        // By the path that it is installed at: Python finds its environment by that.
        let program = std::path::absolute(program).expect("a path");
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display());
        fs::write(programs.join(name), script).expect("a file in a temporary directory");
        install::make_executable(&programs.join(name));
    }
    for copied in ["deploy", "examples", ".env.vault.example"].map(|name| source_tree().join(name)) {
        if copied.exists() {
            let status = Command::new("cp").arg("-r").arg(&copied).arg(&home).status();
            assert!(status.is_ok_and(|status| status.success()), "{} can be copied", copied.display());
        }
    }
    let script = machine.path().join("page.sh");
    fs::write(&script, driver(&blocks, machine.path())).expect("a file in a temporary directory");
    let tools = install::cluster_tools();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = crate::program(Path::new("timeout"))
        .arg(PATIENCE_SECONDS.to_string())
        .args([
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ])
        .args(["bash", "-euo", "pipefail"])
        .arg(&script)
        .current_dir(&home)
        .env_clear()
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("HOME", &home)
        .env("LANG", "C.UTF-8")
        .env("CLUSTER_TOOLS", tools)
        .env("CLUSTER_STAND_IN", &cluster)
        .output()
        .expect("unshare can be started");
    let reached_the_end = machine.path().join("the-end").is_file();
    if !output.status.success() || !reached_the_end {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let logs = fs::read_dir(machine.path()).into_iter().flatten().flatten();
        for log in logs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log")) {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(30).collect();
            println!("-- {}", log.file_name().display());
            println!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
    output.status.success() && reached_the_end
}

/// All blocks as one shell script.
fn driver(blocks: &[Block], machine: &Path) -> String {
    let mut script = format!("{LOOPBACK_UP}\nexec 3>&1\nterminals=\n");
    for Block { line, mark, text } in blocks {
        let _ = writeln!(script, "echo \"== line {line}\" >&3");
        let quoted = text.replace('\'', "'\\''");
        match mark.split_once('=') {
            _ if mark == "terminal" => {
                let log = machine.join(format!("terminal-of-line-{line}.log"));
                let _ = writeln!(
                    script,
                    "env -i PATH=\"$PATH\" HOME=\"$HOME\" LANG=C.UTF-8 bash -euo pipefail -c '{quoted}' > '{}' 2>&1 &\n\
                     terminals=\"$terminals $!:{line}\"",
                    log.display()
                );
            }
            Some(("exit", code)) => {
                let _ = writeln!(
                    script,
                    "set +e\n(set -euo pipefail\n{text})\ncode=$?\nset -e\n\
                     if [ \"$code\" != {code} ]; then echo \"line {line}: ended with $code, not {code}\" >&2; exit 1; fi"
                );
            }
            _ => {
                let _ = writeln!(script, "{text}");
            }
        }
    }
    // A server that has failed in its terminal was not looked at so far; one that the page has ended was killed (128 and more).
    let _ = writeln!(
        script,
        "for terminal in $terminals; do\n\
           if ! kill -0 \"${{terminal%:*}}\" 2>/dev/null; then\n\
             code=0; wait \"${{terminal%:*}}\" || code=$?\n\
             if [ \"$code\" -gt 0 ] && [ \"$code\" -lt 128 ]; then echo \"line ${{terminal#*:}}: its terminal ended with $code\" >&2; exit 1; fi\n\
           fi\ndone\ntouch '{}'",
        machine.join("the-end").display()
    );
    script
}

/// The blocks of a page that are to be run.
fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(mark)) => {
                open = Some(Block { line: index + 1, mark: mark.trim().to_owned(), text: String::new() });
            }
            (None, None) => {}
        }
    }
    blocks.retain(|block| block.mark == "sh" || block.mark.starts_with("sh "));
    for block in &mut blocks {
        block.mark = block.mark.trim_start_matches("sh").trim().to_owned();
    }
    blocks
}
