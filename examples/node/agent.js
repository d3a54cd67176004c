// An agent in Node: `bindu run --command "node examples/node/agent.js"`.
//
// It speaks the second protocol of docs/HANDLERS.md: it works on many tasks at a time, tells how far it is, sends a
// long answer in pieces, asks back, and stops what is cancelled.
const { createInterface } = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");

const stops = new Map(); // by task id: aborted once the task is cancelled
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Returns the last line about a task.
async function work(task_id, text, signal) {
  const count = /^count (\d+)$/.exec(text);
  if (!text) return { content: "What about?", state: "input-required" };
  if (count) {
    for (let number = 1; number <= Number(count[1]); number++) {
      await sleep(100, undefined, { signal });
      say({ task_id, progress: `${number} of ${count[1]}` });
      say({ task_id, artifact: { text: `${number} ` } });
    }
    return { state: "completed" };
  }
  return { content: `You said: ${text}` };
}

async function answer({ task_id, messages }) {
  const stop = new AbortController();
  stops.set(task_id, stop);
  let last;
  try {
    last = await work(task_id, messages.at(-1).content, stop.signal);
  } catch (error) {
    last = { state: "canceled" };
    if (!stop.signal.aborted) {
      // One task fails, not the program with the others.
      console.error(`${task_id}: ${error}`);
      last = { content: "something went wrong", state: "failed" };
    }
  }
  // Before the last line: after it, the same task may come again.
  stops.delete(task_id);
  say({ task_id, ...last });
}

say({ bindu: 2, concurrency: 64 });
createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.cancel) stops.get(message.cancel)?.abort();
  else answer(message);
});
