//! Push: callers set where the events of their tasks are sent ([`configs`]), and they are sent there ([`deliver`]).

mod backoff;
pub(crate) mod configs;
mod deliver;
mod payload;
mod secrets;
mod sender;

pub(crate) use deliver::{Deliveries, Pushing};
pub(crate) use secrets::KeptPush;
pub use secrets::Sealer;
pub use sender::{Delivery, NotDelivered, PushOutcome, PushSender};
