"""A Python Bindu agent that echoes. Settings by environment: PEER_PORT, PEER_AUTHOR, PEER_NAME,
PEER_CONFIG (an object: more of its configuration), and Bindu's own."""
import json
import os
from bindu.penguin.bindufy import bindufy


def handler(messages):
    return " ".join(part.get("text", "") for part in messages[-1].get("parts", []) if part.get("kind") == "text")


if __name__ == "__main__":
    bindufy({
        "author": os.environ["PEER_AUTHOR"],
        "name": os.environ["PEER_NAME"],
        "description": "Echo",
        "deployment": {"url": f"http://127.0.0.1:{os.environ['PEER_PORT']}", "expose": False},
        "skills": [],
        **json.loads(os.environ.get("PEER_CONFIG", "{}")),
    }, handler)
