"""Call agents over and over as a Python Bindu agent, signed with its own code. usage: call_signed.py KEYDIR DID STOPFILE URL... < token
Ends once STOPFILE is there. A call that breaks off is sent again with the same messageId. -> {"calls", "again", "failures"}"""
import json, os, sys, time, urllib.error, urllib.request, uuid
from pathlib import Path
import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from bindu.extensions.did import DIDAgentExtension
from bindu.utils.did import sign_request

DIDAgentExtension.sign_message = DIDAgentExtension.sign_text   # shim: the shipped class lacks sign_message
key_dir, did, stop, *urls = sys.argv[1:]
token, ext = sys.stdin.read().strip(), DIDAgentExtension(recreate_keys=False, key_dir=Path(key_dir))


def fetch(url, body=None, headers={}):
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def rpc(url, method, params):
    while True:
        body = json.dumps({"jsonrpc": "2.0", "id": str(uuid.uuid4()), "method": method, "params": params}).encode()
        headers = {**sign_request(body, did, ext), "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            return fetch(url, body, headers)
        except urllib.error.HTTPError as refused:
            text = refused.read().decode()
            # It has only just started: signed anew, as the refusal asks for.
            if "timestamp_before_start" not in text:
                raise RuntimeError(f"{method}: {refused.code} {text}")
            time.sleep(0.1)


def is_signed(url, part):
    document = fetch(f"{url}/.well-known/agent.json")
    agent = document["capabilities"]["extensions"][0]["uri"]
    signature = base58.b58decode(part["metadata"]["did.message.signature"])
    for method in fetch(f"{url}/did/resolve?did={agent}")["authentication"]:
        try:
            key = base58.b58decode(method["publicKeyBase58"])
            Ed25519PublicKey.from_public_bytes(key).verify(signature, part["text"].encode())
            return True
        except InvalidSignature:
            pass
    return False


def call(url, ids, text):
    message = {"kind": "message", "role": "user", "messageId": ids, "contextId": ids, "taskId": ids,
               "parts": [{"kind": "text", "text": text}]}
    sent = rpc(url, "message/send", {"message": message, "configuration": {"acceptedOutputModes": ["text/plain"]}})
    while True:
        if "error" in sent:
            return sent["error"]
        task = sent["result"]
        if task["status"]["state"] not in ("submitted", "working"):
            break
        time.sleep(0.02)
        sent = rpc(url, "tasks/get", {"taskId": task["id"]})
    part = task.get("artifacts", [{}])[0].get("parts", [{}])[0]
    if task["status"]["state"] != "completed" or part.get("text") != text:
        return task
    return None if is_signed(url, part) else {"unsigned": part}


calls, again, failures = 0, 0, []
while not os.path.exists(stop) and not failures:
    ids, url, text = str(uuid.uuid4()), urls[calls % len(urls)], f"call {calls} of Python's"
    until = time.monotonic() + 60
    while True:
        try:
            failed = call(url, ids, text)
        except RuntimeError as refused:
            failed = str(refused)
        except (OSError, ValueError, EOFError) as broken:   # in flight on an agent that was killed
            if time.monotonic() < until:
                again += 1
                time.sleep(0.1)
                continue
            failed = repr(broken)
        # Its task was lost with the agent.
        if isinstance(failed, dict) and failed.get("code") == -32001 and time.monotonic() < until:
            again += 1
            continue
        break
    if failed is not None:
        failures.append({"url": url, "failed": failed})
    calls += 1
print(json.dumps({"calls": calls, "again": again, "failures": failures}))
