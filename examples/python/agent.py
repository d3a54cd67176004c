"""An agent in Python: `bindu run --command "python3 examples/python/agent.py"`.

It speaks the second protocol of docs/HANDLERS.md: it works on eight tasks at a time, tells how far it is, sends a long
answer in pieces, asks back, and stops what is cancelled.
"""
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

CONCURRENCY = 8
stops = {}  # by task id: set once the task is cancelled
one_at_a_time = threading.Lock()


def say(line):
    with one_at_a_time:
        print(json.dumps(line), flush=True)


def work(task_id, text, stop):
    """Returns the last line about a task."""
    words = text.split()
    if not words:
        return {"content": "What about?", "state": "input-required"}
    if words[0] == "count" and words[-1].isdigit():
        for number in range(1, int(words[-1]) + 1):
            if stop.wait(0.1):
                return {"state": "canceled"}
            say({"task_id": task_id, "progress": f"{number} of {words[-1]}"})
            say({"task_id": task_id, "artifact": {"text": f"{number} "}})
        return {"state": "completed"}
    return {"content": f"You said: {text}"}


def answer(task):
    task_id = task["task_id"]
    try:
        last = work(task_id, task["messages"][-1]["content"], stops[task_id])
    except Exception as error:  # One task fails, not the program with the others.
        print(f"{task_id}: {error!r}", file=sys.stderr)
        last = {"content": "something went wrong", "state": "failed"}
    # Before the last line: after it, the same task may come again.
    del stops[task_id]
    say({"task_id": task_id, **last})


say({"bindu": 2, "concurrency": CONCURRENCY})
with ThreadPoolExecutor(CONCURRENCY) as pool:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" not in message:
            stops[message["task_id"]] = threading.Event()
            pool.submit(answer, message)
        elif stop := stops.get(message["cancel"]):  # It may just have ended.
            stop.set()
