//! A counter that many threads use at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

use super::shard::{self, SHARDS, Shard};

/// A number that only grows. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<[Shard<AtomicU64>; SHARDS]>);

impl Counter {
    /// Counts one more.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Counts so many more.
    pub(crate) fn add(&self, more: u64) {
        self.0[shard::own()].0.fetch_add(more, Ordering::Relaxed);
    }
}

impl TypedMetric for Counter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let parts = self.0.iter().map(|part| part.0.load(Ordering::Relaxed));
        encoder.encode_counter::<NoLabelSet, _, u64>(&parts.sum::<u64>(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
