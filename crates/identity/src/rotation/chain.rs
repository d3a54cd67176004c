//! Which statements lead from one key to another.
//!
//! A statement names its predecessor by hash, so each has at most one, and a search is a walk back from the end. The
//! input may be anybody's: only statements that verify are links, and at most [`MOST_STATEMENTS`] are looked at.

use super::RotationStatement;
use crate::{Did, PublicKey};
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

/// How many statements are looked at, from the first of a list (the newest, where an agent wrote it).
pub const MOST_STATEMENTS: usize = 256;

/// The links that lead from one key to another, in the order in which the rotations happened: each verified, of this
/// agent, and joined to the one before by keys, `prev` and generation. The statements may be in any order, among junk.
///
/// `None` if there is no such chain, if the two keys are one, or if a link of the list leads on from the end: then
/// `to` has given way already (K1 to K2 is no chain once K2 went back to K1). A reader who remembers a generation
/// leaves out what is not above it, for a list may lack its newest links.
#[must_use]
pub fn chain<'a>(
    statements: &'a [RotationStatement],
    did: &Did,
    from: &PublicKey,
    to: &PublicKey,
) -> Option<Vec<&'a RotationStatement>> {
    if from == to {
        return None;
    }
    let links = Links::new(statements, did);
    links.ends(to).into_iter().find_map(|end| {
        let mut chain = vec![end];
        while chain.last()?.from != *from {
            chain.push(links.before(chain.last()?)?);
        }
        chain.reverse();
        Some(chain)
    })
}

/// The links that led to a key, newest first, as far back as the list goes. Empty if none did, and if a link of the list
/// leads on from it.
#[must_use]
pub fn line<'a>(
    statements: &'a [RotationStatement],
    did: &Did,
    current: &PublicKey,
) -> Vec<&'a RotationStatement> {
    let links = Links::new(statements, did);
    let newest = links.ends(current).into_iter().next();
    std::iter::successors(newest, |link| links.before(link)).collect()
}

/// The statements whose `from` counts beside the current key at this moment (seconds since the epoch), newest first:
/// the links that led to the current key, back to the first one that is not in its overlap. What lies before that one
/// no longer counts, whatever its own `until`: a key that was withdrawn at once takes its predecessors with it.
#[must_use]
pub fn overlapping<'a>(
    statements: &'a [RotationStatement],
    did: &Did,
    current: &PublicKey,
    now: i64,
) -> Vec<&'a RotationStatement> {
    line(statements, did, current).into_iter().take_while(|link| link.is_in_overlap(now)).collect()
}

/// The statements that verify.
struct Links<'a> {
    by_hash: HashMap<String, &'a RotationStatement>,
}

impl<'a> Links<'a> {
    fn new(statements: &'a [RotationStatement], did: &Did) -> Self {
        let verified = statements.iter().take(MOST_STATEMENTS).filter(|link| link.verify(did).is_ok());
        Self { by_hash: verified.map(|link| (link.hash(), link)).collect() }
    }

    /// The link that this one follows. Generations fall with each step back, so that no walk is endless.
    fn before(&self, link: &RotationStatement) -> Option<&'a RotationStatement> {
        let before = *self.by_hash.get(link.prev.as_deref()?)?;
        let is_joined = before.to == link.from && before.generation.checked_add(1) == Some(link.generation);
        is_joined.then_some(before)
    }

    /// The links to this key that no other follows, the highest generation first. More than one only where a key has
    /// signed two futures.
    fn ends(&self, to: &PublicKey) -> Vec<&'a RotationStatement> {
        let followed: HashSet<String> =
            self.by_hash.values().filter_map(|link| self.before(link)).map(RotationStatement::hash).collect();
        let mut ends: Vec<(&String, &'a RotationStatement)> = self
            .by_hash
            .iter()
            .filter(|(hash, link)| link.to == *to && !followed.contains(*hash))
            .map(|(hash, link)| (hash, *link))
            .collect();
        ends.sort_unstable_by_key(|(hash, link)| (Reverse(link.generation), (*hash).clone()));
        ends.into_iter().map(|(_, link)| link).collect()
    }
}
