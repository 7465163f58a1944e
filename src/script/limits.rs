//! The `[script]` settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use super::stack;

/// The limits of scripts. The defaults, with what each is for, stand in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Threads that run scripts; 0 means one per core.
    pub threads: usize,
    /// Runs that may wait for a thread, over all circles; one more is refused.
    pub queue: usize,
    /// Runs that may be set aside half-way for others, each on a thread of its own. With more, the one
    /// that has used most ends; 0: none is set aside.
    pub max_aside: usize,
    /// Bytes that those may hold, all together, as the allocator counts them.
    #[serde(with = "crate::units::size")]
    pub max_aside_memory: usize,
    /// The longest a run may take, compiling included. While it is set aside, no time passes.
    #[serde(with = "crate::units::duration")]
    pub timeout: Duration,
    /// Steps of the interpreter in one run; functions that work on much data count as several.
    pub max_operations: u64,
    /// Bytes a run may hold at any time, as the allocator counts them; compiling counts too.
    #[serde(deserialize_with = "max_memory")]
    pub max_memory: usize,
    /// Bytes of source.
    #[serde(with = "crate::units::size")]
    pub max_source: usize,
    /// Nested function calls.
    pub max_call_depth: usize,
    /// Nesting of expressions and blocks, outside functions and inside one.
    pub max_expr_depth: usize,
    /// Bytes of one string or blob. What operators make may be twice as long.
    #[serde(with = "crate::units::size")]
    pub max_string: usize,
    /// Elements of one array. What operators make may be twice as long.
    pub max_array: usize,
    /// Entries of one map. Those that are assigned are bounded by memory.
    pub max_map: usize,
    /// Variables in scope at once.
    pub max_variables: usize,
    /// Functions and closures that a script defines.
    pub max_functions: usize,
    /// Scripts that a run may import, those that they import included.
    pub max_modules: usize,
    /// Bytes of `output`, and of `value` as JSON.
    #[serde(with = "crate::units::size")]
    pub max_result: usize,
    /// Nesting of arrays and maps in the result; most JSON parsers stop at 128.
    pub max_result_depth: usize,
    /// Bytes that `print` and `debug` keep; what comes after is dropped, and a last line says so.
    #[serde(with = "crate::units::size")]
    pub max_logs: usize,
    /// Bytes of compiled scripts kept over all threads.
    #[serde(with = "crate::units::size")]
    pub cache: usize,
    /// Operations of a run on a session's own thread; what needs more starts over on a script thread.
    pub fast_operations: u64,
    /// Memory of a run on a session's own thread.
    #[serde(deserialize_with = "fast_memory")]
    pub fast_memory: usize,
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
        Self {
            threads: 1,
            queue: 16,
            max_aside: 4,
            max_aside_memory: 16 << 20,
            timeout: Duration::from_millis(500),
            max_operations: 1_000_000,
            max_memory: 16 << 20,
            max_source: 256 << 10,
            max_call_depth: 64,
            max_expr_depth: 64,
            max_string: 1 << 20,
            max_array: 65_536,
            max_map: 65_536,
            max_variables: 1000,
            max_functions: 500,
            max_modules: 16,
            max_result: 1 << 20,
            max_result_depth: 64,
            max_logs: 64 << 10,
            cache: 32 << 20,
            fast_operations: 10_000,
            fast_memory: 256 << 10,
            fast_time: Duration::from_millis(1),
        }
    }
}

fn max_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_most(stack::MAX_MEMORY, deserializer)
}

fn fast_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_most(stack::MAX_FOREIGN_MEMORY, deserializer)
}

/// Memory is how deeply a value can be nested, and a thread's stack must be large enough to drop it.
fn at_most<'de, D: Deserializer<'de>>(most: usize, deserializer: D) -> Result<usize, D::Error> {
    let size = crate::units::size::deserialize(deserializer)?;
    if size > most {
        return Err(D::Error::custom(format!(
            "{size} bytes are too many; at most {} KiB are safe",
            most >> 10
        )));
    }
    Ok(size)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
