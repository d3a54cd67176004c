//! The driver with the shipped machine, on a fake store, a fake Hydra and tokio's paused clock: exact in time. What real
//! servers do to it is tested in `cli/tests`.

mod apply;
mod bench;
mod disk;
mod history;
mod operator;
mod reconcile;
mod rotation;
mod start;

/// What is proven here is proven of stores: the fake one keeps the contract.
#[tokio::test]
async fn the_fake_store_keeps_the_contract() {
    use bindu_testkit::{conformance, fake};
    let store = std::sync::Arc::new(fake::FakeStore::new(fake::clock(0)));
    conformance::secret_store(store, &conformance::Agent::random()).await;
}
