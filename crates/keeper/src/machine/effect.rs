//! What the machine is told, and what it asks for.

use super::Held;
use crate::{
    Reason,
    plan::{
        TakenOver,
        client::{self, Authentication},
        history::Past,
        keys::{Acknowledged, HydraNames, Local, Observed, Plan, Row, Store},
        ring::{Ring, RingStep},
    },
};
use bindu_identity::{Lineage, PublicKey};
use bindu_store::{Expected, OutageReason, Version};
use bindu_time::Pause;
use std::{ops::RangeInclusive, time::Duration};

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The process begins.
    Begin,
    /// Answer to [`Effect::ReadDisk`].
    Disk(Box<DiskSeen>),
    /// Answer to [`Effect::Observe`].
    Observed(Box<Observation>),
    /// Answer to [`Effect::ReadHistory`]: newest first; or the store went away.
    History(Result<Vec<(Version, Past)>, OutageReason>),
    /// Answer to [`Effect::MakeKey`]; `None` if the system gives no random numbers.
    KeyMade(Option<PublicKey>),
    /// Answer to [`Effect::WriteKeys`] and [`Effect::WriteRing`].
    KeysWritten(Result<Version, WriteFailure>),
    /// Answer to [`Effect::Wait`].
    Elapsed,
    /// Answer to [`Effect::HearHydra`] and [`Effect::AskHydra`].
    Hydra(HydraClient),
    /// Answer to [`Effect::TrySecret`].
    SecretTried(Trial),
    /// Answer to [`Effect::WriteCredentials`].
    CredentialsWritten(Result<Version, WriteFailure>),
    /// Answer to [`Effect::ReadCredentials`].
    CredentialsRead(client::Store),
    /// Answer to [`Effect::Register`]: done, or there was a client already (`false`), or why not.
    Registered(Result<bool, Reason>),
    /// Answer to [`Effect::Patch`].
    Patched(Result<(), Reason>),
    /// Answer to [`Effect::RevokeTokens`]: if Hydra has done it.
    TokensRevoked(bool),
}

/// What the data directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiskSeen {
    /// The key.
    pub local: Local,
    /// The keys beside it.
    pub ring: Ring,
    /// If it was made while the store could not be asked.
    pub provisional: bool,
}

/// What was read, all at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// The keys record.
    pub store: Store,
    /// Hydra's client, as far as the keys depend on it.
    pub hydra: HydraNames,
    /// What Hydra's statements prove of the pasts of the keys that were found, where it is more than these say themselves.
    pub proven: Proven,
    /// The credentials record.
    pub credentials: Credentials,
    /// How long ago the keys record was written.
    pub age: Option<Duration>,
    /// How long the store asked to be left alone.
    pub retry_after: Option<Duration>,
}

/// Pasts that are newer than a key's own: by verified statements, which lead from that key and back to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Proven {
    /// Of the store's key.
    pub store: Option<Lineage>,
    /// Of the directory's (or the running agent's) key.
    pub local: Option<Lineage>,
}

/// What was read of the credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The store's record.
    pub store: client::Store,
    /// The directory's copy: the generation of its secret.
    pub local: Option<u64>,
}

impl Credentials {
    /// The earlier consent in the record.
    pub(super) fn taken_over(&self) -> TakenOver {
        match &self.store {
            client::Store::Present { taken_over, .. } => {
                taken_over.clone().map_or(TakenOver::Nothing, TakenOver::Key)
            }
            client::Store::Absent => TakenOver::Nothing,
            client::Store::Deleted { .. }
            | client::Store::Malformed
            | client::Store::Denied
            | client::Store::Unavailable => TakenOver::Unknown,
        }
    }
}

/// Hydra's client, compared with the held key ring and the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HydraClient {
    /// Whose it is.
    pub client: client::Client,
    /// The key that it names, if it is one.
    pub named: Option<PublicKey>,
    /// If a verified chain of statements there leads to it from our key.
    pub follows: bool,
    /// How it may authenticate.
    pub authentication: Authentication,
    /// What of it differs: from the settings, and from the ring.
    pub differs: Vec<Member>,
}

impl HydraClient {
    /// No answer that can be believed.
    #[must_use]
    pub fn unavailable() -> Self {
        Self {
            client: client::Client::Unavailable,
            named: None,
            follows: false,
            authentication: Authentication::Ours,
            differs: Vec::new(),
        }
    }
}

/// A member of Hydra's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// `metadata.public_key`, and all that depends on it.
    PublicKey,
    /// `metadata.derived_public_key`: the second key, of the client that names our first one.
    SecondKey,
    /// `metadata.generation`, `replaces`, `rotations`, `second_key_binding`.
    Lineage,
    /// `client_secret`.
    Secret,
    /// The secret that a rotation has prepared, in place of `client_secret`.
    NextSecret,
    /// `token_endpoint_auth_method`.
    AuthenticationMethod,
    /// `grant_types`.
    GrantTypes,
    /// `client_name`.
    Name,
    /// `scope`.
    Scope,
    /// `audience`.
    Audience,
    /// `metadata.agent_url`.
    Url,
}

impl Member {
    /// The member's name in Hydra's client.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::PublicKey => "public_key",
            Self::SecondKey => "derived_public_key",
            Self::Lineage => "generation,replaces,rotations,second_key_binding",
            Self::Secret | Self::NextSecret => "client_secret",
            Self::AuthenticationMethod => "token_endpoint_auth_method",
            Self::GrantTypes => "grant_types",
            Self::Name => "client_name",
            Self::Scope => "scope",
            Self::Audience => "audience",
            Self::Url => "agent_url",
        }
    }

    /// If it is put back in every pass; the others are written at a start only, since whoever has changed them since has
    /// meant it.
    #[must_use]
    pub fn is_watched(self) -> bool {
        match self {
            Self::PublicKey
            | Self::SecondKey
            | Self::Lineage
            | Self::Secret
            | Self::NextSecret
            | Self::AuthenticationMethod
            | Self::GrantTypes => true,
            Self::Name | Self::Scope | Self::Audience | Self::Url => false,
        }
    }
}

/// What a token request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trial {
    /// If the secret is right.
    pub secret: client::Secret,
    /// If Hydra, though it knows the client by its secret, gives it no token.
    pub is_refused: bool,
}

/// Why a write did not succeed, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteFailure {
    /// What is there is not what was expected.
    Conflict,
    /// We may not write this; under a create-only policy also a lost race.
    Denied,
    /// Undecided.
    Unavailable {
        /// Why.
        reason: OutageReason,
        /// How long the store asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The store refuses this content for ever.
    Refused,
}

/// A key pair that the driver holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The one in the record that was read last.
    Store,
    /// The directory's, at a start; the held one of a running agent.
    Local,
    /// The one of this earlier version.
    Earlier(Version),
    /// The one that was made last.
    New,
}

/// What is written to the credentials record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialsWrite {
    /// A new secret.
    New,
    /// The directory's secret.
    Local,
    /// The record as it was read, so that whoever read older ones loses.
    Same,
    /// The same, with the consent to take over the client that names this key.
    Consent {
        /// Its fingerprint, or [`client::NO_KEY`].
        key: String,
    },
    /// The prepared secret in the place of the one before.
    Promoted,
}

/// Why a start ends without an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// By this row of the table, or the row that was waited at.
    Row(Row),
    /// The store did not take the keys.
    Write {
        /// Why.
        failure: WriteFailure,
        /// If there was no record.
        was_absent: bool,
        /// If the key is new: nobody has seen it.
        is_new: bool,
    },
}

/// What is to be done. Those that are answered say by which event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the data directory. [`Event::Disk`].
    ReadDisk,
    /// Read both records and Hydra's client, at the same time. [`Event::Observed`].
    Observe {
        /// How long the store is waited for.
        store: Duration,
        /// How long Hydra is waited for, from now on; as long as the store at least. Its answer stays worth having.
        hydra: Duration,
    },
    /// Read these earlier versions of the keys record. [`Event::History`].
    ReadHistory {
        /// Which ones.
        versions: RangeInclusive<Version>,
        /// How long they are waited for, all together.
        within: Duration,
    },
    /// Make a key pair: [`Slot::New`]. [`Event::KeyMade`].
    MakeKey,
    /// Write a record of this key pair with its lineage. [`Event::KeysWritten`].
    WriteKeys {
        /// Which one.
        slot: Slot,
        /// What must be there.
        expected: Expected,
    },
    /// Write the record that was read, changed by a step of a rotation. [`Event::KeysWritten`].
    WriteRing {
        /// Which step.
        step: RingStep,
        /// The version that must be there.
        over: Version,
        /// The current key's past: the record's own, or what its history knows of it.
        lineage: Lineage,
    },
    /// Write this key pair to the directory, archiving another one first, and remember it.
    WriteDisk {
        /// Which one.
        slot: Slot,
        /// What to remember of the store's acknowledgement.
        acknowledged: Option<Acknowledged>,
        /// If it yields to the store's.
        provisional: bool,
    },
    /// Note in the directory what is known of the key that lies there.
    Remember {
        /// Which one it is.
        slot: Slot,
        /// What to remember of the store's acknowledgement.
        acknowledged: Option<Acknowledged>,
    },
    /// Derive `public.pem` again if it was lost; nothing else.
    RestorePublicKey,
    /// Use this key pair from now on.
    Hold {
        /// Which one.
        slot: Slot,
        /// What is known of it.
        held: Box<Held>,
        /// By which row.
        row: Row,
    },
    /// Sign with this key of the held ring: Hydra names it.
    SignWith(PublicKey),
    /// Take Hydra's answer to the last question, if it is still coming. [`Event::Hydra`].
    HearHydra {
        /// How long it is waited for.
        within: Duration,
    },
    /// Ask Hydra for the client again. [`Event::Hydra`].
    AskHydra {
        /// How long it is waited for.
        within: Duration,
    },
    /// Ask for a token with the secret in hand. [`Event::SecretTried`].
    TrySecret {
        /// How long it is waited for.
        within: Duration,
    },
    /// Write the credentials record. [`Event::CredentialsWritten`].
    WriteCredentials {
        /// What.
        write: CredentialsWrite,
        /// What must be there.
        expected: Expected,
    },
    /// Read the credentials record. [`Event::CredentialsRead`].
    ReadCredentials,
    /// Register the client with the store's secret. [`Event::Registered`].
    Register {
        /// How long it is waited for.
        within: Duration,
    },
    /// Put these members into Hydra's client. [`Event::Patched`].
    Patch {
        /// Which ones.
        members: Vec<Member>,
        /// How long it is waited for.
        within: Duration,
    },
    /// Revoke all tokens of the client. [`Event::TokensRevoked`].
    RevokeTokens {
        /// How long it is waited for.
        within: Duration,
    },
    /// Keep a copy of the store's credentials in the directory.
    CacheCredentials {
        /// If they are proven: only such take the place of others.
        proven: bool,
    },
    /// Tell about the keys.
    ReportKeys {
        /// What was planned.
        plan: Box<Plan>,
        /// What it was planned for.
        seen: Box<Observed>,
    },
    /// Tell about the client.
    ReportClient(Option<Reason>),
    /// Tell that a pass has ended, and if something is left to do.
    PassEnded {
        /// If something is pending or down.
        pending: bool,
    },
    /// Try to use a directory that could not be written before.
    MendDirectory {
        /// If what is held may be written there: what lies there decides at the next start.
        sure: bool,
    },
    /// The start is done: listen. The machine goes on with [`Event::Begin`].
    Started,
    /// The start ends without an identity.
    Refuse {
        /// Why.
        verdict: Verdict,
        /// What was observed.
        seen: Option<Box<Observed>>,
    },
    /// Wait. [`Event::Elapsed`].
    Wait(Pause),
}

impl Effect {
    /// If the machine waits for the outcome of this one.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            Self::ReadDisk
            | Self::Observe { .. }
            | Self::ReadHistory { .. }
            | Self::MakeKey
            | Self::WriteKeys { .. }
            | Self::WriteRing { .. }
            | Self::HearHydra { .. }
            | Self::AskHydra { .. }
            | Self::TrySecret { .. }
            | Self::WriteCredentials { .. }
            | Self::ReadCredentials
            | Self::Register { .. }
            | Self::Patch { .. }
            | Self::RevokeTokens { .. }
            | Self::Wait(_) => true,
            Self::WriteDisk { .. }
            | Self::Remember { .. }
            | Self::RestorePublicKey
            | Self::Hold { .. }
            | Self::SignWith(_)
            | Self::CacheCredentials { .. }
            | Self::ReportKeys { .. }
            | Self::ReportClient(_)
            | Self::PassEnded { .. }
            | Self::MendDirectory { .. }
            | Self::Started
            | Self::Refuse { .. } => false,
        }
    }
}
