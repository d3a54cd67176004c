"""Check an artifact signature with DIDAgentExtension.verify_text, given only the peer's base58 public key. usage: verify_text.py PUBB58 SIG < text  -> True/False"""
import sys, base58
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from bindu.extensions.did import DIDAgentExtension
ext = DIDAgentExtension(recreate_keys=False, key_dir=Path("/nonexistent"))
ext.__dict__["public_key"] = Ed25519PublicKey.from_public_bytes(base58.b58decode(sys.argv[1]))   # cached_property: preset it; or put public.pem in key_dir
print(ext.verify_text(sys.stdin.buffer.read().decode(), sys.argv[2]))
