//! The queue between whoever logs and the one thread that writes.
//!
//! Whoever logs never waits and never fails: what does not fit into the queue, and what cannot be written, is dropped and
//! counted, and the reader is told how much is missing as soon as there is one again. `tracing-appender` was looked at:
//! its queue is bounded by lines and not by bytes, and what its thread fails to write is neither counted nor cut off
//! from the next line.

use super::line::Style;
use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How much may wait to be written: about 4,000 lines. A reader that is slower than that for longer loses some.
const MAX_BYTES: usize = 1024 * 1024;

/// How many lines may wait when one of somebody else's is added.
const MAX_FOREIGN_LINES: usize = 8 * 1024;

/// How often the thread looks up while there is nothing to write: for summaries that are due, and to try again.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Lines that wait to be written.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// There is a line, or one less.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The thread is at a line that it has taken out.
    is_writing: bool,
}

impl Queue {
    /// Adds a line, or drops it. Never waits.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > MAX_BYTES {
            drop(waiting);
            return self.count_dropped();
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.changed.notify_all();
    }

    /// Adds a line of somebody else's, or drops it: half of the room is kept for our own, whatever others write.
    pub(super) fn push_foreign(&self, line: &[u8]) {
        // Short lines cost more than their bytes.
        let is_low = {
            let waiting = self.lock();
            waiting.lines.len() < MAX_FOREIGN_LINES && waiting.bytes + line.len() <= MAX_BYTES / 2
        };
        if is_low { self.push(line) } else { self.count_dropped() }
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until all is written or dropped, and no longer than this.
    pub(super) fn flush(&self, longest: Duration) {
        let until = Instant::now() + longest;
        let mut waiting = self.lock();
        while waiting.is_writing || !waiting.lines.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return;
            };
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next line; `None` where none has come for a tick.
    fn next(&self) -> Option<Box<[u8]>> {
        let mut waiting = self.lock();
        if waiting.is_writing {
            waiting.is_writing = false;
            self.changed.notify_all();
        }
        if waiting.lines.is_empty() {
            waiting = self.changed.wait_timeout(waiting, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        let line = waiting.lines.pop_front()?;
        waiting.bytes -= line.len();
        waiting.is_writing = true;
        Some(line)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread writes to.
pub(super) trait Sink: Write {
    /// Waits until something can be written to what is not ready (`WouldBlock`). May return early.
    fn wait(&mut self);
}

/// What the thread remembers from line to line.
pub(super) struct Writer<S> {
    sink: S,
    style: Style,
    /// How many dropped lines the reader knows of.
    told: u64,
    /// When it was last tried to tell.
    tried: Option<Instant>,
    /// Half a line was written: what comes next begins on a line of its own.
    is_cut: bool,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(sink: S, style: Style) -> Self {
        Self { sink, style, told: 0, tried: None, is_cut: false }
    }

    /// Writes the next line, if one comes within a tick.
    pub(super) fn turn(&mut self, queue: &Queue) {
        let line = queue.next();
        self.tell_dropped(queue);
        if line.is_some_and(|line| self.put(&line).is_err()) {
            queue.count_dropped();
        }
    }

    /// Tells how many lines are missing, at most once in a tick: where the log can't be written, this is the attempt to.
    fn tell_dropped(&mut self, queue: &Queue) {
        let dropped = queue.dropped();
        if dropped == self.told || self.tried.is_some_and(|tried| tried.elapsed() < TICK) {
            return;
        }
        self.tried = Some(Instant::now());
        if self.put(&self.style.dropped(dropped - self.told)).is_ok() {
            self.told = dropped;
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.write(b"\n")?;
            self.is_cut = false;
        }
        self.write(line)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut is_begun = false;
        while !bytes.is_empty() {
            let error = match self.sink.write(bytes) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    is_begun = true;
                    bytes = bytes.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sink.wait();
                    continue;
                }
                Err(error) => error,
            };
            self.is_cut |= is_begun;
            return Err(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::LogFormat;
    use std::sync::Arc;

    /// A sink that does what the script says, one step for each write, and then takes everything.
    #[derive(Default)]
    struct Scripted {
        script: VecDeque<Step>,
        written: Arc<Mutex<Vec<u8>>>,
        waits: usize,
    }

    enum Step {
        Fail(ErrorKind),
        Take(usize),
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.script.pop_front() {
                Some(Step::Fail(kind)) => return Err(kind.into()),
                Some(Step::Take(most)) => bytes.len().min(most),
                None => bytes.len(),
            };
            self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Scripted {
        fn wait(&mut self) {
            self.waits += 1;
        }
    }

    fn after(script: Vec<Step>, lines: &[&str]) -> (String, u64, usize) {
        let queue = Queue::default();
        let sink = Scripted { script: script.into(), ..Scripted::default() };
        let written = Arc::clone(&sink.written);
        let mut writer = Writer::new(sink, Style::new(LogFormat::Text));
        for line in lines {
            queue.push(line.as_bytes());
            writer.turn(&queue);
            // A tick later.
            writer.tried = None;
        }
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        (text, queue.dropped(), writer.sink.waits)
    }

    #[test]
    fn what_cannot_be_written_is_dropped_counted_and_told_once() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other] {
            // The line, and two attempts to tell with the lines after them.
            let script = vec![
                Step::Fail(kind),
                Step::Fail(kind),
                Step::Fail(kind),
                Step::Fail(kind),
                Step::Fail(kind),
            ];
            let (text, dropped, _) = after(script, &["a\n", "b\n", "c\n", "d\n", "e\n"]);
            assert_eq!(dropped, 3, "{text}");
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines[0].contains("log lines were dropped") && lines[0].contains("lines=3"), "{text}");
            assert_eq!(&lines[1..], ["d", "e"]);
        }
    }

    #[test]
    fn half_a_line_is_not_glued_to_the_next() {
        let script = vec![Step::Take(2), Step::Fail(ErrorKind::StorageFull)];
        let (text, dropped, _) = after(script, &["first\n", "second\n"]);
        assert!(text.starts_with("fi\n") && text.ends_with("\nsecond\n"), "{text:?}");
        assert_eq!(dropped, 1);
    }

    #[test]
    fn what_is_not_ready_is_waited_for_and_nothing_is_lost() {
        let script = vec![
            Step::Take(1),
            Step::Fail(ErrorKind::WouldBlock),
            Step::Fail(ErrorKind::Interrupted),
            Step::Take(1),
            Step::Fail(ErrorKind::WouldBlock),
        ];
        assert_eq!(after(script, &["first\n", "second\n"]), ("first\nsecond\n".to_owned(), 0, 2));
    }

    #[test]
    fn others_fill_half_of_the_queue() {
        let queue = Queue::default();
        for line in [&b"\n"[..], &[b'x'; 1024]] {
            for _ in 0..20_000 {
                queue.push_foreign(line);
            }
        }
        let (lines, bytes) = {
            let waiting = queue.lock();
            (waiting.lines.len(), waiting.bytes)
        };
        assert!(lines <= MAX_FOREIGN_LINES && bytes <= MAX_BYTES / 2, "{lines} lines, {bytes} bytes");
        let dropped = queue.dropped();
        assert_eq!(dropped + lines as u64, 40_000);
        queue.push(&[b'x'; MAX_BYTES / 4]);
        assert_eq!(queue.dropped(), dropped, "there is room for our own");
    }

    #[test]
    fn the_queue_has_an_end_and_nobody_waits_for_it() {
        let queue = Queue::default();
        let line = vec![b'x'; 1024];
        for _ in 0..MAX_BYTES / 1024 + 100 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 100);
        let begun = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50), "nobody writes: the wait ends by itself");
        let mut writer = Writer::new(Scripted::default(), Style::new(LogFormat::Json));
        for _ in 0..MAX_BYTES / 1024 {
            writer.turn(&queue);
        }
        let text = writer.sink.written.lock().unwrap().clone();
        let first = text.split(|byte| *byte == b'\n').next().unwrap();
        let first: serde_json::Value = serde_json::from_slice(first).unwrap();
        assert_eq!((&first["lines"], &first["level"]), (&100.into(), &"WARN".into()));
    }
}
