//! `bindu_storage_*`: the figures of the store of tasks, read when they are asked for.

use bindu_tasks::{Figures, StorageKind, TaskStore};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

/// The store of tasks, once there is one. It is not kept alive by its metrics.
#[derive(Clone, Default)]
pub(super) struct StorageFigures(Arc<OnceLock<Weak<dyn TaskStore>>>);

impl fmt::Debug for StorageFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageFigures")
    }
}

impl StorageFigures {
    /// The store to ask; the first one counts.
    pub(super) fn watch(&self, store: &Arc<dyn TaskStore>) {
        let _ = self.0.set(Arc::downgrade(store));
    }
}

impl Collector for StorageFigures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.0.get().and_then(Weak::upgrade) {
            Some(store) => Encoder(encoder).all(store.kind(), store.figures()),
            None => Ok(()),
        }
    }
}

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn all(&mut self, kind: StorageKind, figures: Option<Figures>) -> fmt::Result {
        let name = "bindu_storage";
        let mut info = self.0.encode_descriptor(name, "The store of tasks in use", None, MetricType::Info)?;
        info.encode_info(&[("backend", kind.label())])?;
        // Memory waits for nobody: there is nothing to count.
        let Some(figures) = figures else { return Ok(()) };
        self.gauge("queue_length", "Changes that wait for their commit", figures.queued)?;
        self.counter("changes", "Changes that were committed", figures.changes)?;
        self.commits(&figures)?;
        self.connections(&figures)?;
        self.forgotten(&figures)?;
        let taken = "Runs that were taken over from replicas that are gone";
        self.counter("lease_takeovers", taken, figures.taken_over)?;
        let lost = "Runs of this replica that counted no more when their lease was renewed";
        self.counter("leases_lost", lost, figures.leases_lost)?;
        self.counter("unavailable", "Attempts that the database did not answer", figures.outages)?;
        self.counter("full", "Changes that were refused because there was no room", figures.full)?;
        if let Some((bytes, most)) = figures.size {
            self.gauge("size_bytes", "The size of the file, as of the last minute", bytes)?;
            self.gauge("size_max_bytes", "The most that the file may take", most)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = format!("bindu_storage_{name}");
        let mut metric = self.0.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&gauge_value(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = format!("bindu_storage_{name}");
        let mut metric = self.0.encode_descriptor(&name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&counter_value(value), None)
    }

    /// One commit takes all changes that wait together.
    fn commits(&mut self, figures: &Figures) -> fmt::Result {
        let (name, help) = ("bindu_storage_commit_duration", "How long a commit took");
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let buckets: Vec<(f64, u64)> = Figures::bounds().zip(figures.times).collect();
        let count = figures.times.iter().sum();
        let seconds = std::time::Duration::from_micros(figures.micros).as_secs_f64();
        metric.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn connections(&mut self, figures: &Figures) -> fmt::Result {
        let (name, help) = ("bindu_storage_connections", "Open connections to the database");
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let in_use = figures.connections.saturating_sub(figures.idle);
        for (state, value) in [("in_use", in_use), ("idle", figures.idle)] {
            let labels = [("state", state)];
            metric.encode_family(&labels)?.encode_gauge(&gauge_value(value))?;
        }
        self.gauge("connections_max", "The most connections that there may be", figures.max_connections)
    }

    fn forgotten(&mut self, figures: &Figures) -> fmt::Result {
        let help = "What was forgotten for its age, its number or its size";
        let mut metric =
            self.0.encode_descriptor("bindu_storage_forgotten", help, None, MetricType::Counter)?;
        for (kind, value) in [("tasks", figures.forgotten), ("requests", figures.replays_forgotten)] {
            let labels = [("kind", kind)];
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(&counter_value(value), None)?;
        }
        Ok(())
    }
}

fn gauge_value(value: u64) -> impl EncodeGaugeValue {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn counter_value(value: u64) -> impl EncodeCounterValue {
    value
}
