"""Make an encrypted key pair with Bindu's own code. usage: make_encrypted.py KEYDIR PASSWORD -> the public key, base58"""
import sys
from pathlib import Path
from bindu.extensions.did import DIDAgentExtension

extension = DIDAgentExtension(recreate_keys=False, key_dir=Path(sys.argv[1]), key_password=sys.argv[2])
extension.generate_and_save_key_pair()
print(extension.public_key_base58)
