//! What a key knows of its past.

use super::RotationStatement;
use crate::{Fingerprint, PublicKey};

/// How many fingerprints of earlier keys are kept, the newest.
const MOST_REPLACED: usize = 256;

/// How many statements are kept, the newest.
const MOST_KEPT_STATEMENTS: usize = 64;

/// The past of a key: what it replaces, and what proves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Lineage {
    /// How many rotations led to the key: 0 for a first one.
    pub generation: u64,
    /// All keys that it replaces, newest first, at most 256.
    pub replaces: Vec<Fingerprint>,
    /// The statements that led to it, newest first, at most 64.
    pub statements: Vec<RotationStatement>,
}

/// A text that no lineage was written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineageError {
    /// Not fingerprints, separated by spaces.
    #[error("not a list of fingerprints separated by spaces")]
    Replaces,
    /// Not a JSON array of statements.
    #[error("not a JSON array of rotation statements")]
    Statements,
}

impl Lineage {
    /// Whether this key is one that was replaced: a [`PublicKey`] or its [`Fingerprint`].
    #[must_use]
    pub fn replaces_key(&self, key: impl Into<Fingerprint>) -> bool {
        self.replaces.contains(&key.into())
    }

    /// The lineage of `new`, which replaces `old`, whose lineage this is. A key that comes back (an undo) no longer
    /// replaces itself.
    #[must_use]
    pub fn after(&self, old: &PublicKey, new: &PublicKey, statement: Option<RotationStatement>) -> Self {
        let (old, new) = (old.fingerprint(), new.fingerprint());
        let earlier = self.replaces.iter().filter(|key| **key != old && **key != new).cloned();
        let replaces = std::iter::once(old.clone()).filter(|old| *old != new).chain(earlier);
        Self {
            generation: self.generation.saturating_add(1),
            replaces: replaces.take(MOST_REPLACED).collect(),
            statements: statement
                .into_iter()
                .chain(self.statements.iter().cloned())
                .take(MOST_KEPT_STATEMENTS)
                .collect(),
        }
    }

    /// [`replaces`](Self::replaces) as one text, separated by spaces.
    #[must_use]
    pub fn replaces_text(&self) -> String {
        self.replaces.iter().map(Fingerprint::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Reads [`replaces_text`](Self::replaces_text); the newest 256 of a longer one.
    ///
    /// # Errors
    /// [`LineageError::Replaces`].
    pub fn parse_replaces(text: &str) -> Result<Vec<Fingerprint>, LineageError> {
        text.split_ascii_whitespace()
            .take(MOST_REPLACED)
            .map(|word| word.parse().map_err(|_| LineageError::Replaces))
            .collect()
    }

    /// [`statements`](Self::statements) as one text: their public JSON form, in an array.
    #[must_use]
    pub fn statements_text(&self) -> String {
        serde_json::to_string(&self.statements).expect("statements are strings and numbers")
    }

    /// Reads [`statements_text`](Self::statements_text), or nothing: the newest 64 of a longer one. None is verified.
    ///
    /// # Errors
    /// [`LineageError::Statements`].
    pub fn parse_statements(text: &str) -> Result<Vec<RotationStatement>, LineageError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut statements: Vec<RotationStatement> =
            serde_json::from_str(text).map_err(|_| LineageError::Statements)?;
        statements.truncate(MOST_KEPT_STATEMENTS);
        Ok(statements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DerivedKey, Did, SigningKey, rotation::NewRotation};

    fn key(number: u32) -> SigningKey {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        SigningKey::from_seed(&seed)
    }

    fn statement(from: u32, to: u32, generation: u64) -> RotationStatement {
        let did: Did = "did:bindu:a:b:c".parse().expect("a DID");
        RotationStatement::sign(&NewRotation {
            did: &did,
            from: &key(from),
            to: key(to).public_key(),
            to_second: DerivedKey::of(&key(to)).public_key(),
            generation,
            prev: None,
            at: "2026-11-26T08:00:00Z",
            until: "2026-12-03T08:00:00Z",
        })
    }

    #[test]
    fn a_key_that_comes_back_does_not_replace_itself() {
        let [one, two, three] = [1, 2, 3].map(|number| key(number).public_key());
        let first = Lineage::default().after(&one, &two, Some(statement(1, 2, 1)));
        assert_eq!((first.generation, first.replaces_key(&one), first.replaces_key(&two)), (1, true, false));
        let undone = first.after(&two, &one, Some(statement(2, 1, 2)));
        assert_eq!((undone.generation, undone.replaces.clone()), (2, vec![two.fingerprint()]));
        let again = undone.after(&one, &two, None).after(&two, &three, None);
        assert_eq!(again.replaces, [two.fingerprint(), one.fingerprint()], "newest first, each once");
        assert_eq!(again.statements.iter().map(|it| it.generation).collect::<Vec<_>>(), [2, 1]);
        assert!(again.replaces_key(&again.replaces[0]));
    }

    #[test]
    fn the_newest_are_kept_and_texts_come_back() {
        let mut lineage = Lineage::default();
        for number in 0..300 {
            let made = (number < 70).then(|| statement(number, number + 1, u64::from(number) + 1));
            lineage = lineage.after(&key(number).public_key(), &key(number + 1).public_key(), made);
        }
        assert_eq!((lineage.generation, lineage.replaces.len(), lineage.statements.len()), (300, 256, 64));
        assert!(lineage.replaces_key(&key(299).public_key()) && !lineage.replaces_key(&key(43).public_key()));
        assert_eq!(lineage.statements[0].generation, 70);
        assert_eq!(Lineage::parse_replaces(&lineage.replaces_text()), Ok(lineage.replaces.clone()));
        assert_eq!(Lineage::parse_statements(&lineage.statements_text()), Ok(lineage.statements.clone()));
        assert_eq!(Lineage::default().replaces_text(), "");
        assert_eq!(Lineage::default().statements_text(), "[]");
    }

    #[test]
    fn other_texts_are_errors() {
        assert_eq!(Lineage::parse_replaces(""), Ok(vec![]));
        assert_eq!(Lineage::parse_statements(""), Ok(vec![]));
        assert_eq!(Lineage::parse_replaces("abc"), Err(LineageError::Replaces));
        for odd in ["{}", "[1]", "[{}]", "[", "null"] {
            assert_eq!(Lineage::parse_statements(odd), Err(LineageError::Statements), "{odd}");
        }
    }
}
