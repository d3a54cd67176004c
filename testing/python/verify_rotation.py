"""Verify rotation statements with the code block of docs/ROTATION.md. usage: verify_rotation.py PAGE DID < [statement, ...]  -> a JSON list of booleans"""
import json, re, sys
block = re.search(r"```python\n(.*?)```", open(sys.argv[1], encoding="utf-8").read(), re.S).group(1)
namespace = {}
exec(block, namespace)
def counts(statement):
    try:
        namespace["verify"](statement, sys.argv[2])
        return True
    except Exception:
        return False
print(json.dumps([counts(statement) for statement in json.load(sys.stdin)]))
