//! Our own agent, as a process.

use crate::http;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A run of the `bindu` program. Killed when dropped.
pub struct AgentProcess {
    /// Where it listens.
    pub url: String,
    /// From its spawn to the first 200 of `/health`.
    pub start: Duration,
    begun: Instant,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// How an agent is started.
#[derive(Clone)]
pub struct AgentSetup {
    binary: PathBuf,
    directory: PathBuf,
    arguments: Vec<String>,
    /// What it runs under, with that program's arguments.
    under: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Variables that are not UTF-8.
    raw: Vec<(String, OsString)>,
}

impl AgentSetup {
    /// An agent of this program in this working directory, on a free port, with nothing else set.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, directory: &Path) -> Self {
        let mut environment = BTreeMap::new();
        environment.insert("BINDU_PORT".to_owned(), crate::ports::free_pair().to_string());
        environment.insert("RUST_LOG".to_owned(), "info,bindu=debug,bindu_keeper=debug".to_owned());
        Self {
            binary: binary.into(),
            directory: directory.to_owned(),
            arguments: vec!["run".to_owned()],
            under: Vec::new(),
            environment,
            raw: Vec::new(),
        }
    }

    /// Sets a variable to something that need not be UTF-8.
    #[must_use]
    pub fn set_raw(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.raw.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn set_all(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Gives it an author and a name.
    #[must_use]
    pub fn named(self, author: &str, name: &str) -> Self {
        self.set("BINDU_AUTHOR", author).set("BINDU_NAME", name)
    }

    /// Gives it another argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs it under another program.
    #[must_use]
    pub fn under(mut self, program: &Path, arguments: Vec<String>) -> Self {
        self.under = vec![program.display().to_string()];
        self.under.extend(arguments);
        self
    }

    /// Takes the place of `run` and all further arguments.
    #[must_use]
    pub fn command(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Uses this OpenBao.
    #[must_use]
    pub fn vault(self, bao: &crate::OpenBao) -> Self {
        self.set("VAULT__ENABLED", "true").set("VAULT__URL", &bao.url).set("VAULT__TOKEN", &bao.token)
    }

    /// The port that it is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.environment.get("BINDU_PORT").and_then(|port| port.parse().ok()).unwrap_or(3773)
    }

    fn process(&self) -> Command {
        let mut line = self.under.clone();
        line.push(self.binary.display().to_string());
        line.extend(self.arguments.iter().cloned());
        let (program, arguments) = line.split_first().expect("the binary is in it");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.directory).env_clear().envs(&self.environment);
        command.envs(self.raw.iter().map(|(name, value)| (name, value)));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Waits until its port is free: a process that was killed under another one may take a moment to be gone.
    ///
    /// # Panics
    /// If it stays taken.
    pub async fn until_port_is_free(&self) {
        let port = self.port();
        let begun = Instant::now();
        // Taken, not called: a port that is bound and not listened on yet answers nobody, and is not free.
        while std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < crate::http::LIMIT, "somebody has {port} still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Spawns it without waiting for anything.
    #[must_use]
    pub fn spawn(&self) -> AgentProcess {
        self.spawn_to(Stdio::null(), Stdio::piped())
    }

    /// Spawns it with this stdout and this stderr. Its log is there where stderr is a new pipe.
    #[must_use]
    pub fn spawn_to(&self, stdout: Stdio, stderr: Stdio) -> AgentProcess {
        let begun = Instant::now();
        let mut child = self
            .process()
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{} can't be started: {error}", self.binary.display()));
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(mut stderr) = child.stderr.take() {
            let sink = Arc::clone(&log);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                }
            });
        }
        let port = self.environment.get("BINDU_PORT").map_or("3773", String::as_str);
        AgentProcess { url: format!("http://127.0.0.1:{port}"), start: Duration::ZERO, begun, child, log }
    }

    /// Spawns it and waits until it answers.
    ///
    /// # Panics
    /// Where it ends instead, or doesn't answer in time.
    pub async fn start(&self) -> AgentProcess {
        let mut agent = self.spawn();
        if let Err(code) = agent.listens().await {
            panic!("the agent has ended with {code}:\n{}", agent.log());
        }
        agent
    }

    /// Runs it to its end; its exit code, stdout and stderr.
    ///
    /// # Panics
    /// Where it doesn't end within a minute and a half.
    #[must_use]
    pub fn output(&self) -> (i32, String, String) {
        let mut child = self
            .process()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let begun = Instant::now();
        while child.try_wait().expect("its state can be asked for").is_none() {
            if begun.elapsed() > Duration::from_secs(90) {
                let _ = child.kill();
                let output = child.wait_with_output().expect("what it has said");
                panic!("it does not end; it has said:\n{}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("what it has said");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

impl AgentProcess {
    /// Waits until it answers; else the code with which it has ended.
    ///
    /// # Panics
    /// Where it does neither within a minute and a half.
    pub async fn listens(&mut self) -> Result<(), i32> {
        let client = http::client();
        let url = format!("{}/health", self.url);
        loop {
            if client.get(&url).send().await.is_ok_and(|response| response.status().as_u16() == 200) {
                self.start = self.begun.elapsed();
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(status.code().unwrap_or(-1));
            }
            let late = self.begun.elapsed() > Duration::from_secs(90);
            assert!(!late, "the agent does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it at once, as a node that loses its power does.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// Where it can't be waited for.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has no process id.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid =
            i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it can't be waited for.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // What runs under strace goes on without it: end that first, and strace ends after it.
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for child in pids.filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            for _ in 0..400 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
