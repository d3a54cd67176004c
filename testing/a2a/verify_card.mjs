// Verifies the card of the agent at argv[2] with the official SDK for JavaScript, whose directory is argv[3].
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, directory] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${directory}/package.json`));
const { verifyAgentCardSignature } = require("@a2a-js/sdk");
const jose = require("jose");
console.debug = () => {};

const card = await (await fetch(`${url}/.well-known/agent-card.json`)).json();
const asked = [];
const verify = verifyAgentCardSignature(async (kid, jku) => {
  asked.push(kid);
  const { keys } = await (await fetch(jku)).json();
  return jose.importJWK(keys.find((key) => key.kid === kid), "EdDSA");
});
await verify(card);
const changed = { ...card, description: "another" };
const refused = await verify(changed).then(() => false, () => true);
if (!refused) throw new Error("a card that was changed verifies");
console.log(JSON.stringify({ asked, name: card.name }));
