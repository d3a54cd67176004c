//! Whose key a reply must be signed with, and why we believe that.

use crate::{
    CallError,
    card::{self, Card},
};
use bindu_http_client::HttpSettings;
use bindu_hydra::{Hydra, HydraError};
use bindu_identity::{Did, PublicKey};
use rustix::fs::OFlags;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use url::Url;

/// By what an agent's key is believed to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Hydra names it for the DID that was asked for.
    Hydra,
    /// Our own settings name it.
    Pinned,
    /// The agent has shown it at the first call, and the same at each call since.
    FirstUse,
}

impl Trust {
    /// For people and programs, from a closed set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hydra => "the key in Hydra",
            Self::Pinned => "a pinned key",
            Self::FirstUse => "first use",
        }
    }
}

/// An agent's key, and whose it is.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) did: String,
    pub(crate) key: PublicKey,
    pub(crate) trust: Trust,
}

/// Where keys are known from.
pub(crate) struct Sources<'a> {
    pub(crate) hydra: Option<&'a Hydra>,
    pub(crate) pinned: &'a HashMap<Did, PublicKey>,
    pub(crate) known: &'a KnownAgents,
    pub(crate) http: &'a HttpSettings,
}

impl Sources<'_> {
    /// The key of the agent whose card this is; `wanted` is the one that was asked for.
    pub(crate) async fn key(&self, card: &Card, wanted: Option<&Did>) -> Result<Trusted, CallError> {
        let found = card.did.as_ref().map_or("no DID", Did::as_str);
        if let Some(wanted) = wanted.filter(|wanted| card.did.as_ref() != Some(wanted)) {
            return Err(CallError::OtherAgent { wanted: wanted.clone(), found: found.to_owned() });
        }
        let did = found.to_owned();
        if let Some(key) = card.did.as_ref().and_then(|did| self.pinned.get(did)) {
            return Ok(Trusted { did, key: *key, trust: Trust::Pinned });
        }
        match (wanted, self.hydra) {
            (Some(wanted), Some(hydra)) => {
                let key = in_hydra(hydra, wanted).await?;
                Ok(Trusted { did, key, trust: Trust::Hydra })
            }
            (Some(_), None) => Err(CallError::NoKey {
                did,
                problem: "without Hydra or a pinned key nobody can say whose it is".to_owned(),
            }),
            (None, _) => {
                let shown = self.shown(card).await?;
                self.known.check(card.interface.as_str().trim_end_matches('/'), &did, &shown)?;
                Ok(Trusted { did, key: shown, trust: Trust::FirstUse })
            }
        }
    }

    /// The key that the agent shows in its DID document.
    async fn shown(&self, card: &Card) -> Result<PublicKey, CallError> {
        let did = card.did.as_ref().map_or("", Did::as_str);
        let no_key = |problem: &str| CallError::NoKey { did: did.to_owned(), problem: problem.to_owned() };
        let mut url: Url = card.interface.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["did", "resolve"]);
        }
        url.query_pairs_mut().clear().append_pair("did", did);
        let reply = card::get(&url, self.http).await?;
        let document = reply.json().filter(|_| reply.status == 200).unwrap_or_default();
        if document.get("id").and_then(Value::as_str) != Some(did) {
            return Err(no_key("its DID document is not there, or another agent's"));
        }
        let key = document.pointer("/authentication/0/publicKeyBase58").and_then(Value::as_str);
        key.and_then(|key| key.parse().ok()).ok_or_else(|| no_key("its DID document names no usable key"))
    }
}

async fn in_hydra(hydra: &Hydra, did: &Did) -> Result<PublicKey, CallError> {
    let no_key = |problem: String| CallError::NoKey { did: did.to_string(), problem };
    match hydra.client(did).await {
        Ok(Some(client)) => {
            let key = client.public_key().and_then(|key| key.parse().ok());
            key.ok_or_else(|| no_key("its client in Hydra names no usable key".to_owned()))
        }
        Ok(None) => Err(no_key("Hydra has no client of this DID".to_owned())),
        Err(error @ HydraError::Unavailable { .. }) => {
            Err(CallError::Unavailable { url: "Hydra".to_owned(), detail: error.to_string() })
        }
        Err(error) => Err(no_key(error.to_string())),
    }
}

/// The agents that were called before, by where they take calls, and the keys that they showed. In a file where one is
/// given.
#[derive(Debug, Default)]
pub struct KnownAgents {
    file: Option<PathBuf>,
    /// What this process has seen, where there is no file or it can't be written.
    seen: Mutex<serde_json::Map<String, Value>>,
}

impl KnownAgents {
    /// Remembers in this file, as JSON: `{url: {"did": ..., "public_key": ...}}`.
    #[must_use]
    pub fn in_file(file: PathBuf) -> Self {
        Self { file: Some(file), seen: Mutex::default() }
    }

    /// Compares a key with the one of the first call, and remembers it where this is the first.
    fn check(&self, url: &str, did: &str, key: &PublicKey) -> Result<(), CallError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            match read(file) {
                Ok(bytes) => {
                    let known: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                    let Value::Object(known) = known else {
                        let problem = format!("{} is not of its form; mend it, or remove it", file.display());
                        return Err(CallError::NoKey { did: did.to_owned(), problem });
                    };
                    seen.extend(known);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problem = format!("{} can't be read: {error}", file.display());
                    return Err(CallError::NoKey { did: did.to_owned(), problem });
                }
            }
        }
        let entry = json!({"did": did, "public_key": key.to_string()});
        match seen.get(url) {
            Some(known) if *known == entry => Ok(()),
            Some(known) => {
                let text = |name: &str| known.get(name).and_then(Value::as_str).unwrap_or_default();
                let known = format!("{} of {}", text("public_key"), text("did"));
                Err(CallError::OtherKey { did: did.to_owned(), known, found: key.to_string() })
            }
            None => {
                seen.insert(url.to_owned(), entry);
                if let Some(file) = &self.file
                    && let Err(error) = write(file, &Value::Object(seen.clone()))
                {
                    tracing::warn!(%error, "the agent's key could not be kept for the next call");
                }
                Ok(())
            }
        }
    }
}

/// Whole or not at all: under another name (one that a start of the agent sweeps), synced, renamed.
fn write(file: &Path, known: &Value) -> std::io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // A name of its own: the agent and a command may write at the same time.
    let temporary = file.with_file_name(format!(".writing-{name}-{}", uuid::Uuid::new_v4()));
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let renamed = written
        .write_all(format!("{known:#}\n").as_bytes())
        .and_then(|()| written.sync_all())
        .and_then(|()| std::fs::rename(&temporary, file));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A link is not followed: whoever may write to the directory must not choose what is believed.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut bytes = Vec::new();
    File::options().read(true).custom_flags(flags).open(file)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bindu_identity::SigningKey;

    #[test]
    fn the_first_key_stays() {
        let file = std::env::temp_dir().join(format!("known-agents-{}.json", uuid::Uuid::new_v4()));
        let (one, other) =
            (SigningKey::from_seed(&[1; 32]).public_key(), SigningKey::from_seed(&[2; 32]).public_key());
        for _ in 0..2 {
            let known = KnownAgents::in_file(file.clone());
            assert!(known.check("https://a.example", "did:bindu:a:b", &one).is_ok());
            assert!(known.check("https://a.example", "did:bindu:a:b", &other).is_err());
            assert!(known.check("https://a.example", "did:bindu:a:c", &one).is_err(), "another name");
        }
        assert!(KnownAgents::default().check("https://a.example", "did:bindu:a:b", &other).is_ok());
        std::fs::write(&file, "[]").expect("a file in a temporary directory");
        assert!(
            KnownAgents::in_file(file.clone()).check("https://a.example", "did:bindu:a:b", &one).is_err()
        );
        std::fs::remove_file(file).expect("it is there");
    }
}
