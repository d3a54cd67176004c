"""An agent in Python: `bindu run --command "python3 examples/python/agent.py"`. One JSON line in, one out (docs/HANDLERS.md)."""
import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    text = task["messages"][-1]["content"]
    print(json.dumps({"content": f"You said: {text}"}), flush=True)
