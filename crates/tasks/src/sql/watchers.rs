//! Who wants to be told of a task's events, in this process.

use super::{key::Hash, write::News};
use crate::Watch;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Those who are told, by their tasks' keys.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<HashMap<Hash, watch::Sender<u64>>>);

impl Watchers {
    /// One more.
    pub(super) fn watch(&self, task: Hash) -> Watch {
        self.lock().entry(task).or_default().subscribe()
    }

    /// Tells those whom it concerns.
    pub(super) fn tell(&self, news: &[News]) {
        self.wake(news, true);
    }

    /// Wakes those whom it concerns. Anybody who may connect to the database can say such a number, so it is not kept: one that is
    /// too high would hide all that come.
    pub(super) fn hear(&self, news: &[News]) {
        self.wake(news, false);
    }

    fn wake(&self, news: &[News], is_known: bool) {
        let mut all = self.lock();
        if all.is_empty() {
            return;
        }
        for news in news {
            match news {
                News::Number(task, number) => {
                    let Some(sender) = all.get(task) else { continue };
                    if sender.receiver_count() == 0 {
                        all.remove(task);
                        continue;
                    }
                    sender.send_if_modified(|known| {
                        let is_new = *number > *known;
                        if is_known {
                            *known = (*known).max(*number);
                        }
                        is_new
                    });
                }
                // Whoever waits learns that there is nobody left to tell anything.
                News::Gone(task) => drop(all.remove(task)),
            }
        }
    }

    /// The tasks that somebody watches, with the number that was told last.
    pub(super) fn watched(&self) -> Vec<(Hash, u64)> {
        let mut all = self.lock();
        all.retain(|_, sender| sender.receiver_count() > 0);
        all.iter().map(|(task, sender)| (*task, *sender.borrow())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_anybody_can_say_wakes_and_hides_nothing() {
        let (watchers, task) = (Watchers::default(), [1; 32]);
        let mut watch = watchers.watch(task);
        watchers.tell(&[News::Number(task, 3)]);
        watch.mark_unchanged();
        watchers.hear(&[News::Number(task, 2)]);
        assert!(!watch.has_changed().expect("not woken"), "it is known");
        watchers.hear(&[News::Number(task, 9_000_000_000)]);
        assert!(watch.has_changed().expect("woken") && *watch.borrow_and_update() == 3);
        watchers.tell(&[News::Number(task, 4)]);
        assert!(watch.has_changed().expect("told") && *watch.borrow_and_update() == 4);
    }

    #[tokio::test]
    async fn watchers_are_told_of_higher_numbers_only_and_of_the_end() {
        let (watchers, task) = (Watchers::default(), [1; 32]);
        let mut watch = watchers.watch(task);
        watchers.tell(&[News::Number(task, 3), News::Number([2; 32], 9)]);
        assert!(watch.has_changed().expect("told") && *watch.borrow_and_update() == 3);
        watchers.tell(&[News::Number(task, 2)]);
        assert!(!watch.has_changed().expect("not told"), "it comes late");
        assert_eq!(watchers.watched(), [(task, 3)]);
        watchers.tell(&[News::Gone(task)]);
        assert!(watch.changed().await.is_err(), "nobody is left to tell anything");
        drop(watch);
        assert!(watchers.watched().is_empty());
    }
}
