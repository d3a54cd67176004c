"""An agent of the official Python SDK 1.3.0 for our own client to call. What it does depends on the text.

Arguments: the port; which interfaces its card offers (JSONRPC-1.0, HTTP+JSON-1.0, JSONRPC-0.3; comma between); `stream` or `poll`.
"""

import asyncio
import sys

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette


class Callee(AgentExecutor):
    async def execute(self, context, queue):
        text = "\n".join(part.text for part in context.message.parts if part.HasField("text"))
        if text == "message":
            await queue.enqueue_event(new_text_message("only a message", context_id=context.context_id))
            return
        asked = context.current_task is not None
        if not asked:
            await queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(queue, context.task_id, context.context_id)
        await updater.start_work(updater.new_agent_message([new_text_part("working on it")]))
        if text == "ask":
            await updater.requires_input(updater.new_agent_message([new_text_part("Which one?")]))
            return
        if text == "reject":
            await updater.reject(updater.new_agent_message([new_text_part("not this one")]))
            return
        if text == "chunks":
            for number, piece in enumerate(["one ", "two ", "three"]):
                await asyncio.sleep(0.05)
                await updater.add_artifact([new_text_part(piece)], artifact_id="a", append=number > 0, last_chunk=number == 2)
        else:
            await updater.add_artifact([new_text_part(("it is " if asked else "echo: ") + text)], name="result")
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


port, offered, how = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
url = f"http://127.0.0.1:{port}"
card = AgentCard(
    name="Callee",
    description="An agent of the official SDK.",
    version="1.0.0",
    supported_interfaces=[
        AgentInterface(
            url=url if binding.startswith("HTTP") else f"{url}/", protocol_binding=binding, protocol_version=version
        )
        for binding, version in (name.rsplit("-", 1) for name in offered)
    ],
    capabilities=AgentCapabilities(streaming=how == "stream"),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="echo", name="Echo", description="Says it back.", tags=["echo"])],
)
handler = DefaultRequestHandler(agent_executor=Callee(), task_store=InMemoryTaskStore(), agent_card=card)
routes = [
    *create_agent_card_routes(card),
    *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
    *create_rest_routes(handler),
]
uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
