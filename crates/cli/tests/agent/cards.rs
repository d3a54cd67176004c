//! The agent's cards and skills: as the official SDKs and Python Bindu see them.

use crate::{AUTHOR, agent, assert_refused, authentication::guarded, hydra, names};
use bindu_testkit::{
    PythonBindu,
    caller::{TestCaller, now},
    http, install,
    proxy::{Fault, Proxy},
};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

const SKILLS: [(&str, &str); 4] = [
    (
        "pdf/skill.yaml",
        "id: pdf-v1\nname: pdf\nversion: 1.0.0\ndescription: |\n  Extracts text.\ntags: [pdf, text]\ninput_modes: [application/pdf]\n\
         examples:\n  - \"Extract the text\"\nperformance: {avg_processing_time_ms: 2000, max_mb: 50.5}\nunknown: 1\n\
         capabilities_detail:\n  text_extraction: {supported: true}\n",
    ),
    ("sum/SKILL.md", "---\nname: sum\ndescription: Adds numbers\ntags: [numbers]\n---\n# Sum\n\nAdds.\n"),
    ("both/skill.yaml", "name: both\ndescription: Has both\n"),
    ("both/SKILL.md", "---\nname: ignored\ndescription: ignored\n---\nThe body counts.\n"),
];

/// The folders of the skills, below a directory, and one that is said in line.
fn skills(directory: &Path) -> Value {
    for (file, text) in SKILLS {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let folder = |name: &str| directory.join(name).display().to_string();
    json!([folder("pdf"), folder("sum"), folder("both")])
}

async fn run(mut command: Command) -> Value {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}: {stdout}\n{stderr}");
    serde_json::from_str(stdout.trim().lines().last().unwrap_or_default()).expect("JSON")
}

fn script(name: &str) -> std::path::PathBuf {
    install::source_tree().join("testing/a2a").join(name)
}

/// What the three official clients read of a card; all that verify it do.
async fn witnesses(url: &str) -> (Value, Value) {
    let of = |python: std::path::PathBuf, name: &str| {
        let mut command = Command::new(python);
        command.arg(script(name)).arg(url);
        command
    };
    let (node, directory) = install::a2a_js();
    let mut javascript = Command::new(node);
    javascript.arg(script("verify_card.mjs")).arg(url).arg(&directory);
    let seen = run(javascript).await;
    let python = run(of(install::a2a_python().expect("Python 3.12"), "verify_card.py")).await;
    assert_eq!(seen["asked"][0], python["asked"][0], "both take the first signature");
    assert_eq!(seen["name"], python["card"]["name"]);
    let old = run(of(install::a2a_python_0_3().expect("Python 3.12"), "parse_card_0_3.py")).await;
    (python["card"].clone(), old)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdks_verify_the_card_or_read_it() {
    let disk = tempfile::tempdir().unwrap();
    let named = names("Ünï \"<Card>\"\u{1f600}");
    let setup =
        agent(disk.path()).named(AUTHOR, &named.name).set("BINDU_SKILLS", skills(disk.path()).to_string());
    let agent = setup.start().await;
    let (card, old) = witnesses(&agent.url).await;
    assert_eq!((&card["name"], &old["name"]), (&json!(named.name), &json!(named.name)));
    assert_eq!(card["supportedInterfaces"][0]["protocolVersion"], "1.0");
    assert_eq!((&old["protocolVersion"], &old["preferredTransport"]), (&json!("0.3"), &json!("JSONRPC")));
    assert_eq!(old["skills"].as_array().map(Vec::len), Some(3));
    assert_eq!(card["capabilities"]["extensions"][0]["params"]["did"], named.did);

    // Without skills there is one that stands for all; 0.3 wants the list.
    let bare = tempfile::tempdir().unwrap();
    let bare = crate::agent(bare.path()).start().await;
    assert_eq!(witnesses(&bare.url).await.1["skills"][0]["id"], "conversation");
}

/// Each signature by itself: of a prepared rotation both keys sign, and each SDK takes the one whose key it is given.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_rotation_the_card_has_two_signatures() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, &names("Two Signatures").name);
    setup.start().await.kill();
    let rotated = setup.clone().command(&["identity", "rotate", "--apply", "--output", "json"]).output();
    assert_eq!(rotated.0, 0, "{}", rotated.2);
    let agent = setup.start().await;
    let (_, card) = http::get(&format!("{}/.well-known/agent-card.json", agent.url)).await;
    let (_, keys) = http::get(&format!("{}/.well-known/jwks.json", agent.url)).await;
    assert_eq!(card["signatures"].as_array().map(Vec::len), Some(2), "{card}");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(3));
    witnesses(&agent.url).await;
    let verified = setup.clone().command(&["card", "verify", &agent.url, "--output", "json"]).output();
    assert_eq!(verified.0, 0, "{}", verified.2);
    let report: Value = serde_json::from_str(&verified.1).unwrap();
    for at in [0, 1] {
        let signature = &report["signatures"][at];
        assert_eq!((&signature["valid"], &signature["listed"]), (&json!(true), &json!(true)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_is_known_is_not_sent_again() {
    let disk = tempfile::tempdir().unwrap();
    let setup = agent(disk.path()).named(AUTHOR, &names("Known Card").name);
    let agent = setup.start().await;
    let get = async |url: &str, known: &str| {
        let request = http::client().get(format!("{url}/.well-known/agent-card.json"));
        request.header("If-None-Match", known).send().await.unwrap()
    };
    let first = get(&agent.url, "\"another\"").await;
    let header = |name: &str| first.headers()[name].to_str().unwrap().to_owned();
    let (etag, caching) = (header("etag"), header("cache-control"));
    assert_eq!(first.status(), 200);
    assert!(etag.starts_with('"') && caching.contains("max-age="), "{etag} {caching}");
    for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
        let again = get(&agent.url, &known).await;
        assert_eq!(
            (again.status().as_u16(), &again.headers()["etag"]),
            (304, first.headers().get("etag").unwrap())
        );
        assert_eq!(again.bytes().await.unwrap().len(), 0);
    }
    let (_, bindu) = http::get(&format!("{}/.well-known/agent.json", agent.url)).await;
    let did = &bindu["capabilities"]["extensions"][0]["uri"];
    assert!(
        did.as_str().is_some_and(|did| did.starts_with("did:bindu:")),
        "Python Bindu's card keeps its form"
    );
    // The same key and the same settings make the same card, after a restart too.
    agent.kill();
    let agent = setup.start().await;
    assert_eq!(get(&agent.url, &etag).await.status(), 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn bindu_card_shows_and_verifies() {
    let disk = tempfile::tempdir().unwrap();
    let named = names("Shown Card");
    let setup = agent(disk.path()).named(AUTHOR, &named.name);
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}", setup.port())).await;
    let setup = setup.set("BINDU_DEPLOYMENT_URL", proxy.url.clone());
    let (code, unsigned, told) = setup.clone().command(&["card", "show"]).output();
    assert!(code == 0 && told.contains("not signed") && unsigned.contains("Shown Card"), "{unsigned}{told}");
    let agent = setup.start().await;
    let (code, shown, _) = setup.clone().command(&["card", "show", "--output", "json"]).output();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let (_, served) = http::get(&format!("{}/.well-known/agent-card.json", agent.url)).await;
    assert_eq!((code, &shown), (0, &served), "what is shown is what is served");

    let verify = |more: &[&str]| setup.clone().command(&[&["card", "verify"], more].concat()).output();
    let (code, told, _) = verify(&[&proxy.url, "--did", &named.did]);
    assert!(code == 0 && told.contains(&named.did) && told.contains("list this key"), "{told}");
    assert_eq!(verify(&[&format!("{}/.well-known/agent-card.json", proxy.url)]).0, 0);
    assert_refused(verify(&[&proxy.url, "--did", "did:bindu:a:b:c"]), 1, &["not of did:bindu:a:b:c"]);
    assert_refused(verify(&["ftp://x"]), 64, &["https://"]);
    assert_refused(verify(&[&format!("{}/nothing", proxy.url)]), 1, &["no agent card"]);
    // Its keys are at another origin than the card: they may be anybody's.
    let (code, told, _) = verify(&[&agent.url]);
    assert!(code == 1 && told.contains("another origin"), "{told}");

    // What somebody on the way makes of it.
    const CARD: &str = "/.well-known/agent-card.json";
    const DID: &str = "/.well-known/did.json";
    let text = served.to_string();
    let (_, document) = http::get(&format!("{}{DID}", agent.url)).await;
    for (path, forged, words) in [
        (CARD, text.replace("Shown Card", "Forged Card"), "no signature is good"),
        (CARD, text.replace("\"signatures\"", "\"other\""), "it is not signed"),
        (CARD, "[]".to_owned(), "it is not signed"),
        (CARD, "<html>".to_owned(), "no agent card"),
        ("/.well-known/jwks.json", "{\"keys\":[]}".to_owned(), "no signature is good"),
        (DID, "{\"id\":\"did:web:x\",\"alsoKnownAs\":[]}".to_owned(), "is not that of"),
        (DID, document.to_string().replace("\"assertionMethod\"", "\"other\""), "do not list the key"),
    ] {
        let forged: &'static str = forged.leak();
        proxy.script(move |seen, _| match seen.path == path {
            true => Fault::Answer(200, "application/json", forged),
            false => Fault::None,
        });
        assert_refused(verify(&[&proxy.url]), 1, &[words]);
    }
    drop(agent);
    proxy.script(|_, _| Fault::Drop);
    assert_refused(verify(&[&proxy.url]), 69, &["no answer"]);
}

/// The same folders, read by both; each answer of the other is ours.
#[tokio::test(flavor = "multi_thread")]
async fn skills_and_negotiation_are_python_bindus() {
    let disk = tempfile::tempdir().unwrap();
    let listed = skills(disk.path());
    let config = json!({"skills": listed}).to_string();
    let environment =
        [("PEER_CONFIG".to_owned(), config), ("NEGOTIATION__USE_EMBEDDINGS".to_owned(), "false".to_owned())];
    let theirs = tempfile::tempdir().unwrap();
    let Some(python) = PythonBindu::start(theirs.path(), AUTHOR, "Skilled", &environment).await else {
        return;
    };
    let ours =
        agent(disk.path()).named(AUTHOR, "Skilled").set("BINDU_SKILLS", listed.to_string()).start().await;
    let both = async |path: &str| {
        let ask = async |url: &str| {
            let response = http::client().get(format!("{url}{path}")).send().await.unwrap();
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            (response.status().as_u16(), kind, response.text().await.unwrap())
        };
        (ask(&python.url).await, ask(&ours.url).await)
    };
    // Where the file is, is each one's own word: of folders elsewhere, ours doesn't say where this machine keeps things.
    let without_paths = |text: &str| {
        let mut answer: Value = serde_json::from_str(text).unwrap();
        let mut path = answer["documentation_path"].take();
        assert!(
            path.is_null()
                || path.as_str().is_some_and(|path| path.contains("skill.yaml") || path.contains("SKILL.md"))
        );
        for skill in answer["skills"].as_array_mut().into_iter().flatten() {
            path = skill["documentation_path"].take();
            assert!(path.is_string());
        }
        answer
    };
    for path in [
        "/agent/skills",
        "/agent/skills/pdf-v1",
        "/agent/skills/pdf",
        "/agent/skills/sum",
        "/agent/skills/both",
        "/agent/skills/none",
        "/agent/skills/none/documentation",
    ] {
        let (their, our) = both(path).await;
        assert_eq!((our.0, &our.1), (their.0, &their.1), "{path}");
        assert_eq!(without_paths(&our.2), without_paths(&their.2), "{path}");
    }
    for path in ["/agent/skills/pdf-v1/documentation", "/agent/skills/sum/documentation"] {
        let (their, our) = both(path).await;
        let kind = |kind: &Option<String>| {
            kind.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
        };
        assert_eq!((our.0, kind(&our.1), &our.2), (their.0, kind(&their.1), &their.2), "{path}");
    }
    for request in [
        json!({"task_summary": "Extract the text of a pdf"}),
        json!({"task_summary": "add numbers", "input_mime_types": ["text/plain"], "max_latency_ms": 4000}),
        json!({"task_summary": "zebra"}),
        json!({"task_summary": "pdf", "output_mime_types": ["image/png"]}),
        json!({}),
    ] {
        let their = http::post(&format!("{}/agent/negotiation", python.url), &request).await;
        let our = http::post(&format!("{}/agent/negotiation", ours.url), &request).await;
        let in_order = |(status, mut answer): (u16, Value)| {
            for name in ["matched_tags", "matched_capabilities"] {
                if let Some(Value::Array(list)) = answer.get_mut(name) {
                    list.sort_by_key(Value::to_string);
                }
            }
            (status, answer)
        };
        assert_eq!(in_order(our), in_order(their), "{request}");
    }
    let (their, our) = both("/.well-known/agent.json").await;
    let card = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (their, our) = (card(&their.2), card(&our.2));
    let members = |card: &Value| card.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&our), members(&their));
    let relative = |card: &Value, url: &str| card["skills"].to_string().replace(url, "");
    assert_eq!(relative(&our, &ours.url), relative(&their, &python.url));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_skills_are_for_those_on_the_list() {
    let disk = tempfile::tempdir().unwrap();
    let private = json!([{"name": "hidden", "description": "Not for everybody"}]).to_string();
    let setup = agent(disk.path()).named(AUTHOR, &names("Private").name).set_all(hydra().await.environment());
    let setup = setup.set("BINDU_PRIVATE_SKILLS", private.clone());
    let setup = setup.set("BINDU_PRIVATE_SKILLS_FOR", json!(["did:bindu:alice:private:1"]).to_string());
    let agent = setup.start().await;
    let path = format!("{}/agent/private.json", agent.url);
    let alice = TestCaller::new(hydra().await, "did:bindu:alice:private:1").await;
    let bob = TestCaller::new(hydra().await, "did:bindu:bob:private:1").await;
    let ask = async |caller: &TestCaller| {
        let did = caller.did();
        let at = now();
        let signature = bindu_identity::request_signature::sign(&caller.key, &did, "", at);
        let request = http::client().get(&path).bearer_auth(&caller.token).header("X-DID", did.as_str());
        let request = request.header("X-DID-Timestamp", at.to_string());
        http::answer(request.header("X-DID-Signature", signature.to_string())).await
    };
    let (status, card) = ask(&alice).await;
    assert_eq!((status, &card["skills"][0]["id"]), (200, &json!("hidden")), "{card}");
    let denied = json!({"error": "DID not authorized for this agent's private skills"});
    assert_eq!(ask(&bob).await, (403, denied));
    assert_eq!(http::get(&path).await.0, 401);
    let unsigned = http::answer(http::client().get(&path).bearer_auth(&alice.token)).await;
    assert_eq!(unsigned.0, 403, "a DID proves itself");
    let (_, public) = http::get(&format!("{}/.well-known/agent-card.json", agent.url)).await;
    assert!(!public.to_string().contains("hidden"), "{public}");
    assert_eq!(public["supportsAuthenticatedExtendedCard"], true);
    let flows = &public["securitySchemes"]["oauth2"]["flows"]["clientCredentials"];
    assert!(flows["tokenUrl"].as_str().is_some_and(|url| url.ends_with("/oauth2/token")), "{public}");
    assert_eq!(http::get(&format!("{}/agent/skills/hidden", agent.url)).await.0, 404);
    witnesses(&agent.url).await;

    let none = tempfile::tempdir().unwrap();
    let none = guarded(none.path(), "No Private Skills").await;
    assert_eq!(http::get(&format!("{}/agent/private.json", none.url)).await.0, 404);
    // Python Bindu's answer while authentication is off.
    let open = tempfile::tempdir().unwrap();
    let open = crate::agent(open.path()).set("BINDU_PRIVATE_SKILLS", private).start().await;
    let (status, said) = http::get(&format!("{}/agent/private.json", open.url)).await;
    assert_eq!((status, said), (401, json!({"error": "Authentication required for private agent card"})));
}

#[test]
fn a_skill_that_cannot_be_read_starts_nothing() {
    let disk = tempfile::tempdir().unwrap();
    std::fs::write(disk.path().join("skill.yaml"), "name: a\ndescription: b\ntags: c\n").unwrap();
    let listed = json!([disk.path().display().to_string()]).to_string();
    let home = tempfile::tempdir().unwrap();
    let refused = agent(home.path()).set("BINDU_SKILLS", listed).output();
    assert_refused(refused, 64, &["skill.yaml:3", "`tags` must be a list", "nothing was changed"]);
    assert!(std::fs::read_dir(home.path()).unwrap().next().is_none(), "nothing was written");
}
