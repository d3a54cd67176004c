// The official JavaScript SDK as a caller, unmodified. Arguments: the agent's URL, the binding (JSONRPC, HTTP+JSON, GRPC), and
// `--token FILE`, `--signed`, `--legacy` (the SDK's own adapter for agents of A2A 0.3). The SDK is found in the current directory.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const installed = createRequire(pathToFileURL(process.cwd() + '/'));
const load = (name) => import(pathToFileURL(installed.resolve(name)).href.replace(/\.cjs$/, '.js'));
const sdk = await load('@a2a-js/sdk');
const clients = await load('@a2a-js/sdk/client');
const [url, binding, ...rest] = process.argv.slice(2);
const option = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] ?? true : undefined);
const token = option('--token') && readFileSync(option('--token'), 'utf8').trim();
const legacyCompat = rest.includes('--legacy') ? { enabled: true } : undefined;
let failures = 0;

function check(name, holds, shown = '') {
  console.log(holds ? 'good  ' : 'FAILED', name, holds ? '' : JSON.stringify(shown));
  failures += holds ? 0 : 1;
}

const fetchImpl = async (input, init = {}) => {
  const headers = new Headers(init.headers);
  if (token) headers.set('Authorization', `Bearer ${token}`);
  return fetch(input, { ...init, headers });
};

function message(name, text, more = {}) {
  const part = { content: { $case: 'text', value: text } };
  return { messageId: `${name}-${randomUUID()}`, role: sdk.Role.ROLE_USER, parts: [part], ...more };
}

async function refused(name, call, kind) {
  try {
    await call();
    check(name, false, 'it was not refused');
  } catch (error) {
    check(name, error.name === kind || error.constructor.name === kind, `${error.constructor.name}: ${error.message}`);
  }
}

const textOf = (task) => (task.artifacts ?? []).flatMap((one) => one.parts).map((one) => one.content?.value ?? '').join('');

const transports = { JSONRPC: 'JsonRpcTransportFactory', 'HTTP+JSON': 'RestTransportFactory' };
const transport = new clients[transports[binding]]({ fetchImpl, legacyCompat });
const factory = new clients.ClientFactory({
  transports: [transport],
  cardResolver: new clients.DefaultAgentCardResolver({ fetchImpl, legacyCompat }),
  legacyCompat,
});
if (rest.includes('--signed')) {
  const raw = await (await fetch(`${url}/.well-known/agent-card.json`)).json();
  const keys = (await (await fetch(`${url}/.well-known/jwks.json`)).json()).keys;
  const verify = sdk.verifyAgentCardSignature(async (kid) => keys.find((key) => key.kid === kid));
  let problem = '';
  try {
    await verify(raw);
  } catch (error) {
    problem = String(error);
  }
  check('card is signed', raw.signatures?.length >= 1 && problem === '', problem);
}
const card = await new clients.DefaultAgentCardResolver({ fetchImpl, legacyCompat }).resolve(url);
if (legacyCompat) card.supportedInterfaces = card.supportedInterfaces.filter((one) => one.protocolVersion === '0.3');
const client = await factory.createFromAgentCard(card);

const state = sdk.TaskState;
const caseOf = (result) => result.payload?.$case ?? result.$case;
const taskOf = (result) => result.payload?.value ?? result.value ?? result;
const sent = taskOf(await client.sendMessage({ message: message('tck-complete-task', 'hello') }));
check('send', sent.status?.state === state.TASK_STATE_COMPLETED && textOf(sent) === 'hello', sent);
const got = await client.getTask({ id: sent.id });
check('get', got.id === sent.id && textOf(got) === 'hello', got);
const answer = await client.sendMessage({ message: message('tck-message-response', 'hello') });
check('message in place of a task', taskOf(answer).parts?.length === 1, answer);
const asked = taskOf(await client.sendMessage({ message: message('tck-input-required', 'hello') }));
check('input required', asked.status.state === state.TASK_STATE_INPUT_REQUIRED, asked);
const more = message('tck-complete-task', 'this', { taskId: asked.id, contextId: asked.contextId });
const again = taskOf(await client.sendMessage({ message: more }));
check('second turn', again.id === asked.id && again.status.state === state.TASK_STATE_COMPLETED, again);
if (!legacyCompat) {
  const page = await client.listTasks({ pageSize: 2 });
  check('list', page.tasks.length === 2, page);
}

const events = [];
for await (const event of client.sendMessageStream({ message: message('tck-stream-artifact-chunked', 'hello') })) {
  events.push(event);
}
const kinds = events.map(caseOf);
check('stream: task first', kinds[0] === 'task', kinds);
// A last one may bring nothing but a signature.
check('stream: chunks', [3, 4].includes(kinds.filter((kind) => kind === 'artifactUpdate').length), kinds);
check('stream: text', events.filter((one) => caseOf(one) === 'artifactUpdate').map((one) => textOf({ artifacts: [taskOf(one).artifact] })).join('') === 'one two three', events);
check('stream: ends completed', taskOf(events.at(-1)).status?.state === state.TASK_STATE_COMPLETED, events.at(-1));

const stream = client.sendMessageStream({ message: message('test-resubscribe-message-id', 'hello') });
const running = taskOf((await stream.next()).value);
let last;
for await (const event of client.resubscribeTask({ id: running.id })) last = event;
check('resubscribe', taskOf(last).status?.state === state.TASK_STATE_COMPLETED, last);
let end;
for await (const event of stream) end = event;
check('the first stream goes on', taskOf(end).status?.state === state.TASK_STATE_COMPLETED, end);

await refused('get: unknown', () => client.getTask({ id: randomUUID() }), 'TaskNotFoundError');
await refused('cancel: ended', () => client.cancelTask({ id: sent.id }), 'TaskNotCancelableError');
const immediately = { configuration: { returnImmediately: true, acceptedOutputModes: [] } };
const slow = taskOf(await client.sendMessage({ message: message('slow', 'hello'), ...immediately }));
check('returnImmediately', [state.TASK_STATE_SUBMITTED, state.TASK_STATE_WORKING].includes(slow.status.state), slow);
const stopped = await client.cancelTask({ id: slow.id });
check('cancel', stopped.status.state === state.TASK_STATE_CANCELED, stopped);

if (!rest.includes('--no-push')) {
  const bodies = [];
  const receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      bodies.push(body);
      response.end();
    });
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const hook = `http://127.0.0.1:${receiver.address().port}/hook`;
  const pushed = taskOf(await client.sendMessage({ message: message('slow', 'hello'), ...immediately }));
  const config = { taskId: pushed.id, id: 'one', url: hook, token: 'planted', tenant: '' };
  const made = await client.createTaskPushNotificationConfig(config);
  check('push: create', made.url === hook, made);
  const listed = await client.listTaskPushNotificationConfig({ taskId: pushed.id });
  check('push: list', listed.configs.length === 1, listed);
  for (let tries = 0; tries < 300 && !bodies.some((body) => /completed/i.test(body)); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  check('push: delivered to the end', bodies.some((body) => /completed/i.test(body)), bodies);
  receiver.close();
}
console.log(`${failures} failed`);
process.exit(failures > 0 ? 1 : 0);
