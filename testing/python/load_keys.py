"""Load a .bindu directory (ours or theirs) with Bindu's own loader + integrity check. usage: load_keys.py KEYDIR AUTHOR NAME AGENT_ID [PASSWORD]"""
import sys, json
from pathlib import Path
from bindu.extensions.did import DIDAgentExtension
kd, author, name, aid, *pw = sys.argv[1:]
ext = DIDAgentExtension(recreate_keys=False, key_dir=Path(kd), author=author, agent_name=name, agent_id=aid, key_password=pw[0] if pw else None)
ext.check_integrity()
print(json.dumps({"did": ext.did, "pub": ext.public_key_base58, "sig_hello": ext.sign_text("hello"), "doc": ext.get_did_document()}))
