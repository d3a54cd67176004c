//! Keys of rows. What callers choose (ids, names) may be long and may hold any character, so indexes are over hashes of a
//! fixed size, and the columns that people read hold the text without the one character that PostgreSQL refuses.

use crate::{Owner, TaskKey};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// SHA-256 over parts of which none can be taken for a piece of its neighbour.
pub(super) type Hash = [u8; 32];

fn hash(kind: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// An owner.
pub(super) fn owner(owner: &Owner) -> Hash {
    let (client, subject) = columns(owner);
    hash("owner", &[client.as_bytes(), subject.as_bytes()])
}

/// A task.
pub(super) fn task(key: &TaskKey) -> Hash {
    hash("task", &[&owner(&key.owner), key.id.as_bytes()])
}

/// An owner's conversation.
pub(super) fn context(of: &Owner, id: &str) -> Hash {
    hash("context", &[&owner(of), id.as_bytes()])
}

/// An owner's message with this content: the same id with other content is another message.
pub(super) fn message(of: &Owner, id: &str, content: &Hash) -> Hash {
    hash("message", &[&owner(of), id.as_bytes(), content])
}

/// An owner's signed request.
pub(super) fn replay(of: &Owner, replay: &Hash) -> Hash {
    hash("replay", &[&owner(of), replay])
}

/// A push configuration within its task.
pub(super) fn push(id: &str) -> Hash {
    hash("push", &[id.as_bytes()])
}

/// The number of the lock that guards an owner's share, for the agent of this schema. Two owners that get the same one wait for each
/// other, no more.
pub(super) fn share(schema: &str, owner: &Hash) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = hash("share", &[schema.as_bytes(), owner]);
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// An owner's two columns: the client, and `-` or `=` with the subject. Everybody's are empty.
pub(super) fn columns(owner: &Owner) -> (String, String) {
    match owner {
        Owner::Everybody => (String::new(), String::new()),
        Owner::Client { id, subject: None } => (escaped(id), "-".to_owned()),
        Owner::Client { id, subject: Some(subject) } => (escaped(id), format!("={}", escaped(subject))),
    }
}

/// The owner of two columns.
pub(super) fn owner_of(client: &str, subject: &str) -> Owner {
    let id = || -> Arc<str> { unescaped(client).into() };
    match subject.split_at_checked(1) {
        None => Owner::Everybody,
        Some(("=", subject)) => Owner::Client { id: id(), subject: Some(unescaped(subject).into()) },
        Some(_) => Owner::Client { id: id(), subject: None },
    }
}

/// A text without NUL, which PostgreSQL's texts cannot hold.
pub(super) fn escaped(text: &str) -> String {
    if text.contains(['\0', '\\']) {
        text.replace('\\', "\\\\").replace('\0', "\\0")
    } else {
        text.to_owned()
    }
}

/// The text as it was.
pub(super) fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut characters = text.chars();
    let mut whole = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        whole.push(match character {
            '\\' if characters.next() == Some('0') => '\0',
            other => other,
        });
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(id: &str, subject: Option<&str>) -> Owner {
        Owner::Client { id: id.into(), subject: subject.map(Into::into) }
    }

    proptest! {
        #[test]
        fn columns_name_their_owner(id in "[\\x00\\\\0=a-]{0,6}", subject in proptest::option::of("[\\x00\\\\0=-]{0,6}")) {
            let owner = client(&id, subject.as_deref());
            let (first, second) = columns(&owner);
            prop_assert!(!first.contains('\0') && !second.contains('\0'));
            prop_assert_eq!(owner_of(&first, &second), owner);
        }

        #[test]
        fn escaped_texts_come_back(text in "[\\x00\\\\0a]{0,12}") {
            prop_assert_eq!(unescaped(&escaped(&text)), text);
        }
    }

    #[test]
    fn nothing_passes_for_something_else() {
        let owners = [
            Owner::Everybody,
            client("", None),
            client("a", None),
            client("a", Some("")),
            client("a", Some("-")),
            client("a=", None),
            client("", Some("a")),
        ];
        let hashes: std::collections::HashSet<_> = owners.iter().map(owner).collect();
        assert_eq!(hashes.len(), owners.len());
        assert_eq!(owner_of("", ""), Owner::Everybody);
        let key = |id: &str| TaskKey { owner: Owner::Everybody, id: id.to_owned() };
        assert_ne!(task(&key("ab")), task(&key("a")));
        assert_ne!(context(&Owner::Everybody, "a"), task(&key("a")));
        assert_ne!(message(&Owner::Everybody, "a", &[1; 32]), message(&Owner::Everybody, "a", &[2; 32]));
    }
}
