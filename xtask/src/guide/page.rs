//! A page's command blocks, as one script; and what it says that they print.

use std::{fmt::Write as _, fs, path::Path};

/// A new network has a loopback that is down; `ip` is not on every machine.
const LOOPBACK_UP: &str = "python3 -c 'import fcntl, socket, struct; \
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sh22x\", b\"lo\", 0x41))'";

/// A command block.
pub(super) struct Block {
    /// Where it begins.
    line: usize,
    kind: Kind,
    /// The way on which it is run; on all if none is named.
    way: Option<String>,
    text: String,
    /// What the page says that it prints.
    printed: Option<String>,
}

enum Kind {
    /// It goes on in the page's shell.
    Shell,
    /// In a terminal of its own.
    Terminal,
    /// It ends with this code.
    Ends(String),
}

/// The blocks of a page that are run on this way.
pub(super) fn blocks(page: &str, way: Option<&str>) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::<Block>::new(), None::<(usize, String, String)>);
    // What follows a block, with only words between, belongs to it.
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => {
                let Some((line, mark, text)) = open.take() else { continue };
                match mark.split_once(' ').unwrap_or((&mark, "")) {
                    ("sh", marks) => blocks.push(Block::new(line, marks, text)),
                    ("text", _) => {
                        if let Some(last) = blocks.last_mut() {
                            last.printed = Some(text);
                        }
                    }
                    _ => {}
                }
            }
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(mark)) => open = Some((index + 1, mark.trim().to_owned(), String::new())),
            (None, None) => {}
        }
    }
    blocks.retain(|block| block.way.is_none() || way.is_none() || block.way.as_deref() == way);
    blocks
}

impl Block {
    fn new(line: usize, marks: &str, text: String) -> Self {
        let (mut kind, mut way) = (Kind::Shell, None);
        for mark in marks.split_whitespace() {
            match mark.split_once('=') {
                Some(("exit", code)) => kind = Kind::Ends(code.to_owned()),
                _ if mark == "terminal" => kind = Kind::Terminal,
                _ => way = Some(mark.to_owned()),
            }
        }
        Self { line, kind, way, text, printed: None }
    }

    fn log(&self, machine: &Path) -> std::path::PathBuf {
        machine.join(format!("printed-at-line-{}.log", self.line))
    }
}

/// All blocks as one shell script, which leaves `the-end` behind when it has come to it.
pub(super) fn script(blocks: &[Block], machine: &Path, has_network: bool) -> String {
    let mut script = if has_network { String::new() } else { format!("{LOOPBACK_UP}\n") };
    script += "exec 3>&1 4>&2\nterminals=\n";
    for block in blocks {
        let (line, text) = (block.line, &block.text);
        let _ = writeln!(script, "echo \"== line {line}\" >&3");
        let quoted = text.replace('\'', "'\\''");
        match &block.kind {
            Kind::Terminal => {
                let log = machine.join(format!("terminal-of-line-{line}.log"));
                let _ = writeln!(
                    script,
                    "env -i PATH=\"$PATH\" HOME=\"$HOME\" LANG=C.UTF-8 bash -euo pipefail -c '{quoted}' > '{}' 2>&1 &\n\
                     terminals=\"$terminals $!:{line}\"",
                    log.display()
                );
            }
            Kind::Ends(code) => {
                let _ = writeln!(
                    script,
                    "set +e\n(set -euo pipefail\n{text})\ncode=$?\nset -e\n\
                     if [ \"$code\" != {code} ]; then echo \"line {line}: ended with $code, not {code}\" >&2; exit 1; fi"
                );
            }
            Kind::Shell if block.printed.is_some() => {
                let log = block.log(machine);
                let _ = writeln!(script, "exec > '{}' 2>&1\n{text}\nexec >&3 2>&4\ncat '{0}'", log.display());
            }
            Kind::Shell => {
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

/// Where a page says that something else is printed than is.
pub(super) fn differences(blocks: &[Block], machine: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks {
        let Some(promised) = &block.printed else { continue };
        let printed = fs::read_to_string(block.log(machine)).unwrap_or_default();
        if comparable(promised) != comparable(&printed) {
            found.push(format!("line {}: it prints\n{printed}\nand the page says\n{promised}", block.line));
        }
    }
    found
}

/// Without what differs from one run to the next: keys and fingerprints, and the lines of a log.
fn comparable(text: &str) -> String {
    let mut compared = String::new();
    for line in text.trim_end().lines().filter(|line| !line.starts_with("{\"timestamp\":")) {
        for word in line.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
            let bare = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
            let is_fingerprint =
                bare.len() == 64 && bare.chars().all(|character| character.is_ascii_hexdigit());
            if is_fingerprint || matches!(bare.len(), 43 | 44) {
                compared.push('*');
                compared.push_str(word.get(bare.len()..).unwrap_or_default());
            } else {
                compared.push_str(word);
            }
        }
        compared.push('\n');
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A page\n```sh\none\n```\nprints\n```text\nkey abc\n```\n```sh helm\ntwo\n```\n\
        ```sh kustomize exit=3\nthree\n```\n```console\n$ four\n```\n";

    #[test]
    fn each_way_has_its_blocks() {
        let texts = |way| blocks(PAGE, Some(way)).iter().map(|block| block.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts("helm"), ["one\n", "two\n"]);
        assert_eq!(texts("kustomize"), ["one\n", "three\n"]);
    }

    #[test]
    fn what_is_printed_is_compared_but_for_keys() {
        let machine = tempfile::tempdir().expect("a temporary directory");
        let blocks = blocks(PAGE, None);
        fs::write(blocks[0].log(machine.path()), "key abc\n").expect("a file");
        assert!(differences(&blocks, machine.path()).is_empty());
        fs::write(blocks[0].log(machine.path()), "key abd\n").expect("a file");
        assert_eq!(differences(&blocks, machine.path()).len(), 1);
        let key = "7U76jTX9LCbQeBFhf22boHVgyAGZ7RzBeBWjibqU8LRC";
        assert_eq!(comparable(&format!("key {key}, x")), "key *, x\n");
    }
}
