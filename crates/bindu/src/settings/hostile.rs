//! Every setting, with every value that an environment, a copied line or an editor makes of it: taken with its documented
//! meaning, or refused with its name. Never a silent default.

use super::{Content, Entry, Layers, Origin, Settings, registry::SETTINGS};
use crate::Refusal;
use bindu_identity::AgentName;
use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path};

/// Everything on, so that everything is used.
const BASE: &[(&str, &str)] = &[
    ("BINDU_NAME", "echo"),
    ("BINDU_AUTHOR", "alice@example.com"),
    ("VAULT__ENABLED", "true"),
    ("VAULT__TOKEN", "token"),
    ("AUTH__ENABLED", "true"),
    ("AUTH__REQUIRE_PERMISSIONS", "true"),
    ("HYDRA__ADMIN_URL", "http://hydra:4445"),
    ("HYDRA__PUBLIC_URL", "http://hydra:4444"),
];

/// A good value of each setting that has no default.
fn good(setting: &Entry) -> &'static str {
    match setting.key {
        _ if !setting.default.is_empty() => setting.default,
        "id" => "5c908f70-ec50-7e33-bf7d-2735c15d5c13",
        "grpc_listen" => "127.0.0.1:9091",
        "probe_listen" => "127.0.0.1:9090",
        "deployment.url" | "hydra.admin_url" | "hydra.public_url" => "https://echo.example.com/agent",
        "echo" | "auth.require_permissions" => "true",
        "command" => "[\"python3\", \"agent.py\"]",
        "vault.auth" => "token",
        "vault.proxy" | "proxy.http" | "proxy.https" => "http://proxy:3128",
        "proxy.exempt" => "example.com",
        "auth.allowed_dids" => "[\"did:bindu:a:b:c\"]",
        "auth.permissions" => "{\"tasks/get\": [\"agent:read\"]}",
        "auth.pinned_keys" => "{}",
        "auth.rate_limit" => "100/s",
        "log.format" => "json",
        "storage.type" => "memory",
        "storage.url" | "storage.listen_url" => "postgres://user:password@db.example.com/bindu",
        _ => "value",
    }
}

fn load(variables: Vec<(OsString, OsString)>) -> Result<Settings, Refusal> {
    let nowhere = Path::new("/nonexistent");
    Settings::load(Layers::default().with_variables(variables, nowhere)?)
}

fn base() -> BTreeMap<OsString, OsString> {
    BASE.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// What is said about a value, among all mistakes that follow from it.
fn told(variable: &str, value: impl Into<OsString>) -> Vec<String> {
    let mut environment = base();
    // Not by its other name as well.
    let its_setting = SETTINGS.iter().filter(|setting| setting.variables.contains(&variable));
    for other in its_setting.flat_map(|setting| setting.variables) {
        environment.remove(&OsString::from(other));
    }
    environment.insert(OsString::from(variable), value.into());
    let refusal = load(environment.into_iter().collect()).err();
    let mistakes = refusal.map(|refusal| refusal.causes).unwrap_or_default();
    mistakes.into_iter().filter(|mistake| mistake.contains(variable)).collect()
}

#[track_caller]
fn refused(variable: &str, value: impl Into<OsString>, by: &str) {
    let value: OsString = value.into();
    let told = told(variable, value.clone());
    assert!(
        told.iter().any(|told| told.contains(by)),
        "{variable}={value:?} must be refused, {by:?}: {told:?}"
    );
}

fn variables() -> impl Iterator<Item = (&'static Entry, &'static str)> {
    SETTINGS.iter().flat_map(|setting| setting.variables.iter().map(|variable| (*setting, *variable)))
}

#[test]
fn the_good_values_are_good() {
    assert!(load(base().into_iter().collect()).is_ok());
    for setting in SETTINGS {
        assert_eq!(super::registry::problem(setting, good(setting)), None, "{}", setting.key);
    }
}

#[test]
fn not_utf8_is_refused_with_its_name() {
    for (_, variable) in variables().chain([(SETTINGS[0], "BINDU_CONFIG"), (SETTINGS[0], "X402__PRICE")]) {
        refused(variable, OsString::from_vec(b"[\"did:\xff\"]".to_vec()), "not UTF-8");
    }
    let name = OsString::from_vec(b"AUTH__ALLOWED_DIDS\xff".to_vec());
    let environment = base().into_iter().chain([(name, OsString::from("x"))]).collect();
    assert!(load(environment).is_err(), "a name of ours that is not UTF-8");
    let other = (OsString::from("LESSCHARDEF"), OsString::from_vec(vec![0xff]));
    assert!(load(base().into_iter().chain([other]).collect()).is_ok(), "others' variables are theirs");
}

#[test]
fn empty_is_unset_or_refused() {
    for (setting, variable) in variables() {
        if setting.never_empty {
            refused(variable, "", "it is empty");
            continue;
        }
        let environment = BTreeMap::from([(variable.to_owned(), String::new())]);
        let layers = Layers::default().with_environment(environment, Path::new("/nonexistent"));
        let value =
            layers.ok().and_then(|layers| layers.resolve().values.remove(setting.key)).expect("a value");
        assert_eq!((value.text.as_str(), value.origin), (setting.default, Origin::Default), "{variable}");
    }
}

#[test]
fn what_guards_or_keeps_the_identity_is_never_empty() {
    for key in [
        "vault.enabled",
        "auth.enabled",
        "auth.allowed_dids",
        "auth.require_permissions",
        "auth.permissions",
        "auth.audience",
        "auth.rate_limit",
        "auth.pinned_keys",
        "hydra.verify_ssl",
        "key_password_file",
        "on_absent",
    ] {
        assert!(super::registry::find(key).is_some_and(|setting| setting.never_empty), "{key}");
    }
}

#[test]
fn accidents_around_a_value_are_refused_or_no_part_of_it() {
    for (setting, variable) in variables() {
        let good = good(setting);
        if setting.content == Content::Name {
            // What exists under such a name is loaded; no new identity is made.
            for odd in
                [format!("\"{good}\""), format!(" {good}"), format!("{good}\r\n"), format!("\u{feff}{good}")]
            {
                assert_eq!(setting.clean(&odd).as_deref(), Ok(odd.as_str()));
                let name = AgentName { author: odd.clone(), name: odd };
                assert!(name.problem().is_some(), "{variable}: {name:?}");
            }
            continue;
        }
        for (value, by) in [
            ("   ".to_owned(), "white space"),
            (format!("\"{good}\""), "quotes"),
            (format!("'{good}'"), "quotes"),
            (format!("\u{feff}{good}"), "byte order mark"),
            (format!("{good}\u{1}"), "control character"),
        ] {
            refused(variable, value, by);
        }
        for around in [format!("{good}\n"), format!("{good}\r\n"), format!(" {good}\t")] {
            assert_eq!(setting.clean(&around).as_deref(), Ok(good), "{variable}");
            assert!(
                told(variable, &around).iter().all(|told| !told.contains("it must")),
                "{variable}={around:?}"
            );
        }
    }
}

/// Each with its minimum; and those of which zero is said to mean something.
#[test]
fn zero_is_refused_with_its_minimum() {
    for (setting, variable) in variables() {
        let is_measured = setting.default.starts_with(|c: char| c.is_ascii_digit()) && setting.key != "host";
        let zero_means =
            ["port", "drain_grace", "auth.stale_if_unavailable", "hydra.cache_ttl"].contains(&setting.key);
        for zero in ["0", "0s", "0ms", "0/s"] {
            let told = told(variable, zero);
            if is_measured && !zero_means {
                assert!(!told.is_empty(), "{variable}={zero}");
            }
        }
        if setting.default.ends_with(['s', 'm', 'd']) && is_measured && !zero_means {
            refused(variable, "0s", "at least");
        }
    }
    refused("AUTH__RATE_LIMIT", "0/s", "it must be");
    for (variable, zero) in
        [("AUTH__STALE_IF_UNAVAILABLE", "0s"), ("HYDRA__CACHE_TTL", "0"), ("BINDU_PORT", "0")]
    {
        assert_eq!(told(variable, zero), Vec::<String>::new());
    }
}

#[test]
fn huge_is_refused_or_harmless() {
    let long = "9".repeat(100_000);
    for (setting, variable) in variables() {
        let is_measured = setting.default.starts_with(|c: char| c.is_ascii_digit()) && setting.key != "host";
        for huge in ["18446744073709551616", "9223372036854775807s", "1e308", "-1", "nan", long.as_str()] {
            let told = told(variable, huge);
            assert!(!is_measured || !told.is_empty(), "{variable}={huge:.30}");
        }
    }
}

/// The same by a file, TOML and Python-shaped JSON: refused with the key and the file's name.
#[test]
fn a_file_fares_like_the_environment() {
    let disk = tempfile::tempdir().expect("a directory");
    let told = |name: &str, text: String| {
        let path = disk.path().join(name);
        fs::write(&path, text).expect("writes");
        let mut layers = Layers::default();
        layers.config(path);
        let layers = layers.with_environment(BTreeMap::new(), Path::new("/nonexistent"));
        layers.and_then(Settings::load).err().map(|refusal| refusal.causes.join("\n")).unwrap_or_default()
    };
    let json = |key: &str, value: serde_json::Value| {
        let parts: Vec<&str> = key.split('.').collect();
        parts.into_iter().rev().fold(value, |value, part| serde_json::json!({part: value})).to_string()
    };
    for setting in SETTINGS.iter().filter(|setting| setting.content != Content::Name) {
        let good = good(setting);
        for (odd, by) in [
            ("   ".to_owned(), "white space"),
            (format!("\"{good}\""), "quotes"),
            (format!("\u{feff}{good}"), "byte order mark"),
            (format!("{good}\u{1}"), "control character"),
        ] {
            let toml = format!("{} = {}\n", setting.key, serde_json::json!(odd));
            let in_toml = told("bindu.toml", toml);
            let in_json = told("agent.json", json(setting.key, odd.clone().into()));
            for told in [in_toml, in_json] {
                assert!(told.contains(setting.key) && told.contains(by), "{} = {odd:?}: {told}", setting.key);
            }
        }
        if setting.never_empty {
            for told in [
                told("bindu.toml", format!("{} = \"\"\n", setting.key)),
                told("agent.json", json(setting.key, "".into())),
                told("agent.json", json(setting.key, serde_json::Value::Null)),
            ] {
                assert!(
                    told.contains(setting.key) && told.contains("it is empty"),
                    "{}: {told}",
                    setting.key
                );
            }
        }
        if matches!(setting.content, Content::Line | Content::Proxy) {
            for told in [
                told("bindu.toml", format!("{} = [\"{good}\"]\n", setting.key)),
                told("agent.json", json(setting.key, serde_json::json!([good]))),
            ] {
                assert!(told.contains(setting.key) && told.contains("not a list"), "{}: {told}", setting.key);
            }
        }
    }
}

/// Found: `"vault": true` or a second `"vault": {}` was a start without Vault, and `"auth": true` one that lets everybody in.
#[test]
fn a_section_that_is_no_object_or_comes_twice_is_a_mistake() {
    let disk = tempfile::tempdir().expect("a directory");
    let load = |name: &str, text: &str| {
        let path = disk.path().join(name);
        fs::write(&path, text).expect("writes");
        let mut layers = Layers::default();
        layers.config(path);
        let layers = layers.with_environment(BTreeMap::new(), Path::new("/nonexistent"));
        let refusal = layers.and_then(Settings::load).err();
        refusal.map(|refusal| (refusal.class, refusal.causes.join("\n")))
    };
    let told = |name: &str, text: &str| {
        let (class, told) = load(name, text).unwrap_or_else(|| panic!("{name} is taken: {text}"));
        assert_eq!(class, crate::ExitClass::Usage, "{text}: {told}");
        told
    };
    let sections = SETTINGS.iter().flat_map(|setting| {
        setting.key.match_indices('.').map(|(end, _)| setting.key.split_at(end).0).collect::<Vec<_>>()
    });
    let sections: std::collections::BTreeSet<_> = sections.collect();
    assert!(
        ["auth", "deployment", "hydra", "storage", "vault", "vault.tls"].iter().all(|s| sections.contains(s))
    );
    let nested = |key: &str, members: &dyn Fn(&str) -> String| match key.rsplit_once('.') {
        Some((outer, inner)) => format!(r#"{{"{outer}": {{{}}}}}"#, members(inner)),
        None => format!("{{{}}}", members(key)),
    };
    for section in sections {
        for odd in ["true", "false", "null", r#""x""#, r#""""#, "[]", r#"[{}, "x"]"#, "7"] {
            let told = told("agent.json", &nested(section, &|name| format!(r#""{name}": {odd}"#)));
            assert!(told.contains(&format!("`{section}`")) && told.contains("section"), "{odd}: {told}");
        }
        assert!(load("agent.json", &nested(section, &|name| format!(r#""{name}": {{}}"#))).is_none());
        let twice =
            told("agent.json", &nested(section, &|name| format!(r#""{name}": {{}}, "{name}": {{}}"#)));
        assert!(twice.contains("comes twice"), "{section}: {twice}");
        for odd in ["true", "\"x\"", "[]", "7"] {
            assert!(told("bindu.toml", &format!("{section} = {odd}\n")).contains("section"), "{section}");
        }
        told("bindu.toml", &format!("[{section}]\n[{section}]\n"));
    }
    // The same one level deeper: a setting in place of which there is an object, and one that is said in two ways.
    for setting in SETTINGS {
        let json = |value: &str| document(setting.key, value);
        if setting.content != Content::Object {
            let told = told("agent.json", &json("{}"));
            assert!(told.contains(setting.key) && told.contains("not an object"), "{told}");
        }
        let good = serde_json::json!(good(setting)).to_string();
        if let Some((section, name)) =
            setting.key.rsplit_once('.').filter(|(section, _)| !section.contains('.'))
        {
            let both = format!(r#"{{"{}": {good}, "{section}": {{"{name}": {good}}}}}"#, setting.key);
            assert!(told("agent.json", &both).contains("comes twice"), "{both}");
            let upper = format!(r#"{{"{}": {{"{name}": {good}}}}}"#, section.to_uppercase());
            assert!(told("agent.json", &upper).contains("lower case"), "{upper}");
        }
    }
    let pinned = r#"{"auth": {"pinned_keys": {"did:bindu:a:b:c": "x", "did:bindu:a:b:c": "y"}}}"#;
    assert!(told("agent.json", pinned).contains("comes twice"));
}

/// A document with one value at a dotted key.
fn document(key: &str, value: &str) -> String {
    key.rsplit('.').fold(value.to_owned(), |value, part| format!(r#"{{"{part}": {value}}}"#))
}

#[test]
fn marks_and_line_ends_of_windows_change_nothing_in_a_file() {
    let disk = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        (".env", "\u{feff}BINDU_NAME=echo\r\nBINDU_DESCRIPTION=\"two words\"\r\n"),
        ("bindu.toml", "\u{feff}name = \"echo\"\r\ndescription = \"two words\"\r\n"),
        ("agent.json", "\u{feff}{\"name\": \"echo\",\r\n \"description\": \"two words\"}\r\n"),
    ] {
        let path = disk.path().join(name);
        fs::write(&path, text).expect("writes");
        let mut layers = Layers::default();
        if name != ".env" {
            layers.config(path.clone());
        }
        let layers = layers.with_environment(BTreeMap::new(), disk.path());
        let settings =
            layers.and_then(Settings::load).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        assert_eq!(
            (settings.name.as_deref(), settings.description.as_str()),
            (Some("echo"), "two words"),
            "{name}"
        );
        fs::write(&path, b"BINDU_NAME=\xff").expect("writes");
        let mut layers = Layers::default();
        if name != ".env" {
            layers.config(path.clone());
        }
        let refusal = layers.with_environment(BTreeMap::new(), disk.path()).err();
        let refusal = refusal.map(|refusal| format!("{refusal:?}")).unwrap_or_default();
        assert!(refusal.contains(name) && refusal.contains("UTF-8"), "{name}: {refusal}");
        fs::remove_file(path).expect("it is there");
    }
}
