//! What is left of a file that has a bound: messages are refused while there is room for the ends of what was accepted.

use crate::StoreError;

/// Kept free for each unfinished task: its results, unless they are long.
const OF_A_TASK: u64 = 8192;

/// Kept free for the last words of tasks whose results have no room.
const LEAST: u64 = 64 * 1024;

/// What a page of the file takes beside a value that begins it: trees grow by whole pages.
const GROWTH: u64 = 4096;

/// The room of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes; nothing if it is somebody else's disk.
    left: Option<u64>,
    /// Whether something had no room.
    pub(super) has_refused: bool,
}

impl Room {
    pub(super) fn new(left: Option<u64>) -> Self {
        Self { left, has_refused: false }
    }

    /// Takes a message, if room is left for the ends of so many unfinished tasks and its own.
    pub(super) fn message(&mut self, bytes: usize, unfinished: u64) -> Result<(), StoreError> {
        self.take(bytes, LEAST.saturating_add(OF_A_TASK.saturating_mul(unfinished.saturating_add(1))))
            .map_err(|NoRoom| StoreError::NoSpace)
    }

    /// Takes a result, if room is left for last words.
    pub(super) fn result(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.take(bytes, LEAST).map_err(|NoRoom| StoreError::TooLarge)
    }

    fn take(&mut self, bytes: usize, keeps: u64) -> Result<(), NoRoom> {
        let Some(left) = &mut self.left else { return Ok(()) };
        let takes = (bytes as u64).saturating_add(GROWTH);
        if *left < takes.saturating_add(keeps) {
            self.has_refused = true;
            return Err(NoRoom);
        }
        *left -= takes;
        Ok(())
    }
}

struct NoRoom;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_refused_first_then_results_and_last_words_never() {
        let mut room = Room::new(Some(LEAST + 3 * OF_A_TASK + GROWTH));
        assert_eq!(room.message(1, 2), Err(StoreError::NoSpace), "two that are unfinished, and its own");
        assert_eq!(room.message(0, 2), Ok(()));
        assert_eq!(room.message(0, 2), Err(StoreError::NoSpace), "what was taken is gone");
        assert_eq!(room.result(5 * 4096), Ok(()), "the ends of the unfinished ones");
        assert_eq!(room.result(1), Err(StoreError::TooLarge));
        assert_eq!(Room::new(None).message(usize::MAX, u64::MAX), Ok(()));
    }
}
