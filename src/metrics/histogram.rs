//! A histogram of durations without a lock: the one of `prometheus_client` has a mutex.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

use super::shard::{self, SHARDS, Shard};

/// The upper bounds of the buckets in microseconds: from a script that does nothing, to a job that takes its time.
const BOUNDS: [u32; 18] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// The bound of the last bucket, which has all the rest.
const REST: usize = BOUNDS.len();

/// How often something took how long. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram(Arc<[Shard<Part>; SHARDS]>);

#[derive(Debug, Default)]
struct Part {
    counts: [AtomicU64; REST + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts something that took so long.
    pub(crate) fn observe(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let is_within = |bound: &u32| nanoseconds <= u64::from(*bound) * 1000;
        let bucket = BOUNDS.iter().position(is_within).unwrap_or(REST);
        let part = &self.0[shard::own()].0;
        part.counts[bucket].fetch_add(1, Ordering::Relaxed);
        part.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let sum = |read: &dyn Fn(&Part) -> &AtomicU64| -> u64 {
            let parts = self.0.iter();
            parts
                .map(|part| read(&part.0).load(Ordering::Relaxed))
                .sum()
        };
        let buckets: [(f64, u64); REST + 1] = array::from_fn(|bucket| {
            let bound = BOUNDS.get(bucket).map(|bound| f64::from(*bound) / 1e6);
            (
                bound.unwrap_or(f64::INFINITY),
                sum(&|part| &part.counts[bucket]),
            )
        });
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(sum(&|part| &part.nanoseconds)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
