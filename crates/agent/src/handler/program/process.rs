//! One running program: its pipes, and its end. What its lines mean is nothing to it.
//!
//! The pipes are never waited for one at a time: a program that writes while it is written to blocks neither itself nor
//! us.

use super::{
    guard::{self, Orders, THIS_EXECUTABLE},
    relay::relay,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal},
};
use std::{
    collections::HashSet,
    io::{Error, ErrorKind, Result},
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// The longest line that is read from the program, in bytes: the usual limit of a request's body.
const MAX_LINE: usize = 2 * 1024 * 1024;

/// How much is read at a time: what a pipe holds.
const READ_AT_ONCE: usize = 64 * 1024;

/// How long a program may take to end by itself when its input ends.
const END_GRACE: Duration = Duration::from_secs(3);

/// How long the exit of a program that has closed its pipes is waited for, so that its status can be told.
const ABOUT_TO_END: Duration = Duration::from_millis(200);

/// How long a guard has to end all that its program has started. Beyond it the kernel ends the program, without them.
const GUARD_ENDS: Duration = Duration::from_secs(6);

/// The variable that tells what this agent has started from what others have: the agent's process id.
pub(super) const STARTED_BY: &str = "BINDU_STARTED_BY";

/// What is started.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// The variables that it does not get.
    pub(super) hidden_variables: Vec<String>,
    /// Takes what it writes to stderr.
    pub(super) errors: Option<fn(&[u8])>,
    /// Its soft limit on open files.
    pub(super) files: Option<u64>,
}

/// The guards that are running: our children that somebody waits for.
pub(super) type Guards = Arc<Mutex<HashSet<Pid>>>;

/// Starts programs, from a thread that lives as long as this: the kernel tells a guard of its agent's death when the
/// *thread* that started it ends (prctl(2), `PR_SET_PDEATHSIG`), and those of a runtime come and go.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<oneshot::Sender<Result<Child>>>,
    guards: Guards,
    errors: Option<fn(&[u8])>,
}

/// A running program.
#[derive(Debug)]
pub(super) struct Program {
    guard: Child,
    guard_pid: Option<Pid>,
    guards: Guards,
    /// Reads what it writes to stderr, up to its end.
    relay: Option<JoinHandle<()>>,
    /// Closed when the program is to end.
    input: Option<pipe::Sender>,
    /// `None` once it has closed it.
    output: Option<pipe::Receiver>,
    unsent: Vec<u8>,
    read: Vec<u8>,
    /// How much of `read` holds no line feed.
    searched: usize,
    /// The rest of a line that was too long is thrown away.
    is_skipping: bool,
    started: Instant,
}

/// What happens to a program.
#[derive(Debug)]
pub(super) enum Happening {
    /// It has said something.
    Read,
    /// It will say nothing more: it has closed its stdout, or is gone.
    Ended,
}

/// The beginning of a line that is longer than 2 MiB.
#[derive(Debug)]
pub(super) struct TooLong(pub(super) Vec<u8>);

impl Spawner {
    pub(super) fn start(template: Template, guards: Guards) -> Result<Self> {
        let (requests, asked) = mpsc::channel::<oneshot::Sender<Result<Child>>>();
        let (runtime, known, errors) = (Handle::current(), Arc::clone(&guards), template.errors);
        std::thread::Builder::new().name("programs".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            while let Ok(started) = asked.recv() {
                let mut known = lock(&known);
                let child = spawn(&template);
                if let Ok(child) = &child {
                    known.extend(pid(child));
                }
                // Nobody who reaps orphans may take it for one in between.
                drop(known);
                let _ = started.send(child);
            }
        })?;
        Ok(Self { requests, guards, errors })
    }

    /// Starts the program. Whether there is one shows when it reads or ends.
    pub(super) async fn program(&self) -> Result<Program> {
        let gone = |_| Error::other("the thread that starts programs is gone");
        let (sender, started) = oneshot::channel();
        self.requests.send(sender).map_err(|_| gone(()))?;
        let mut guard = started.await.map_err(|_| gone(()))??;
        let relay = guard.stderr.take().zip(self.errors).map(|(from, to)| tokio::spawn(relay(from, to)));
        let pipes = guard.stdin.take().zip(guard.stdout.take());
        let (input, output) =
            pipes.ok_or_else(|| Error::other("its input and output could not be connected"))?;
        Ok(Program {
            guard_pid: pid(&guard),
            guard,
            guards: Arc::clone(&self.guards),
            relay,
            input: Some(pipe::Sender::from_owned_fd(input.into_owned_fd()?)?),
            output: Some(pipe::Receiver::from_owned_fd(output.into_owned_fd()?)?),
            unsent: Vec::new(),
            read: Vec::new(),
            searched: 0,
            is_skipping: false,
            started: Instant::now(),
        })
    }
}

fn spawn(template: &Template) -> Result<Child> {
    let orders = Orders { agent: rustix::process::getpid(), files: template.files };
    let mut command = Command::new(THIS_EXECUTABLE);
    command.arg0("bindu").args(orders.arguments()).args(&template.command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    if template.errors.is_some() {
        command.stderr(Stdio::piped());
    }
    // A group of its own: a Ctrl-C at the terminal ends the agent, and the agent ends its programs.
    command.process_group(0);
    for variable in &template.hidden_variables {
        command.env_remove(variable);
    }
    command.env(STARTED_BY, orders.agent.as_raw_nonzero().to_string());
    command.spawn()
}

impl Program {
    /// The process id of its guard.
    pub(super) fn pid(&self) -> Option<u32> {
        self.guard.id()
    }

    /// Sends this, in the background of [`Program::happening`].
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.write();
    }

    /// Whether it has closed its input: it will read nothing more.
    pub(super) fn is_deaf(&self) -> bool {
        let Some(input) = &self.input else { return true };
        // A write would say so as well, but what was sent may lie in the pipe, and nothing more is sent before it was read.
        let mut pipe = [PollFd::new(input, PollFlags::empty())];
        poll(&mut pipe, Some(&Timespec::default())).is_ok()
            && pipe.iter().any(|pipe| pipe.revents().contains(PollFlags::ERR))
    }

    /// Whether the program has taken everything that was sent. A program that reads line by line does so when it waits
    /// for more, and not before: what it has said until then, it has said of its own accord.
    pub(super) fn has_read_everything(&self) -> bool {
        let Some(input) = &self.input else { return false };
        // Where the system can't tell, it counts as read.
        self.unsent.is_empty() && rustix::io::ioctl_fionread(input).unwrap_or(0) == 0
    }

    /// Reads what is there; whether anything is there that nobody has taken.
    pub(super) fn has_said_something(&mut self) -> bool {
        self.fill();
        !self.read.is_empty()
    }

    /// What it has said and nobody has taken.
    pub(super) fn said(&self) -> &[u8] {
        &self.read
    }

    /// Waits until something happens. Dropped, it has done nothing by halves.
    pub(super) async fn happening(&mut self) -> Happening {
        while self.output.is_some() {
            let Self { guard, input, output, unsent, .. } = self;
            let event = tokio::select! {
                biased;
                () = readable(output.as_ref()) => Event::Readable,
                () = writable(input.as_ref()), if input.is_some() && !unsent.is_empty() => Event::Writable,
                _ = guard.wait() => Event::Gone,
            };
            match event {
                Event::Readable => {
                    let before = self.read.len();
                    self.fill();
                    if self.read.len() > before {
                        return Happening::Read;
                    }
                }
                Event::Writable => self.write(),
                Event::Gone => {
                    self.forget_guard();
                    // What it said last is in the pipe.
                    self.fill();
                    self.output = None;
                }
            }
        }
        Happening::Ended
    }

    /// Takes a line, its line feed included.
    ///
    /// # Errors
    /// Where it is too long: its beginning. The rest of it is left out.
    pub(super) fn take_line(&mut self) -> std::result::Result<Option<Vec<u8>>, TooLong> {
        if self.is_skipping {
            let end = self.read.iter().position(|byte| *byte == b'\n');
            self.is_skipping = end.is_none();
            self.read.drain(..end.map_or(self.read.len(), |end| end + 1));
        }
        let rest = self.read.get(self.searched..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(position) if self.searched + position < MAX_LINE => {
                let line = self.read.drain(..=self.searched + position).collect();
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.read.len() <= MAX_LINE => {
                self.searched = self.read.len();
                Ok(None)
            }
            _ => {
                (self.is_skipping, self.searched) = (true, 0);
                Err(TooLong(self.read.get(..MAX_LINE).unwrap_or_default().to_vec()))
            }
        }
    }

    /// Reads what is there, up to a line that is too long; notes the end.
    fn fill(&mut self) {
        while let Some(output) = self.output.as_ref().filter(|_| self.read.len() <= MAX_LINE) {
            let start = self.read.len();
            self.read.resize(start + READ_AT_ONCE, 0);
            let room = self.read.get_mut(start..).unwrap_or_default();
            // The runtime looks into the pipe only once it was told that something is there. What counts here is what is
            // there, told or not: so the pipe itself is asked as well.
            let result = match output.try_read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    rustix::io::read(output, room).map_err(Error::from)
                }
                other => other,
            };
            self.read.truncate(start + result.as_ref().copied().unwrap_or(0));
            match result {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.output = None,
            }
        }
    }

    fn write(&mut self) {
        while let Some(input) = self.input.as_ref().filter(|_| !self.unsent.is_empty()) {
            match input.try_write(&self.unsent) {
                Ok(written) => _ = self.unsent.drain(..written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It reads no more; whether it has still something to say shows on its stdout.
                Err(_) => self.input = None,
            }
        }
    }

    /// Ends a program that failed, with all that it has started; how it ended, if by itself.
    pub(super) async fn fail(mut self) -> Option<String> {
        let lived = self.started.elapsed().as_secs();
        // It may be about to end: its exit status says more than a broken pipe.
        let ended = match timeout(ABOUT_TO_END, self.guard.wait()).await {
            Ok(status) => status.ok(),
            // If it has ended, and something that it has started is slow to, the guard still says how.
            Err(_) => self.end_now().await.filter(|status| status.signal() != Some(Signal::KILL.as_raw())),
        };
        self.forget_guard();
        self.hear_out().await;
        ended.map(|status| format!("{} after {lived} s", said(status)))
    }

    /// Ends the program at once, with all that it has started.
    pub(super) async fn kill(mut self) {
        let _ = self.end_now().await;
        // Only now its input ends: it must not take half a line for a whole one.
        self.forget_guard();
    }

    async fn end_now(&mut self) -> Option<ExitStatus> {
        self.tell_guard(Signal::TERM);
        if let Ok(status) = timeout(GUARD_ENDS, self.guard.wait()).await {
            return status.ok();
        }
        self.tell_guard(Signal::KILL);
        self.guard.wait().await.ok()
    }

    /// Lets the program end by itself; what does not is killed.
    pub(super) async fn end(mut self) {
        drop(self.input.take());
        match timeout(END_GRACE, self.guard.wait()).await {
            Ok(_) => {
                self.forget_guard();
                self.hear_out().await;
            }
            Err(_) => self.kill().await,
        }
    }

    /// Waits a moment for what it has said last, as why it has ended.
    async fn hear_out(&mut self) {
        if let Some(relay) = self.relay.take() {
            let _ = timeout(ABOUT_TO_END, relay).await;
        }
    }

    fn tell_guard(&self, signal: Signal) {
        // Once it was waited for, the number may be somebody else's.
        if let Some(pid) = pid(&self.guard) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Once the guard was waited for.
    fn forget_guard(&mut self) {
        if self.guard.id().is_none()
            && let Some(pid) = self.guard_pid.take()
        {
            lock(&self.guards).remove(&pid);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.tell_guard(Signal::TERM);
    }
}

enum Event {
    Readable,
    Writable,
    Gone,
}

async fn readable(output: Option<&pipe::Receiver>) {
    if let Some(output) = output {
        // An error shows in the reading.
        let _ = output.readable().await;
    }
}

async fn writable(input: Option<&pipe::Sender>) {
    if let Some(input) = input {
        let _ = input.writable().await;
    }
}

/// How a program ended, in words.
fn said(status: ExitStatus) -> String {
    match status.code() {
        Some(guard::NOT_THERE) => {
            format!("{status}: the program could not be started, there is none of this name")
        }
        Some(guard::NOT_RUN) => format!("{status}: the program could not be started, it is not executable"),
        _ => status.to_string(),
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

pub(super) fn lock(guards: &Guards) -> MutexGuard<'_, HashSet<Pid>> {
    guards.lock().unwrap_or_else(PoisonError::into_inner)
}
