//! `keyring/`: the private keys beside the current one, during a rotation.

use super::{DataDirectory, DirectoryError, files, files::Part, files::Role, lock};
use secrecy::{ExposeSecret as _, SecretString};

/// The folder of the ring's files.
pub(super) const FOLDER: &str = "keyring";

/// A key file of the ring. The current key is not among them: it is `private.pem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RingFile {
    /// The key that a rotation has prepared.
    Next,
    /// The key that the last rotation replaced.
    Previous,
}

impl RingFile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Next, Self::Previous];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Next => "next.pem",
            Self::Previous => "previous.pem",
        }
    }
}

impl DataDirectory {
    /// A key file of the ring, if there is one.
    ///
    /// # Errors
    /// If it is there and can't be read, or the directory is another agent's.
    pub fn ring_key(&self, file: RingFile) -> Result<Option<SecretString>, DirectoryError> {
        let path = self.path.join(FOLDER).join(file.name());
        self.keys(|| Ok(files::read_text(&path)?.map(SecretString::from)))
    }

    /// Writes a key file of the ring (0600, whole or not at all).
    ///
    /// # Errors
    /// If it can't be written; the file is as it was.
    pub fn write_ring_key(&self, file: RingFile, private_key: &SecretString) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        // Whose directory it is comes first.
        self.claim()?;
        let folder = self.path.join(FOLDER);
        files::make_folder(&folder)?;
        let content = private_key.expose_secret().as_bytes();
        files::replace(&folder, &[Part { name: file.name(), content, role: Role::Content }])
    }

    /// Takes a key file of the ring away; nothing is done if there is none.
    ///
    /// # Errors
    /// If it is there and can't be removed.
    pub fn remove_ring_key(&self, file: RingFile) -> Result<(), DirectoryError> {
        let _turn = lock(&self.turn);
        self.must_be_open()?;
        self.refuse_another()?;
        files::remove(&self.path.join(FOLDER), file.name())
    }
}
