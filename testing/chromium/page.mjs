// Drives a Chromium that listens for DevTools: opens a page, talks to the agent on it, and prints what it saw as JSON.
// Arguments: the address in DevToolsActivePort, the page's URL, what to say, where to put the screenshot.
import { writeFileSync } from "node:fs";

const [endpoint, url, say, picture] = process.argv.slice(2);
const socket = new WebSocket(endpoint);
await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
let last = 0;
const waiting = new Map();
const seen = { requests: [], problems: [] };
const loaded = [];
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) return waiting.get(message.id)(message);
  if (message.method === "Network.requestWillBeSent") seen.requests.push(`${message.params.request.method} ${message.params.request.url}`);
  if (message.method === "Log.entryAdded") seen.problems.push(message.params.entry.text);
  if (message.method === "Runtime.exceptionThrown") seen.problems.push(message.params.exceptionDetails.text);
  if (message.method === "Page.javascriptDialogOpening") seen.problems.push("a dialog");
  if (message.method === "Page.loadEventFired") loaded.forEach((resolve) => resolve());
};
const call = async (method, params, sessionId) => {
  const id = ++last;
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  socket.send(JSON.stringify({ id, method, params, sessionId }));
  const { result, error } = await answer;
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
};
const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params = {}) => call(method, params, sessionId);
const evaluate = async (expression) => {
  const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
};
for (const domain of ["Page", "Network", "Log", "Runtime"]) await page(`${domain}.enable`);
await page("Emulation.setDeviceMetricsOverride", { width: 1000, height: 900, deviceScaleFactor: 1, mobile: false });
const load = new Promise((resolve) => loaded.push(resolve));
await page("Page.navigate", { url });
await load;
if (say) {
  await evaluate(`document.getElementById("text").focus()`);
  await page("Input.insertText", { text: say });
  await evaluate(`document.getElementById("send").click()`);
  // Until it may be used again, however long that takes: whoever started this has a deadline.
  await evaluate(`new Promise((resolve) => {
    const send = document.getElementById("send");
    const look = () => send.disabled ? setTimeout(look, 20) : resolve();
    look();
  })`);
}
const own = (id) => evaluate(`document.getElementById("${id}")?.textContent`);
const result = {
  title: await evaluate("document.title"),
  text: await evaluate("document.body.innerText"),
  elements: await evaluate(`Array.from(document.querySelectorAll("script, img, iframe, link, object, embed"), (e) => e.localName)`),
  hasBox: await evaluate(`document.getElementById("try")?.checkVisibility() ?? false`),
  status: await own("status"),
  reply: await own("reply"),
  ...seen,
};
const { cssContentSize: size } = await page("Page.getLayoutMetrics");
const clip = { x: 0, y: 0, width: 1000, height: size.height, scale: 1 };
const { data } = await page("Page.captureScreenshot", { clip, captureBeyondViewport: true });
writeFileSync(picture, Buffer.from(data, "base64"));
console.log(JSON.stringify(result));
socket.close();
