//! The guard: a process of ours between the agent and a program, which ends when the program ends, and with which the
//! program and all that it has started end (docs/design: "A guard for each program").
//!
//! It is this same executable, called with a word that nobody types. It knows no secret: its environment is the
//! program's. Nothing here may need the agent to be alive.

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, getppid, getrlimit, kill_process,
    kill_process_group, set_child_subreaper, set_parent_process_death_signal, setrlimit, wait,
};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// The first arguments of the two processes between the agent and a program.
pub(super) const GUARD: &str = "__guard-program";
const PROGRAM: &str = "__be-program";

/// This executable, whatever has become of its file.
pub(super) const THIS_EXECUTABLE: &str = "/proc/self/exe";

/// The exit codes of shells for a program that is not there, and for one that can't be run.
pub(super) const NOT_THERE: i32 = 127;
pub(super) const NOT_RUN: i32 = 126;

/// How long the guard tries to end what the program has left: a process in the kernel's hands ends when that lets it go.
const ENDING: Duration = Duration::from_secs(5);

/// What the agent tells a guard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders {
    /// Without whom the guard is to end.
    pub(super) agent: Pid,
    /// The limit on open files before the agent raised its own.
    pub(super) files: Option<u64>,
}

impl Orders {
    /// The guard's arguments before the program's.
    pub(super) fn arguments(self) -> [String; 3] {
        let files = self.files.map_or_else(|| "-".to_owned(), |files| files.to_string());
        [GUARD.to_owned(), self.agent.as_raw_nonzero().to_string(), files]
    }
}

/// Does a guard's work where this process was started as one; the code to exit with. To be called first in `main`: a
/// guard reads no setting, and writes no log.
#[must_use]
pub fn guard_or_continue() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    if role == GUARD {
        Some(Job::read(arguments).and_then(|job| guard(&job)).unwrap_or(ExitCode::from(70)))
    } else if role == PROGRAM {
        Some(Job::read(arguments).map_or(ExitCode::from(70), |job| become_program(&job)))
    } else {
        None
    }
}

/// The arguments of both roles.
struct Job {
    parent: Pid,
    files: Option<u64>,
    program: Vec<OsString>,
}

impl Job {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let parent = arguments.next()?.to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let files = arguments.next()?.to_str()?.parse().ok();
        Some(Self { parent, files, program: arguments.collect() })
    }
}

/// Starts the program, and ends with it; ends it and its descendants when the agent is gone, or says so by SIGTERM.
fn guard(job: &Job) -> Option<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let status = runtime.block_on(async {
        // Before the agent's death can be told of: the signal would end us without our work done.
        let mut asked_to_end = signal(SignalKind::terminate()).ok()?;
        let mut child_changed = signal(SignalKind::child()).ok()?;
        // Where the kernel has neither, the program still ends with the agent's end, and what it has started by its group.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        if getppid() != Some(job.parent) {
            return None;
        }
        // What the program leaves behind becomes our child, whatever session it has made for itself.
        let _ = set_child_subreaper(Some(getpid()));
        let program = start(job)?;
        let mut ended = None;
        while ended.is_none() {
            let go_on = tokio::select! {
                _ = asked_to_end.recv() => false,
                _ = child_changed.recv() => true,
            };
            ended = reap(program);
            if !go_on {
                break;
            }
        }
        let _ = kill_process_group(program, Signal::KILL);
        Some(ended.or(end_descendants(program)))
    })?;
    Some(end_like(status))
}

fn start(job: &Job) -> Option<Pid> {
    let mut command = Command::new(THIS_EXECUTABLE);
    let files = job.files.map_or_else(|| "-".to_owned(), |files| files.to_string());
    // A group of its own: what it sends to its group does not reach us.
    command.arg0("bindu").arg(PROGRAM).arg(getpid().as_raw_nonzero().to_string()).arg(files);
    command.args(&job.program).process_group(0);
    // Waited for by number: this value's own wait would race with `reap`.
    let child = command.spawn().ok()?;
    // The pipes are the program's: the agent sees it close them.
    if let Ok(nothing) = fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&nothing);
        let _ = rustix::stdio::dup2_stdout(&nothing);
    }
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Reaps whoever has ended; the program's status, if it has.
fn reap(program: Pid) -> Option<WaitStatus> {
    let mut status = None;
    while let Ok(Some((pid, ended))) = wait(WaitOptions::NOHANG) {
        if pid == program {
            status = Some(ended);
        }
    }
    status
}

/// Ends all that comes from here; the program's status, if it was among them. Again and again: what is being killed may
/// have started something in between.
fn end_descendants(program: Pid) -> Option<WaitStatus> {
    let begun = Instant::now();
    let mut status = None;
    while begun.elapsed() < ENDING {
        status = reap(program).or(status);
        let left = descendants(getpid());
        if left.is_empty() {
            break;
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    status
}

/// The processes that come from one, itself not among them.
pub(super) fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some((parent, _)) = parent_and_state(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![of.as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        // Removed: a table that was read while it changed may have a loop.
        let next = children.remove(&parent).unwrap_or_default();
        found.extend(next.iter().copied().filter_map(Pid::from_raw));
        open.extend(next);
    }
    found
}

/// The parent of a process and its state, a letter (proc(5), `/proc/pid/stat`).
pub(super) fn parent_and_state(pid: i32) -> Option<(i32, char)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in the parentheses is whatever a process calls itself.
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Ends as the program did, so that the agent reads its status from ours.
fn end_like(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else { return ExitCode::from(137) };
    let signal = status.terminating_signal();
    if let Some(signal) = signal.and_then(Signal::from_named_raw) {
        // Twice: of some the first takes the standard library's handler away. SIGTERM's is ours, and stays.
        for _ in 0..2 {
            let _ = kill_process(getpid(), signal);
        }
    }
    let code = signal.map_or(status.exit_status().unwrap_or(1), |signal| 128 + signal);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Becomes the program, which the kernel ends when the guard is gone.
fn become_program(job: &Job) -> ExitCode {
    let Some((name, arguments)) = job.program.split_first() else { return ExitCode::from(70) };
    // It outlives `exec`, and is of no use where the guard is gone already.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    if getppid() != Some(job.parent) {
        return ExitCode::from(70);
    }
    if let Some(files) = job.files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum });
    }
    let error = Command::new(name).args(arguments).exec();
    tell(name, &error);
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_THERE } else { NOT_RUN };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// One line on stderr, which is the agent's log. Where that is gone, nobody is told.
fn tell(name: &OsStr, error: &std::io::Error) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "bindu: the agent program {name:?} could not be started: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_parent_whatever_its_name() {
        let disk = std::env::temp_dir().join(format!("a (b) {}", std::process::id()));
        fs::copy("/bin/sleep", &disk).expect("a copy of a program");
        let mut child = Command::new(&disk).arg("60").spawn().expect("a program");
        let pid = i32::try_from(child.id()).expect("a number");
        assert!(descendants(getpid()).contains(&Pid::from_raw(pid).expect("a number")));
        assert_eq!(parent_and_state(pid).map(|(parent, _)| parent), Some(getpid().as_raw_nonzero().get()));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        fs::remove_file(disk).expect("it is ours");
        assert_eq!(parent_and_state(pid), None);
    }
}
