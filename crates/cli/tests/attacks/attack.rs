//! An attack's file, and the bytes that it becomes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bindu_identity::{
    DerivedKey, SigningKey,
    message_signature::{self, SignedRequest},
    pem, request_signature,
};
use bindu_testkit::{
    caller::{TestCaller, now},
    install::source_tree,
};
use ed25519_dalek::Signer as _;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Who there is, and what they hold.
pub(crate) struct World {
    pub(crate) address: String,
    pub(crate) alice: TestCaller,
    pub(crate) bob: TestCaller,
    pub(crate) service: TestCaller,
    /// Callers with something wrong about their keys or names: what files call them, their client ids, their tokens.
    pub(crate) others: Vec<(&'static str, &'static str, String)>,
    /// Alice's, called off.
    pub(crate) revoked: String,
    /// Alice's, run out.
    pub(crate) expired: String,
}

/// An attack: see CONTRIBUTING.md for the fields of its file.
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) about: String,
    /// One of these statuses; 0 is a connection that was closed without an answer.
    pub(crate) expected: Vec<u16>,
    /// The reason in the 403.
    pub(crate) reason: Option<String>,
    file: File,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    caller: Option<String>,
    method: Option<String>,
    path: Option<String>,
    body: Option<String>,
    signed_body: Option<String>,
    signed_did: Option<String>,
    signed_at: Option<i64>,
    signer: Option<String>,
    message: Option<Message>,
    mangle: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    add: Vec<String>,
    raw: Option<String>,
    #[serde(default)]
    then_close: bool,
    expect: Expectation,
}

/// What an HTTP message signature (RFC 9421) with the caller's second key is over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    path: String,
    query: Option<String>,
    #[serde(default = "public_host")]
    authority: String,
    method: Option<String>,
}

/// The host of the agent's deployment URL, which ends with [`PREFIX`].
fn public_host() -> String {
    "agents.example.com".to_owned()
}

/// What a proxy before the agent strips.
pub(crate) const PREFIX: &str = "/attacked";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    status: Vec<u16>,
    reason: Option<String>,
}

/// Every attack of the corpus.
pub(crate) fn all() -> Vec<Attack> {
    let mut paths: Vec<_> = std::fs::read_dir(source_tree().join("testing/attacks"))
        .expect("the corpus is there")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let lets_in = file.expect.status.iter().any(|status| (200..300).contains(status));
        assert!(!lets_in || name.starts_with("control-"), "{name}: only a control may be let in");
        let (expected, reason) = (file.expect.status.clone(), file.expect.reason.clone());
        Attack { name, about: file.about.clone(), expected, reason, file }
    };
    paths.into_iter().map(read).collect()
}

impl Attack {
    /// Whether the sending side is closed behind the request.
    pub(crate) fn half_closes(&self) -> bool {
        self.file.then_close
    }

    /// The bytes to send.
    pub(crate) fn request(&self, world: &World) -> Vec<u8> {
        let file = &self.file;
        let at = now().saturating_add_signed(file.signed_at.unwrap_or_default());
        let caller = file.caller.as_deref().unwrap_or("alice");
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/list", "params": {}}).to_string();
        let send = {
            let id = format!("{:032x}", rand::random::<u128>());
            bindu_testkit::http::message(&id, "an attack").to_string()
        };
        let mut values = BTreeMap::from([
            ("host".to_owned(), world.address.clone()),
            ("list".to_owned(), list),
            ("send".to_owned(), send),
            ("now".to_owned(), now().to_string()),
            ("at".to_owned(), at.to_string()),
            ("did:bob".to_owned(), world.bob.id.clone()),
            ("key".to_owned(), world.alice.key.public_key().to_string()),
            ("token:alice".to_owned(), world.alice.token.clone()),
            ("token:bob".to_owned(), world.bob.token.clone()),
            ("token:service".to_owned(), world.service.token.clone()),
            ("token:revoked".to_owned(), world.revoked.clone()),
            ("token:expired".to_owned(), world.expired.clone()),
        ]);
        let other = world.others.iter().find(|(name, ..)| *name == caller);
        let (id, token) = match (caller, other) {
            ("alice" | "none", _) => (world.alice.id.as_str(), world.alice.token.as_str()),
            ("bob", _) => (world.bob.id.as_str(), world.bob.token.as_str()),
            ("service", _) => (world.service.id.as_str(), world.service.token.as_str()),
            (_, Some((_, id, token))) => (*id, token.as_str()),
            _ => panic!("{}: nobody is called {caller}", self.name),
        };
        values.insert("did".to_owned(), id.to_owned());
        values.insert("token".to_owned(), token.to_owned());
        let body = fill(file.body.as_deref().unwrap_or("<<list>>"), &values);
        values.insert("body".to_owned(), String::from_utf8_lossy(&body).into_owned());
        values.insert("length".to_owned(), body.len().to_string());
        values.insert("signature".to_owned(), self.signature(world, &values, at, &body));
        match &file.raw {
            Some(raw) => fill(raw, &values),
            None => self.assemble(world, &values, at, body),
        }
    }

    fn assemble(&self, world: &World, values: &BTreeMap<String, String>, at: u64, body: Vec<u8>) -> Vec<u8> {
        let file = &self.file;
        let mut headers: Vec<(&str, String)> =
            vec![("Host", "<<host>>".into()), ("Connection", "close".into())];
        let caller = file.caller.as_deref().unwrap_or("alice");
        if caller != "none" {
            headers.push(("Authorization", "Bearer <<token>>".into()));
        }
        let message = file.message.as_ref().map(|message| self.message(world, message, at, &body));
        if let Some(message) = message {
            headers.extend([
                ("Content-Digest", message.content_digest),
                ("Signature-Input", message.signature_input),
                ("Signature", message.signature),
            ]);
        } else if !["none", "service"].contains(&caller) {
            headers.extend([
                ("X-DID", "<<did>>".into()),
                ("X-DID-Timestamp", "<<at>>".into()),
                ("X-DID-Signature", "<<signature>>".into()),
            ]);
        }
        let mut lines: Vec<String> = Vec::new();
        let mut rest = file.set.clone();
        headers.push(("Content-Length", body.len().to_string()));
        let last = headers.len() - 1;
        for (number, (name, value)) in headers.into_iter().enumerate() {
            if number == last {
                lines.extend(file.add.iter().cloned());
            }
            let value = rest.remove(name).map_or(Some(value), |set| (!set.is_empty()).then_some(set));
            lines.extend(value.map(|value| format!("{name}: {value}")));
        }
        lines.extend(rest.into_iter().map(|(name, value)| format!("{name}: {value}")));
        let method = file.method.as_deref().unwrap_or("POST");
        let path = file.path.as_deref().unwrap_or("/");
        let head = format!("{method} {path} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        [fill(&head, values), body].concat()
    }

    /// Bob's: alice has no second key.
    fn message(
        &self,
        world: &World,
        message: &Message,
        at: u64,
        body: &[u8],
    ) -> message_signature::MessageHeaders {
        assert_eq!(self.file.caller.as_deref(), Some("bob"), "{}: bob signs messages", self.name);
        let none = |_: &str| Vec::new();
        let signed = SignedRequest {
            method: message.method.as_deref().or(self.file.method.as_deref()).unwrap_or("POST"),
            path: &message.path,
            query: message.query.as_deref(),
            authority: &message.authority,
            header: &none,
            body: self.file.signed_body.as_deref().map_or(body, str::as_bytes),
        };
        let nonce = format!("{:032x}", rand::random::<u128>());
        message_signature::sign(&DerivedKey::of(&world.bob.key), &world.bob.did(), &signed, at, &nonce)
    }

    /// Base58 of the signature, mangled as the file says.
    fn signature(&self, world: &World, values: &BTreeMap<String, String>, at: u64, body: &[u8]) -> String {
        let file = &self.file;
        let stranger = mallory();
        let key = match file.signer.as_deref().or(file.caller.as_deref()) {
            Some("bob") => &world.bob.key,
            Some("mallory") => &stranger,
            _ => &world.alice.key,
        };
        let text = |template: &str| String::from_utf8_lossy(&fill(template, values)).into_owned();
        let signed =
            file.signed_body.as_deref().map_or_else(|| String::from_utf8_lossy(body).into_owned(), text);
        let did = file.signed_did.as_deref().map_or_else(|| values["did"].clone(), text);
        // By hand: what is signed need not name a DID.
        let payload = request_signature::payload(&signed, &did, at);
        let signature = bare_key(key).sign(payload.as_bytes()).to_bytes();
        bs58::encode(mangle(signature.to_vec(), file.mangle.as_deref())).into_string()
    }
}

/// The key of somebody who is no caller.
pub(crate) fn mallory() -> SigningKey {
    SigningKey::from_seed(&[66; 32])
}

/// The key without the rules of what it may sign: PKCS#8 ends with its 32 bytes.
fn bare_key(key: &SigningKey) -> ed25519_dalek::SigningKey {
    let pem = pem::encode_private_key(key);
    let body: String = pem.expose_secret().lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(body).unwrap();
    ed25519_dalek::SigningKey::from_bytes(der.last_chunk().unwrap())
}

fn mangle(mut bytes: Vec<u8>, how: Option<&str>) -> Vec<u8> {
    match how {
        None => {}
        Some("cut") => bytes.truncate(63),
        Some("extend") => bytes.push(0),
        Some("zero") => bytes.fill(0),
        Some("flip-first") => bytes[0] ^= 1,
        Some("flip-last") => bytes[63] ^= 0x10,
        Some("swap") => bytes.rotate_left(32),
        Some("small-order-r") => {
            bytes.fill(0);
            bytes[0] = 1;
        }
        Some("s-plus-l") => add_order(&mut bytes[32..]),
        Some(other) => panic!("no such thing as {other}"),
    }
    bytes
}

/// S + L, which verifies where nobody asks for the canonical S (RFC 8032 §5.1.7).
fn add_order(s: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0u16;
    for (byte, order) in s.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
}

/// Puts values in the place of `<<name>>`.
fn fill(template: &str, values: &BTreeMap<String, String>) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = template;
    while let Some(begin) = rest.find("<<") {
        let Some(end) = rest[begin..].find(">>") else { break };
        filled.extend_from_slice(&rest.as_bytes()[..begin]);
        let name = &rest[begin + 2..begin + end];
        rest = &rest[begin + end + 2..];
        match name.split_once(':') {
            Some(("repeat", what)) => {
                let (count, text) = what.split_once(':').expect("a number and a text");
                filled.extend(text.repeat(count.parse().expect("a number")).into_bytes());
            }
            Some(("numbered", what)) => {
                let (count, text) = what.split_once(':').expect("a number and a text");
                let count: usize = count.parse().expect("a number");
                (0..count).for_each(|at| filled.extend(text.replace('%', &at.to_string()).into_bytes()));
            }
            Some(("hex", digits)) => {
                let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
                filled.extend((0..digits.len()).step_by(2).map(byte));
            }
            _ => match values.get(name) {
                Some(value) => filled.extend_from_slice(value.as_bytes()),
                None => panic!("there is no <<{name}>>"),
            },
        }
    }
    filled.extend_from_slice(rest.as_bytes());
    filled
}
