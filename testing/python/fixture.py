"""Reproduce and verify the canonical request-signature fixture of COMPAT 1.9."""
import json, base58
from nacl.signing import SigningKey
from bindu.utils.did import create_signature_payload, verify_signature
sk = SigningKey(b"\0" * 32); pub = base58.b58encode(bytes(sk.verify_key)).decode()
payload = json.dumps(create_signature_payload('{"test": "value"}', "did:bindu:test", 1000), sort_keys=True)
sig = base58.b58encode(sk.sign(payload.encode()).signature).decode()
print(payload, pub, sig, sep="\n")
assert (pub, sig) == ("4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS", "3SfU4VPTHLbzZzCn17ZqU6y2tnzHQbdo2nnXQr6XZXk34XgyzwSKRrCYEWRmmGXrV39mdkyhTsy5oasfTpNuqyM2")
print(verify_signature('{"test": "value"}', sig, "did:bindu:test", 1000, pub, max_age_seconds=10**12))
