"""An agent made of the official Python SDK: the control for `client.py`, and somebody for our own client to call.

Its handler is the conformance agent's (what it does depends on the message's id, examples/conformance.rs); for a message with another id, which
a client has chosen, the text says what: `message`, `ask`, `reject`, `chunks`. All other texts come back.
Arguments: the port; which interfaces its card offers (JSONRPC-1.0, HTTP+JSON-1.0, GRPC-1.0, JSONRPC-0.3; a comma between); `stream` or
`poll`. gRPC has the next port.
"""

import asyncio
import sys

import grpc
import httpx
import uvicorn
from a2a.helpers import new_artifact, new_raw_part, new_text_message, new_text_part, new_url_part, new_data_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler, GrpcHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message, Part, Role
from a2a.types.a2a_pb2_grpc import add_A2AServiceServicer_to_server
from a2a.helpers import new_task_from_user_message
from starlette.applications import Starlette


class Conformance(AgentExecutor):
    async def execute(self, context, queue):
        message = context.message
        name = message.message_id
        text = "\n".join(part.text for part in message.parts if part.HasField("text"))
        if name.startswith("tck-message-response"):
            await queue.enqueue_event(new_text_message(f"You said: {text}", context_id=context.context_id))
            return
        if text == "message":
            await queue.enqueue_event(new_text_message("only a message", context_id=context.context_id))
            return
        is_first = context.current_task is None
        if is_first:
            await queue.enqueue_event(new_task_from_user_message(message))
        updater = TaskUpdater(queue, context.task_id, context.context_id)
        await updater.start_work(updater.new_agent_message([new_text_part("working on it")]))
        turns = len([one for one in context.current_task.history if one.role == Role.ROLE_USER]) if not is_first else 1
        if (name.startswith("tck-input-required") and turns <= 1) or (is_first and text == "ask"):
            await updater.requires_input(updater.new_agent_message([new_text_part("Which one?")]))
            return
        if name.startswith("tck-reject-task") or text == "reject":
            await updater.reject(updater.new_agent_message([new_text_part("not this one")]))
            return
        beats = 8 if name.startswith("test-resubscribe-message-id") else 3 if name.startswith("slow") else 0
        if beats:
            for _ in range(beats):
                await asyncio.sleep(0.5)
                await updater.update_status(2)
        if name.startswith("tck-stream-artifact-chunked") or text == "chunks":
            for number, piece in enumerate(["one ", "two ", "three"]):
                await asyncio.sleep(0.05)
                await updater.add_artifact(
                    [new_text_part(piece)], artifact_id="chunks", name="result", append=number > 0, last_chunk=number == 2
                )
        elif "file-url" in name:
            await updater.add_artifact([new_url_part("https://example.com/a.txt", media_type="text/plain")], name="result")
        elif "file" in name:
            await updater.add_artifact([new_raw_part(b"\x00\x01", media_type="application/octet-stream")], name="result")
        elif "data" in name:
            await updater.add_artifact([new_data_part({"key": "value"})], name="result")
        else:
            await updater.add_artifact([new_text_part(text)], name="result")
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


async def main(port, offered, how):
    url = f"http://127.0.0.1:{port}"
    urls = {"JSONRPC": f"{url}/", "GRPC": f"127.0.0.1:{port + 1}"}
    card = AgentCard(
        name="Control",
        description="An agent of the official SDK.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=urls.get(binding, url), protocol_binding=binding, protocol_version=version)
            for binding, version in (name.rsplit("-", 1) for name in offered)
        ],
        capabilities=AgentCapabilities(streaming=how == "stream", push_notifications=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="Echo", description="Says it back.", tags=["echo"])],
    )
    configs = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=Conformance(),
        task_store=InMemoryTaskStore(),
        agent_card=card,
        push_config_store=configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(), configs),
    )
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True),
        *create_rest_routes(handler),
    ]
    server = grpc.aio.server()
    add_A2AServiceServicer_to_server(GrpcHandler(handler), server)
    server.add_insecure_port(urls["GRPC"])
    await server.start()
    config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="warning")
    await uvicorn.Server(config).serve()


asyncio.run(main(int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]))
