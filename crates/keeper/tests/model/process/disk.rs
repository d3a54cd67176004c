//! Reading a replica's disk, and the dates in what is there.

use super::Process;
use crate::world::{Bug, Clock, Disk, Record, World, public};
use bindu_keeper::{
    machine::{DiskSeen, Event},
    plan::{
        keys::{Acknowledged, Local},
        ring::{Next, Previous, Ring},
    },
};

/// If the dates in a record are past: that of a prepared key, and the end of an overlap.
#[derive(Debug, Clone, Copy)]
struct Dates {
    is_due: bool,
    is_over: bool,
}

impl World {
    /// What a replica makes of the dates. An overlap is over once no more rotations are to come: undo needs it.
    fn dates(&self, index: usize, record: &Record) -> Dates {
        let is_late = self.budget.rotations == 0;
        let is_past = match self.replicas[index].clock {
            Clock::Right => is_late,
            Clock::Ahead => true,
            Clock::Behind => false,
        };
        // Without clocks a key is activated by the operator; a withdrawal is finished by whoever comes first.
        Dates { is_due: is_past && (self.has_clocks || record.is_compromised), is_over: is_past }
    }

    pub(super) fn seen_ring(&self, index: usize, record: &Record) -> Ring {
        let Dates { is_due, is_over } = self.dates(index, record);
        Ring {
            next: record.next.map(|key| Next {
                key: public(key),
                is_due,
                is_compromised: record.is_compromised,
            }),
            previous: record.previous.map(|key| Previous { key: public(key), is_over }),
            revokes_tokens: record.revokes_tokens,
        }
    }

    pub(super) fn read_disk(&self, index: usize, process: &mut Process, bug: Option<Bug>) -> Event {
        let Disk { record, acknowledged, secret, is_unreadable } = &self.replicas[index].disk;
        if *is_unreadable {
            let local = match bug {
                Some(Bug::UnreadableIsEmpty) => Local::None,
                _ => Local::Unreadable("private.pem".to_owned()),
            };
            return Event::Disk(Box::new(DiskSeen { local, ring: Ring::default(), provisional: false }));
        }
        process.copy = *secret;
        process.local.clone_from(record);
        let local = record.as_ref().map_or(Local::None, |record| Local::Present {
            key: public(record.key),
            acknowledged: acknowledged.map(|(version, named)| Acknowledged {
                // Finding 1, seeded: any deletion looks like one of the version that the disk knows.
                version: match bug {
                    Some(Bug::AnyDeletionIsOurs) => u64::try_from(self.keys.len()).unwrap_or(u64::MAX),
                    _ => version,
                },
                named,
            }),
            lineage: record.lineage.clone(),
        });
        let ring = record.as_ref().map(|record| self.seen_ring(index, record)).unwrap_or_default();
        Event::Disk(Box::new(DiskSeen { local, ring, provisional: false }))
    }
}
