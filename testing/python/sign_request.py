"""Sign a request with Bindu's own code + the missing sign_message. usage: sign_request.py KEYDIR(.bindu with PEMs) DID BODYFILE [TS] -> JSON headers"""
import sys, json
from pathlib import Path
from bindu.extensions.did import DIDAgentExtension
from bindu.utils.did import sign_request
DIDAgentExtension.sign_message = DIDAgentExtension.sign_text   # shim: the shipped class lacks sign_message
ext = DIDAgentExtension(recreate_keys=False, key_dir=Path(sys.argv[1]))
h = sign_request(open(sys.argv[3], "rb").read(), sys.argv[2], ext, int(sys.argv[4]) if len(sys.argv) > 4 else None)
print(json.dumps({**h, "pub": ext.public_key_base58}))
