"use strict";
// Sends a message to this agent and shows what comes back, as text only. One conversation for as long as the page is open.
(() => {
  const form = document.getElementById("talk");
  const text = document.getElementById("text");
  const send = document.getElementById("send");
  const status = document.getElementById("status");
  const reply = document.getElementById("reply");
  // HTTP on an address of the network is no secure context, and has no crypto.randomUUID.
  const id = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"))
    .join("").replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-8$4-$5");
  let contextId;
  let question;
  let artifacts;

  const words = (parts) => (parts || []).map((part) =>
    part.text ?? part.url ?? (part.data === undefined ? `[file ${part.filename || ""}]` : JSON.stringify(part.data))).join("\n");
  const show = () => { reply.textContent = Array.from(artifacts.values()).join("\n"); };
  const label = (state) => (state || "").replace("TASK_STATE_", "").toLowerCase().replaceAll("_", " ");

  // What one answer, or one item of a stream, says.
  const take = (result) => {
    const task = result.task || (result.status && result.id ? result : undefined);
    if (result.message) artifacts.set("message", words(result.message.parts));
    if (task) {
      contextId = task.contextId || contextId;
      for (const artifact of task.artifacts || []) artifacts.set(artifact.artifactId, words(artifact.parts));
      tell(task.id, task.status);
    }
    if (result.statusUpdate) tell(result.statusUpdate.taskId, result.statusUpdate.status);
    if (result.artifactUpdate) {
      const { artifact, append } = result.artifactUpdate;
      const before = append ? artifacts.get(artifact.artifactId) || "" : "";
      artifacts.set(artifact.artifactId, before + words(artifact.parts));
    }
    show();
  };
  const tell = (taskId, state) => {
    status.textContent = label(state.state);
    const asks = state.state === "TASK_STATE_INPUT_REQUIRED";
    question = asks ? taskId : undefined;
    if (state.message) artifacts.set("status", words(state.message.parts)); else artifacts.delete("status");
  };

  const call = (method, message, accept) => fetch(location.pathname, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Accept": accept, "A2A-Version": "1.0" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { message } }),
  });
  const checked = (answer) => {
    if (!answer.error) return answer.result;
    throw Object.assign(new Error(answer.error.message), { code: answer.error.code });
  };
  const is = (response, type) => (response.headers.get("Content-Type") || "").startsWith(type);

  // Server-sent events: `data:` lines up to an empty line.
  const follow = async (response) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer = (buffer + value).replaceAll("\r\n", "\n");
      for (let end; (end = buffer.indexOf("\n\n")) >= 0; buffer = buffer.slice(end + 2)) {
        const lines = buffer.slice(0, end).split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) take(checked(JSON.parse(lines.map((line) => line.slice(5)).join("\n"))));
      }
    }
  };
  const talk = async (message) => {
    const streamed = await call("SendStreamingMessage", message, "text/event-stream");
    if (is(streamed, "text/event-stream")) return follow(streamed);
    const answer = await streamed.json();
    // Only what was not begun is sent in another way: no such method, or no streams here.
    const isRefused = answer.error && [-32601, -32004].includes(answer.error.code);
    if (!isRefused) return take(checked(answer));
    return take(checked(await (await call("SendMessage", message, "application/json")).json()));
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!text.value.trim() || send.disabled) return;
    send.disabled = true;
    artifacts = new Map();
    show();
    status.textContent = "sent";
    document.getElementById("said").textContent = text.value;
    const message = { messageId: id(), role: "ROLE_USER", parts: [{ text: text.value }] };
    if (contextId) message.contextId = contextId;
    if (question) message.taskId = question;
    try {
      await talk(message);
      text.value = "";
    } catch (error) {
      status.textContent = `failed: ${error.message}`;
    }
    send.disabled = false;
    text.focus();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  document.getElementById("try").hidden = false;
})();
