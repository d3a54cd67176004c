"""The official Python SDK as a caller, unmodified: everything that A2A 1.0 lets a caller do.

Arguments: the agent's URL, the binding (JSONRPC, HTTP+JSON, GRPC), and options: `--token FILE` (a bearer token),
`--signed` (the card must be signed by a key of the agent's JWKS), `--version 0.3` (the SDK's own adapter for agents of 0.3),
`--no-push`. Prints one line for each check, and ends with 1 if one fails.
"""

import argparse
import asyncio
import json
import sys
import traceback
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.types import (
    AgentInterface,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("binding")
parser.add_argument("--token")
parser.add_argument("--signed", action="store_true")
parser.add_argument("--version", default="1.0")
parser.add_argument("--no-push", action="store_true")
options = parser.parse_args()
failures = 0


def check(name, holds, shown=""):
    global failures
    print(("good  " if holds else "FAILED"), name, "" if holds else shown, flush=True)
    failures += not holds


def message(name, text, **more):
    parts = [Part(text=text)]
    return Message(message_id=f"{name}-{uuid.uuid4()}", role=Role.ROLE_USER, parts=parts, **more)


def request(name, text, blocking=True, **more):
    configuration = SendMessageConfiguration(return_immediately=not blocking)
    return SendMessageRequest(message=message(name, text, **more), configuration=configuration)


def artifact_text(task):
    return "".join(part.text for artifact in task.artifacts for part in artifact.parts)


class Receiver:
    """A webhook: keeps what comes."""

    def __init__(self):
        self.bodies = []
        self.headers = []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/hook"

    async def serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            headers = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.headers.append(headers)
            self.bodies.append(json.loads(body))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        finally:
            writer.close()


async def refused(name, call, kind):
    try:
        await call
        check(name, False, "it was not refused")
    except A2AError as error:
        check(name, type(error).__name__ == kind, f"{type(error).__name__}: {error}")


async def card_of(http):
    verifier = None
    if options.signed:
        from a2a.utils.signing import create_signature_verifier
        from jwt import PyJWK

        keys = (await http.get(f"{options.url}/.well-known/jwks.json")).json()["keys"]
        by_id = {key["kid"]: key for key in keys}
        verifier = create_signature_verifier(lambda kid, jku: PyJWK(by_id[kid]), ["EdDSA"])
    card = await A2ACardResolver(http, options.url).get_agent_card(signature_verifier=verifier)
    check("card", bool(card.name and card.supported_interfaces), str(card))
    if options.signed:
        check("card is signed", len(card.signatures) >= 1)
    return card


async def sends(client, http):
    answers = [answer async for answer in client.send_message(request("tck-complete-task", "hello"))]
    task = answers[-1].task
    check("send", task.status.state == TaskState.TASK_STATE_COMPLETED, str(answers))
    check("send: result", artifact_text(task) == "hello", str(task))
    got = await client.get_task(GetTaskRequest(id=task.id))
    check("get", got.id == task.id and artifact_text(got) == "hello", str(got))
    check("get: history", len(got.history) >= 1 and got.history[0].parts[0].text == "hello", str(got.history))
    short = await client.get_task(GetTaskRequest(id=task.id, history_length=0))
    check("get: historyLength 0", len(short.history) == 0 or options.version != "1.0", str(short))
    answers = [answer async for answer in client.send_message(request("tck-message-response", "hello"))]
    check("message in place of a task", answers[-1].HasField("message"), str(answers))
    answers = [answer async for answer in client.send_message(request("tck-input-required", "hello"))]
    asked = answers[-1].task
    check("input required", asked.status.state == TaskState.TASK_STATE_INPUT_REQUIRED, str(answers))
    more = request("tck-complete-task", "this one", task_id=asked.id, context_id=asked.context_id)
    answers = [answer async for answer in client.send_message(more)]
    check("second turn", answers[-1].task.status.state == TaskState.TASK_STATE_COMPLETED, str(answers))
    check("second turn: same task", answers[-1].task.id == asked.id, str(answers))
    answers = [answer async for answer in client.send_message(request("tck-reject-task", "hello"))]
    check("rejected", answers[-1].task.status.state == TaskState.TASK_STATE_REJECTED, str(answers))
    for kind, field in [("text", "text"), ("file", "raw"), ("file-url", "url"), ("data", "data")]:
        answers = [answer async for answer in client.send_message(request(f"tck-artifact-{kind}", "hello"))]
        parts = [part for artifact in answers[-1].task.artifacts for part in artifact.parts]
        check(f"artifact: {kind}", bool(parts) and parts[0].WhichOneof("content") == field, str(answers))
    answers = [answer async for answer in client.send_message(request("slow", "hello", blocking=False))]
    running = answers[-1].task
    active = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
    check("returnImmediately", running.status.state in active, str(answers))
    stopped = await client.cancel_task(CancelTaskRequest(id=running.id))
    check("cancel", stopped.status.state == TaskState.TASK_STATE_CANCELED, str(stopped))
    return task


async def lists(client, task):
    page = await client.list_tasks(ListTasksRequest(page_size=2))
    check("list: page", len(page.tasks) == 2 and page.next_page_token != "", str(page))
    check("list: artifacts left out", not any(one.artifacts for one in page.tasks), str(page))
    seen, token = set(), ""
    while True:
        page = await client.list_tasks(ListTasksRequest(page_size=3, page_token=token, include_artifacts=True))
        new = {one.id for one in page.tasks}
        check("list: no task twice", not (seen & new), str(page))
        seen |= new
        token = page.next_page_token
        if not token:
            break
    check("list: all", task.id in seen and page.total_size == len(seen), f"{page.total_size} {len(seen)}")
    only = await client.list_tasks(ListTasksRequest(context_id=task.context_id))
    check("list: by context", [one.id for one in only.tasks] == [task.id], str(only))
    only = await client.list_tasks(ListTasksRequest(status=TaskState.TASK_STATE_REJECTED))
    check("list: by status", len(only.tasks) >= 1, str(only))


async def streams(client):
    events = [event async for event in client.send_message(request("tck-stream-001", "hello"))]
    kinds = [event.WhichOneof("payload") for event in events]
    check("stream: task first", kinds[0] == "task", str(kinds))
    check("stream: artifact", "artifact_update" in kinds, str(kinds))
    last = events[-1].status_update.status.state
    check("stream: ends completed", last == TaskState.TASK_STATE_COMPLETED, str(events[-1]))
    events = [event async for event in client.send_message(request("tck-stream-artifact-chunked", "hello"))]
    chunks = [event.artifact_update for event in events if event.WhichOneof("payload") == "artifact_update"]
    text = "".join(part.text for chunk in chunks for part in chunk.artifact.parts)
    # A last one may bring nothing but a signature.
    check("stream: chunks", len(chunks) in (3, 4) and text == "one two three", str(chunks))
    check("stream: append", [chunk.append for chunk in chunks] == [False, True, True, True][: len(chunks)], str(chunks))
    check("stream: last chunk", chunks[-1].last_chunk, str(chunks))
    events = [event async for event in client.send_message(request("tck-message-response", "hello"))]
    check("stream: one message", [event.WhichOneof("payload") for event in events] == ["message"], str(events))
    stream = client.send_message(request("test-resubscribe-message-id", "hello"))
    first = await anext(stream)
    task = first.task

    async def subscribed():
        return [event async for event in client.subscribe(SubscribeToTaskRequest(id=task.id))]

    both = await asyncio.wait_for(asyncio.gather(subscribed(), subscribed()), 30)
    rest = [event async for event in stream]
    for events in both:
        check("resubscribe: task first", events[0].WhichOneof("payload") == "task", str(events))
        ended = events[-1].status_update.status.state
        check("resubscribe: to the end", ended == TaskState.TASK_STATE_COMPLETED, str(events[-1]))
    check("the first stream goes on", rest[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED)
    try:
        async for _ in client.subscribe(SubscribeToTaskRequest(id=task.id)):
            pass
        check("resubscribe to an ended task", False, "it was not refused")
    except A2AError as error:
        check("resubscribe to an ended task", type(error).__name__ == "UnsupportedOperationError", repr(error))


async def errors(client, task):
    unknown = str(uuid.uuid4())
    await refused("get: unknown", client.get_task(GetTaskRequest(id=unknown)), "TaskNotFoundError")
    await refused("cancel: unknown", client.cancel_task(CancelTaskRequest(id=unknown)), "TaskNotFoundError")
    await refused("cancel: ended", client.cancel_task(CancelTaskRequest(id=task.id)), "TaskNotCancelableError")

    async def continues(task_id):
        async for _ in client.send_message(request("tck-complete-task", "more", task_id=task_id)):
            pass

    await refused("send: unknown task", continues(unknown), "TaskNotFoundError")
    await refused("send: ended task", continues(task.id), "UnsupportedOperationError")


async def pushes(client):
    receiver = Receiver()
    await receiver.start()
    sent = request("slow", "hello", blocking=False)
    async for answer in client.send_message(sent):
        task = answer.task
    config = TaskPushNotificationConfig(task_id=task.id, id="one", url=receiver.url, token="planted-token")
    config.authentication.scheme = "Bearer"
    config.authentication.credentials = "planted-credentials"
    made = await client.create_task_push_notification_config(config)
    check("push: create", made.url == receiver.url and made.id == "one", str(made))
    got = await client.get_task_push_notification_config(GetTaskPushNotificationConfigRequest(task_id=task.id, id="one"))
    check("push: get", got.url == receiver.url, str(got))
    listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id))
    check("push: list", [one.id for one in listed.configs] == ["one"], str(listed))
    other = TaskPushNotificationConfig(task_id=task.id, id="two", url=receiver.url)
    await client.create_task_push_notification_config(other)
    await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="two"))
    listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id))
    check("push: delete", [one.id for one in listed.configs] == ["one"], str(listed))
    # A receiver of 0.3 is told in its own words.
    words = ("TASK_STATE_COMPLETED", "completed") if options.version == "0.3" else ("TASK_STATE_COMPLETED",)

    def is_told():
        return any(f'"state": "{word}"' in json.dumps(body) for body in receiver.bodies for word in words)

    for _ in range(300):
        if is_told():
            break
        await asyncio.sleep(0.1)
    check("push: delivered to the end", is_told(), str(receiver.bodies))
    heads = receiver.headers
    check("push: token", bool(heads) and all(head.get("x-a2a-notification-token") == "planted-token" for head in heads), str(heads))
    check("push: authentication", bool(heads) and all(head.get("authorization") == "Bearer planted-credentials" for head in heads), str(heads))


async def main():
    headers = {}
    if options.token:
        headers["Authorization"] = "Bearer " + open(options.token).read().strip()
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        card = await card_of(http)
        if options.version != "1.0":
            kept = [one for one in card.supported_interfaces if one.protocol_version.startswith(options.version)]
            del card.supported_interfaces[:]
            card.supported_interfaces.extend(kept)
        metadata = [(name.lower(), value) for name, value in headers.items()]

        class Unary(grpc.aio.UnaryUnaryClientInterceptor):
            async def intercept_unary_unary(self, continuation, details, call):
                return await continuation(with_token(details), call)

        class Stream(grpc.aio.UnaryStreamClientInterceptor):
            async def intercept_unary_stream(self, continuation, details, call):
                return await continuation(with_token(details), call)

        def with_token(details):
            return details._replace(metadata=grpc.aio.Metadata(*(list(details.metadata or []) + metadata)))

        def channel(url):
            return grpc.aio.insecure_channel(url, interceptors=[Unary(), Stream()])

        def client_of(streaming):
            config = ClientConfig(
                httpx_client=http,
                streaming=streaming,
                supported_protocol_bindings=[options.binding],
                grpc_channel_factory=channel,
            )
            return ClientFactory(config).create(card)

        task = await sends(client_of(False), http)
        if options.version == "1.0":
            await lists(client_of(False), task)
        await streams(client_of(True))
        await errors(client_of(False), task)
        if not options.no_push:
            await pushes(client_of(False))


try:
    asyncio.run(asyncio.wait_for(main(), 120))
except Exception:
    traceback.print_exc()
    failures += 1
print(f"{failures} failed")
sys.exit(failures > 0)
