//! What an identity is: keys, DIDs, DID documents, signatures, and their file formats.
//!
//! Pure: nothing here opens a file or a connection or reads a clock. What comes from outside is parsed once, into
//! types whose values are valid ([`Did`], [`AgentId`], [`PublicKey`], [`SigningKey`]).
//!
//! The formats are Python Bindu's, byte for byte, so that an identity moves between the two unchanged.

mod agent_id;
pub mod artifact_signature;
mod canonical;
mod derived_key;
mod did;
mod document;
pub mod jws;
mod key;
pub mod message_signature;
pub mod pem;
pub mod request_signature;
pub mod rotation;
pub mod sealed;
pub mod text_signature;

pub use agent_id::{AgentId, AgentIdError};
pub use derived_key::DerivedKey;
pub use did::{AgentName, Did, DidError, NameProblem};
pub use document::{BinduDocument, VerificationKey, WebDocument};
pub use key::{Fingerprint, PublicKey, PublicKeyError, Signature, SignatureError, SigningKey};
pub use rotation::{Lineage, LineageError, NewRotation, RotationStatement, SecondKeyBinding, StatementError};
