// Verifies a request that a receiver got, by RFC 9421 and RFC 9530, with WebCrypto and nothing of ours. Its argument is a file with
// JSON: `method`, `target` (path and query), `headers` (names in lower case), `body` (base64), `jwks`. Prints what was covered.
import { createHash, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

const request = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { headers } = request;
const fail = (text) => {
  console.log(`FAILED ${text}`);
  process.exit(1);
};
const [, label, parameters] = /^([a-z0-9_*.-]+)=(\(.*)$/.exec(headers['signature-input'] ?? '') ?? fail('no Signature-Input');
const covered = [...parameters.slice(1, parameters.indexOf(')')).matchAll(/"([^"]+)"/g)].map((one) => one[1]);
const rest = parameters.slice(parameters.indexOf(')') + 1);
const parameter = (name) => new RegExp(`;${name}=(?:"([^"]*)"|(\\d+))`).exec(rest)?.slice(1).find((one) => one !== undefined);
const query = request.target.indexOf('?');
const derived = {
  '@method': request.method,
  '@authority': headers.host.toLowerCase(),
  '@path': query < 0 ? request.target : request.target.slice(0, query),
  '@query': query < 0 ? '?' : request.target.slice(query),
  '@target-uri': undefined,
};
const lines = covered.map((name) => `"${name}": ${name.startsWith('@') ? derived[name] ?? fail(name) : headers[name] ?? fail(name)}`);
const base = [...lines, `"@signature-params": ${parameters}`].join('\n');
const [, signature] = new RegExp(`^${label}=:([A-Za-z0-9+/=]+):$`).exec(headers.signature ?? '') ?? fail('no Signature');
const jwk = request.jwks.keys.find((key) => key.kid === parameter('keyid')) ?? fail(`no key ${parameter('keyid')}`);
const key = await webcrypto.subtle.importKey('jwk', { kty: jwk.kty, crv: jwk.crv, x: jwk.x }, 'Ed25519', false, ['verify']);
const verified = await webcrypto.subtle.verify('Ed25519', key, Buffer.from(signature, 'base64'), Buffer.from(base));
if (!verified) fail(`the signature of\n${base}`);
const body = Buffer.from(request.body, 'base64');
const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
if (headers['content-digest'] !== digest) fail(`the digest ${headers['content-digest']}`);
const age = Date.now() / 1000 - Number(parameter('created'));
if (!(Math.abs(age) < 300)) fail(`created ${age} s ago`);
console.log(['good', ...covered, parameter('nonce') ? 'nonce' : ''].join(' '));
