//! What the layers make of each other, and how mistakes are told.

use super::*;
use bindu_keeper::plan::Policy;
use std::{collections::BTreeMap, fs};

fn load(environment: &[(&str, &str)], file: Option<(&str, &str)>) -> Result<Settings, Refusal> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut layers = Layers::default();
    if let Some((name, text)) = file {
        fs::write(directory.path().join(name), text).expect("writes");
        if name != ".env" {
            layers.config(directory.path().join(name));
        }
    }
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::load(layers.with_environment(environment, directory.path())?)
}

#[test]
fn nothing_said_is_a_working_agent() {
    let settings = load(&[], None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 3773));
    assert_eq!(settings.data_dir, PathBuf::from(".bindu"));
    assert_eq!(settings.policy, Policy::default());
    assert_eq!(settings.handler, HandlerChoice::Unnamed);
    assert!(settings.vault.is_none() && settings.hydra.is_none());
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = Some(("bindu.toml", "name = \"file\"\nauthor = \"file\"\nlisten = \"0.0.0.0:1\"\n"));
    let settings = load(&[("BINDU_NAME", "variable"), ("PORT", "2")], file)
        .unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.name.as_deref(), Some("variable"));
    assert_eq!(settings.author.as_deref(), Some("file"));
    assert_eq!((settings.host.as_str(), settings.port), ("0.0.0.0", 2));
    let mut layers = Layers::default();
    layers.flag("name", "flag");
    let environment = BTreeMap::from([("BINDU_NAME".to_owned(), "variable".to_owned())]);
    let layers = layers.with_environment(environment, std::path::Path::new("/nonexistent"));
    let settings = layers.and_then(Settings::load).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.name.as_deref(), Some("flag"));
}

#[test]
fn dotenv_is_below_the_environment() {
    let dotenv = Some((".env", "BINDU_NAME=dotenv\nBINDU_AUTHOR=dotenv\n"));
    let settings =
        load(&[("BINDU_NAME", "variable")], dotenv).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!((settings.name.as_deref(), settings.author.as_deref()), (Some("variable"), Some("dotenv")));
}

/// An agent that comes from its longest pause must find both keys.
#[test]
fn an_overlap_is_twice_the_interval_at_least() {
    let is_taken = |overlap, interval| {
        let settings = [("BINDU_ROTATION_OVERLAP", overlap), ("BINDU_RECONCILE_INTERVAL", interval)];
        load(&settings, None).is_ok()
    };
    assert!(is_taken("2m", "60s") && is_taken("2s", "1s") && is_taken("7d", "24h"));
    assert!(!is_taken("119s", "60s") && !is_taken("2s", "60s") && !is_taken("1s", "1s"));
    let refusal = load(&[("BINDU_ROTATION_OVERLAP", "10s")], None).err().expect("too short");
    assert!(format!("{refusal:?}").contains("reconcile_interval"), "{refusal:?}");
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    assert_eq!(load(&[("BINDU_PORT", ""), ("PORT", "5")], None).map(|settings| settings.port).ok(), Some(5));
}

#[test]
fn all_mistakes_are_told_together_with_where_they_came_from() {
    let file = Some(("bindu.toml", "nmae = \"x\"\nstart_deadline = 5\n"));
    let refusal = load(&[("BINDU_PORT", "many"), ("VAULT__ENABLED", "true"), ("X402__PRICE", "1")], file);
    let refusal = refusal.err().unwrap_or_else(|| panic!("it is refused"));
    assert_eq!(refusal.class, ExitClass::Usage);
    let told = refusal.causes.join("\n");
    for part in [
        "`nmae`",
        "do you mean `name`?",
        "`start_deadline`",
        "bindu.toml",
        "BINDU_PORT",
        "\"many\"",
        "VAULT__TOKEN",
        "X402__PRICE",
        "alice@example.com",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

#[test]
fn a_rejected_secret_is_not_shown() {
    let environment = [
        ("VAULT__ENABLED", "true"),
        ("VAULT__TOKEN", "s.canary\u{1}"),
        ("BINDU_NAME", "a"),
        ("BINDU_AUTHOR", "b"),
    ];
    let refusal = load(&environment, None).err().unwrap_or_else(|| panic!("it is refused"));
    assert!(!format!("{refusal:?}").contains("canary"), "{refusal:?}");
    let broken = load(&[], Some(("bindu.toml", "vault.token = \"canary\nname = 1"))).err();
    assert!(!format!("{broken:?}").contains("canary"), "{broken:?}");
    let broken = load(&[], Some((".env", "VAULT__TOKEN=canary'\n"))).err();
    assert!(!format!("{broken:?}").contains("canary"), "{broken:?}");
}

#[test]
fn what_guards_the_door_is_not_ignored() {
    for variable in ["auth__enabled", "HYDRA__ALLOWED_DIDS", "AUTH__REQUIRE_PERMISSIONS", "MTLS__ENABLED"] {
        assert!(load(&[(variable, "true")], None).is_err(), "{variable}");
    }
    assert!(load(&[], Some(("agent.json", r#"{"auth": {"require_permissions": true}}"#))).is_err());
    assert!(load(&[], Some(("agent.json", r#"{"skills": []}"#))).is_ok());
}

#[test]
fn authentication_needs_both_urls() {
    let refusal = load(&[("AUTH__ENABLED", "true"), ("BINDU_NAME", "a"), ("BINDU_AUTHOR", "b")], None).err();
    let told = refusal.map(|refusal| refusal.causes.join("\n")).unwrap_or_default();
    assert!(told.contains("HYDRA__ADMIN_URL") && told.contains("HYDRA__PUBLIC_URL"), "{told}");
}

#[test]
fn python_bindus_json_is_read_and_yields_to_the_environment() {
    let json = r#"{"author": "a@b", "name": "x", "deployment": {"url": "http://localhost:4000", "expose": true},
        "vault": {"enabled": true, "url": "http://file:1", "token": "file"}, "skills": []}"#;
    let settings = load(&[("VAULT__URL", "http://variable:2")], Some(("agent.json", json)))
        .unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.port, 4000);
    assert_eq!(settings.vault.map(|vault| vault.url.to_string()), Some("http://variable:2/".to_owned()));
    assert!(settings.warnings.iter().any(|warning| warning.contains("vault.url")), "{:?}", settings.warnings);
}

#[test]
fn durations_carry_a_unit_except_under_pythons_names() {
    assert!(load(&[("BINDU_START_DEADLINE", "5")], None).is_err());
    let settings =
        load(&[("BINDU_START_DEADLINE", "1500ms")], None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.start_deadline, Duration::from_millis(1500));
    let hydra = [
        ("AUTH__ENABLED", "true"),
        ("HYDRA__ADMIN_URL", "http://h:1"),
        ("HYDRA__PUBLIC_URL", "http://h:2"),
        ("HYDRA__TIMEOUT", "7"),
        ("BINDU_NAME", "a"),
        ("BINDU_AUTHOR", "b"),
    ];
    let settings = load(&hydra, None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.hydra.map(|hydra| hydra.timeout), Some(Duration::from_secs(7)));
}

#[test]
fn the_environment_goes_before_dotenv_by_any_name() {
    let dotenv = Some((".env", "VAULT__URL=http://dotenv:1\nBINDU_NAME=n\nBINDU_AUTHOR=a\nVAULT__TOKEN=t\n"));
    let settings = load(&[("VAULT_ADDR", "http://variable:2"), ("VAULT__ENABLED", "true")], dotenv)
        .unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(settings.vault.map(|vault| vault.url.to_string()), Some("http://variable:2/".to_owned()));
}

/// Other file names or another method are another identity in Python Bindu: ignoring them would make a new key.
#[test]
fn pythons_names_of_the_key_files_are_not_ignored() {
    assert!(load(&[("DID__PRIVATE_KEY_FILENAME", "key.pem")], None).is_err());
    assert!(load(&[("DID__METHOD_BINDU", "other")], None).is_err());
    assert!(load(&[("DID__PRIVATE_KEY_FILENAME", "private.pem")], None).is_ok());
    let settings = load(&[("REDIS_URL", "redis://r")], None).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert!(settings.warnings.iter().any(|warning| warning.contains("REDIS_URL")), "{:?}", settings.warnings);
}

#[test]
fn what_pythons_files_say_by_default_is_taken() {
    let json = r#"{"auth": {"enabled": false, "provider": "hydra"}, "allowed_dids": [], "mtls": {"enabled": false}}"#;
    assert!(load(&[], Some(("agent.json", json))).is_ok());
    for json in [r#"{"allowed_dids": ["did:bindu:a:b:c"]}"#, r#"{"auth": {"require_permisions": false}}"#] {
        assert!(load(&[], Some(("agent.json", json))).is_err(), "{json}");
    }
}
