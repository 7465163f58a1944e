//! The `[script]` settings.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error};

use super::stack;
use crate::units::{PositiveDuration, Size};

/// The limits of scripts. The defaults, with what each is for, stand in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Threads that run scripts; 0 means one per core.
    #[serde(deserialize_with = "few_threads")]
    pub threads: usize,
    /// Runs that may wait for a thread, over all circles; one more is refused.
    pub queue: NonZeroUsize,
    /// Runs that may be set aside half-way for others, each on a thread of its own. With more, the one
    /// that has used most ends; 0: none is set aside.
    pub max_aside: usize,
    /// Bytes that those may hold, all together, as the allocator counts them.
    #[serde(with = "crate::units::size")]
    pub max_aside_memory: usize,
    /// The longest a run may take, compiling included. While it is set aside, no time passes.
    pub timeout: PositiveDuration,
    /// Steps of the interpreter in one run; functions that work on much data count as several.
    pub max_operations: NonZeroU64,
    /// Bytes a run may hold at any time, as the allocator counts them; compiling counts too.
    pub max_memory: Size<1, { stack::MAX_MEMORY }>,
    /// Bytes of source.
    pub max_source: Size,
    /// Nested function calls.
    pub max_call_depth: NonZeroUsize,
    /// Nesting of expressions and blocks, outside functions and inside one.
    pub max_expr_depth: NonZeroUsize,
    /// Bytes of one string or blob. What operators make may be twice as long.
    pub max_string: Size,
    /// Elements of one array. What operators make may be twice as long.
    pub max_array: NonZeroUsize,
    /// Entries of one map. Those that are assigned are bounded by memory.
    pub max_map: NonZeroUsize,
    /// Variables in scope at once.
    pub max_variables: NonZeroUsize,
    /// Functions and closures that a script defines.
    pub max_functions: usize,
    /// Scripts that a run may import, those that they import included.
    pub max_modules: usize,
    /// Bytes of `output`, and of `value` as JSON.
    pub max_result: Size,
    /// Nesting of arrays and maps in the result; most JSON parsers stop at 128.
    #[serde(deserialize_with = "json_depth")]
    pub max_result_depth: NonZeroUsize,
    /// Bytes that `print` and `debug` keep; what comes after is dropped, and a last line says so.
    #[serde(with = "crate::units::size")]
    pub max_logs: usize,
    /// Bytes of compiled scripts kept over all threads.
    #[serde(with = "crate::units::size")]
    pub cache: usize,
    /// Operations of a run on a session's own thread; what needs more starts over on a script thread.
    pub fast_operations: u64,
    /// Memory of a run on a session's own thread.
    pub fast_memory: Size<0, { stack::MAX_FOREIGN_MEMORY }>,
    /// Time of a run on a session's own thread.
    #[serde(with = "crate::units::duration")]
    pub fast_time: Duration,
}

impl Limits {
    /// Returns how many threads run scripts.
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 {
            self.threads
        } else {
            cores()
        }
    }

    /// Returns a thread's share of [`Limits::cache`]: script threads, with Redis as many that compile, and one session
    /// thread per core. Those that stand in for what is set aside have none.
    pub(super) fn cache_per_thread(&self) -> usize {
        self.cache / (2 * self.thread_count() + cores())
    }

    /// Returns the limits of tests: small, so that hostile scripts hit them soon.
    #[cfg(test)]
    pub(crate) fn small() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap();
        Self {
            threads: 1,
            queue: count(16),
            max_aside: 4,
            max_aside_memory: 16 << 20,
            timeout: PositiveDuration::new(Duration::from_millis(500)).unwrap(),
            max_operations: NonZeroU64::new(1_000_000).unwrap(),
            max_memory: Size::new(16 << 20).unwrap(),
            max_source: Size::new(256 << 10).unwrap(),
            max_call_depth: count(64),
            max_expr_depth: count(64),
            max_string: Size::new(1 << 20).unwrap(),
            max_array: count(65_536),
            max_map: count(65_536),
            max_variables: count(1000),
            max_functions: 500,
            max_modules: 16,
            max_result: Size::new(1 << 20).unwrap(),
            max_result_depth: count(64),
            max_logs: 64 << 10,
            cache: 32 << 20,
            fast_operations: 10_000,
            fast_memory: Size::new(256 << 10).unwrap(),
            fast_time: Duration::from_millis(1),
        }
    }
}

/// The most script threads. Each reserves room for a deep stack.
const MOST_THREADS: usize = 1024;

fn few_threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let threads = usize::deserialize(deserializer)?;
    if threads > MOST_THREADS {
        return Err(D::Error::custom(format!(
            "must be {MOST_THREADS} at most; 0 means one per core"
        )));
    }
    Ok(threads)
}

/// Reads a nesting that the readers of JSON can take.
fn json_depth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    let depth = NonZeroUsize::deserialize(deserializer)?;
    if depth.get() > circled_json::DEEPEST {
        return Err(D::Error::custom(format!(
            "must be {} at most: JSON can't be read much deeper",
            circled_json::DEEPEST
        )));
    }
    Ok(depth)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
