"""Verify a request signature with Bindu's own code. usage: verify_request.py BODYFILE SIG DID TS PUBB58 [MAXAGE] -> prints True/False"""
import sys
from bindu.utils.did import verify_signature      # bindu/utils/did/signature.py
def main(bodyfile, sig, did, ts, pub, max_age="300"):
    body = open(bodyfile, "rb").read()            # exact wire bytes
    print(verify_signature(body=body, signature=sig, did=did, timestamp=int(ts), public_key=pub, max_age_seconds=int(max_age)))
main(*sys.argv[1:])
