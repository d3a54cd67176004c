//! Lines that repeat are not all written: the first ones of each kind are, and then how many more there were. Whoever
//! may not call can still make an agent say so, as fast as it can send.

use super::line::Style;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// How long lines of a kind are counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// How many lines of one kind are written in that time.
const MAX_OF_A_KIND: u64 = 100;

/// How many refusals of one reason and one address are written in that time: the others' are not lost among them.
const MAX_OF_AN_ADDRESS: u64 = 10;

/// How many kinds are told apart; beyond that, addresses are not.
const MAX_KINDS: usize = 4096;

/// The target of refusals, which have a reason and an address.
const AUDIT: &str = "audit";

/// Counts lines by their kind.
#[derive(Default)]
pub(super) struct Repeats(Mutex<HashMap<Kind, Window>>);

/// What makes lines alike: where they come from in the program; of refusals the reason and the address as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    callsite: Identifier,
    why: String,
    from: Option<String>,
}

struct Window {
    began: Instant,
    lines: u64,
    /// How many of them were not written.
    more: u64,
    level: Level,
    target: &'static str,
    message: String,
}

/// A line, as far as it counts here.
struct Line {
    callsite: Identifier,
    level: Level,
    target: &'static str,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    message: String,
    why: String,
    from: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "why" => value.clone_into(&mut self.why),
            "from" => value.clone_into(&mut self.from),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl Repeats {
    /// Whether a line is written.
    fn admit(&self, now: Instant, line: Line) -> bool {
        let mut windows = self.lock();
        let is_refusal = line.target == AUDIT && !line.fields.why.is_empty();
        let why = if is_refusal { line.fields.why.clone() } else { String::new() };
        let of_kind = Kind { callsite: line.callsite.clone(), why, from: None };
        let has_room = windows.len() < MAX_KINDS;
        if is_refusal && has_room {
            let of_address = Kind { from: Some(line.fields.from.clone()), ..of_kind.clone() };
            if !count(&mut windows, of_address, now, &line, MAX_OF_AN_ADDRESS) {
                return false;
            }
        }
        count(&mut windows, of_kind, now, &line, MAX_OF_A_KIND)
    }

    /// What is to be told of the windows that are over; of all of them, `at_the_end`.
    pub(super) fn due(&self, now: Instant, at_the_end: bool, style: Style) -> Vec<Vec<u8>> {
        let mut windows = self.lock();
        let is_over = |window: &Window| at_the_end || now.duration_since(window.began) >= WINDOW;
        let over: Vec<(Kind, Window)> = windows.extract_if(|_, window| is_over(window)).collect();
        drop(windows);
        over.into_iter()
            .filter(|(_, window)| window.more > 0)
            .map(|(kind, window)| summary(&kind, &window, style))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a line; whether it is among the first ones of its kind.
fn count(windows: &mut HashMap<Kind, Window>, kind: Kind, now: Instant, line: &Line, most: u64) -> bool {
    let window = windows.entry(kind).or_insert_with(|| Window {
        began: now,
        lines: 0,
        more: 0,
        level: line.level,
        target: line.target,
        message: line.fields.message.clone(),
    });
    window.lines += 1;
    let is_written = window.lines <= most;
    window.more += u64::from(!is_written);
    is_written
}

fn summary(kind: &Kind, window: &Window, style: Style) -> Vec<u8> {
    let mut fields: Vec<(&str, Value)> = vec![("more", json!(window.more)), ("like", json!(window.message))];
    if !kind.why.is_empty() {
        fields.push(("why", json!(kind.why)));
    }
    if let Some(from) = &kind.from {
        fields.push(("from", json!(from)));
    }
    style.line(window.level.as_str(), window.target, "more lines like one before were left out", &fields)
}

/// The layer that asks [`Repeats`] about each line.
pub(super) struct RepeatsLayer(pub(super) std::sync::Arc<Repeats>);

impl<S: Subscriber> Layer<S> for RepeatsLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Who asks for `debug` wants to see everything.
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (callsite, level, target) = (metadata.callsite(), *metadata.level(), metadata.target());
        self.0.admit(Instant::now(), Line { callsite, level, target, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::LogFormat;
    use std::sync::Arc;
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    /// How many lines get through.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(format!("{} {} {}", fields.message, fields.why, fields.from));
        }
    }

    fn refused(why: &str, from: &str) {
        tracing::info!(target: "audit", why, from, "refused a caller");
    }

    #[test]
    fn one_address_is_summed_up_and_hides_nobody_else() {
        let (repeats, seen) = (Arc::new(Repeats::default()), Seen::default());
        let subscriber = registry().with(RepeatsLayer(Arc::clone(&repeats))).with(seen.clone());
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1000 {
                refused("no_token", "10.0.0.1");
            }
            refused("no_token", "10.0.0.2");
            refused("invalid_signature", "10.0.0.1");
            for _ in 0..1000 {
                tracing::warn!("something else");
                tracing::debug!("what was asked for");
            }
        });
        let count = |what: &str| seen.0.lock().unwrap().iter().filter(|line| line.contains(what)).count();
        assert_eq!(count("no_token 10.0.0.1"), 10);
        assert_eq!(count("no_token 10.0.0.2"), 1);
        assert_eq!(count("invalid_signature"), 1);
        assert_eq!(count("something else"), 100);
        assert_eq!(count("what was asked for"), 1000);
        let style = Style::new(LogFormat::Json);
        assert!(repeats.due(Instant::now(), false, style).is_empty(), "the window is not over");
        let told: Vec<Value> = repeats
            .due(Instant::now() + WINDOW, false, style)
            .iter()
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        let refusals = told.iter().find(|line| line["target"] == "audit").unwrap();
        assert_eq!(
            (&refusals["more"], &refusals["why"], &refusals["from"]),
            (&json!(990), &json!("no_token"), &json!("10.0.0.1"))
        );
        assert_eq!(told.iter().find(|line| line["level"] == "WARN").unwrap()["more"], 900);
        assert!(repeats.lock().is_empty(), "nothing is kept of what is over");
    }

    #[test]
    fn many_addresses_have_a_bound_as_well() {
        let (repeats, seen) = (Arc::new(Repeats::default()), Seen::default());
        let subscriber = registry().with(RepeatsLayer(Arc::clone(&repeats))).with(seen.clone());
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..2 * MAX_KINDS {
                refused("no_token", &format!("address {number}"));
            }
        });
        assert_eq!(seen.0.lock().unwrap().len(), 100);
        assert!(repeats.lock().len() <= MAX_KINDS + 1);
        let told = repeats.due(Instant::now(), true, Style::new(LogFormat::Text));
        assert_eq!(told.len(), 1, "one summary for all of them");
    }
}
