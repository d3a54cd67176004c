#!/usr/bin/env python3
"""Sends the gate before Hydra's admin port what agents send, and what they must not, and looks at what comes through.

    python3 deploy/check_gate.py [NGINX]

Needs nginx with PCRE (1.19.5 or later), on the path or named, and openssl; no Hydra, no network but loopback. Behind the
gate stands a server that writes down each request line as it arrives.
"""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

GATE = Path(__file__).resolve().parent / "kubernetes/cluster/hydra-admin-gate"
REFUSED = b"refused_by_the_gate"

DID = "did:bindu:alice_at_example_com:echo_agent:5c908f70-ec50-7e33-bf7d-2735c15d5c13"
ENCODED = DID.replace(":", "%3A")

# What agents ask for (crates/hydra/src: introspection.rs, readiness.rs, admin.rs), in all spellings of a DID.
READS = [
    ("GET", "/health/ready"),
    ("POST", "/admin/oauth2/introspect"),
    ("GET", f"/admin/clients/{DID}"),
    ("GET", f"/admin/clients/{ENCODED}"),
    ("GET", f"/admin/clients/{ENCODED.lower()}"),
    # Python Bindu has made names like these.
    ("GET", "/admin/clients/did:bindu:a%20b%3F%C3%BC%25:x:1"),
    ("GET", "/admin/clients/did:web:agents.example%3A3773"),
    ("GET", "/admin/clients/did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"),
    # An id that nobody has; Hydra says so.
    ("GET", f"/admin/clients/{DID};x"),
]


def written(value):
    """As agents write it (crates/hydra/src/admin.rs): members in order, without spaces, and no character is escaped."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def patch(path, value, op="add"):
    return {"op": op, "path": path, "value": value}


STATEMENT = {"at": "2026-11-26T08:00:00Z", "did": DID, "from": "7U7", "generation": 1, "prev": None, "signature": "5x", "to": "8V8"}
BINDING = {"did": DID, "key": "7U7", "second": "8V8", "signature": "5x"}
REGISTRATION = {
    "audience": [],
    "client_id": DID,
    "client_name": 'Ågent "1" \\ {[,]}',
    "client_secret": "c2VjcmV0-_c2VjcmV0",
    "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
    "metadata": {"agent_id": "5c9", "agent_url": "https://x", "hybrid_auth": True, "key_version": 1, "public_key": "7U7",
                 "generation": 1, "replaces": "00 11", "rotations": [STATEMENT], "second_key_binding": BINDING},
    "response_types": ["code", "token"],
    "scope": "openid offline agent:read agent:write",
    "token_endpoint_auth_method": "client_secret_post",
}
REPAIR = [
    patch("/client_secret", "c2VjcmV0"),
    patch("/metadata/public_key", "7U7"),
    patch("/metadata/derived_public_key", "8V8"),
    patch("/metadata/key_version", 12),
    patch("/metadata/generation", 2),
    patch("/metadata/replaces", "00 11"),
    patch("/metadata/rotations", [STATEMENT, STATEMENT]),
    patch("/metadata/second_key_binding", BINDING),
    patch("/token_endpoint_auth_method", "client_secret_post"),
    patch("/grant_types", ["refresh_token", "client_credentials", "authorization_code"]),
]
# With the variant `registering`.
WRITES = [
    ("POST", "/admin/clients", written(REGISTRATION)),
    ("POST", "/admin/clients", written({**REGISTRATION, "audience": ["https://a", "https://b"]})),
    ("POST", "/admin/clients", written({**REGISTRATION, "client_id": 'did:bindu:a:ech"o:1'})),
    ("PATCH", f"/admin/clients/{DID}", written(REPAIR)),
    ("PATCH", f"/admin/clients/{ENCODED}", written([patch("/client_name", "a \\ b"), patch("/audience", ["https://a"])])),
    ("PATCH", f"/admin/clients/{DID}", written([patch("/scope", ""), patch("/metadata/agent_url", "https://x")])),
]

# What a write must not say. Hydra would do it: a patch of one client that names another's id changes the other one.
FORGED_PATCHES = [
    b"",
    b"{}",
    b"[]",
    written([patch("/client_id", "my-service")]),
    written([*REPAIR, patch("/client_id", "my-service")]),
    written([patch("/Client_Id", "my-service")]),
    rb'[{"op":"add","path":"/client\u005fid","value":"my-service"}]',
    rb'[{"op":"add","path":"/scope","value":"x","\u0070ath":"/client_id"}]',
    b'[{"op":"add","path":"/scope","value":"x","path":"/client_id"}]',
    b'[{"op":"add","path":"/client_id","path":"/scope","value":"x"}]',
    written([patch("", {"client_id": "my-service"})]),
    written([patch("/metadata", {"public_key": "7U7"})]),
    written([patch("/metadata/public_key", {"a": 1})]),
    written([{"op": "copy", "from": "/scope", "path": "/client_id"}]),
    written([{"op": "remove", "path": "/client_secret"}]),
    written([patch("/scope", "x", "replace")]),
    written([patch("/redirect_uris", ["https://evil"])]),
    written([patch("/skip_consent", True)]),
    written([patch("/grant_types", ["authorization_code"])]),
    written([patch("/token_endpoint_auth_method", "none")]),
    written([patch("/grant_types", ["client_credentials", "implicit"])]),
    written([patch("/metadata/rotations", [{"a": {"client_id": "my-service"}}])]),
    written([patch("/metadata/second_key_binding", [BINDING])]),
    written(REPAIR) + b" ",
    written(REPAIR) + written([patch("/client_id", "my-service")]),
]
FORGED_REGISTRATIONS = [
    b"",
    b"{}",
    written({**REGISTRATION, "client_id": "my-service"}),
    written({**REGISTRATION, "client_id": ""}),
    written({name: value for name, value in REGISTRATION.items() if name != "client_id"}),
    written({**REGISTRATION, "Client_Id": "my-service"}),
    written(REGISTRATION)[:-1] + b',"client_id":"my-service"}',
    rb"{" + rb'"client\u005fid":"my-service",' + written(REGISTRATION)[1:],
    written(REGISTRATION).replace(b'"did:bindu', rb'"did:\u0062indu'),
    written(REGISTRATION).replace(b'"scope":"', rb'"scope":"x","client_id":"my-service","scope":"'),
    written({**REGISTRATION, "redirect_uris": ["https://evil"]}),
    written({**REGISTRATION, "skip_consent": True}),
    written({**REGISTRATION, "grant_types": ["implicit"]}),
    written({**REGISTRATION, "token_endpoint_auth_method": "none"}),
    written({**REGISTRATION, "metadata": {"a": {"b": 1}}}),
    written(REGISTRATION) + written({**REGISTRATION, "client_id": "my-service"}),
]
FORGED = [
    *(("PATCH", f"/admin/clients/{DID}", body) for body in FORGED_PATCHES),
    *(("POST", "/admin/clients", body) for body in FORGED_REGISTRATIONS),
]

NEVER = [
    # Other methods, and lists.
    *((method, "/admin/clients") for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    *((method, f"/admin/clients/{DID}") for method in ["PUT", "DELETE", "POST", "OPTIONS", "FOO"]),
    ("GET", "/admin/clients/"),
    ("GET", "/admin/clients?page_size=1"),
    ("GET", f"/admin/clients/{DID}?x=1"),
    ("GET", f"/admin/clients/{DID}/"),
    # Below a client, by each spelling of a slash.
    ("PUT", f"/admin/clients/{DID}/lifespans"),
    *(("GET", f"/admin/clients/{DID}{rest}") for rest in ["/lifespans", "%2Flifespans", "%2flifespans", "%5Clifespans", "%00"]),
    # Services, and what only looks like a DID.
    ("GET", "/admin/clients/my-service"),
    ("PATCH", "/admin/clients/my-service"),
    ("GET", "/admin/clients/did"),
    ("GET", "/admin/clients/did:"),
    ("GET", "/admin/clients/DID:bindu:x"),
    # Paths that are something else once they are decoded or tidied up.
    ("GET", f"/admin/keys/../clients/{DID}"),
    ("GET", f"/admin/keys/x/../../clients/{DID}"),
    ("GET", f"/admin/clients/{DID}/../x"),
    ("GET", f"/admin/clients/{DID}/%2e%2e/keys"),
    ("GET", f"/admin/clients/{DID}%2F..%2F..%2Fkeys"),
    ("GET", "/admin/clients/..%2Fkeys"),
    ("GET", f"//admin/clients/{DID}"),
    ("GET", f"/admin//clients/{DID}"),
    ("GET", f"/./admin/clients/{DID}"),
    ("GET", f"/ADMIN/clients/{DID}"),
    ("GET", "/HEALTH/READY"),
    ("GET", "http://x/admin/keys"),
    ("GET", f"http://x/admin/clients/{DID}/lifespans"),
    # The rest of the port: keys that sign tokens above all.
    ("GET", "/admin/keys"),
    ("GET", "/admin/keys/hydra.jwt.access-token"),
    ("POST", "/admin/keys/hydra.jwt.access-token"),
    ("GET", "/admin/oauth2/introspect"),
    ("POST", "/admin/oauth2/introspect/"),
    ("POST", "/admin/oauth2/introspect?x"),
    ("POST", "/oauth2/introspect"),
    ("DELETE", f"/admin/oauth2/tokens?client_id={DID}"),
    ("POST", "/admin/trust/grants/jwt-bearer/issuers"),
    ("GET", "/admin/oauth2/auth/sessions/consent"),
    ("POST", "/admin/clients/"),
    ("POST", "/admin/clients?x"),
    ("POST", "/admin/client%73"),
    ("GET", "/health/alive"),
    ("GET", "/health/ready?x"),
    ("GET", "/health/ready/"),
    ("GET", "/version"),
    ("GET", "/metrics/prometheus"),
    ("GET", "/"),
]


class Upstream:
    """Stands for Hydra: notes the head of each request, and answers all of them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.heads = []
        self.bodies = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            missing = int(lengths[0]) - len(data) if lengths else 0
            while missing > 0:
                piece = connection.recv(missing)
                data, missing = data + piece, missing - len(piece)
            length = int(lengths[0]) if lengths else 0
            self.bodies.append(data[:length])
            data = data[length:]
            self.heads.append(head)
            body = b'{"status":"ok"}'
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Gate:
    def __init__(self, nginx, upstream, directory, variant, tls):
        self.port, self.probes, self.tls = free_port(), free_port(), tls
        etc = directory / "etc"
        etc.mkdir(parents=True)
        (directory / "tmp").mkdir()
        for source in [GATE / "base", GATE / variant, *([GATE / "tls"] if tls else [])]:
            for file in source.glob("*.conf"):
                shutil.copy(file, etc)
        self.log = directory / "told.log"
        replaced = {
            "/etc/hydra-admin-gate-tls": f"{directory}/tls",
            "/tmp/": f"{directory}/tmp/",
            "/etc/hydra-admin-gate": str(etc),
            "/dev/stdout": str(self.log),
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "listen 8081": f"listen 127.0.0.1:{self.probes}",
            "127.0.0.1:8082": f"127.0.0.1:{free_port()}",
            "hydra-admin:4445": f"127.0.0.1:{upstream.port}",
        }
        for file in etc.iterdir():
            text = file.read_text()
            # The temporary directory may lie below /tmp: what was put in must not be replaced again.
            for index, old in enumerate(replaced):
                text = text.replace(old, f"\0{index}\0")
            for index, new in enumerate(replaced.values()):
                text = text.replace(f"\0{index}\0", new)
            file.write_text(text)
        if tls:
            (directory / "tls").mkdir()
            command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
            command += f" -addext subjectAltName=DNS:localhost -keyout {directory}/tls/tls.key -out {directory}/tls/tls.crt"
            subprocess.run(command.split(), check=True, capture_output=True)
        # Not as root, whose worker nginx would run as another user still, and who reads everything.
        if os.getuid() == 0:
            for path in [directory, *directory.rglob("*")]:
                os.chown(path, 65532, 65532)
        identity = {"user": 65532, "group": 65532, "extra_groups": []} if os.getuid() == 0 else {}
        command = [nginx, "-e", "stderr", "-c", str(etc / "nginx.conf"), "-g", "daemon off;"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **identity)
        for _ in range(100):
            if self.process.poll() is not None:
                raise SystemExit(f"nginx does not start: {self.process.stderr.read()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("nginx does not listen")

    def ask(self, method, target, body=b"", headers="", port=None):
        """The whole answer. By hand, since a library would tidy the path up."""
        connection = socket.create_connection(("127.0.0.1", port or self.port), 5)
        if self.tls and port is None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection, server_hostname="localhost")
        head = f"{method} {target} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer

    def end(self):
        self.process.terminate()
        self.process.wait()


def check(nginx, variant, tls):
    upstream = Upstream()
    directory = Path(tempfile.mkdtemp(prefix="gate-"))
    directory.chmod(0o755)
    gate = Gate(nginx, upstream, directory, variant, tls)
    wrong = []
    reads, never = [[(*request, b"" if request[0] == "GET" else b"{}") for request in some] for some in [READS, NEVER]]
    passes = reads + (WRITES if variant == "registering" else [])
    stops = never + FORGED + ([] if variant == "registering" else WRITES)
    try:
        for method, target, body in passes:
            upstream.heads.clear()
            upstream.bodies.clear()
            answer = gate.ask(method, target, body, "X-Mine: 1\r\nAuthorization: Bearer x\r\nMay-Be-Said: 1\r\n")
            if b"200 OK" not in answer or upstream.bodies != [body]:
                wrong.append(f"{method} {target} {body} does not come through: {answer[:60]}")
                continue
            head = upstream.heads[0]
            if not head.startswith(f"{method} {target} HTTP/1.1\r\n".encode()):
                wrong.append(f"{method} {target} comes through as {head.splitlines()[0]}")
            if re.search(b"X-Mine|Authorization|May-Be-Said", head) or (method != "GET" and b"Content-Type: application/json" not in head):
                wrong.append(f"{method} {target}: headers {head}")
            if b"Date: Thu, 01 Jan 1970" not in answer:
                wrong.append(f"{method} {target}: the clock is not Hydra's")
        upstream.heads.clear()
        for method, target, body in stops:
            answer = gate.ask(method, target, body, "May-Be-Said: 1\r\n")
            if upstream.heads:
                wrong.append(f"{method} {target} {body} comes through as {upstream.heads.pop().splitlines()[0]}")
            elif REFUSED not in answer and b" 400 " not in answer and b" 405 " not in answer:
                wrong.append(f"{method} {target} {body}: {answer[:60]}")
        # A second request hidden in the body of a first one.
        hidden = b"0\r\n\r\nGET /admin/keys HTTP/1.1\r\nHost: x\r\n\r\n"
        gate.ask("POST", "/admin/oauth2/introspect", hidden, "Transfer-Encoding: chunked\r\n")
        if any(b"/admin/keys" in head for head in upstream.heads):
            wrong.append("a request hidden in a body comes through")
        upstream.heads.clear()
        if b" 413 " not in gate.ask("POST", "/admin/oauth2/introspect", b"x" * 70_000) or upstream.heads:
            wrong.append("a body of 70 kB comes through")
        # The longest that is read: no expression may take long for it, or fail where it should match.
        if variant == "registering":
            begun = time.monotonic()
            for body in [REGISTRATION | {"client_name": "n" * 64_000}, REGISTRATION | {"audience": ["a"] * 15_000}]:
                if b"200 OK" not in gate.ask("POST", "/admin/clients", written(body)):
                    wrong.append("a long registration does not come through")
                if REFUSED not in gate.ask("POST", "/admin/clients", written(body)[:-1]):
                    wrong.append("a long broken registration comes through")
            if time.monotonic() - begun > 2:
                wrong.append("long bodies take long")
        gate.ask("GET", "/admin/keys?token=a-secret")
        gate.tls, tls_was = False, gate.tls
        if b"200 OK" not in gate.ask("GET", "/livez", port=gate.probes):
            wrong.append("its own probe does not answer")
        gate.tls = tls_was
    finally:
        gate.end()
    told = gate.log.read_text()
    if "a-secret" in told:
        wrong.append("a query is in the log")
    if '"path":"/admin/keys"' not in told or (variant == "registering" and '"status":200,"passed":1' not in told):
        wrong.append("the log lacks refusals or writes")
    if "introspect\",\"status\":200" in told:
        wrong.append("the log has what is neither")
    shutil.rmtree(directory)
    count = len(passes) + len(stops)
    name = variant + (" with TLS" if tls else "")
    print(f"{name}: {count} requests, {len(passes)} come through" + "".join(f"\n  {line}" for line in wrong))
    return not wrong


def main():
    nginx = sys.argv[1] if len(sys.argv) > 1 else shutil.which("nginx") or "/usr/sbin/nginx"
    results = [check(nginx, *case) for case in [("registering", False), ("read-only", False), ("registering", True)]]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
