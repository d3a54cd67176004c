//! Versions that Vault will delete by itself (`delete_version_after`): known from the answers that are read and written anyway,
//! and told before the day comes.
//!
//! Such a version reads as any other until its time, then as deleted: all agents of a mount would lose their records on the
//! same day.

use super::{VaultStore, kv2, meaning, path_segments};
use crate::{Outage, RecordName, StoreWarning, Version};
use bindu_http_client::Method;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The end of each record's newest version, if it has one.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<RecordName, (Version, String)>>);

impl Ends {
    /// Notes what an answer says; whether it is news.
    fn note(&self, name: &RecordName, version: Version, at: Option<&str>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            None => {
                known.remove(name);
                false
            }
            Some(at) => known.insert(name.clone(), (version, at.to_owned())).is_none(),
        }
    }

    fn of(&self, name: &RecordName) -> Option<(Version, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl VaultStore {
    /// Takes what an answer says about a version's end, and logs it the first time.
    pub(super) fn note_end(&self, name: &RecordName, version: Version, at: Option<&str>) {
        if self.ends.note(name, version, at) {
            let warning = self.ending(name);
            tracing::warn!(
                record = crate::SecretStore::locate(self, name),
                version,
                at,
                fix = warning.map(|warning| warning.fix.join("; ")),
                "Vault will delete this version of the record by itself (delete_version_after)"
            );
        }
    }

    fn ending(&self, name: &RecordName) -> Option<StoreWarning> {
        let (version, at) = self.ends.of(name)?;
        let mount = path_segments(&self.settings.mount).join("/");
        let path = self.below_mount(name);
        Some(StoreWarning {
            problem: format!(
                "Vault will delete version {version} of {mount}/{path} by itself at {at} (delete_version_after)"
            ),
            fix: vec![
                kv2::fix_of_mount(&mount),
                kv2::fix_of_record(&mount, &path),
                format!("vault kv undelete -mount={mount} -versions={version} {path}"),
            ],
        })
    }

    fn below_mount(&self, name: &RecordName) -> String {
        [path_segments(&self.settings.prefix), name.segments()].concat().join("/")
    }

    /// What will do harm later, as far as the login may see it.
    pub(super) async fn warnings(&self, names: &[RecordName]) -> Result<Vec<StoreWarning>, Outage> {
        let mount = path_segments(&self.settings.mount);
        let config = [mount.as_slice(), &["config".to_owned()]].concat();
        let mount = mount.join("/");
        let mut warnings: Vec<_> = names.iter().filter_map(|name| self.ending(name)).collect();
        if let Some(after) = self.lifetime(&config).await? {
            let problem = format!(
                "every new version in the mount {mount} is deleted {after} later (its delete_version_after)"
            );
            warnings.push(StoreWarning { problem, fix: vec![kv2::fix_of_mount(&mount)] });
        }
        for name in names {
            if let Some(after) = self.lifetime(&self.api_segments("metadata", name)).await? {
                let path = self.below_mount(name);
                let problem = format!(
                    "every new version of {mount}/{path} is deleted {after} later (its delete_version_after)"
                );
                warnings.push(StoreWarning { problem, fix: vec![kv2::fix_of_record(&mount, &path)] });
            }
        }
        Ok(warnings)
    }

    /// What a mount's or a record's settings say, if they are there and the login may read them.
    async fn lifetime(&self, segments: &[String]) -> Result<Option<String>, Outage> {
        let url = self.url(segments.iter().map(String::as_str));
        let reply = self.send("look_at_lifetimes", Method::GET, url, None).await?;
        Ok(match meaning::of_administration(&reply)? {
            meaning::Administration::Done(data) => data.as_ref().and_then(kv2::lifetime),
            // The least policy allows neither.
            meaning::Administration::PolicyDenies | meaning::Administration::Refused(_) => None,
        })
    }
}
