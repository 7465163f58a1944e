//! Quotas of callers and circles: calls each second, and jobs under way at once.
//!
//! Rates use GCRA, the generic cell rate algorithm (ITU-T I.371, virtual scheduling). A meter keeps one instant: when
//! the admitted calls are paid off. A call is admitted if that instant stays within a second of now. So at most a
//! second's worth of calls is admitted at once, and the rate from then on.
//!
//! Idle meters are removed: a new one says the same. The time is a parameter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use circled_protocol::PublicKey;
use dashmap::DashMap;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::Error;
use crate::address::Network;

/// The time after which to try again when a job has to end first.
const SOON: Duration = Duration::from_millis(100);
/// The interval at which idle meters are removed.
const SWEEP_EVERY: u64 = NANOS_PER_SECOND * 10;
/// The number of new callers that causes an earlier removal, unless the map already had more.
const NEWCOMERS: usize = 1024;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The largest rate. It is counted in whole nanoseconds: a larger one would be off by more than a hundredth.
const MOST_EACH_SECOND: u32 = 10_000_000;

/// The `[limits]` settings. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSettings {
    /// The most calls of one caller in a circle each second.
    #[serde(deserialize_with = "rate")]
    pub caller_rate: u32,
    /// The most calls of all callers in a circle each second.
    #[serde(deserialize_with = "rate")]
    pub circle_rate: u32,
    /// The most jobs of one caller in a circle that are under way at once.
    pub caller_jobs: u32,
    /// The most jobs of all callers in a circle that are under way at once.
    pub circle_jobs: u32,
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let rate = u32::deserialize(deserializer)?;
    if rate > MOST_EACH_SECOND {
        let message = format!("must be {MOST_EACH_SECOND} at most, or 0 for no limit");
        return Err(D::Error::custom(message));
    }
    Ok(rate)
}

/// The meters of all callers and circles of this server.
#[derive(Debug)]
pub struct Quotas {
    of_caller: Quota,
    of_circle: Quota,
    start: Instant,
    callers: Map<Caller, Arc<CallerMeter>>,
    circles: Map<PublicKey, Arc<Meter>>,
    sweeps: Sweeps,
}

/// The permission to begin a job, which counts until this is dropped.
#[derive(Debug)]
pub struct Permit(Option<Arc<CallerMeter>>);

/// A quota that a call would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The name of the setting.
    pub limit: &'static str,
    /// The time after which to try again.
    pub retry_after: Duration,
}

/// The caller whose calls count together, within a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The holder of this key.
    Key(PublicKey),
    /// All clients of this address that have proved no key.
    Address(Network),
}

/// A map for each call. Its hashes are keyed at random, as the standard ones are, and cost a quarter.
type Map<K, V> = DashMap<K, V, ahash::RandomState>;
/// A circle and a caller in it.
type Caller = (PublicKey, Who);

/// The limit of one meter.
#[derive(Debug, Clone, Copy)]
struct Quota {
    /// The cost of a call in nanoseconds; 0 is no limit.
    interval: u64,
    /// The most that may be owed, in nanoseconds: a second's worth of calls.
    burst: u64,
    jobs: u32,
    rate_name: &'static str,
    jobs_name: &'static str,
}

/// The usage of one caller or one circle.
#[derive(Debug, Default)]
struct Meter {
    /// The instant at which all is paid off, in nanoseconds since the start.
    paid_at: AtomicU64,
    jobs: AtomicU32,
}

#[derive(Debug)]
struct CallerMeter {
    own: Meter,
    circle: Arc<Meter>,
}

/// The time of the next removal of idle meters.
#[derive(Debug)]
struct Sweeps {
    /// The next time, in nanoseconds since the start.
    at: AtomicU64,
    /// The callers that came since the last removal.
    came: AtomicUsize,
    /// The number of new callers that causes the next removal.
    may_come: AtomicUsize,
}

impl Quotas {
    /// Creates the quotas with the limits of the settings.
    pub fn new(settings: &QuotaSettings, start: Instant) -> Self {
        Self {
            of_caller: Quota::new(
                (settings.caller_rate, "limits.caller_rate"),
                (settings.caller_jobs, "limits.caller_jobs"),
            ),
            of_circle: Quota::new(
                (settings.circle_rate, "limits.circle_rate"),
                (settings.circle_jobs, "limits.circle_jobs"),
            ),
            start,
            callers: Map::default(),
            circles: Map::default(),
            sweeps: Sweeps {
                at: AtomicU64::new(SWEEP_EVERY),
                came: AtomicUsize::new(0),
                may_come: AtomicUsize::new(NEWCOMERS),
            },
        }
    }

    /// Counts one call, and its job until the permit is dropped.
    ///
    /// # Errors
    /// [`Exceeded`]; then nothing has been counted.
    pub(super) fn admit(
        &self,
        circle: &PublicKey,
        who: Who,
        now: Instant,
    ) -> Result<Permit, Exceeded> {
        if self.of_caller.is_unlimited() && self.of_circle.is_unlimited() {
            return Ok(Permit(None));
        }
        let since_start = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(since_start).unwrap_or(u64::MAX / 2);
        if self.sweeps.is_due(now) {
            self.forget_the_idle(now);
        }
        let caller = (*circle, who);
        // Count while the map is locked, or the meter might be removed meanwhile.
        if let Some(meter) = self.callers.get(&caller) {
            return self.count(&meter, now);
        }
        let meter = self.callers.entry(caller).or_insert_with(|| {
            self.sweeps.came.fetch_add(1, Relaxed);
            Arc::new(CallerMeter {
                own: Meter::default(),
                circle: self.circles.entry(*circle).or_default().clone(),
            })
        });
        self.count(&meter, now)
    }

    fn count(&self, meter: &Arc<CallerMeter>, now: u64) -> Result<Permit, Exceeded> {
        meter.own.take(&self.of_caller, now)?;
        if let Err(exceeded) = meter.circle.take(&self.of_circle, now) {
            meter.own.give_back(&self.of_caller);
            return Err(exceeded);
        }
        Ok(Permit(Some(meter.clone())))
    }

    fn forget_the_idle(&self, now: u64) {
        self.callers.retain(|_, meter| !meter.own.is_idle(now));
        // The remaining callers still count in their circles.
        self.circles
            .retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_idle(now));
        let left = self.callers.len().max(NEWCOMERS);
        self.sweeps.may_come.store(left, Relaxed);
        if self.callers.capacity() > 8 * left {
            self.callers.shrink_to_fit();
            self.circles.shrink_to_fit();
        }
    }
}

impl Quota {
    fn new((rate, rate_name): (u32, &'static str), (jobs, jobs_name): (u32, &'static str)) -> Self {
        // Rounded up: never more than the rate.
        let interval = match u64::from(rate) {
            0 => 0,
            rate => NANOS_PER_SECOND.div_ceil(rate),
        };
        Self {
            interval,
            burst: interval * u64::from(rate),
            jobs,
            rate_name,
            jobs_name,
        }
    }

    fn is_unlimited(&self) -> bool {
        self.interval == 0 && self.jobs == 0
    }
}

impl Meter {
    fn take(&self, quota: &Quota, now: u64) -> Result<(), Exceeded> {
        let jobs = self.jobs.fetch_add(1, Relaxed);
        if quota.jobs != 0 && jobs >= quota.jobs {
            self.jobs.fetch_sub(1, Relaxed);
            return Err(Exceeded {
                limit: quota.jobs_name,
                retry_after: SOON,
            });
        }
        if quota.interval == 0 {
            return Ok(());
        }
        let with_this = |paid_at: u64| paid_at.max(now) + quota.interval;
        let paid = self.paid_at.fetch_update(Relaxed, Relaxed, |paid_at| {
            Some(with_this(paid_at)).filter(|paid_at| paid_at - now <= quota.burst)
        });
        paid.map(drop).map_err(|paid_at| {
            self.jobs.fetch_sub(1, Relaxed);
            Exceeded {
                limit: quota.rate_name,
                retry_after: Duration::from_nanos(with_this(paid_at) - now - quota.burst),
            }
        })
    }

    /// Undoes a call. If everything was paid off before it, it still is.
    fn give_back(&self, quota: &Quota) {
        self.paid_at.fetch_sub(quota.interval, Relaxed);
        self.jobs.fetch_sub(1, Relaxed);
    }

    /// Returns true if a new meter would say the same.
    fn is_idle(&self, now: u64) -> bool {
        self.jobs.load(Relaxed) == 0 && self.paid_at.load(Relaxed) <= now
    }
}

impl Sweeps {
    /// Returns true if idle meters are to be removed now; true for one caller each time.
    fn is_due(&self, now: u64) -> bool {
        let at = self.at.load(Relaxed);
        if now < at && self.came.load(Relaxed) < self.may_come.load(Relaxed) {
            return false;
        }
        let is_first = self
            .at
            .compare_exchange(at, now + SWEEP_EVERY, Relaxed, Relaxed)
            .is_ok();
        if is_first {
            self.came.store(0, Relaxed);
        }
        is_first
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(meter) = &self.0 {
            meter.own.jobs.fetch_sub(1, Relaxed);
            meter.circle.jobs.fetch_sub(1, Relaxed);
        }
    }
}

impl From<Exceeded> for Error {
    fn from(exceeded: Exceeded) -> Self {
        let millis = exceeded.retry_after.as_nanos().div_ceil(1_000_000);
        Self::LimitExceeded {
            limit: exceeded.limit.into(),
            retry_after_ms: Some(u64::try_from(millis).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_LIMIT: QuotaSettings = QuotaSettings {
        caller_rate: 0,
        circle_rate: 0,
        caller_jobs: 0,
        circle_jobs: 0,
    };

    fn key(n: usize) -> PublicKey {
        let mut bytes = [2; PublicKey::LENGTH];
        bytes[1..9].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_stored(bytes)
    }

    /// Quotas and their clock.
    struct Clocked {
        quotas: Quotas,
        now: Instant,
    }

    impl Clocked {
        fn new(settings: QuotaSettings) -> Self {
            let now = Instant::now();
            let quotas = Quotas::new(&settings, now);
            Self { quotas, now }
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }

        fn admit(&self, circle: usize, caller: usize) -> Result<Permit, Exceeded> {
            let (circle, caller) = (key(circle), key(caller));
            self.quotas.admit(&circle, Who::Key(caller), self.now)
        }

        /// Returns how many of so many calls are admitted now. Their jobs end at once.
        fn admitted(&self, circle: usize, caller: usize, calls: usize) -> usize {
            let admits = (0..calls).filter(|_| self.admit(circle, caller).is_ok());
            admits.count()
        }
    }

    #[test]
    fn a_second_is_admitted_at_once_and_the_rate_from_then_on() {
        let mut clocked = Clocked::new(QuotaSettings {
            caller_rate: 4,
            ..NO_LIMIT
        });
        assert_eq!(clocked.admitted(1, 1, 10), 4);
        let exceeded = clocked.admit(1, 1).unwrap_err();
        assert_eq!(exceeded.limit, "limits.caller_rate");
        assert_eq!(exceeded.retry_after, Duration::from_millis(250));
        clocked.wait(Duration::from_millis(249));
        assert_eq!(clocked.admitted(1, 1, 10), 0);
        clocked.wait(Duration::from_millis(1));
        assert_eq!(clocked.admitted(1, 1, 10), 1);
        clocked.wait(Duration::from_millis(500));
        assert_eq!(clocked.admitted(1, 1, 10), 2);
        clocked.wait(Duration::from_secs(3600));
        assert_eq!(clocked.admitted(1, 1, 10), 4, "no more is saved up");
    }

    #[test]
    fn every_caller_has_a_rate_of_its_own_and_a_share_in_that_of_the_circle() {
        let clocked = Clocked::new(QuotaSettings {
            caller_rate: 3,
            circle_rate: 5,
            ..NO_LIMIT
        });
        assert_eq!(clocked.admitted(1, 1, 10), 3);
        assert_eq!(clocked.admitted(1, 2, 10), 2);
        let exceeded = clocked.admit(1, 3).unwrap_err();
        assert_eq!(exceeded.limit, "limits.circle_rate");
        assert_eq!(
            clocked.admitted(2, 1, 10),
            3,
            "the same key in another circle"
        );
    }

    #[test]
    fn calls_that_the_circle_refuses_cost_the_caller_nothing() {
        let mut clocked = Clocked::new(QuotaSettings {
            caller_rate: 2,
            circle_rate: 1,
            ..NO_LIMIT
        });
        assert_eq!(clocked.admitted(1, 1, 10), 1);
        clocked.wait(Duration::from_millis(500));
        assert_eq!(clocked.admitted(1, 2, 10), 0);
        clocked.wait(Duration::from_millis(500));
        assert_eq!(clocked.admitted(1, 2, 10), 1);
    }

    #[test]
    fn those_who_have_proved_no_key_are_one_caller_at_each_address() {
        let clocked = Clocked::new(QuotaSettings {
            caller_rate: 1,
            ..NO_LIMIT
        });
        let anonymous = |address: &str| {
            let who = Who::Address(Network::of(address.parse().unwrap()));
            clocked.quotas.admit(&key(1), who, clocked.now).is_ok()
        };
        assert!(anonymous("192.0.2.1") && !anonymous("192.0.2.1"));
        assert!(anonymous("192.0.2.2") && clocked.admit(1, 1).is_ok());
    }

    #[test]
    fn a_place_is_given_back() {
        let clocked = Clocked::new(QuotaSettings {
            caller_jobs: 2,
            circle_jobs: 3,
            ..NO_LIMIT
        });
        let one = [clocked.admit(1, 1).unwrap(), clocked.admit(1, 1).unwrap()];
        let exceeded = clocked.admit(1, 1).unwrap_err();
        assert_eq!(exceeded.limit, "limits.caller_jobs");
        let two = clocked.admit(1, 2).unwrap();
        let exceeded = clocked.admit(1, 2).unwrap_err();
        assert_eq!(exceeded.limit, "limits.circle_jobs");
        drop(one);
        let again = [clocked.admit(1, 2).unwrap(), clocked.admit(1, 1).unwrap()];
        drop((two, again));
        let circle = clocked.quotas.circles.get(&key(1)).unwrap();
        assert_eq!(circle.jobs.load(Relaxed), 0);
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let clocked = Clocked::new(NO_LIMIT);
        assert_eq!(clocked.admitted(1, 1, 100_000), 100_000);
        assert!(clocked.quotas.callers.is_empty());
    }

    #[test]
    fn a_million_callers_do_not_stay() {
        let mut clocked = Clocked::new(QuotaSettings {
            caller_rate: 10,
            circle_rate: 1_000_000,
            ..NO_LIMIT
        });
        let mut most = 0;
        for n in 0..1_000_000 {
            clocked.admit(n % 1000, n).unwrap();
            clocked.wait(Duration::from_micros(100));
            if n % 1000 == 0 {
                most = most.max(clocked.quotas.callers.len());
            }
        }
        // The callers of the last 100 ms, a thousand of them, have yet to pay off their call.
        assert!(most <= 2 * NEWCOMERS + 1000, "{most} callers were kept");
        clocked.wait(Duration::from_secs(11));
        clocked.admit(1, 1).unwrap();
        let Quotas {
            callers, circles, ..
        } = &clocked.quotas;
        assert_eq!((callers.len(), circles.len()), (1, 1));
        assert!(callers.capacity() <= 8 * NEWCOMERS);
    }

    #[test]
    fn busy_callers_are_not_forgotten() {
        let mut clocked = Clocked::new(QuotaSettings {
            caller_rate: 1,
            caller_jobs: 1,
            circle_jobs: 1,
            ..NO_LIMIT
        });
        let permit = clocked.admit(1, 1).unwrap();
        clocked.wait(Duration::from_secs(60));
        clocked.admit(2, 2).unwrap();
        let limit = |caller| clocked.admit(1, caller).map_err(|exceeded| exceeded.limit);
        assert_eq!(limit(1).unwrap_err(), "limits.caller_jobs");
        assert_eq!(limit(2).unwrap_err(), "limits.circle_jobs");
        drop(permit);
        assert!(limit(1).is_ok());
    }

    #[test]
    fn threads_get_no_more_than_one_would() {
        let clocked = Clocked::new(QuotaSettings {
            caller_rate: 1000,
            circle_rate: 1500,
            ..NO_LIMIT
        });
        let clocked = &clocked;
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|n| scope.spawn(move || clocked.admitted(1, n % 2, 1000)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, 1500);
    }

    #[test]
    fn an_error_says_when_to_come_back() {
        let error = Error::from(Exceeded {
            limit: "limits.caller_rate",
            retry_after: Duration::from_micros(1001),
        });
        let data = error.data().unwrap();
        assert_eq!(
            (&data["limit"], &data["retry_after_ms"]),
            (&"limits.caller_rate".into(), &2.into())
        );
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            rate in 1_u32..400,
            steps in prop::collection::vec((0_u64..400_000_000, 0_usize..300), 1..20),
        ) {
            let mut clocked = Clocked::new(QuotaSettings { caller_rate: rate, ..NO_LIMIT });
            // Any two steps, and everything between them.
            let mut history: Vec<(Instant, usize)> = Vec::new();
            for (nanos, calls) in steps {
                clocked.wait(Duration::from_nanos(nanos));
                let admitted = clocked.admitted(1, 1, calls);
                history.push((clocked.now, admitted));
                let mut sum = 0;
                for (since, admitted) in history.iter().rev() {
                    sum += admitted;
                    let time = clocked.now.duration_since(*since).as_secs_f64();
                    let most = f64::from(rate) * (1.0 + time);
                    prop_assert!(sum as f64 <= most + 1e-6, "{sum} in {time} s at {rate}/s");
                }
            }
        }

        #[test]
        fn callers_that_wait_as_told_are_admitted(rate in 1_u32..1000, ahead in 0_u64..2_000_000_000) {
            let mut clocked = Clocked::new(QuotaSettings { caller_rate: rate, ..NO_LIMIT });
            clocked.wait(Duration::from_nanos(ahead));
            clocked.admitted(1, 1, rate as usize);
            let exceeded = clocked.admit(1, 1).unwrap_err();
            clocked.wait(exceeded.retry_after.saturating_sub(Duration::from_nanos(1)));
            prop_assert!(clocked.admit(1, 1).is_err());
            clocked.wait(Duration::from_nanos(1));
            prop_assert!(clocked.admit(1, 1).is_ok());
        }
    }
}
