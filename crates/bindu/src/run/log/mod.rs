//! The log: on stderr, text for a terminal, else JSON lines. Secrets never get here: their types can't be shown.
//!
//! One thread writes, from a bounded queue (`queue`). A stderr that is closed, full, or read by nobody changes nothing
//! else: nobody waits for it, and a write that fails is nobody's error.

mod line;
mod queue;
mod repeats;
mod stderr;

use crate::{
    ExitClass, Refusal,
    settings::{LogFormat, Settings},
};
use line::Style;
use queue::{Queue, TICK, Writer};
use repeats::{Repeats, RepeatsLayer};
use std::{
    io::{self, IsTerminal as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};
use stderr::Stderr;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How long an end waits until what was logged is written: long for a reader that reads, short for an operator.
const FAREWELL: Duration = Duration::from_secs(1);

/// The log of this process, once there is one.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

struct Log {
    queue: Queue,
    repeats: Arc<Repeats>,
    style: Style,
}

/// Starts the log, and writes the settings' warnings to it.
///
/// # Errors
/// Where the level can't be understood.
pub fn start(settings: &Settings) -> Result<(), Refusal> {
    let level = settings.log_level.to_ascii_lowercase();
    let filter = EnvFilter::try_new(&level).map_err(|error| {
        let message = format!("the log level {level:?} can't be understood; nothing was changed");
        Refusal::new(ExitClass::Usage, message, "RUST_LOG or LOG_LEVEL: error, warn, info, debug or trace")
            .because(error)
    })?;
    let is_terminal = io::stderr().is_terminal();
    let format = settings.log_format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    if let Some(log) = open(format) {
        let lines = tracing_subscriber::registry().with(filter).with(RepeatsLayer(Arc::clone(&log.repeats)));
        // Its own word on a write that failed would be `eprintln!`, which panics where stderr is what failed.
        let layer = fmt::layer().log_internal_errors(false).with_writer(|| Lines);
        // An error says that the host program has a log already, which serves as well.
        let started = match format {
            LogFormat::Text => lines.with(layer.with_ansi(is_terminal).with_target(false)).try_init(),
            LogFormat::Json => lines.with(layer.json().flatten_event(true)).try_init(),
        };
        if started.is_ok() {
            // The one of std writes to stderr itself, and waits for it.
            std::panic::set_hook(Box::new(log_panic));
        }
    }
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// How many lines were dropped so far, because they could not be written or there was no room for them.
#[must_use]
pub fn dropped() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped())
}

/// Writes a line of somebody else's as it is, without waiting: what there is no room for is dropped.
pub(crate) fn relay(line: &[u8]) {
    match open(LogFormat::Json) {
        Some(log) => log.queue.push_foreign(line),
        None => _ = io::stderr().write_all(line),
    }
}

/// Waits for a moment until what was logged is written, at the end of a process.
pub fn flush() {
    if let Some(log) = LOG.get() {
        for line in log.repeats.due(Instant::now(), true, log.style) {
            log.queue.push(&line);
        }
        log.queue.flush(FAREWELL);
    }
}

/// Writes a text as it is to stderr, behind what was logged so far, without waiting longer than a moment for it.
pub(crate) fn write(text: &str) {
    match open(LogFormat::Text) {
        Some(log) => {
            log.queue.push(text.as_bytes());
            flush();
        }
        None => _ = io::stderr().write_all(text.as_bytes()),
    }
}

/// The log, with its thread; `None` where the system gives none.
fn open(format: LogFormat) -> Option<&'static Arc<Log>> {
    if let Some(log) = LOG.get() {
        return Some(log);
    }
    let log = Arc::new(Log { queue: Queue::default(), repeats: Arc::default(), style: Style::new(format) });
    let stderr = Stderr::open().ok()?;
    let writing = Arc::clone(&log);
    thread::Builder::new().name("log".to_owned()).spawn(move || write_for_ever(&writing, stderr)).ok()?;
    Some(LOG.get_or_init(|| log))
}

fn write_for_ever(log: &Log, stderr: Stderr) {
    let mut writer = Writer::new(stderr, log.style);
    let mut looked = Instant::now();
    loop {
        // A bug in here costs a line, not the log.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            writer.turn(&log.queue);
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                for line in log.repeats.due(looked, false, log.style) {
                    log.queue.push(&line);
                }
            }
        }));
    }
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    if let Some(log) = LOG.get() {
        log.queue.push(&log.style.panic(panic));
    }
}

/// Takes lines for the queue. Never fails.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.queue.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;
    use std::{io::Read as _, process::Command};

    /// What the other test runs in a process of its own, whose panic hook and stderr are nobody else's.
    #[test]
    #[ignore = "a part of the other test"]
    fn a_process_that_panics() {
        let mut layers = Layers::default();
        layers.flag("log.format", "json");
        start(&Settings::load(layers).unwrap()).unwrap();
        let panicked = thread::Builder::new().name("buggy".to_owned()).spawn(|| panic!("a bug")).unwrap();
        assert!(panicked.join().is_err());
        flush();
        std::process::exit(3);
    }

    fn child() -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "run::log::tests::a_process_that_panics", "--ignored", "--nocapture"]);
        command
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_and_waits_for_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut process = child().stderr(writer).spawn().unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(3));
        let mut text = String::new();
        // The command held the other end of the pipe, and is gone.
        reader.read_to_string(&mut text).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&line["panic"], &line["level"], &line["thread"]),
            (&"a bug".into(), &"ERROR".into(), &"buggy".into())
        );
        assert!(line["place"].as_str().unwrap().contains("log/mod.rs"), "{line}");
        // A pipe that is full, and that nobody reads.
        let (_unread, mut writer) = io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        rustix::fs::fcntl_setfl(&writer, flags).unwrap();
        assert_eq!(child().stderr(writer).status().unwrap().code(), Some(3));
    }
}
