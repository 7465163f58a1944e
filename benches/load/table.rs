//! Turns rounds into lines: medians, because the machine is never quiet, and ratios within a round.

use std::time::Duration;

use serde_json::{Value, json};

use crate::session::Tally;

/// The result of one round at one server.
#[derive(Debug, Clone)]
pub(super) struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    errors: usize,
    answered: usize,
    /// The server's processor time for each.
    cpu: Option<Duration>,
}

/// The result of all rounds at one server.
#[derive(Debug)]
pub(super) struct Line {
    what: String,
    server: String,
    per_second: f64,
    p50: f64,
    p99: f64,
    /// The ratio to the first server of the same round: median, least, most.
    ratio: Option<[f64; 3]>,
    /// The server's processor time for each, in microseconds.
    cpu: f64,
    pub(super) errors: usize,
}

/// The figure that is compared with the first server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    PerSecond,
    P99,
}

impl Round {
    pub(super) fn new(tallies: Vec<Tally>, over: Duration) -> Self {
        let errors = tallies.iter().map(|tally| tally.errors).sum();
        let answered = tallies.iter().map(|tally| tally.answered).sum();
        let taken: Vec<Duration> = tallies.into_iter().flat_map(|tally| tally.taken).collect();
        let per_second = taken.len() as f64 / over.as_secs_f64();
        Self {
            answered,
            ..Self::measured(per_second, taken, errors)
        }
    }

    /// Creates the result of a round that somebody else has measured, with the latencies of some of its requests.
    pub(super) fn measured(per_second: f64, mut taken: Vec<Duration>, errors: usize) -> Self {
        taken.sort_unstable();
        let at = |share: f64| {
            taken
                .get((taken.len() as f64 * share) as usize)
                .copied()
                .unwrap_or_default()
        };
        Self {
            per_second,
            p50: at(0.5),
            p99: at(0.99),
            errors,
            answered: taken.len(),
            cpu: None,
        }
    }

    /// Adds the processor time of the server's processes in this round.
    pub(super) fn with_cpu(mut self, cpu: Option<Duration>) -> Self {
        self.cpu = cpu.map(|cpu| cpu / u32::try_from(self.answered.max(1)).unwrap_or(u32::MAX));
        self
    }
}

impl Line {
    /// Creates a line from the rounds at one server, and those at the server that it is compared with.
    pub(super) fn new(
        what: &str,
        server: &str,
        rounds: &[Round],
        base: &[Round],
        beside: Beside,
    ) -> Self {
        let figure = |round: &Round| match beside {
            Beside::Nothing => f64::NAN,
            Beside::PerSecond => round.per_second,
            Beside::P99 => round.p99.as_secs_f64(),
        };
        let micros = |of: fn(&Round) -> Duration| {
            median(rounds.iter().map(|round| of(round).as_secs_f64() * 1e6))
        };
        Self {
            what: what.to_owned(),
            server: server.to_owned(),
            per_second: median(rounds.iter().map(|round| round.per_second)),
            p50: micros(|round| round.p50),
            p99: micros(|round| round.p99),
            ratio: (beside != Beside::Nothing).then(|| {
                let ratios = rounds.iter().zip(base);
                let ratios = ratios.map(|(round, base)| figure(round) / figure(base));
                let (least, most) = ratios
                    .clone()
                    .fold((f64::INFINITY, 0.0_f64), |(least, most), ratio| {
                        (least.min(ratio), most.max(ratio))
                    });
                [median(ratios), least, most]
            }),
            cpu: median(
                rounds
                    .iter()
                    .filter_map(|round| Some(round.cpu?.as_secs_f64() * 1e6)),
            ),
            errors: rounds.iter().map(|round| round.errors).sum(),
        }
    }

    /// Prints the head of the following lines, with the base of their ratios.
    pub(super) fn print_head(base: &str) {
        let ratio = match base {
            "" => String::new(),
            base => format!("   beside {base} (least to most)"),
        };
        println!(
            "\n{:<24} {:<16} {:>10} {:>9} {:>9} {:>9}{ratio}",
            "", "", "per second", "p50", "p99", "cpu each"
        );
    }

    pub(super) fn print(&self) {
        let ratio = self.ratio.map_or(String::new(), |[median, least, most]| {
            format!("{median:>11.2} ({least:.2} to {most:.2})")
        });
        let errors = match self.errors {
            0 => String::new(),
            errors => format!("  {errors} ERRORS"),
        };
        let cpu = if self.cpu.is_nan() {
            format!("{:>9}", "")
        } else {
            format!("{:>6.1} us", self.cpu)
        };
        let line = format!(
            "{:<24} {:<16} {:>10.0} {:>6.0} us {:>6.0} us {cpu}   {ratio}{errors}",
            self.what, self.server, self.per_second, self.p50, self.p99
        );
        println!("{}", line.trim_end());
    }

    pub(super) fn json(&self) -> Value {
        let [ratio, least, most] = self.ratio.unwrap_or([f64::NAN; 3]);
        json!({
            "what": self.what,
            "server": self.server,
            "per_second": self.per_second,
            "p50_us": self.p50,
            "p99_us": self.p99,
            "cpu_us": self.cpu,
            // Values that aren't numbers become null.
            "beside_first": { "median": ratio, "least": least, "most": most },
            "errors": self.errors,
        })
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
