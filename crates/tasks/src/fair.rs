//! Waiting in turn: one item of each party, then the next one of each. However much one party brings, another waits for
//! at most one item of each of the others.
//!
//! Pure: no clock, no lock. The runner gives places to tasks by it, and so does whoever has fewer places of its own for
//! what works on them.

use crate::{Caller, Owner};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
};

/// Who waits in turn with the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// The owner of tasks.
    Owner(Owner),
    /// A conversation: with authentication off one caller can't be told from another.
    Conversation(String),
    /// The receiver of events, for the same reason: a host.
    Receiver(String),
}

impl Party {
    /// The party that a caller's task is worked on for.
    #[must_use]
    pub fn of(caller: &Caller, context_id: &str) -> Self {
        let owner = caller.owner();
        if owner.is_everybody() { Self::Conversation(context_id.to_owned()) } else { Self::Owner(owner) }
    }

    /// Whether it may be held to a share: a conversation is whatever a caller calls it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Conversation(_))
    }
}

/// What waits, by party.
#[derive(Debug)]
pub struct FairQueue<P, T> {
    waiting: HashMap<P, VecDeque<T>>,
    /// The parties that have something waiting; the first one is served next.
    order: VecDeque<P>,
}

impl<P: Clone + Eq + Hash, T> Default for FairQueue<P, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Clone + Eq + Hash, T> FairQueue<P, T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { waiting: HashMap::new(), order: VecDeque::new() }
    }

    /// Adds an item behind the party's others.
    pub fn push(&mut self, party: P, item: T) {
        match self.waiting.entry(party) {
            Entry::Occupied(mut entry) => entry.get_mut().push_back(item),
            Entry::Vacant(entry) => {
                self.order.push_back(entry.key().clone());
                entry.insert(VecDeque::from([item]));
            }
        }
    }

    /// Puts an item back, before the party's others.
    pub fn push_front(&mut self, party: P, item: T) {
        match self.waiting.entry(party) {
            Entry::Occupied(mut entry) => entry.get_mut().push_front(item),
            Entry::Vacant(entry) => {
                self.order.push_front(entry.key().clone());
                entry.insert(VecDeque::from([item]));
            }
        }
    }

    /// Takes the next item whose party may be served now: of each party, only its first is looked at. A party that is
    /// served goes to the end, one that is passed over keeps its place.
    pub fn pop<R>(&mut self, mut choose: impl FnMut(&P, &T) -> Option<R>) -> Option<(P, T, R)> {
        let (position, chosen) = self.order.iter().enumerate().find_map(|(position, party)| {
            let first = self.waiting.get(party)?.front()?;
            Some((position, choose(party, first)?))
        })?;
        let party = self.order.remove(position)?;
        let queue = self.waiting.get_mut(&party)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&party);
        } else {
            self.order.push_back(party.clone());
        }
        Some((party, item, chosen))
    }

    /// Takes an item out of a party's.
    pub fn remove(&mut self, party: &P, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let queue = self.waiting.get_mut(party)?;
        let position = queue.iter().position(is_it)?;
        let item = queue.remove(position)?;
        if queue.is_empty() {
            self.waiting.remove(party);
            self.order.retain(|other| other != party);
        }
        Some(item)
    }

    /// A party's next item.
    #[must_use]
    pub fn first(&self, party: &P) -> Option<&T> {
        self.waiting.get(party)?.front()
    }

    /// The parties that wait, the next one first.
    pub fn parties(&self) -> impl Iterator<Item = &P> {
        self.order.iter()
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<T> {
        self.order.clear();
        self.waiting.drain().flat_map(|(_, items)| items).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &mut FairQueue<char, u32>) -> Vec<(char, u32)> {
        std::iter::from_fn(|| queue.pop(|_, _| Some(())).map(|(party, item, ())| (party, item))).collect()
    }

    #[test]
    fn one_of_each_then_the_next_of_each() {
        let mut queue = FairQueue::new();
        for item in 0..4 {
            queue.push('a', item);
        }
        queue.push('b', 10);
        queue.push('c', 20);
        queue.push('b', 11);
        let order = [('a', 0), ('b', 10), ('c', 20), ('a', 1), ('b', 11), ('a', 2), ('a', 3)];
        assert_eq!(all(&mut queue), order);
    }

    #[test]
    fn who_is_passed_over_keeps_its_place() {
        let mut queue = FairQueue::new();
        for party in ['a', 'b', 'c'] {
            queue.push(party, 0);
            queue.push(party, 1);
        }
        let not_a = queue.pop(|party, _| (*party != 'a').then_some(()));
        assert_eq!(not_a.map(|(party, ..)| party), Some('b'));
        assert_eq!(all(&mut queue), [('a', 0), ('c', 0), ('b', 1), ('a', 1), ('c', 1)]);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut queue = FairQueue::new();
        queue.push('a', 0);
        queue.push('b', 1);
        assert_eq!(queue.remove(&'a', |item| *item == 7), None);
        assert_eq!(queue.remove(&'a', |item| *item == 0), Some(0));
        assert_eq!(queue.parties().collect::<Vec<_>>(), [&'b']);
        queue.push('a', 2);
        assert_eq!(all(&mut queue), [('b', 1), ('a', 2)]);
        assert!(queue.waiting.is_empty() && queue.order.is_empty());
    }

    proptest::proptest! {
        /// However much the others bring: between two items of a party that has always one waiting, each other party
        /// is served at most once.
        #[test]
        fn nobody_is_served_twice_while_another_waits(pushes in proptest::collection::vec((0..4u8, 0..100u32), 0..60)) {
            let mut queue = FairQueue::new();
            for (party, item) in pushes {
                queue.push(party, item);
            }
            while let Some((served, _, ())) = queue.pop(|_, _| Some(())) {
                let waits: Vec<u8> = queue.parties().copied().filter(|party| *party != served).collect();
                for other in waits.iter().take(1) {
                    // The one that was just served is behind everybody who waited.
                    let next = queue.order.front();
                    proptest::prop_assert_eq!(next, Some(other));
                }
            }
        }
    }
}
