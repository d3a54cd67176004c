//! Where an agent's secrets are kept.
//!
//! [`SecretStore`] is the contract: versioned records, written by compare-and-set only, read with six answers that are
//! never mixed up. [`VaultStore`] keeps it over Vault's or OpenBao's KV v2, [`FileStore`] in the data directory.
//! [`record`] gives the records their types, [`DataDirectory`] knows the files. Nothing here decides what to do about
//! an answer: that is the keeper's.

mod answer;
mod directory;
mod file;
pub mod record;
mod secret_store;
mod vault;

pub use answer::{Answer, Outage, OutageReason, WriteError};
pub use directory::{
    Acknowledgement, DataDirectory, DirectoryError, DirectoryErrorKind, DirectoryOwner, FileAccess,
    IdentityFile, LocalPair, RingFile,
};
pub use file::FileStore;
pub use record::{CredentialRecord, Fields, KeyRecord, Malformed, Record, RecordName, RingKey, Version};
pub use secret_store::{Expected, SecretStore, StoreWarning};
pub use vault::{AdministrationError, VaultLogin, VaultSettings, VaultStore, VaultStoreError, kv2};

#[cfg(fuzzing)]
pub use vault::fuzz;
