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

use tokio::runtime;

use crate::harness::redis::RedisServer;

/// The backend of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Embedded,
    Redis,
}

thread_local! {
    /// The Redis of the test on this thread, if it has one.
    static REDIS: RefCell<Option<String>> = const { RefCell::new(None) };
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

/// Runs a test to its end. The servers that it starts on this thread have that backend.
pub(crate) fn run(backend: Backend, test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let redis = match backend {
            Backend::Embedded => None,
            Backend::Redis => Some(RedisServer::start().await),
        };
        // Another test may have had this thread before.
        REDIS.set(redis.as_ref().map(RedisServer::url));
        test.await;
        REDIS.set(None);
    });
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
    REDIS.with_borrow(Clone::clone)
}

/// Returns the settings with which a server passes its jobs through this Redis, and runs them as well. The next server
/// with the same `data` finds the state of the one before, as in a data folder.
pub(crate) fn through(redis: &str, data: &Path) -> [(&'static str, String); 5] {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let namespace = format!("test-{:x}", hasher.finish());
    [
        ("CIRCLED_DISPATCH__BACKEND", "redis".to_owned()),
        ("CIRCLED_DISPATCH__REDIS__URL", redis.to_owned()),
        ("CIRCLED_DISPATCH__REDIS__NAMESPACE", namespace),
        ("CIRCLED_DISPATCH__REDIS__WORKER", "true".to_owned()),
        // The next server soon takes over the jobs of a killed one.
        ("CIRCLED_DISPATCH__REDIS__LEASE", "1s".to_owned()),
    ]
}
