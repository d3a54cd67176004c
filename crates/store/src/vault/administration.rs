//! Requests of an administrator's: any path of Vault's API, read or written, with typed refusals.

use super::{VaultStore, meaning, path_segments};
use crate::{Outage, RecordName};
use bindu_http_client::Method;
use serde_json::Value;

/// Why Vault could not be observed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// The administrator's token may not.
    #[error("the token may not do {operation} on {path}")]
    Denied {
        /// What was tried.
        operation: &'static str,
        /// The path of the API.
        path: String,
    },
    /// Vault does not take what it was given.
    #[error("Vault does not take it at {path}: {problem}")]
    Refused {
        /// The path of the API.
        path: String,
        /// Vault's own words.
        problem: String,
    },
    /// There was no answer of Vault's, or it is in trouble.
    #[error("Vault could not be asked")]
    Unavailable(#[source] Outage),
}

impl VaultStore {
    /// What is at a path of the API; nothing if nothing is there.
    ///
    /// # Errors
    /// If the token may not read it, or Vault can't be asked.
    pub async fn read_path(&self, path: &str) -> Result<Option<Value>, AdministrationError> {
        self.administer(Method::GET, path, None).await
    }

    /// Posts to a path of the API; what Vault answers, if it says anything.
    ///
    /// # Errors
    /// If the token may not, Vault does not take it, or can't be asked.
    pub async fn post_path(&self, path: &str, body: Value) -> Result<Option<Value>, AdministrationError> {
        self.administer(Method::POST, path, Some(body)).await
    }

    /// The mount of the records, without slashes at its ends.
    #[must_use]
    pub fn mount(&self) -> String {
        path_segments(&self.settings.mount).join("/")
    }

    /// The folder of the records below the mount.
    #[must_use]
    pub fn prefix(&self) -> String {
        path_segments(&self.settings.prefix).join("/")
    }

    /// The path of a record's settings in the API.
    #[must_use]
    pub fn metadata_path(&self, name: &RecordName) -> String {
        self.api_segments("metadata", name).join("/")
    }

    async fn administer(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Option<Value>, AdministrationError> {
        use AdministrationError::{Denied, Refused, Unavailable};
        let operation = if method == Method::GET { "read" } else { "create or update" };
        let url = self.url(path.split('/'));
        let body = body.map(|body| serde_json::to_vec(&body).expect("JSON serialises"));
        let reply = self.send("set_up", method, url, body).await.map_err(Unavailable)?;
        match meaning::of_administration(&reply).map_err(Unavailable)? {
            meaning::Administration::Done(data) => Ok(data),
            meaning::Administration::PolicyDenies => {
                self.token_is_alive().await.map_err(Unavailable)?;
                Err(Denied { operation, path: path.to_owned() })
            }
            meaning::Administration::Refused(problem) => Err(Refused { path: path.to_owned(), problem }),
        }
    }
}
