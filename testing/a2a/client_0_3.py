"""The official Python SDK of A2A 0.3 as a caller, unmodified. Arguments: the agent's URL, and `--token FILE`."""

import argparse
import asyncio
import sys
import traceback
import uuid

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import Message, Part, Role, TaskIdParams, TaskQueryParams, TextPart, TaskState

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--token")
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


async def main():
    headers = {}
    if options.token:
        headers["Authorization"] = "Bearer " + open(options.token).read().strip()
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
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
