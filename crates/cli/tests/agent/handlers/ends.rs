//! How programs end, and with them what they have started; and what they get from the agent.

use super::{is_gone, pid_in, program, result, runs};
use crate::agent;
use bindu_testkit::{AgentProcess, http, install::make_executable};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Starts helpers: one that holds its stdout, one in a session of its own, and one whose parent is gone.
const SOURCE: &str = r#"
import json, os, subprocess, sys, time
def note(name, pid):
    with open(name + ".new", "w") as file: file.write(f"{pid}\n")
    os.rename(name + ".new", name)
note("program", os.getpid()); note("guard", os.getppid())
sleep = ["sleep", "1000"]
for line in sys.stdin:
    text = json.loads(line)["messages"][-1]["content"]
    if text in ("helpers", "crash", "hang", "murder"):
        note("holds", subprocess.Popen(sleep).pid)
        note("session", subprocess.Popen(sleep, start_new_session=True).pid)
        script = "setsid sh -c 'echo $$ > orphan.new; mv orphan.new orphan; exec sleep 1000' & exit 0"
        subprocess.run(["sh", "-c", script])
        while not os.path.exists("orphan"): time.sleep(0.01)
    if text == "crash": os._exit(3)
    if text == "murder": os.kill(os.getppid(), 9)
    if text in ("hang", "murder"): time.sleep(1000)
    print(json.dumps({"content": text}), flush=True)
"#;

const HELPERS: [&str; 3] = ["holds", "session", "orphan"];

async fn helpers(directory: &Path) -> Vec<String> {
    let mut pids = Vec::new();
    for name in HELPERS {
        let pid = pid_in(&directory.join(name)).await;
        pids.push(pid);
    }
    pids
}

async fn are_gone(pids: &[String]) {
    for (name, pid) in HELPERS.iter().zip(pids) {
        is_gone(name, pid).await;
    }
}

/// `ask` waits for half a minute, the program's time-out is longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_noticed_at_once_and_takes_the_helpers_along() {
    let disk = tempfile::tempdir().unwrap();
    let agent = program(disk.path(), SOURCE).set("BINDU_COMMAND_TIMEOUT", "10m").start().await;
    let task = http::ask(&agent.url, "crash").await;
    assert_eq!(result(&task), "failed");
    are_gone(&helpers(disk.path()).await).await;
    http::eventually("the log says how", async || agent.log().contains("exit status: 3").then_some(())).await;
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_end_with_the_agent() {
    for text in ["helpers", "hang"] {
        let disk = tempfile::tempdir().unwrap();
        let mut agent = program(disk.path(), SOURCE).set("BINDU_DRAIN_DEADLINE", "500ms").start().await;
        http::post(&agent.url, &http::message("t", text)).await;
        let pids = helpers(disk.path()).await;
        assert!(pids.iter().all(|pid| runs(pid)));
        assert!(tokio::task::spawn_blocking(move || agent.terminate()).await.unwrap().success(), "{text}");
        are_gone(&pids).await;
        is_gone("the program", &pid_in(&disk.path().join("program")).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_nothing_running() {
    for text in ["helpers", "hang"] {
        let disk = tempfile::tempdir().unwrap();
        let agent = program(disk.path(), SOURCE).start().await;
        http::post(&agent.url, &http::message("t", text)).await;
        let pids = helpers(disk.path()).await;
        assert!(pids.iter().all(|pid| runs(pid)));
        agent.kill();
        are_gone(&pids).await;
        is_gone("the program", &pid_in(&disk.path().join("program")).await).await;
    }
}

/// A program that ends what watches it: the kernel ends the program, and the agent what is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_kills_its_guard_ends_as_well() {
    let disk = tempfile::tempdir().unwrap();
    let agent = program(disk.path(), SOURCE).set("BINDU_COMMAND_TIMEOUT", "10m").start().await;
    assert_eq!(result(&http::ask(&agent.url, "murder").await), "failed");
    is_gone("the program", &pid_in(&disk.path().join("program")).await).await;
    are_gone(&helpers(disk.path()).await).await;
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "hello");
}

/// The children, their children and so on, with their states.
fn descendants(pid: u32) -> Vec<(String, char)> {
    let mut all = Vec::new();
    let mut open = vec![pid.to_string()];
    while let Some(parent) = open.pop() {
        let listed = Command::new("ps")
            .args(["--no-headers", "-o", "pid=,stat=", "--ppid", &parent])
            .output()
            .unwrap();
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let (pid, state) = line.trim().split_once(' ').unwrap_or_default();
            all.push((pid.to_owned(), state.trim().chars().next().unwrap_or('?')));
            open.push(pid.to_owned());
        }
    }
    all
}

/// Whether this user may make a namespace of process ids; CI's may.
fn can_be_first() -> bool {
    let mut tried = Command::new("unshare");
    tried.args(["--pid", "--fork", "--mount-proc", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    let can = tried.status().is_ok_and(|status| status.success());
    assert!(can || std::env::var_os("CI").is_none(), "`unshare --pid` does not work here");
    can
}

/// Runs it as process 1, as in a container.
#[tokio::test(flavor = "multi_thread")]
async fn no_zombies_pile_up_below_process_1() {
    if !can_be_first() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, subprocess, sys
for line in sys.stdin:
    # The shell ends first: its child becomes an orphan, and ends soon.
    subprocess.run(["sh", "-c", "sleep 0.05 & exit 0"])
    print(json.dumps({"content": "done"}), flush=True)
"#;
    let arguments = ["--pid", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned).to_vec();
    let agent = program(disk.path(), source).under(Path::new("unshare"), arguments).start().await;
    for _ in 0..10 {
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "done");
    }
    http::eventually("the orphans have ended and nobody is a zombie", async || {
        let all = descendants(agent.pid());
        // The agent itself, a guard and the program.
        (all.len() == 3 && all.iter().all(|(_, state)| *state != 'Z')).then_some(())
    })
    .await;
    // What comes to process 1 from elsewhere, as from `docker exec`, is reaped, and not ended.
    let first = descendants(agent.pid()).first().expect("the agent").0.clone();
    let script = "setsid sh -c 'sleep 1 & exit 0' & exit 0";
    let entered = Command::new("nsenter").args(["--pid", "--target", &first, "sh", "-c", script]).status();
    if entered.is_ok_and(|status| status.success()) {
        assert_eq!(result(&http::ask(&agent.url, "hello").await), "done");
        http::eventually("the stranger is reaped", async || {
            (descendants(agent.pid()).len() == 3).then_some(())
        })
        .await;
    }
}

/// The agent raises its limit on open files for its connections; what uses `select` or closes all descriptors before it
/// starts something has to do with the one that the operator set.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_the_limit_on_files_that_the_agent_began_with() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, resource, sys
for line in sys.stdin:
    print(json.dumps({"content": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])}), flush=True)
"#;
    let arguments = ["-c", "ulimit -S -n 321; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let agent = program(disk.path(), source).under(Path::new("sh"), arguments).start().await;
    let raised = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let raised = raised.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(!raised.contains(" 321 "), "the agent has raised its own: {raised}");
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "321");
}

/// An agent of another user than root's, with secrets in its environment.
async fn unprivileged(directory: &Path, source: &str) -> AgentProcess {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    let binary = directory.join("bindu");
    fs::copy(env!("CARGO_BIN_EXE_bindu"), &binary).unwrap();
    make_executable(&binary);
    fs::write(directory.join("program.py"), source).unwrap();
    let setup = bindu_testkit::AgentSetup::new(&binary, directory)
        .argument("--command")
        .argument("python3 program.py")
        .set("VAULT_TOKEN", "canary")
        .set("VAULT__TOKEN", "canary")
        .set("VAULT__ENABLED", "false");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        return setup.start().await;
    }
    let arguments = ["--reuid=65532", "--regid=65532", "--clear-groups"].map(str::to_owned).to_vec();
    setup.under(Path::new("setpriv"), arguments).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_does_not_see_the_agents_environment() {
    let disk = tempfile::tempdir().unwrap();
    let source = r#"
import json, os, sys
def environment(pid):
    try: return open(f"/proc/{pid}/environ").read()
    except OSError as error: return type(error).__name__
def parent(pid): return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1]
for line in sys.stdin:
    agent = json.loads(line)["messages"][-1]["content"]
    pid, seen, way = "self", [], []
    while pid not in ("0", "1", agent):
        seen.append(environment(pid)); way.append(pid); pid = parent(pid)
    found = "canary" in "".join(seen + [environment(agent), str(dict(os.environ))])
    print(json.dumps({"content": f"{pid == agent} {found} {environment(agent)}"}), flush=True)
"#;
    let agent = unprivileged(disk.path(), source).await;
    let task = http::ask(&agent.url, &agent.pid().to_string()).await;
    assert_eq!(result(&task), "True False PermissionError", "{task}");
}

/// What is not there says so, with the name that was meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_executable_says_so() {
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("agent.py"), "print()").unwrap();
    let agent = agent(disk.path()).argument("--command").argument("./agent.py").start().await;
    assert_eq!(result(&http::ask(&agent.url, "hello").await), "failed");
    http::eventually("the log says why", async || {
        let log = agent.log();
        (log.contains("it is not executable") && log.contains("./agent.py")).then_some(())
    })
    .await;
}
