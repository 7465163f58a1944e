//! The slot that the run on this thread has among those that run at once. A run that has had its slice yields the slot
//! to others, from within the interpreter, and goes on where it was.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

/// The longest that a run keeps others waiting that have used less time.
pub(super) const SLICE: Duration = Duration::from_millis(10);

/// The most that one wait counts: what Redis takes to answer when nobody else keeps it busy. It is no setting: however far
/// Redis is, it need only be enough that a run which does nothing but wait doesn't go for free.
const WAIT: Duration = Duration::from_micros(100);

/// A slot that can be yielded for a while.
pub(super) trait RunSlot {
    /// Returns whether anybody waits for a slot.
    fn is_wanted(&self) -> bool;

    /// Returns how long a run keeps it while others wait: the more they are, the less.
    fn slice(&self) -> Duration;

    /// Returns whether there is room to set aside a run that holds so much memory.
    fn has_room(&self, memory: usize) -> bool;

    /// Lets those go first that come before the run, which holds so much memory, and returns when it goes on, or must
    /// end. Returns true if it goes on; false if there is no room for it, and it must end.
    fn yield_slot(&self, memory: usize, is_over: &dyn Fn() -> bool) -> bool;
}

/// A function that is told whether a run goes on.
type Observer = Rc<dyn Fn(bool)>;

/// The state of a thread around its runs. It is there before a run begins, and after it has ended.
struct Around {
    slot: RefCell<Option<Box<dyn RunSlot>>>,
    /// The observer that is told when the run is set aside, and when it goes on.
    observer: RefCell<Option<Observer>>,
    /// Bytes that the run holds besides what it has allocated itself.
    held: Cell<usize>,
    /// The time that this thread is charged because it waited for others, with its slot.
    waited: Cell<Duration>,
    /// True if the run holds what others may wait for.
    keeps_slot: Cell<bool>,
}

thread_local! {
    static AROUND: Around = const {
        Around {
            slot: RefCell::new(None),
            observer: RefCell::new(None),
            held: Cell::new(0),
            waited: Cell::new(Duration::ZERO),
            keeps_slot: Cell::new(false),
        }
    };
}

/// Has the runs of `work` yield this slot to others.
pub(super) fn with<R>(slot: impl RunSlot + 'static, work: impl FnOnce() -> R) -> R {
    struct Gone;

    impl Drop for Gone {
        fn drop(&mut self) {
            drop(AROUND.with(|around| around.slot.take()));
        }
    }

    AROUND.with(|around| around.slot.replace(Some(Box::new(slot))));
    let _gone = Gone;
    work()
}

/// Has the runs of `work` keep their slot: what holds a lock that others wait for must go on.
pub fn keep_slot<R>(work: impl FnOnce() -> R) -> R {
    struct Back(bool);

    impl Drop for Back {
        fn drop(&mut self) {
            AROUND.with(|around| around.keeps_slot.set(self.0));
        }
    }

    let _back = Back(AROUND.with(|around| around.keeps_slot.replace(true)));
    work()
}

/// Has the runs of `work` count so many bytes more, where they are set aside: what they were given.
pub fn holding<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    struct Back(usize);

    impl Drop for Back {
        fn drop(&mut self) {
            AROUND.with(|around| around.held.set(self.0));
        }
    }

    let _back = Back(AROUND.with(|around| around.held.replace(bytes)));
    work()
}

/// Has the time of `wait`, which blocks, count as the run's own: it keeps its slot meanwhile. It counts 0.1 ms at
/// most, for it takes longer where others keep the machine busy.
pub fn waiting<R>(wait: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = wait();
    count(begun.elapsed().min(WAIT));
    result
}

/// Counts time as the run's own during which it waited for the lock of its circle.
pub fn waited_for_lock(time: Duration) {
    count(time);
}

fn count(time: Duration) {
    AROUND.with(|around| around.waited.set(around.waited.get() + time));
}

/// Returns the time that counts for what this thread has waited.
pub(super) fn waited() -> Duration {
    AROUND.with(|around| around.waited.get())
}

/// Has `note` told when a run of `work` is set aside (false), and when it goes on (true).
pub fn observe_aside<R>(note: impl Fn(bool) + 'static, work: impl FnOnce() -> R) -> R {
    struct Gone;

    impl Drop for Gone {
        fn drop(&mut self) {
            drop(AROUND.with(|around| around.observer.take()));
        }
    }

    AROUND.with(|around| around.observer.replace(Some(Rc::new(note))));
    let _gone = Gone;
    work()
}

/// Tells the observer whether the run on this thread goes on.
pub(super) fn note(goes_on: bool) {
    let observer = AROUND.with(|around| around.observer.borrow().clone());
    if let Some(note) = observer {
        note(goes_on);
    }
}

/// Returns whether somebody waits for this thread's slot, if it has one that it may yield.
pub(super) fn is_wanted() -> bool {
    AROUND.with(|around| {
        let slot = around.slot.borrow();
        !around.keeps_slot.get() && slot.as_ref().is_some_and(|slot| slot.is_wanted())
    })
}

/// See [`RunSlot::slice`].
pub(super) fn slice() -> Duration {
    AROUND.with(|around| {
        let slot = around.slot.borrow();
        slot.as_ref().map_or(SLICE, |slot| slot.slice())
    })
}

/// Returns whether there is room to set a run of this thread aside, if it holds so many bytes.
pub fn has_room(memory: usize) -> bool {
    AROUND.with(|around| {
        let slot = around.slot.borrow();
        slot.as_ref().is_none_or(|slot| slot.has_room(memory))
    })
}

/// See [`RunSlot::yield_slot`].
pub(super) fn yield_slot(memory: usize, is_over: &dyn Fn() -> bool) -> bool {
    AROUND.with(|around| {
        let (slot, memory) = (
            around.slot.borrow(),
            memory.saturating_add(around.held.get()),
        );
        slot.as_ref()
            .is_none_or(|slot| slot.yield_slot(memory, is_over))
    })
}
