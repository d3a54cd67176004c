//! No file imports its importer, by whatever way: that is read off the `use` lines and paths of each crate's sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Circles that are there, each by its files' names. One that is gone must leave this list, and no other may come.
const KNOWN: [&[&str]; 9] = [
    &["a2a::call", "a2a::dialect", "a2a::version"],
    &["a2a::dialect::part", "a2a::dialect::read"],
    &[
        "bindu::settings::file",
        "bindu::settings::reader",
        "bindu::settings::registry",
        "bindu::settings::skills",
        "bindu::settings::storage",
        "bindu::settings::typed",
        "bindu::settings::vault",
    ],
    &["client::call", "client::standard"],
    &["client::card", "client::inspect"],
    &["tasks::conformance::cases", "tasks::conformance::heavy"],
    &[
        "tasks::sql::bulk",
        "tasks::sql::clock",
        "tasks::sql::contact",
        "tasks::sql::group",
        "tasks::sql::leases",
        "tasks::sql::pushes",
        "tasks::sql::read",
        "tasks::sql::recent",
        "tasks::sql::remembered",
        "tasks::sql::sealing",
        "tasks::sql::share",
        "tasks::sql::store",
        "tasks::sql::unanswered",
        "tasks::sql::upkeep",
        "tasks::sql::watchers",
        "tasks::sql::write",
    ],
    &["tasks::sql::create", "tasks::sql::sqlite"],
    &["tasks::sql::import", "tasks::sql::postgres"],
];

type Imports = BTreeMap<String, BTreeSet<String>>;

/// The files of a crate by the names of their modules, without tests.
fn files(source: &Path, below: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(below).expect("a directory of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(source, &path, found);
            continue;
        }
        let relative = path.strip_prefix(source).expect("a file below").with_extension("");
        let mut names: Vec<_> = relative.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        if names.last().is_some_and(|name| name == "mod") {
            names.pop();
        }
        let is_code = path.extension().is_some_and(|ending| ending == "rs");
        let is_root = names == ["lib"] || names == ["main"];
        if is_code && !is_root && !names.iter().any(|name| name.contains("tests")) {
            found.insert(names.join("::"), path);
        }
    }
}

/// A source without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// All paths of a tree of imports: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let Some((before, inner)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut begin, mut parts) = (0_i32, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[begin..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expand).map(|path| format!("{}{path}", before.trim())).collect()
}

/// The paths in a source that begin in its own crate.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_inside = code[..at]
                .ends_with(|letter: char| letter.is_alphanumeric() || letter == ':' || letter == '_');
            let rest = &code[at..];
            let is_use = code[..at].trim_end().ends_with("use");
            let end = match is_use {
                true => rest.find(';'),
                false => {
                    rest.find(|letter: char| !(letter.is_alphanumeric() || letter == ':' || letter == '_'))
                }
            };
            if !is_inside {
                found.extend(expand(&rest[..end.unwrap_or(rest.len())]));
            }
        }
    }
    found
}

/// What a path names, seen from a module: the longest part of it that is a file.
fn target<'a>(path: &str, from: &str, files: &'a BTreeMap<String, PathBuf>) -> Option<&'a String> {
    let mut names: Vec<&str> = from.split("::").collect();
    let mut rest: Vec<&str> = path.split("::").map(str::trim).collect();
    if rest.first() == Some(&"crate") {
        (names, rest) = (Vec::new(), rest.split_off(1));
    }
    while rest.first() == Some(&"super") {
        names.pop();
        rest.remove(0);
    }
    names.extend(rest);
    (1..=names.len())
        .rev()
        .find_map(|length| files.get_key_value(&names[..length].join("::")))
        .map(|(name, _)| name)
}

/// What can be reached from a module.
fn reached(from: &str, imports: &Imports) -> BTreeSet<String> {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(next) = todo.pop() {
        let new = imports.get(&next).into_iter().flatten().filter(|name| seen.insert((*name).clone()));
        todo.extend(new.cloned());
    }
    seen
}

/// The circles of a crate, each as its files in order.
fn circles(source: &Path) -> BTreeSet<Vec<String>> {
    let mut found = BTreeMap::new();
    files(source, source, &mut found);
    let mut imports = Imports::new();
    for (name, path) in &found {
        let text = std::fs::read_to_string(path).expect("a source");
        for path in paths(&code(&text)) {
            let other = target(&path, name, &found).filter(|other| *other != name);
            imports.entry(name.clone()).or_default().extend(other.cloned());
        }
    }
    let reached: BTreeMap<_, _> = found.keys().map(|name| (name, reached(name, &imports))).collect();
    let in_circle = |name: &&String| reached[*name].contains(*name);
    let circle = |name: &String| {
        let others = reached[name].iter().filter(|other| reached[other].contains(name));
        others.cloned().collect::<Vec<_>>()
    };
    found.keys().filter(in_circle).map(circle).collect()
}

#[test]
fn no_file_imports_its_importer() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(crates).expect("the crates").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        for circle in circles(&entry.path().join("src")) {
            seen.insert(circle.into_iter().map(|file| format!("{name}::{file}")).collect::<Vec<_>>());
        }
    }
    let known: BTreeSet<Vec<String>> =
        KNOWN.iter().map(|circle| circle.iter().map(|file| (*file).to_owned()).collect()).collect();
    assert_eq!(seen.difference(&known).collect::<Vec<_>>(), Vec::<&Vec<String>>::new(), "new circles");
    assert_eq!(
        known.difference(&seen).collect::<Vec<_>>(),
        Vec::<&Vec<String>>::new(),
        "gone: take them out of KNOWN"
    );
}

#[test]
fn a_circle_is_seen() {
    let crate_ = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = crate_.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a source");
    };
    write("lib.rs", "mod a; mod b; mod c;");
    write("a.rs", "use crate::{\n    b::{One, Two},\n    d,\n};");
    write("b/mod.rs", "mod e;\n// crate::a\nuse super::c;");
    write("b/e.rs", "fn f() { crate::a::f() }\n#[cfg(test)]\nmod tests { use crate::a; }");
    write("c.rs", "#[cfg(test)]\nmod tests { use crate::a; }");
    assert_eq!(circles(crate_.path()), BTreeSet::new());
    write("c.rs", "fn f(of: super::b::e::Three) {}");
    let circle = ["a", "b", "b::e", "c"].map(str::to_owned).to_vec();
    assert_eq!(circles(crate_.path()), BTreeSet::from([circle]));
}
