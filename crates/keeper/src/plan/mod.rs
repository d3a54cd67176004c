//! The decision tables, as pure functions: no network, no clock, no file.
//!
//! `observed` is what is known, `decision` what can be done about it. [`keys`] is the table "Keys" of DESIGN.md, [`history`] what earlier versions of the record prove, [`ring`] the steps of a
//! rotation, [`retired`] which old keys nothing needs any more, [`client`] the steps of "The OAuth client: write ahead".

pub mod client;
mod decision;
pub mod history;
pub mod keys;
mod observed;
pub mod retired;
pub mod ring;

use bindu_identity::{Fingerprint, PublicKey};

/// What the operator has said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// `on_absent`.
    pub on_absent: OnAbsent,
    /// `on_unavailable`.
    pub on_unavailable: OnUnavailable,
    /// Consent to take over.
    pub take_over: TakeOver,
    /// `recreate_keys`.
    pub recreate_keys: RecreateKeys,
}

/// What to do where there is positively no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnAbsent {
    /// Make one.
    #[default]
    Create,
    /// Never make one: this deployment has its identity.
    Refuse,
}

/// What to do where no key can be had because the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnUnavailable {
    /// Wait, then give up.
    #[default]
    Wait,
    /// Make a provisional one.
    Generate,
}

/// Consent to replace the key of a Hydra client that is not provably ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum TakeOver {
    /// None.
    #[default]
    No,
    /// To one key, whichever it is.
    Any,
    /// To this one.
    Key(Fingerprint),
}

impl TakeOver {
    /// Whether this is consent to replace the key that Hydra names (`None`: a client that names none), where the record has
    /// consented before: a `true` that was left in place covers only that key, and nothing where the record can't be read.
    /// Nor does it cover a key that was reached by rotation statements (`is_rotated`) and that nobody has consented to: that is
    /// our own newer key, and who went back to an older record without noticing did not mean it.
    pub(crate) fn covers(&self, named: Option<&str>, before: &TakenOver, is_rotated: bool) -> bool {
        let fingerprint = named.and_then(|key| key.parse::<PublicKey>().ok()).map(|key| key.fingerprint());
        match self {
            Self::No => false,
            Self::Key(consented) => fingerprint.as_ref() == Some(consented),
            Self::Any => match before {
                TakenOver::Nothing => !is_rotated,
                TakenOver::Unknown => false,
                TakenOver::Key(known) => {
                    known == fingerprint.as_ref().map_or(client::NO_KEY, Fingerprint::as_str)
                }
            },
        }
    }
}

/// What the credentials record says of an earlier consent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum TakenOver {
    /// There was none.
    #[default]
    Nothing,
    /// To the replacement of the key with this fingerprint.
    Key(String),
    /// The record can't be read, or was deleted.
    Unknown,
}

/// The explicit rotation at a start.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum RecreateKeys {
    /// None.
    #[default]
    No,
    /// Python Bindu's switch: at each start, but not more than once in ten minutes.
    Always,
    /// Only while this key is the current one.
    Once(Fingerprint),
}
