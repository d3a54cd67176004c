//! What every [`SecretStore`] must do, whatever it is made of.

use bindu_identity::{AgentId, AgentName, Did};
use bindu_store::{
    Answer, CredentialRecord, Expected, Fields, KeyRecord, Record, RecordName, SecretStore, WriteError,
};
use secrecy::SecretString;
use std::sync::Arc;

/// The records of one agent that nobody else uses.
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// Its DID.
    pub did: Did,
}

impl Agent {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let name =
            AgentName { author: "conformance".to_owned(), name: format!("{:032x}", rand::random::<u128>()) };
        let id = AgentId::derive(&name.author, &name.name);
        Self { id, did: Did::bindu(&name, id) }
    }
}

/// Runs the suite against a store that holds nothing of this agent yet.
///
/// # Panics
/// Where the store does not keep the contract.
pub async fn secret_store(store: Arc<dyn SecretStore>, agent: &Agent) {
    let names = [RecordName::Keys(agent.id), RecordName::Credentials(agent.did.clone())];
    for name in &names {
        absent_then_written_by_one(&store, name, agent).await;
        written_at_the_version_that_is_there(&*store, name, agent).await;
    }
    // One record's writes are none of the other's.
    let [keys, credentials] = &names;
    assert_eq!(present(&*store, keys).await.version, 2);
    assert_eq!(present(&*store, credentials).await.version, 2);
}

async fn absent_then_written_by_one(store: &Arc<dyn SecretStore>, name: &RecordName, agent: &Agent) {
    assert!(matches!(store.read(name).await, Answer::Absent), "nothing is absent");
    let stale = store.write(name, &fields(name, agent, 0), Expected::Version(1)).await;
    assert_eq!(stale, Err(WriteError::Conflict), "what is absent has no version");
    assert!(matches!(store.read(name).await, Answer::Absent), "a conflict writes nothing");

    let writers: Vec<_> = (0..8u8)
        .map(|writer| {
            let (store, name, fields) = (Arc::clone(store), name.clone(), fields(name, agent, writer));
            tokio::spawn(async move { (writer, store.write(&name, &fields, Expected::Absent).await) })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.expect("no panic") {
            (writer, Ok(version)) => {
                assert_eq!(version, 1, "the first version is 1");
                winners.push(writer);
            }
            (_, Err(error)) => assert_eq!(error, WriteError::Conflict, "a loser is told so"),
        }
    }
    assert_eq!(winners.len(), 1, "exactly one of many writers wins");
    let winner = winners.first().copied().unwrap_or_default();
    let record = present(&**store, name).await;
    assert_eq!(
        (record.version, record.fields),
        (1, fields(name, agent, winner)),
        "the winner's fields are there"
    );
}

async fn written_at_the_version_that_is_there(store: &dyn SecretStore, name: &RecordName, agent: &Agent) {
    let next = fields(name, agent, 100);
    for wrong in [Expected::Absent, Expected::Version(0), Expected::Version(2)] {
        assert_eq!(
            store.write(name, &next, wrong).await,
            Err(WriteError::Conflict),
            "{wrong:?} is not what is there"
        );
    }
    assert_eq!(store.write(name, &next, Expected::Version(1)).await, Ok(2));
    let record = present(store, name).await;
    assert_eq!(
        (record.version, record.fields),
        (2, next),
        "what was written is read, unknown fields included"
    );
    assert!(matches!(store.read_version(name, 2).await, Answer::Present(current) if current.version == 2));
    match store.read_version(name, 1).await {
        Answer::Absent => {}
        Answer::Present(earlier) => assert_eq!(earlier.version, 1, "an earlier version is that version"),
        other => panic!("an earlier version is {other:?}"),
    }
    assert!(matches!(store.read_version(name, 9).await, Answer::Absent), "there is no such version");
}

async fn present(store: &dyn SecretStore, name: &RecordName) -> Record {
    match store.read(name).await {
        Answer::Present(record) => record,
        other => panic!("{name:?} is {other:?}"),
    }
}

fn fields(name: &RecordName, agent: &Agent, writer: u8) -> Fields {
    let mut fields = match name {
        RecordName::Keys(_) => KeyRecord {
            private_key: SecretString::from(format!("private {writer}")),
            public_key: Some(format!("public {writer}")),
            did: Some(agent.did.to_string()),
            lineage: Some(bindu_identity::Lineage::default()),
            next: None,
            previous: None,
            next_compromised: false,
            revoke_tokens: false,
            reconcile_interval: None,
            created_at: None,
        }
        .to_fields(),
        RecordName::Credentials(did) => CredentialRecord {
            agent_id: agent.id.to_string(),
            client_id: did.to_string(),
            client_secret: SecretString::from(format!("secret {writer}")),
            created_at: "2026-01-01T00:00:00+00:00".to_owned(),
            scopes: vec!["agent:read".to_owned()],
            taken_over: None,
            next_secret: None,
            generation: 0,
        }
        .to_fields(),
    };
    fields.set("a field of tomorrow", format!("ü {writer}"));
    fields
}
