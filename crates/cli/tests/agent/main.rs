//! The `bindu` program on real servers: OpenBao, Ory Hydra, Python Bindu. One program of tests, so that they share the
//! servers; each test has an agent name of its own.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

mod authentication;
mod bad_input;
mod handlers;
mod interop;
mod protocol;
mod restart;
mod start;

use bindu_testkit::{AgentSetup, Hydra, OpenBao};
use std::path::Path;
use tokio::sync::OnceCell;

const AUTHOR: &str = "Alice.Smith@Example.com";

/// The OpenBao that the tests share.
async fn bao() -> &'static OpenBao {
    static SHARED: OnceCell<OpenBao> = OnceCell::const_new();
    SHARED.get_or_init(OpenBao::start).await
}

/// The Hydra that the tests share.
async fn hydra() -> &'static Hydra {
    static SHARED: OnceCell<Hydra> = OnceCell::const_new();
    SHARED.get_or_init(Hydra::start).await
}

/// Our program in this directory.
fn agent(directory: &Path) -> AgentSetup {
    AgentSetup::new(env!("CARGO_BIN_EXE_bindu"), directory)
}

/// An agent's names in DIDs and paths.
struct Names {
    name: String,
    id: String,
    did: String,
}

/// An agent of this name that no other test has, by the rules of COMPAT §1.3.
fn names(name: &str) -> Names {
    let id = bindu_identity::AgentId::derive(AUTHOR, name).to_string();
    let sanitised = name.to_lowercase().replace(' ', "_");
    Names { name: name.to_owned(), did: format!("did:bindu:alice_smith_at_example_com:{sanitised}:{id}"), id }
}

impl Names {
    fn keys_path(&self) -> String {
        format!("agents/{}/did-keys", self.id)
    }

    fn credentials_path(&self) -> String {
        format!("hydra/credentials/{}", self.did)
    }
}

/// The public key that an agent shows.
async fn public_key(url: &str, did: &str) -> String {
    let (status, document) = bindu_testkit::http::get(&format!("{url}/did/resolve?did={did}")).await;
    assert_eq!(status, 200, "{document}");
    document["authentication"][0]["publicKeyBase58"].as_str().expect("a key").to_owned()
}
