//! A model check of the keeper: the very tables of [`bindu_keeper::plan`], the executor's steps as an explicit state
//! machine ([`steps`]), three replicas, a store and a Hydra that come and go ([`world`]). Between any two steps a replica
//! may crash, with its disk or without; each answer to a write may be lost, whether the write was done or not.
//!
//! What must hold in every state are the invariants of DESIGN.md; and from every state, once the faults end, all
//! replicas come to one key and one client without any hand. That the checker can see at all is shown by bugs: each one
//! that is seeded must be found.
#![allow(missing_docs, clippy::indexing_slicing)]

mod steps;
mod world;

use stateright::{Checker as _, HasDiscoveries, Model, Property};
use world::{Action, Budget, Bug, World};

/// How many states are explored in CI: about a fifth of them are distinct.
const STATES: usize = 6_000_000;

struct Keepers {
    replicas: usize,
    bug: Option<Bug>,
    budget: Budget,
}

const IDENTITY: &str = "1: one identity";
const CLIENT: &str = "2: one client, whose secret the store holds";
const OVERWRITTEN: &str = "3: nothing is overwritten";
const RECOVERY: &str = "once the faults end, all is right without any hand";
const ALL_RUN: &str = "all replicas run";

impl Model for Keepers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.replicas, self.budget)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(action, self.bug);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(IDENTITY, |_, world: &World| world.has_one_identity()),
            Property::always(CLIENT, |_, world: &World| world.has_one_client()),
            Property::always(OVERWRITTEN, |_, world: &World| world.has_overwritten_nothing()),
            Property::always(RECOVERY, |model: &Self, world: &World| world.clone().recovers(model.bug)),
            Property::sometimes(ALL_RUN, |_, world: &World| world.all_run()),
        ]
    }
}

/// Breadth first, a million distinct states: every order of the first steps of three replicas with two crashes, two outages
/// and a lost answer.
///
/// Promise: invariants 1 to 3 of DESIGN.md in each state, and from each the way back without any hand.
#[test]
fn a_million_states_keep_the_invariants() {
    let budget = Budget { crashes: 2, outages: 2, lost_answers: 1 };
    let model = Keepers { replicas: 3, bug: None, budget };
    let checker = model.checker().threads(2).target_state_count(STATES).spawn_bfs().join();
    println!("{} states, {} of them distinct", checker.state_count(), checker.unique_state_count());
    for property in [IDENTITY, CLIENT, OVERWRITTEN, RECOVERY] {
        checker.assert_no_discovery(property);
    }
    assert!(checker.unique_state_count() >= 1_000_000, "a million distinct states");
}

/// Two replicas, a crash, an outage and a lost answer: every state there is.
///
/// Promise: the same.
#[test]
fn every_state_of_two_replicas_keeps_the_invariants() {
    let budget = Budget { crashes: 1, outages: 1, lost_answers: 1 };
    let model = Keepers { replicas: 2, bug: None, budget };
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} of them distinct", checker.state_count(), checker.unique_state_count());
    assert!(checker.is_done());
    checker.assert_properties();
}

/// Three replicas at random, to a depth that breadth first does not reach, with more faults.
///
/// Promise: the same.
#[test]
fn deep_runs_keep_the_invariants() {
    let budget = Budget { crashes: 6, outages: 6, lost_answers: 4 };
    let model = Keepers { replicas: 3, bug: None, budget };
    let checker = model
        .checker()
        .threads(2)
        .target_max_depth(400)
        .target_state_count(STATES / 8)
        .spawn_simulation(7, stateright::UniformChooser)
        .join();
    for property in [IDENTITY, CLIENT, OVERWRITTEN, RECOVERY] {
        checker.assert_no_discovery(property);
    }
    assert!(checker.discovery(ALL_RUN).is_some(), "the runs are deep enough");
}

/// Five bugs that are seeded on purpose: Hydra before the store, a lost answer taken for done, a write without a look, a key
/// in use before it is stored, a loser that keeps its key.
///
/// Promise: the model check finds each of them.
#[test]
fn each_seeded_bug_is_found() {
    for (bug, property) in [
        (Bug::HydraFirst, CLIENT),
        (Bug::UndecidedIsDone, IDENTITY),
        (Bug::BlindWrite, OVERWRITTEN),
        (Bug::UsedBeforeStored, IDENTITY),
        (Bug::LoserKeepsItsKey, IDENTITY),
    ] {
        let budget = Budget { crashes: 1, outages: 1, lost_answers: 1 };
        let model = Keepers { replicas: 3, bug: Some(bug), budget };
        let checker = model
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AllOf([property].into()))
            .target_state_count(STATES)
            .spawn_bfs()
            .join();
        assert!(checker.discovery(property).is_some(), "{bug:?} was not found");
        println!("{bug:?}: found by \"{property}\" after {} states", checker.unique_state_count());
    }
}
