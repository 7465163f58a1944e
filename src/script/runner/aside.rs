//! Runs that are set aside, so that others get their turn.

use std::{
    cell::RefCell,
    hash::Hash,
    rc::Rc,
    sync::{Arc, Condvar, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{RunnerLimits, Shared, State, THREAD, slice};
use crate::script::{fair_queue::Accounts, run_slot};

/// The pause between two checks of a run that is set aside, whether it is still wanted; longer if many are.
const CHECK_PAUSE: Duration = Duration::from_millis(50);
/// Slices that a run may be ahead of others while there is no room to set it aside: most end before.
const AHEAD: u32 = 10;
/// The time in which all who wait have been that far ahead, as long as one slice is enough for that: fewer slices do if
/// many wait.
const GRACE: Duration = Duration::from_secs(1);

/// A run that was set aside.
pub(super) struct AsideRun {
    /// The time that it has used.
    pub(super) used: Duration,
    pub(super) memory: usize,
    pub(super) has_turn: bool,
    /// It ends: there is no room for it.
    pub(super) is_displaced: bool,
    pub(super) wake: Arc<Condvar>,
}

/// A resource that is too scarce to set a run aside.
#[derive(Clone, Copy)]
enum Lack {
    Places,
    Memory,
}

/// The place of a task that has begun.
pub(super) struct TaskSlot<K> {
    pub(super) shared: Arc<Shared<K>>,
    pub(super) accounts: Accounts<K>,
    pub(super) run: Rc<RefCell<Charged>>,
    /// The time that its thread had used when it began.
    pub(super) begun: Duration,
}

pub(super) struct Charged {
    /// Until when its time is charged.
    pub(super) until: Instant,
    /// The time that its thread had used when it was last charged.
    pub(super) used: Duration,
    /// Not, once it ended while it was set aside.
    pub(super) has_slot: bool,
}

impl<K: Hash + Eq + Copy + Send + 'static> run_slot::RunSlot for TaskSlot<K> {
    fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    fn slice(&self) -> Duration {
        Duration::from_micros(self.shared.slice.load(Ordering::Relaxed))
    }

    fn has_room(&self, memory: usize) -> bool {
        let shared = &self.shared;
        shared.lock().lack(&shared.limits, memory, None).is_none()
    }

    fn yield_slot(&self, memory: usize, is_over: &dyn Fn() -> bool) -> bool {
        let (shared, run) = (&self.shared, &mut *self.run.borrow_mut());
        let mut state = shared.lock();
        shared.charge(&mut state, &self.accounts, run);
        if !run.has_slot || shared.limits.aside == 0 {
            return true;
        }
        let Some(before) = state.queue.comes_before(&self.accounts) else {
            return true;
        };
        let ahead = ahead(shared.limits.slots, state.queue.contenders());
        let used = run.used - self.begun;
        while let Some(lack) = state.lack(&shared.limits, memory, before.resumes) {
            let State { queue, aside, .. } = &mut *state;
            // For want of places, no run ends that has used less itself: its caller may have run much before, or the
            // machine be busy with others.
            let weight = |number: Option<u64>| {
                let aside = number.and_then(|number| aside.get(&number));
                let (used, memory) = aside.map_or((used, memory), |run| (run.used, run.memory));
                match lack {
                    Lack::Places => (used >= ahead).then_some(0),
                    Lack::Memory => Some(memory),
                }
            };
            match queue.last(&self.accounts, &before, ahead, weight) {
                None => return true,
                Some(None) => return false,
                Some(Some(number)) => state.displace(number),
            }
        }
        let wake = Arc::new(Condvar::new());
        let number = state.queue.set_aside(&self.accounts);
        let aside = AsideRun {
            memory,
            used,
            has_turn: false,
            is_displaced: false,
            wake: wake.clone(),
        };
        state.aside.insert(number, aside);
        state.running -= 1;
        let ready = shared.advance(&mut state);
        shared.wake(ready);
        drop(state);
        run_slot::note(false);
        let mut state = shared.lock();
        while let Some(aside) = state.aside.get(&number) {
            if aside.has_turn {
                break;
            }
            if aside.is_displaced || is_over() {
                state.queue.take_back(number);
                run.has_slot = false;
                break;
            }
            let waited = wake.wait_timeout(state, CHECK_PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !run.has_slot {
            let is_full = |state: &mut State<K>| state.ending >= shared.limits.slots;
            let waited = shared.ended.wait_while(state, is_full);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.ending += 1;
        }
        let aside = state.aside.remove(&number);
        drop(state);
        if run.has_slot {
            run_slot::note(true);
        }
        run.until = Instant::now();
        aside.is_none_or(|aside| !aside.is_displaced)
    }
}

impl<K: Hash + Eq + Copy> State<K> {
    /// Returns what there is too little of to set one more run aside, while another of them goes on.
    fn lack(&self, limits: &RunnerLimits, memory: usize, resumes: Option<u64>) -> Option<Lack> {
        let others = self.aside.iter();
        let others = others
            .filter(|(number, aside)| Some(**number) != resumes && !aside.is_displaced)
            .map(|(_, aside)| aside.memory);
        let (count, held) = others.fold((0, memory), |(count, held), memory| {
            (count + 1, held.saturating_add(memory + THREAD))
        });
        if count >= limits.aside {
            Some(Lack::Places)
        } else if held > limits.aside_memory {
            Some(Lack::Memory)
        } else {
            None
        }
    }

    /// Has a run end that was set aside.
    fn displace(&mut self, number: u64) {
        self.queue.take_back(number);
        if let Some(aside) = self.aside.get_mut(&number) {
            aside.is_displaced = true;
            aside.wake.notify_one();
        }
    }
}

/// Returns how far ahead of others a run is that ends when it can't be set aside, while so many wait for so many slots.
pub(super) fn ahead(slots: usize, waiting: usize) -> Duration {
    let slice = slice(slots, waiting);
    let turns = u32::try_from(waiting.div_ceil(slots.max(1))).unwrap_or(u32::MAX);
    (GRACE / turns.max(1)).clamp(slice, slice * AHEAD)
}
