//! Scripts that try to hang, crash or bloat the process. Each must end in one of the ways it is allowed to,
//! in time, and leave no memory behind, on a script thread and on a session's.

mod modules;
mod table;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

use circled_protocol::FailureKind;
use serde_json::{Value, json};

use super::{Inputs, Limits, Occasion, Outcome, RunError, Sandbox, meter, stack};
use crate::units::{self, PositiveDuration};

use table::{
    CYCLES,
    End::{self, Compile, Depth, Fine, Memory, Operations, Runtime, Size, TimedOut},
    table,
};

const SLACK: Duration = Duration::from_millis(100);
const KEPT: isize = 2048;

fn end_of(outcome: &Outcome) -> End {
    match outcome {
        Ok(_) => Fine,
        Err(RunError::TimedOut { .. }) => TimedOut,
        Err(RunError::Failed(failure)) => match failure.kind {
            FailureKind::Compile => Compile,
            FailureKind::Runtime => Runtime,
            FailureKind::Operations => Operations,
            FailureKind::Memory => Memory,
            FailureKind::Size => Size,
            FailureKind::Depth => Depth,
        },
        Err(error) => panic!("{error:?}"),
    }
}

fn inputs(args: &Value) -> Inputs<'_> {
    Inputs {
        caller_id: &"03cc",
        caller: None,
        context_id: &"02aa",
        job_id: &"job-1",
        durable: None,
        occasion: Occasion::now(),
        args,
        event: None,
        modules: None,
    }
}

/// Returns the processor time of this thread: what else the machine does takes none of it.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// Returns true if a run ended for want of time though it used less of the processor's: the machine did something else.
fn was_kept_waiting(end: End, took: Duration, most: Duration) -> bool {
    end == TimedOut && took < most / 10 * 9
}

fn shorten(source: &str) -> &str {
    &source[..source.floor_char_boundary(120)]
}

/// Everything is tried before any of it fails, so that one run shows all that is wrong.
fn report(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn hostile_scripts_end_on_a_script_thread() {
    let work = || {
        let limits = Limits::small();
        let sandbox = Sandbox::new(limits.clone());
        let never = Arc::new(AtomicBool::new(false));
        let args = json!([1, 2]);
        let mut problems = Vec::new();
        for (name, source, allowed) in table() {
            let (mut kept, mut fastest) = (isize::MAX, Duration::MAX);
            for round in 0..3 {
                let before = meter::net();
                let (start, used) = (Instant::now(), thread_time());
                let outcome = sandbox.run(
                    &source,
                    &inputs(&args),
                    &mut None,
                    Some(start + limits.timeout.get()),
                    &never,
                );
                let took = thread_time() - used;
                let end = end_of(&outcome);
                let told = outcome.as_ref().err().map(ToString::to_string);
                drop(outcome);
                if !allowed.contains(&end) && !was_kept_waiting(end, took, limits.timeout.get()) {
                    problems.push(format!(
                        "{name}: ended {end:?} ({told:?}), not {allowed:?}: {}",
                        shorten(&source)
                    ));
                }
                fastest = fastest.min(took);
                drop(told);
                if round > 0 {
                    kept = kept.min(meter::net() - before);
                }
            }
            if fastest > limits.timeout.get() + SLACK {
                problems.push(format!("{name}: took {fastest:?}: {}", shorten(&source)));
            }
            if kept > KEPT {
                problems.push(format!("{name}: kept {kept} bytes: {}", shorten(&source)));
            }
        }
        problems
    };
    let problems = stack::spawn("hostile".to_owned(), work)
        .unwrap()
        .join()
        .unwrap();
    report(&problems);
}

#[test]
fn cycles_are_there_to_be_broken() {
    let sandbox = Sandbox::new(Limits::small());
    let never = Arc::new(AtomicBool::new(false));
    for (name, source) in CYCLES {
        let args = Value::Null;
        let broken = stack::with_large(|| {
            let outcome = sandbox.run(
                source,
                &inputs(&args),
                &mut None,
                Some(Instant::now() + Duration::from_secs(5)),
                &never,
            );
            drop(outcome);
            super::captured_variables::broken()
        });
        assert!(broken.unwrap() > 0, "{name}: {source}");
    }
}

/// The deepest values that fit in memory are cloned and dropped, with room on the stack to spare.
#[test]
fn the_deepest_values_fit_on_the_stack() {
    let limits = Limits {
        max_operations: NonZeroU64::new(u64::MAX).unwrap(),
        max_memory: units::Size::new(stack::MAX_MEMORY).unwrap(),
        max_array: NonZeroUsize::new(usize::MAX).unwrap(),
        max_map: NonZeroUsize::new(usize::MAX).unwrap(),
        timeout: PositiveDuration::new(Duration::from_secs(60)).unwrap(),
        ..Limits::small()
    };
    let sandbox = Sandbox::new(limits);
    let never = Arc::new(AtomicBool::new(false));
    for source in [
        "let f = || 0; loop { let g = f; f = || g.call(); }",
        "let f = 0; loop { let g = [f]; f = || g; }",
        "let f = 0; loop { let g = #{x: f}; f = || g; }",
        "let f = 0; loop { let g = (|x| x).curry(f); f = || g; }",
    ] {
        let start = Instant::now();
        let outcome = sandbox.run(
            source,
            &inputs(&Value::Null),
            &mut None,
            Some(start + Duration::from_secs(60)),
            &never,
        );
        assert_eq!(end_of(&outcome), Memory, "{source}");
    }
}

#[test]
fn hostile_scripts_end_on_a_small_stack() {
    let work = || {
        let limits = Limits::small();
        let sandbox = Sandbox::new(limits.clone());
        let args = json!([1, 2]);
        let mut problems = Vec::new();
        for (name, source, allowed) in table() {
            let (mut kept, mut fastest) = (isize::MAX, Duration::MAX);
            for round in 0..3 {
                sandbox.assume_short(&source);
                let before = meter::net();
                let used = thread_time();
                let result = sandbox.try_run(&source, &inputs(&args), &mut None);
                let took = thread_time() - used;
                if let Some(end) = result
                    .as_ref()
                    .map(end_of)
                    .filter(|end| !allowed.contains(end))
                {
                    problems.push(format!(
                        "{name}: ended {end:?}, not {allowed:?}: {}",
                        shorten(&source)
                    ));
                }
                fastest = fastest.min(took);
                drop(result);
                if round > 0 {
                    kept = kept.min(meter::net() - before);
                }
            }
            if fastest > limits.fast_time + SLACK {
                problems.push(format!("{name}: took {fastest:?}: {}", shorten(&source)));
            }
            if kept > KEPT {
                problems.push(format!("{name}: kept {kept} bytes: {}", shorten(&source)));
            }
        }
        problems
    };
    // As Tokio's worker threads have it.
    let problems = thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
    report(&problems);
}
