//! Events as bytes, each written once for all that read it at the same time: a thousand subscribers to one task share the
//! bytes.

use crate::places::Place;
use axum::body::Bytes;
use bindu_a2a::{
    Dialect, Json,
    call::{StreamEvent, StreamItem},
    grpc, rpc,
};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// How many events are looked for. What nobody holds any more is not kept in memory by being among them.
const MOST_SHARED: NonZeroUsize = NonZeroUsize::new(4_096).expect("it is not zero");

/// How many bytes of the newest events are kept for whoever comes a moment later.
const KEPT_BYTES: usize = 1024 * 1024;

/// The events that are being read.
pub(crate) struct EncodedEvents(Mutex<Inner>);

struct Inner {
    shared: LruCache<Key, Weak<Encoded>>,
    kept: LruCache<Key, Arc<Encoded>>,
    kept_bytes: usize,
}

/// Where an event is looked for. Not who it is: that is its content ([`Encoded::of`]).
type Key = (String, u64, Coding);

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// As JSON of this dialect.
    Json(Dialect),
    /// As a message of gRPC.
    Proto,
}

/// An event with its bytes.
struct Encoded {
    of: StreamEvent,
    bytes: Vec<u8>,
}

/// Bytes that keep their event in the list for as long as anybody holds them.
struct Shared(Arc<Encoded>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Default for EncodedEvents {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            shared: LruCache::new(MOST_SHARED),
            kept: LruCache::unbounded(),
            kept_bytes: 0,
        }))
    }
}

impl EncodedEvents {
    /// An event's bytes.
    pub(crate) async fn encode(&self, coding: Coding, item: &StreamItem, place: &Place) -> Bytes {
        let key = (task_id(&item.event).to_owned(), item.number, coding);
        let found = self.lock().find(&key);
        let encoded = match found.filter(|found| is_same(&found.of, &item.event)) {
            Some(found) => found,
            None => {
                let item = item.clone();
                let of = item.event.clone();
                let bytes = place.work(weight(&item.event), move || write(coding, &item)).await;
                let encoded = Arc::new(Encoded { of, bytes });
                self.lock().put(key, &encoded);
                encoded
            }
        };
        Bytes::from_owner(Shared(encoded))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn find(&mut self, key: &Key) -> Option<Arc<Encoded>> {
        self.shared.get(key)?.upgrade()
    }

    fn put(&mut self, key: Key, encoded: &Arc<Encoded>) {
        self.shared.put(key.clone(), Arc::downgrade(encoded));
        // What is content besides lies in the task store all the same, or is let go with it.
        let bytes = |encoded: &Encoded| encoded.bytes.len() + weight(&encoded.of);
        if bytes(encoded) > KEPT_BYTES {
            return;
        }
        self.kept_bytes += bytes(encoded);
        if let Some(before) = self.kept.put(key, Arc::clone(encoded)) {
            self.kept_bytes -= bytes(&before);
        }
        while self.kept_bytes > KEPT_BYTES {
            let Some((_, oldest)) = self.kept.pop_lru() else { return };
            self.kept_bytes -= bytes(&oldest);
        }
    }
}

/// What follows the id of a request in an event of Python Bindu's, and what comes before it: there the event is not the
/// `result` alone.
const BINDU_HEAD: &str = "{\"jsonrpc\":\"2.0\",\"id\":null";

/// An event without what differs from reader to reader: the id of the request.
fn write(coding: Coding, item: &StreamItem) -> Vec<u8> {
    match coding {
        Coding::Proto => grpc::encode_event(item),
        Coding::Json(dialect @ (Dialect::V1 | Dialect::V03)) => dialect.encode_event(item).into_text().into(),
        Coding::Json(Dialect::Bindu) => {
            let mut event = rpc::event(Dialect::Bindu, &Json::null(), item);
            if event.starts_with(BINDU_HEAD) {
                event.drain(..BINDU_HEAD.len());
            }
            event.into()
        }
    }
}

fn task_id(event: &StreamEvent) -> &str {
    match event {
        StreamEvent::Task(task) => &task.id,
        StreamEvent::Message(message) => &message.task_id,
        StreamEvent::Status { task_id, .. } | StreamEvent::Artifact { task_id, .. } => task_id,
    }
}

/// Whether two events say the same. Those of one store share their content, so that it need not be compared.
fn is_same(a: &StreamEvent, b: &StreamEvent) -> bool {
    match (a, b) {
        (StreamEvent::Artifact { chunk: a_chunk, .. }, StreamEvent::Artifact { chunk: b_chunk, .. })
            if Arc::ptr_eq(a_chunk, b_chunk) =>
        {
            true
        }
        (StreamEvent::Message(a), StreamEvent::Message(b)) if Arc::ptr_eq(a, b) => true,
        (StreamEvent::Task(a), StreamEvent::Task(b)) => {
            let pointers_are = a.history.len() == b.history.len()
                && a.artifacts.len() == b.artifacts.len()
                && a.history.iter().zip(&b.history).all(|(a, b)| Arc::ptr_eq(a, b))
                && a.artifacts.iter().zip(&b.artifacts).all(|(a, b)| Arc::ptr_eq(a, b));
            let rest_is = a.id == b.id
                && a.context_id == b.context_id
                && a.status == b.status
                && a.metadata == b.metadata;
            if pointers_are { rest_is } else { a == b }
        }
        (a, b) => a == b,
    }
}

/// About how many bytes an event has.
fn weight(event: &StreamEvent) -> usize {
    match event {
        StreamEvent::Task(task) => {
            let chunks = task.artifacts.iter().flat_map(|artifact| artifact.chunks.iter());
            task.history.iter().map(|message| message.bytes()).sum::<usize>()
                + chunks.map(|parts| parts.text().len()).sum::<usize>()
        }
        StreamEvent::Message(message) => message.bytes(),
        StreamEvent::Status { status, .. } => status.message.as_ref().map_or(0, |message| message.bytes()),
        StreamEvent::Artifact { chunk, .. } => chunk.parts.text().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{PlaceLimits, Places};
    use bindu_a2a::{Parts, event::ArtifactChunk};

    fn item(number: u64, text: &str) -> StreamItem {
        let chunk = ArtifactChunk {
            id: "a".to_owned(),
            name: None,
            description: None,
            parts: Arc::new(Parts::of_text(text)),
            metadata: None,
            extensions: None,
            append: false,
            is_last: true,
        };
        let (task_id, context_id) = ("t".to_owned(), "c".to_owned());
        StreamItem { number, event: StreamEvent::Artifact { task_id, context_id, chunk: Arc::new(chunk) } }
    }

    #[tokio::test]
    async fn an_event_is_written_once_and_forgotten_with_its_last_reader() {
        let events = EncodedEvents::default();
        let places = Places::new(PlaceLimits { requests: 1, body: 1 });
        let place = places.public().unwrap_or_else(|_| panic!("a place"));
        let long = item(1, &"x".repeat(KEPT_BYTES));
        let first = events.encode(Coding::Json(Dialect::V1), &long, &place).await;
        let second = events.encode(Coding::Json(Dialect::V1), &long.clone(), &place).await;
        assert_eq!(first.as_ptr(), second.as_ptr());
        let bindus = events.encode(Coding::Json(Dialect::Bindu), &long, &place).await;
        assert_ne!(first.as_ptr(), bindus.as_ptr(), "each dialect has its own");
        assert!(bindus.starts_with(b",\"result\":"), "{bindus:?}");
        // A task that was forgotten and whose id was used again has other events of the same numbers.
        let other = events.encode(Coding::Json(Dialect::V1), &item(1, "y"), &place).await;
        assert!(!other.is_empty() && other.as_ptr() != first.as_ptr());
        drop((first, second, bindus));
        assert!(
            events.lock().find(&("t".to_owned(), 1, Coding::Json(Dialect::Bindu))).is_none(),
            "nobody reads it"
        );
        for number in 2..2000 {
            events.encode(Coding::Json(Dialect::V1), &item(number, &"y".repeat(1000)), &place).await;
        }
        let inner = events.lock();
        assert!(inner.kept_bytes <= KEPT_BYTES && inner.kept.len() < 1000, "{}", inner.kept.len());
    }
}
