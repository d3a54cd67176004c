// An agent made of the official JavaScript SDK, which says back what it is told, or does what `server.py` does for some texts.
// Arguments: the port; which interfaces its card offers (JSONRPC-1.0, HTTP+JSON-1.0, JSONRPC-0.3; a comma between); `stream` or
// `poll`. The SDK is found in the directory A2A_PACKAGES.
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const installed = createRequire(pathToFileURL(process.env.A2A_PACKAGES + '/'));
const load = (name) => import(pathToFileURL(installed.resolve(name)).href.replace(/\.cjs$/, '.js'));
const { Role, TaskState, AgentCard } = await load('@a2a-js/sdk');
const { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } = await load('@a2a-js/sdk/server');
const { agentCardHandler, jsonRpcHandler, restHandler, UserBuilder } = await load('@a2a-js/sdk/server/express');
const express = installed('express');

const [port, offered, how] = process.argv.slice(2);
const part = (text) => ({ content: { $case: 'text', value: text }, metadata: undefined, filename: '', mediaType: '' });

class Echo {
  async execute({ userMessage, taskId, contextId, task }, bus) {
    const text = userMessage.parts.map((one) => (one.content?.$case === 'text' ? one.content.value : '')).join('\n');
    const says = (words) => ({
      messageId: randomUUID(), contextId, taskId, role: Role.ROLE_AGENT, parts: [part(words)],
      metadata: undefined, extensions: [], referenceTaskIds: [],
    });
    if (text === 'message') {
      bus.publish(AgentEvent.message({ ...says('only a message'), taskId: '' }));
      return bus.finished();
    }
    const now = (state, words) => ({ state, message: words ? says(words) : undefined, timestamp: new Date().toISOString() });
    const status = (state, words) => bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: now(state, words), metadata: undefined }));
    const artifact = (artifactId, words, more = {}) =>
      bus.publish(AgentEvent.artifactUpdate({
        taskId, contextId, append: false, lastChunk: true, metadata: undefined, ...more,
        artifact: { artifactId, name: 'result', description: '', parts: [part(words)], metadata: undefined, extensions: [] },
      }));
    // A task that goes on is shown as it was: it still asks.
    bus.publish(AgentEvent.task(task ?? {
      id: taskId, contextId, status: now(TaskState.TASK_STATE_SUBMITTED), artifacts: [], history: [userMessage], metadata: undefined,
    }));
    status(TaskState.TASK_STATE_WORKING, 'working on it');
    if (text === 'ask') {
      status(TaskState.TASK_STATE_INPUT_REQUIRED, 'Which one?');
    } else if (text === 'reject') {
      status(TaskState.TASK_STATE_REJECTED, 'not this one');
    } else {
      const pieces = text === 'chunks' ? ['one ', 'two ', 'three'] : [text];
      pieces.forEach((words, number) => artifact('a', words, { append: number > 0, lastChunk: number === pieces.length - 1 }));
      status(TaskState.TASK_STATE_COMPLETED);
    }
    bus.finished();
  }

  async cancelTask(taskId, bus) {
    bus.finished();
  }
}

const url = `http://127.0.0.1:${port}`;
const card = AgentCard.fromJSON({
  name: 'Official JavaScript',
  description: 'Says it back.',
  version: '1.0.0',
  supportedInterfaces: offered.split(',').map((name) => {
    const [, protocolBinding, protocolVersion] = /^(.*)-([^-]*)$/.exec(name);
    return { url: protocolBinding === 'JSONRPC' ? `${url}/` : url, protocolBinding, protocolVersion };
  }),
  capabilities: { streaming: how === 'stream' },
  defaultInputModes: ['text/plain'],
  defaultOutputModes: ['text/plain'],
  skills: [{ id: 'echo', name: 'Echo', description: 'Says it back.', tags: ['echo'] }],
});
const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), new Echo());
const options = { requestHandler, userBuilder: UserBuilder.noAuthentication, legacyCompat: { enabled: offered.includes('-0.3') } };
const app = express();
app.use('/.well-known/agent-card.json', agentCardHandler({ agentCardProvider: requestHandler, legacyCompat: options.legacyCompat }));
if (offered.includes('HTTP+JSON')) app.use(restHandler(options));
if (offered.includes('JSONRPC')) app.use(jsonRpcHandler(options));
app.listen(Number(port), '127.0.0.1');
