//! The service on the store in memory, with workers that do what is asked of them.

mod inline;
mod memory;
mod push;
mod replicas;
mod service;
mod worker;
