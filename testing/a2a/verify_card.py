"""Verifies the card of the agent at argv[1] with the official SDK (a2a-sdk 1.x) and PyJWT; prints what it has read, as JSON."""
import asyncio
import json
import sys

import httpx
from a2a.client import A2ACardResolver
from a2a.utils.signing import SignatureVerificationError, create_signature_verifier
from google.protobuf.json_format import MessageToDict
from jwt.api_jwk import PyJWKSet

asked = []


def key_provider(kid, jku):
    asked.append(kid)
    for key in PyJWKSet.from_dict(httpx.get(jku).json()).keys:
        if key.key_id == kid:
            return key
    raise LookupError(kid)


async def main(url):
    verifier = create_signature_verifier(key_provider, ["EdDSA"])
    async with httpx.AsyncClient() as client:
        card = await A2ACardResolver(client, url).get_agent_card(signature_verifier=verifier)
    card.description += "!"
    try:
        verifier(card)
        sys.exit("a card that was changed verifies")
    except SignatureVerificationError:
        pass
    print(json.dumps({"asked": asked, "card": MessageToDict(card)}))


asyncio.run(main(sys.argv[1]))
