//! How many streams there are, and whose.

use crate::{Limits, Owner};
use bindu_a2a::A2aError;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Default, Clone)]
pub(crate) struct Subscribers(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of_owner: HashMap<Owner, usize>,
}

/// One stream's place.
#[derive(Debug)]
struct Taken {
    subscribers: Subscribers,
    owner: Owner,
}

impl Subscribers {
    /// A place for one more stream.
    pub(crate) fn take(&self, owner: &Owner, limits: &Limits) -> Result<crate::stream::Place, A2aError> {
        let mut counts = self.lock();
        if counts.all >= limits.subscribers {
            let problem = "Too many streams are open; please try again".to_owned();
            return Err(A2aError::Unavailable { problem, retry_after: 5 });
        }
        let of_owner = counts.of_owner.entry(owner.clone()).or_default();
        if *of_owner >= limits.subscribers_of_one && !owner.is_everybody() {
            let problem = "Too many of your streams are open; close some of them".to_owned();
            return Err(A2aError::TooMany { problem, retry_after: 5 });
        }
        *of_owner += 1;
        counts.all += 1;
        Ok(Box::new(Taken { subscribers: self.clone(), owner: owner.clone() }))
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut counts = self.subscribers.lock();
        counts.all -= 1;
        if let Some(of_owner) = counts.of_owner.get_mut(&self.owner) {
            *of_owner -= 1;
            if *of_owner == 0 {
                counts.of_owner.remove(&self.owner);
            }
        }
    }
}
