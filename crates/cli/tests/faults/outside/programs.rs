//! The agents' programs: each answers with what it was told, and does what programs should not when it is told to. Each
//! such deed leaves a line in the file `deeds`.

use std::{path::PathBuf, process::Command};

/// One task at a time. What is surplus is wrong as an answer, whoever gets it.
pub(super) const ONE_AT_A_TIME: &str = r#"
import json, os, random, subprocess, sys, time

def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()

# A fault that the test has to find: the answer to the task before.
swap, before = "SWAP" in os.environ, None
surplus = json.dumps({"content": "nobody's answer"}) + "\n"
for line in sys.stdin:
    text = json.loads(line)["messages"][-1]["content"]
    answer = json.dumps({"content": before if swap and before else text}) + "\n"
    before = text
    deed = text.split()[0]
    if deed != "nonce":
        with open("deeds", "a") as deeds: deeds.write(deed + "\n")
    if deed == "crash": os._exit(9)
    elif deed == "half": say(surplus[:9]); os._exit(1)
    elif deed == "orphan": subprocess.Popen(["sleep", "600"]); os._exit(3)
    elif deed == "hang": time.sleep(600)
    elif deed == "slow": time.sleep(0.3); say(answer)
    elif deed == "noise": say("\0\xff no JSON " + "x" * 9000 + "\n")
    elif deed == "twice": say(answer + surplus)
    elif deed == "late": say(answer); time.sleep(random.random() / 20); say(surplus)
    elif deed == "tail": say(answer + surplus[:5])
    elif deed == "leave": say(answer); os._exit(0)
    else: say(answer)
"#;

/// Many tasks at a time, in the second protocol, answered in any order.
pub(super) const MANY_AT_A_TIME: &str = r#"
import json, os, random, select, sys, time

def say(**line):
    os.write(1, (json.dumps(line) + "\n").encode())

say(bindu=2, concurrency=16)
unread, tasks, ended = b"", {}, []
while True:
    if not select.select([0], [], [], 0.002 if tasks else None)[0]:
        for id in random.sample(list(tasks), len(tasks)):
            text = tasks.pop(id)
            deed = text.split()[0]
            if deed == "twice" and ended: say(task_id=random.choice(ended), content="nobody's answer")
            if deed == "noise": os.write(1, b"\0\xff no JSON\n")
            if random.random() < 0.1: say(task_id=id, progress="soon")
            say(task_id=id, content=text)
            ended = ended[-20:] + [id]
        continue
    read = os.read(0, 65536)
    if not read: break
    *lines, unread = (unread + read).split(b"\n")
    for task in map(json.loads, lines):
        if "cancel" in task:
            if tasks.pop(task["cancel"], None): say(task_id=task["cancel"], state="canceled")
            continue
        text = tasks[task["task_id"]] = task["messages"][-1]["content"]
        deed = text.split()[0]
        if deed != "nonce":
            with open("deeds", "a") as deeds: deeds.write(deed + "\n")
        if deed == "crash": os._exit(9)
        if deed == "hang": tasks.pop(task["task_id"])
"#;

/// Python itself, not what chooses one of several: it is started often.
pub(super) fn python() -> PathBuf {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = output.expect("Python is there").stdout;
    PathBuf::from(String::from_utf8(output).expect("a path").trim())
}
