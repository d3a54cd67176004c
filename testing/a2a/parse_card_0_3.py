"""Reads the card of the agent at argv[1] with the official SDK of A2A 0.3; prints it as JSON."""
import asyncio
import sys

import httpx
from a2a.client import A2ACardResolver


async def main(url):
    async with httpx.AsyncClient() as client:
        card = await A2ACardResolver(client, url).get_agent_card()
    print(card.model_dump_json(exclude_none=True))


asyncio.run(main(sys.argv[1]))
