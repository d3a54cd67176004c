use super::*;

type Tasks = Schedule<&'static str>;

fn party(name: &str) -> Party {
    Party::Owner(crate::caller::owner_named(name))
}

/// A schedule with a clock.
struct Bench {
    tasks: Tasks,
    now: Instant,
    pushed: u64,
}

impl Bench {
    fn new(places: usize) -> Self {
        Self { tasks: Schedule::new(places), now: Instant::now(), pushed: 0 }
    }

    /// A task whose id nobody else has.
    fn push(&mut self, who: &str, job: &'static str) -> JobId {
        self.pushed += 1;
        self.tasks.push(party(who), &self.pushed.to_string(), self.now, |_| job)
    }

    fn next(&mut self) -> Option<(usize, &'static str)> {
        self.tasks.next(self.now)
    }

    /// All that may go now; each place that is used runs.
    fn all(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.next()).collect::<Vec<_>>().into_iter().map(|(_, job)| job).collect()
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }
}

#[test]
fn callers_take_turns() {
    let mut bench = Bench::new(1);
    let first = bench.push("alice", "a0");
    for job in ["a1", "a2", "a3"] {
        bench.push("alice", job);
    }
    let bob = bench.push("bob", "b0");
    assert_eq!(bench.all(), ["a0"]);
    bench.tasks.up(0, 1);
    bench.tasks.done(0, first);
    assert_eq!(bench.all(), ["b0"], "before the others of Alice's");
    bench.tasks.done(0, bob);
    assert_eq!(bench.all(), ["a1"]);
}

#[test]
fn nobody_has_all_places_and_running_programs_are_used_first() {
    let mut bench = Bench::new(4);
    for job in ["a0", "a1", "a2", "a3", "a4"] {
        bench.push("alice", job);
    }
    assert_eq!(bench.all(), ["a0", "a1", "a2"]);
    bench.push("bob", "b0");
    assert_eq!(bench.all(), ["b0"]);
    for count in 1..10 {
        assert!(share(count) == 1 || share(count) < count);
        assert!(share(count) >= count / 2);
    }
    let mut bench = Bench::new(3);
    let first = bench.push("alice", "a0");
    assert_eq!(bench.next(), Some((0, "a0")));
    bench.tasks.up(0, 1);
    bench.tasks.done(0, first);
    bench.push("alice", "a1");
    assert_eq!(bench.next(), Some((0, "a1")), "its program runs already");
    bench.push("alice", "a2");
    assert_eq!(bench.next(), Some((1, "a2")));
}

/// Where callers can't be told apart there is no share, but conversations take turns.
#[test]
fn conversations_may_have_all_places() {
    let mut bench = Bench::new(2);
    for (number, job) in ["0", "1"].into_iter().enumerate() {
        let party = Party::Conversation("c".to_owned());
        bench.tasks.push(party, &number.to_string(), bench.now, |_| job);
    }
    assert_eq!(bench.all(), ["0", "1"]);
}

#[test]
fn who_breaks_programs_waits_alone() {
    let mut bench = Bench::new(1);
    let mut waited = Duration::ZERO;
    for round in 0..12 {
        bench.push("mallory", "poison");
        while bench.next().is_none() {
            let at = bench.tasks.wake_at(bench.now).expect("a moment to look again");
            waited = at - bench.now;
            bench.now = at;
        }
        bench.tasks.up(0, 1);
        bench.tasks.broke(0, bench.now);
        let alice = bench.push("alice", "hello");
        assert_eq!(bench.next(), Some((0, "hello")), "at once, though Mallory has to wait (round {round})");
        bench.tasks.up(0, 1);
        bench.tasks.done(0, alice);
        assert_eq!(bench.next(), None);
    }
    assert_eq!(waited, BACKOFF.after(u32::MAX).most);
    // Alice's success does not make good what Mallory has done; time does.
    bench.push("mallory", "poison");
    assert_eq!(bench.next(), None);
    bench.pass(70_000);
    assert_eq!(bench.next(), Some((0, "poison")));
    bench.tasks.broke(0, bench.now);
    bench.push("mallory", "again");
    bench.pass(100);
    assert_eq!(bench.next(), Some((0, "again")), "as at the first time");
}

#[test]
fn a_program_that_cannot_be_started_is_tried_less_and_less_often() {
    let mut bench = Bench::new(2);
    let mut waits = Vec::new();
    for who in ["alice", "bob", "carol"].into_iter().cycle().take(9) {
        bench.push(who, "hello");
        let begun = bench.now;
        while bench.next().is_none() {
            bench.now = bench.tasks.wake_at(bench.now).expect("a moment to look again");
        }
        waits.push((bench.now - begun).as_millis());
        bench.tasks.not_started(0, bench.now);
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
    let id = bench.push("alice", "hello");
    bench.pass(10_000);
    assert!(bench.next().is_some());
    bench.tasks.up(0, 1);
    bench.tasks.done(0, id);
    bench.tasks.down(0);
    bench.push("alice", "hello");
    assert!(bench.next().is_some(), "a success ends it");
}

/// A program with several callers' tasks breaks: each may have done it, and is alone next time.
#[test]
fn suspects_are_found_out_one_by_one() {
    let mut bench = Bench::new(1);
    bench.tasks.up(0, 4);
    bench.push("alice", "a0");
    bench.push("mallory", "poison");
    assert_eq!(bench.all(), ["a0", "poison"]);
    bench.tasks.broke(0, bench.now);
    bench.tasks.up(0, 4);
    let bob = bench.push("bob", "b0");
    let alice = bench.push("alice", "a1");
    bench.push("mallory", "poison");
    assert_eq!(bench.all(), ["b0"], "Bob is no suspect, and the others do not come to him");
    bench.tasks.done(0, bob);
    assert_eq!(bench.all(), ["a1"], "alone");
    bench.push("bob", "b1");
    assert_eq!(bench.all(), [""; 0], "nobody joins a suspect");
    bench.tasks.done(0, alice);
    assert_eq!(bench.all(), ["poison"]);
    bench.tasks.broke(0, bench.now);
    bench.tasks.up(0, 4);
    bench.push("alice", "a2");
    bench.push("mallory", "poison");
    assert_eq!(bench.all(), ["b1", "a2"], "Alice is cleared, Mallory waits");
}

/// A caller that has to be alone is overtaken for a while, not for ever.
#[test]
fn a_suspect_does_not_starve() {
    let mut bench = Bench::new(1);
    bench.tasks.up(0, 2);
    bench.push("alice", "a0");
    bench.push("mallory", "poison");
    assert_eq!(bench.all().len(), 2);
    bench.tasks.broke(0, bench.now);
    bench.tasks.up(0, 2);
    let mut running = vec![bench.push("bob", "b0"), bench.push("carol", "c0")];
    assert_eq!(bench.all().len(), 2);
    bench.push("alice", "a1");
    for round in 0..100 {
        bench.pass(100);
        running.push(bench.push("bob", "b"));
        running.push(bench.push("carol", "c"));
        bench.tasks.done(0, running.remove(0));
        if bench.all().contains(&"a1") {
            assert!(round > 10, "she is overtaken first");
            return;
        }
    }
    panic!("Alice is never served");
}

/// No program is ever empty, since somebody leaves tasks hanging: who is only suspected waits a while, each time for longer, and
/// not for as long as who is known to break programs.
#[test]
fn a_suspicion_ends_though_no_program_is_empty() {
    let mut bench = Bench::new(1);
    let others = ["bob", "carol", "dave", "erin", "frank", "grace"];
    for (other, expected) in others.into_iter().zip([0, 10, 20, 40, 60, 60]) {
        bench.tasks.up(0, 4);
        bench.push(other, "hang");
        assert_eq!(bench.all(), ["hang"]);
        bench.push("alice", "a");
        let begun = bench.now;
        while !bench.all().contains(&"a") {
            bench.now = bench.tasks.wake_at(bench.now).expect("a moment to look again");
        }
        assert_eq!((bench.now - begun).as_secs(), expected, "beside {other}");
        bench.tasks.broke(0, bench.now);
    }
    // One task that ends well, and all that is forgotten.
    bench.tasks.up(0, 4);
    bench.pass(60_000);
    let good = bench.push("alice", "a");
    assert_eq!(bench.all(), ["a"]);
    bench.tasks.done(0, good);
    assert_eq!(bench.tasks.records[&party("alice")].suspicions, 0);
}

#[test]
fn two_tasks_of_one_id_are_not_in_one_program() {
    let mut bench = Bench::new(1);
    bench.tasks.up(0, 8);
    let alice = bench.tasks.push(party("alice"), "same", bench.now, |_| "a");
    bench.tasks.push(party("bob"), "same", bench.now, |_| "b");
    bench.push("carol", "c");
    assert_eq!(bench.all(), ["a", "c"]);
    bench.tasks.done(0, alice);
    assert_eq!(bench.all(), ["b"]);
}

#[test]
fn what_is_taken_back_is_not_served_and_what_is_given_back_is_served_first() {
    let mut bench = Bench::new(1);
    let first = bench.push("alice", "a0");
    let second = bench.push("alice", "a1");
    let third = bench.push("alice", "a2");
    assert_eq!(bench.all(), ["a0"]);
    assert_eq!(bench.tasks.withdraw(&party("alice"), first), Whereabouts::At(0));
    assert_eq!(bench.tasks.withdraw(&party("alice"), second), Whereabouts::Withdrawn("a1"));
    bench.tasks.give_back(0, first, "a0");
    bench.tasks.broke(0, bench.now);
    assert_eq!(bench.all(), ["a0"], "nobody is blamed for what was never there");
    bench.tasks.done(0, first);
    assert_eq!(bench.tasks.withdraw(&party("alice"), first), Whereabouts::Nowhere);
    assert_eq!(bench.all(), ["a2"]);
    bench.push("alice", "a3");
    assert_eq!(bench.tasks.drain(), ["a3"]);
    bench.tasks.done(0, third);
    assert_eq!(bench.all(), [""; 0]);
}

/// Many names of one who breaks programs: each may do it once, and the program is started twice a second then.
#[test]
fn many_names_do_not_make_many_starts() {
    let mut bench = Bench::new(1);
    let (begun, mut starts) = (bench.now, 0);
    while bench.now - begun < Duration::from_secs(30) {
        let name = format!("conversation {starts}");
        bench.tasks.push(Party::Conversation(name), "t", bench.now, |_| "poison");
        while bench.next().is_none() {
            bench.now = bench.tasks.wake_at(bench.now).expect("a moment to look again");
        }
        starts += 1;
        bench.tasks.broke(0, bench.now);
        bench.pass(1);
    }
    assert!(starts <= BREAKS_WITHOUT_PAUSE + 62, "{starts} starts");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut bench = Bench::new(1);
    for number in 0..5 * MAX_RECORDS {
        bench.tasks.push(party(&number.to_string()), "t", bench.now, |_| "poison");
        bench.pass(1_000);
        while bench.next().is_none() {
            bench.now = bench.tasks.wake_at(bench.now).expect("a moment to look again");
        }
        bench.tasks.broke(0, bench.now);
    }
    assert!(bench.tasks.records.len() <= MAX_RECORDS, "{}", bench.tasks.records.len());
}
