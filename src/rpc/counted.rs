//! Counts calls, by method and by how they end.

use std::{borrow::Cow, sync::LazyLock, time::Instant};

use circled_protocol::code;

use super::{Error, Method};
use crate::metrics::{CallLabels, Counter, Histogram, MethodLabels, OK, metrics};

/// The method of a call that names none of the server's, or that can't be read.
const UNKNOWN: &str = "unknown";
/// The code of a call whose session ended before its reply.
const LEFT: &str = "left";

/// A call that runs. Dropping it says that its session ended before the reply.
pub(super) struct CountedCall {
    method: &'static Method,
    begun: Instant,
    is_over: bool,
}

/// The counters of a method, for what is frequent.
struct OfMethod {
    ok: Counter,
    durations: Histogram,
}

/// The counters of all methods, in their order.
static OF_METHODS: LazyLock<Vec<OfMethod>> = LazyLock::new(|| {
    let of_method = |method: &'static Method| {
        let labels = labels(Some(method), OK);
        let method = MethodLabels {
            method: method.name,
        };
        OfMethod {
            ok: metrics().calls.get_or_create_owned(&labels),
            durations: metrics().call_durations.get_or_create_owned(&method),
        }
    };
    Method::all().map(of_method).collect()
});

impl CountedCall {
    pub(super) fn begin(method: &'static Method, begun: Instant) -> Self {
        Self {
            method,
            begun,
            is_over: false,
        }
    }

    /// Counts the call with the result that its caller gets.
    pub(super) fn end<T>(mut self, result: &Result<T, Error>) {
        self.is_over = true;
        let time = self.begun.elapsed();
        if let Some(of_method) = self
            .method
            .number()
            .and_then(|number| OF_METHODS.get(number))
        {
            of_method.durations.observe(time);
            if result.is_ok() {
                of_method.ok.increment();
            }
        }
        if let Err(error) = result {
            refused(Some(self.method), error);
        }
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        if !self.is_over {
            count(Some(self.method), LEFT);
        }
    }
}

/// Counts a call that is refused.
pub(super) fn refused(method: Option<&Method>, error: &Error) {
    count(method, error.code().to_string());
}

/// Creates the counters of all methods, also of the errors that alerts are about, so that the first one is an increase.
pub(crate) fn prepare() {
    LazyLock::force(&OF_METHODS);
    for method in Method::all() {
        for error in [code::INTERNAL_ERROR, code::UNAVAILABLE] {
            let labels = labels(Some(method), error.to_string());
            drop(metrics().calls.get_or_create(&labels));
        }
    }
}

fn count(method: Option<&Method>, code: impl Into<Cow<'static, str>>) {
    let labels = labels(method, code);
    metrics().calls.get_or_create(&labels).increment();
}

fn labels(method: Option<&Method>, code: impl Into<Cow<'static, str>>) -> CallLabels {
    CallLabels {
        method: method.map_or(UNKNOWN, |method| method.name),
        code: code.into(),
    }
}
