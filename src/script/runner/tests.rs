use std::sync::mpsc;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use std::time::Duration;

use uuid::Uuid;

use super::{QueueFull, RoomFull, Runner, RunnerLimits, aside::ahead, run_slot};

fn wanted() -> Arc<AtomicBool> {
    Arc::default()
}

fn limits(slots: usize, queue: usize) -> RunnerLimits {
    RunnerLimits {
        slots,
        queue,
        waiting: 3,
        aside: 2,
        aside_memory: 1000 << 20,
    }
}

/// A runner of one thread that is busy until the gate is opened.
fn busy(queue: usize) -> (Runner<u8>, mpsc::Sender<()>) {
    let runner = Runner::start(limits(1, queue)).unwrap();
    let (gate, closed) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    let first = move || {
        started.send(()).unwrap();
        closed.recv().unwrap();
    };
    runner.submit([0; 2], wanted(), Box::new(first)).unwrap();
    running.recv().unwrap();
    (runner, gate)
}

#[test]
fn a_full_queue_refuses_and_a_closed_one_too() {
    let (runner, gate) = busy(2);
    let submit = |key| runner.submit([key; 2], wanted(), Box::new(|| ()));
    assert_eq!([submit(1), submit(1)], [Ok(()); 2]);
    assert_eq!(submit(1), Err(QueueFull));
    assert_eq!([submit(2), submit(3)], [Ok(()); 2], "one key leaves room");
    assert_eq!([submit(2), submit(4)], [Err(QueueFull); 2]);
    gate.send(()).unwrap();
    runner.shutdown();
    runner.shutdown();
    assert_eq!(submit(5), Err(QueueFull));
}

#[test]
fn a_full_queue_takes_as_much_of_a_key_as_is_its_share() {
    let (runner, gate) = busy(4);
    let submit = |key| runner.submit([key; 2], wanted(), Box::new(|| ()));
    assert_eq!([(); 4].map(|()| submit(1)), [Ok(()); 4]);
    assert_eq!([submit(2), submit(2)], [Ok(()); 2]);
    assert_eq!([submit(1), submit(2)], [Err(QueueFull); 2]);
    gate.send(()).unwrap();
    runner.shutdown();
}

#[test]
fn sessions_wait_for_a_place_in_their_turns_until_too_many_bytes_do() {
    let (runner, gate) = busy(2);
    let (done, ran) = mpsc::channel();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let submit = |session, key, given_up: &Arc<AtomicBool>, n| {
        let done = done.clone();
        let task = Box::new(move || done.send(n).unwrap());
        runner.submit_waiting(session, 1, [key; 2], given_up.clone(), task)
    };
    let (wanted, given_up) = (wanted(), wanted());
    for n in 0..4 {
        assert_eq!(submit(first, 1, &wanted, n), Ok(()));
    }
    assert_eq!(submit(second, 1, &given_up, 100), Ok(()));
    assert_eq!(submit(first, 1, &wanted, 101), Err(RoomFull));
    given_up.store(true, Ordering::Relaxed);
    assert_eq!(submit(second, 1, &wanted, 4), Ok(()));
    gate.send(()).unwrap();
    runner.shutdown();
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 3]);
    assert_eq!(submit(first, 1, &wanted, 5), Err(RoomFull));
}

#[test]
fn the_first_task_of_a_caller_does_not_wait_for_a_place() {
    let (runner, gate) = busy(4);
    let (done, ran) = mpsc::channel();
    let submit = |session, key, n| {
        let done = done.clone();
        let task = Box::new(move || done.send(n).unwrap());
        let session = Uuid::from_u128(session);
        runner.submit_waiting(session, 0, [key; 2], wanted(), task)
    };
    for n in 0..20 {
        assert_eq!(submit(1, 1, n), Ok(()));
    }
    for key in 2..5 {
        assert_eq!(submit(key.into(), key, 100), Ok(()));
    }
    gate.send(()).unwrap();
    runner.shutdown();
    let order: Vec<_> = ran.try_iter().collect();
    let last = order.iter().rposition(|n| *n == 100).unwrap();
    assert!(last < 8, "{order:?}");
    assert_eq!(order.len(), 23);
    assert!(order.iter().filter(|n| **n < 100).is_sorted(), "{order:?}");
}

#[test]
fn what_is_given_up_leaves_its_place() {
    let (runner, gate) = busy(2);
    let given_up = wanted();
    for _ in 0..2 {
        let never = || panic!("nobody wants it");
        runner
            .submit([1; 2], given_up.clone(), Box::new(never))
            .unwrap();
    }
    given_up.store(true, Ordering::Relaxed);
    let (done, ran) = mpsc::channel();
    for n in 0..2 {
        let done = done.clone();
        let task = move || done.send(n).unwrap();
        runner.submit([1; 2], wanted(), Box::new(task)).unwrap();
    }
    gate.send(()).unwrap();
    runner.shutdown();
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_panicking_task_harms_no_other() {
    let runner = Runner::start(limits(1, 10)).unwrap();
    let (done, order) = mpsc::channel();
    runner
        .submit(
            [1; 2],
            wanted(),
            Box::new(|| std::panic::resume_unwind(Box::new(()))),
        )
        .unwrap();
    runner
        .submit([1; 2], wanted(), Box::new(move || done.send(()).unwrap()))
        .unwrap();
    order.recv().unwrap();
}

#[test]
fn a_thread_with_a_spent_stack_is_replaced() {
    let runner = Runner::start(limits(1, 10)).unwrap();
    let (done, threads) = mpsc::channel();
    for spend in [false, true, false] {
        let done = done.clone();
        let task = move || {
            if spend {
                super::stack::mark_spent();
            }
            done.send(std::thread::current().id()).unwrap();
        };
        runner.submit([1; 2], wanted(), Box::new(task)).unwrap();
    }
    drop(done);
    let threads: Vec<_> = threads.iter().collect();
    assert_eq!(threads[0], threads[1]);
    assert_ne!(threads[1], threads[2]);
    runner.shutdown();
}

/// Gives way until `done`, as a script does from within the interpreter.
fn spin(done: &AtomicBool, memory: usize) {
    while !done.load(Ordering::Relaxed) {
        if run_slot::is_wanted() {
            let may_go_on = run_slot::yield_slot(memory, &|| false);
            assert!(may_go_on);
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_long_run_is_set_aside_for_others_and_goes_on() {
    let runner = Runner::start(limits(1, 10)).unwrap();
    let (begun, begins) = mpsc::channel();
    let (over, ended) = (wanted(), wanted());
    let (is_over, has_ended) = (over.clone(), ended.clone());
    let long = move || {
        begun.send(()).unwrap();
        spin(&is_over, 1);
        has_ended.store(true, Ordering::Relaxed);
    };
    runner.submit([1; 2], wanted(), Box::new(long)).unwrap();
    begins.recv().unwrap();
    let (done, ran) = mpsc::channel();
    for n in 0..3 {
        let done = done.clone();
        let short = move || done.send(n).unwrap();
        runner.submit([2; 2], wanted(), Box::new(short)).unwrap();
        assert_eq!(ran.recv().unwrap(), n);
    }
    assert!(!ended.load(Ordering::Relaxed));
    over.store(true, Ordering::Relaxed);
    runner.shutdown();
    assert!(ended.load(Ordering::Relaxed));
}

/// Has the processor for so long.
fn compute(time: Duration) {
    let begun = super::used_time();
    while super::used_time() - begun < time {
        std::hint::spin_loop();
    }
}

#[test]
fn time_without_the_processor_is_not_charged_but_each_wait_is() {
    let runner = Runner::start(limits(1, 10)).unwrap();
    let ms = Duration::from_millis;
    let sleep = move || std::thread::sleep(ms(200));
    let waits = move || (0..200).for_each(|_| run_slot::waiting(|| std::thread::sleep(ms(1))));
    let uses: [(u8, Box<dyn FnOnce() + Send>); 4] = [
        (1, Box::new(sleep)),
        (2, Box::new(move || run_slot::waiting(sleep))),
        (3, Box::new(move || compute(ms(10)))),
        (4, Box::new(waits)),
    ];
    let (done, ran) = mpsc::channel();
    let (gate, closed) = mpsc::channel::<()>();
    let hold = Box::new(move || closed.recv().unwrap());
    runner.submit([0; 2], wanted(), hold).unwrap();
    for (key, work) in uses {
        runner.submit([key; 2], wanted(), work).unwrap();
    }
    for key in [4, 3, 2, 1] {
        let done = done.clone();
        let tell = Box::new(move || done.send(key).unwrap());
        runner.submit([key; 2], wanted(), tell).unwrap();
    }
    gate.send(()).unwrap();
    runner.shutdown();
    let order: Vec<_> = ran.try_iter().collect();
    assert_eq!(order[2..], [3, 4], "{order:?}");
}

#[test]
fn all_who_wait_are_far_ahead_within_a_second_or_after_a_slice() {
    let ahead = |waiting| ahead(2, waiting);
    let ms = Duration::from_millis;
    assert_eq!(
        [2, 20, 100, 400, 1000].map(ahead),
        [100, 100, 20, 5, 2].map(ms)
    );
}

#[test]
fn few_of_those_that_end_while_they_are_set_aside_end_at_once() {
    let limits = RunnerLimits {
        aside: 10,
        ..limits(1, 10)
    };
    let runner = Runner::start(limits).unwrap();
    let (begun, begins) = mpsc::channel();
    let (over, ending, most) = (wanted(), Arc::new(AtomicUsize::new(0)), Arc::default());
    for key in 0..6 {
        let (begun, over) = (begun.clone(), over.clone());
        let (ending, most): (_, Arc<AtomicUsize>) = (ending.clone(), Arc::clone(&most));
        let long = move || {
            begun.send(()).unwrap();
            while !over.load(Ordering::Relaxed) {
                if run_slot::is_wanted() {
                    run_slot::yield_slot(0, &|| over.load(Ordering::Relaxed));
                }
                std::thread::yield_now();
            }
            most.fetch_max(ending.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(30));
            ending.fetch_sub(1, Ordering::SeqCst);
        };
        runner.submit([key; 2], wanted(), Box::new(long)).unwrap();
        begins.recv().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    runner.shutdown();
    assert!(
        most.load(Ordering::SeqCst) <= 2,
        "one with the slot, and one without"
    );
}

#[test]
fn what_there_is_no_room_to_set_aside_ends() {
    let runner = Runner::start(limits(1, 10)).unwrap();
    let (begun, begins) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let over = wanted();
    for (key, memory) in [(1, 600 << 20), (2, 600 << 20), (3, 1001 << 20)] {
        let (begun, tell, over) = (begun.clone(), tell.clone(), over.clone());
        let long = move || {
            begun.send(key).unwrap();
            while !over.load(Ordering::Relaxed) {
                if run_slot::is_wanted() && !run_slot::yield_slot(memory, &|| false) {
                    return tell.send(key).unwrap();
                }
                std::thread::yield_now();
            }
        };
        runner.submit([key; 2], wanted(), Box::new(long)).unwrap();
        assert_eq!(begins.recv().unwrap(), key);
    }
    assert_ne!(told.recv().unwrap(), 3, "one of those that had begun");
    let (done, ran) = mpsc::channel();
    for n in 0..100 {
        let done = done.clone();
        let short = move || done.send(n).unwrap();
        runner.submit([9; 2], wanted(), Box::new(short)).unwrap();
        assert_eq!(ran.recv().unwrap(), n);
    }
    assert!(told.try_iter().any(|key| key == 3), "it never fits");
    over.store(true, Ordering::Relaxed);
}
