//! Tests that hold on both backends: jobs run in the server itself, or through Redis.
//!
//! [`on_both!`] at the end of a file lists such tests. Each runs once for each backend, against the same servers with
//! the same settings but for the backend. A test that isn't listed, and isn't a `#[test]` of one backend alone, is dead
//! code, which the lints refuse.

use std::{
    cell::RefCell,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use tokio::runtime::{self, Runtime};

use crate::harness::redis::{Program, RedisServer};

/// The backend of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Embedded,
    Redis,
}

/// A Redis of a test.
#[derive(Debug, Clone)]
struct RedisOfTest {
    url: String,
    /// The value of `dispatch.redis.durability`.
    durability: &'static str,
}

thread_local! {
    /// The Redis of the test on this thread, if it has one.
    static REDIS: RefCell<Option<RedisOfTest>> = const { RefCell::new(None) };
}

/// Makes a test for each backend of each of these functions.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $test() {
                $crate::harness::backend::run($crate::harness::backend::Backend::Embedded, super::$test());
            })+
        }

        mod redis {
            $(#[test]
            fn $test() {
                $crate::harness::backend::run($crate::harness::backend::Backend::Redis, super::$test());
            })+
        }
    };
}
pub(crate) use on_both;

/// Makes a test for the oldest Redis, and one for a Valkey that syncs everything before it is acknowledged, of each of
/// these functions. They are some of those of [`on_both!`]: few, but all kinds of work.
macro_rules! on_other_servers {
    ($($test:ident),+ $(,)?) => {
        mod redis_6 {
            $(#[test]
            fn $test() {
                use $crate::harness::{backend::run_on, redis::Program};
                run_on(Program::Redis6, &[], "memory", super::$test());
            })+
        }

        mod valkey {
            $(#[test]
            fn $test() {
                use $crate::harness::{backend::run_on, redis::Program};
                run_on(Program::Valkey, &["--appendfsync", "always"], "synced", super::$test());
            })+
        }
    };
}
pub(crate) use on_other_servers;

/// Runs a test to its end. The servers that it starts on this thread have that backend.
pub(crate) fn run(backend: Backend, test: impl Future<Output = ()>) {
    match backend {
        Backend::Embedded => {
            // Another test may have had this thread before.
            REDIS.set(None);
            runtime().block_on(test);
        }
        Backend::Redis => run_on(Program::Installed, &[], "memory", test),
    }
}

/// Runs a test to its end. The servers that it starts on this thread use a Redis of this program, with these options.
pub(crate) fn run_on(
    program: Program,
    options: &[&str],
    durability: &'static str,
    test: impl Future<Output = ()>,
) {
    runtime().block_on(async {
        let redis = RedisServer::start_program(program, options).await;
        REDIS.set(Some(RedisOfTest {
            url: redis.url(),
            durability,
        }));
        test.await;
        REDIS.set(None);
    });
}

fn runtime() -> Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Returns the backend of the test on this thread.
pub(crate) fn backend() -> Backend {
    match redis() {
        None => Backend::Embedded,
        Some(_) => Backend::Redis,
    }
}

/// Returns the URL of the Redis of the test on this thread, if it has one.
pub(crate) fn redis() -> Option<String> {
    REDIS.with_borrow(|redis| redis.as_ref().map(|redis| redis.url.clone()))
}

/// Returns the settings with which a server passes its jobs through this Redis, and runs them as well. The next server
/// with the same `data` finds the state of the one before, as in a data folder.
pub(crate) fn through(redis: &str, data: &Path) -> [(&'static str, String); 6] {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let namespace = format!("test-{:x}", hasher.finish());
    let durability =
        REDIS.with_borrow(|redis| redis.as_ref().map_or("memory", |redis| redis.durability));
    [
        ("CIRCLED_DISPATCH__BACKEND", "redis".to_owned()),
        ("CIRCLED_DISPATCH__REDIS__URL", redis.to_owned()),
        ("CIRCLED_DISPATCH__REDIS__NAMESPACE", namespace),
        ("CIRCLED_DISPATCH__REDIS__WORKER", "true".to_owned()),
        ("CIRCLED_DISPATCH__REDIS__DURABILITY", durability.to_owned()),
        // The next server soon takes over the jobs of a killed one.
        ("CIRCLED_DISPATCH__REDIS__LEASE", "1s".to_owned()),
    ]
}
