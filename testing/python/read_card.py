"""Read card + DID document as a Bindu peer would (no such client exists in the package; this uses its HTTP client, types and validators). usage: read_card.py BASEURL"""
import sys, asyncio, json
from bindu.utils.http import AsyncHTTPClient
from bindu.common.protocol.types import agent_card_ta
from bindu.extensions.did.validation import DIDValidation
async def main(base):
    async with AsyncHTTPClient(base_url=base) as c:
        raw = await (await c.get("/.well-known/agent.json")).text()   # .text()/.json() only: .read() fails, the client closes the connection
        card = agent_card_ta.validate_json(raw)                       # strict pydantic check of the card
        did = card["capabilities"]["extensions"][0]["uri"]
        doc = await (await c.get("/did/resolve", params={"did": did})).json()
        doc2 = await (await c.post("/did/resolve", json={"did": did})).json()
    print(json.dumps({"did": did, "doc_valid": DIDValidation.validate_did_document(doc), "same": doc == doc2, "id_matches": doc["id"] == did,
                      "pub": doc["authentication"][0]["publicKeyBase58"], "roundtrip": json.loads(agent_card_ta.dump_json(card, by_alias=True)) == json.loads(raw)}))
asyncio.run(main(sys.argv[1]))
