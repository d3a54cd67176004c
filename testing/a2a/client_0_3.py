"""The official Python SDK of A2A 0.3 as a caller, unmodified.

Arguments: the agent's URL, and `--token FILE`; `--refused BINDING` (HTTP+JSON or GRPC) calls in a binding that the agent does not speak in
0.3, at `--at URL`, and must be refused for the version.
"""

import argparse
import asyncio
import os
import sys
import traceback
import uuid

import httpx

if os.environ.get("GRPC_FROM"):
    # This SDK is installed without its gRPC; what is missing here comes from there.
    sys.path.append(os.environ["GRPC_FROM"])
    import grpc
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import Message, Part, Role, TaskIdParams, TaskQueryParams, TextPart, TaskState

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--token")
parser.add_argument("--refused")
parser.add_argument("--at")
options = parser.parse_args()
failures = 0


def check(name, holds, shown=""):
    global failures
    print(("good  " if holds else "FAILED"), name, "" if holds else shown, flush=True)
    failures += not holds


def message(name, text, **more):
    part = Part(root=TextPart(text=text))
    return Message(message_id=f"{name}-{uuid.uuid4()}", role=Role.user, parts=[part], **more)


async def ended(client, sent):
    last = None
    async for event in client.send_message(sent):
        last = event
    return last


def text_of(task):
    return "".join(part.root.text for artifact in task.artifacts or [] for part in artifact.parts)


async def refused(name, call, code):
    try:
        await call
        check(name, False, "it was not refused")
    except A2AClientError as error:
        check(name, str(code) in repr(error) or str(code) in str(getattr(error, "error", "")), repr(error))


async def other_binding(http):
    """The card names no such interface of 0.3; whoever was told of it all the same is told what is wrong."""
    card = await A2ACardResolver(http, options.url).get_agent_card()
    offered = {card.preferred_transport, *(one.transport for one in card.additional_interfaces or [])}
    check("the card does not offer it", options.refused not in offered, str(offered))
    card = card.model_copy(update={"preferred_transport": options.refused, "url": options.at, "additional_interfaces": None})
    channel = {"grpc_channel_factory": grpc.aio.insecure_channel} if options.refused == "GRPC" else {}
    for streaming in (False, True):
        mode = "stream" if streaming else "send"
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_transports=[options.refused], **channel)
        client = ClientFactory(config).create(card)
        for name, call in (
            (mode, lambda: ended(client, message("tck-complete-task", "hello"))),
            ("get", lambda: client.get_task(TaskQueryParams(id=str(uuid.uuid4())))),
            ("cancel", lambda: client.cancel_task(TaskIdParams(id=str(uuid.uuid4())))),
        ):
            try:
                said = await call()
                check(f"{mode}: {name}", False, f"it was not refused: {said}")
            except Exception as error:
                words = repr(error)
                # Over HTTP the SDK shows nothing but the status.
                holds = "FAILED_PRECONDITION" in words and "ersion" in words if channel else "400" in words
                check(f"{mode}: {name}", holds, words)
    if not channel:
        for path in ("message:send", "message:stream"):
            answer = await http.post(f"{options.at}/v1/{path}", json={"request": {"messageId": "1"}})
            reason = answer.json()["error"]["details"][0]["reason"]
            check(f"{path}: the reason", reason == "VERSION_NOT_SUPPORTED", answer.text)


async def main():
    headers = {}
    if options.token:
        headers["Authorization"] = "Bearer " + open(options.token).read().strip()
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        if options.refused:
            await other_binding(http)
            return
        for streaming in (False, True):
            mode = "stream" if streaming else "send"
            config = ClientConfig(httpx_client=http, streaming=streaming)
            client = await ClientFactory.connect(options.url, client_config=config)
            task, update = await ended(client, message("tck-complete-task", "hello"))
            check(f"{mode}: completed", task.status.state == TaskState.completed, str(task))
            check(f"{mode}: result", text_of(task) == "hello", str(task))
            got = await client.get_task(TaskQueryParams(id=task.id))
            check(f"{mode}: get", got.id == task.id and text_of(got) == "hello", str(got))
            asked, _ = await ended(client, message("tck-input-required", "hello"))
            check(f"{mode}: input required", asked.status.state == TaskState.input_required, str(asked))
            more = message("tck-complete-task", "this", task_id=asked.id, context_id=asked.context_id)
            again, _ = await ended(client, more)
            check(f"{mode}: second turn", again.id == asked.id and again.status.state == TaskState.completed, str(again))
            answer = await ended(client, message("tck-message-response", "hello"))
            check(f"{mode}: message in place of a task", isinstance(answer, Message), str(answer))
        stream = client.send_message(message("test-resubscribe-message-id", "hello"))
        task, _ = await anext(stream)
        last = None
        async for event in client.resubscribe(TaskIdParams(id=task.id)):
            last = event
        check("resubscribe", last[0].status.state == TaskState.completed, str(last))
        await stream.aclose()
        await refused("get: unknown", client.get_task(TaskQueryParams(id=str(uuid.uuid4()))), -32001)
        await refused("cancel: ended", client.cancel_task(TaskIdParams(id=task.id)), -32002)
        stream = client.send_message(message("slow", "hello"))
        running, _ = await anext(stream)
        stopped = await client.cancel_task(TaskIdParams(id=running.id))
        check("cancel", stopped.status.state == TaskState.canceled, str(stopped))
        await stream.aclose()


try:
    asyncio.run(asyncio.wait_for(main(), 120))
except Exception:
    traceback.print_exc()
    failures += 1
print(f"{failures} failed")
sys.exit(failures > 0)
