//! A fair queue by the time that runs have used.
//!
//! Every run is charged to two accounts, such as its circle and its caller, and the one whose accounts have used the
//! least comes next. Each kind of account has a clock: it stands where the one that waits and has used the least stands
//! (start-time fair queueing). An account that is idle saves up no more than [`CREDIT`]: it begins again that much
//! before the clock, and so comes before all who have been waiting for more. So a flood waits behind whoever has used
//! less than its share, however many circles one caller floods, and however many callers flood one circle.
//!
//! The next account is decided by where it will be after one more turn that is as long as its last one: where many
//! have used the same, those whose turns are short don't wait until all others have had a long one.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::QueueFull;

/// The cost of beginning a run, however short it is.
const LEAST: Duration = Duration::from_micros(100);
/// The time before the clock at which an idle account begins: short runs come at once, as long as there are few of
/// them.
const CREDIT: Duration = Duration::from_millis(10);
/// The clocks rise by this part of what is used, or half of what each gets who waits, if that is less: so whoever is ahead
/// waits for so many times as much at most, however many come who have used nothing.
const CATCH_UP: usize = 64;
/// Accounts, or tasks, that needn't be looked through.
const FEW: usize = 64;
/// The part of a full queue that is refused before given-up tasks are dropped from it.
const SWEEPS: usize = 16;

/// The accounts that a run is charged to, one of each kind.
pub(crate) type Accounts<K> = [K; 2];

/// The positions of both accounts.
type SlotPair = [usize; 2];

/// Tasks that have not begun, and runs that were set aside.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    flows: HashMap<Accounts<K>, Flow<T>>,
    aside: HashMap<u64, SlotPair>,
    /// The accounts of each kind that wait, run, or are ahead of the others.
    kinds: [AccountKind<K>; 2],
    waiting: usize,
    next_number: u64,
    /// Tasks that may wait.
    capacity: usize,
    /// Tasks that wait before given-up ones are dropped.
    keeps: usize,
    /// The tasks that have been pushed, or refused, since that was done.
    pushed: usize,
}

/// Tasks of the same accounts: first in, first out.
#[derive(Debug)]
struct Flow<T> {
    slots: SlotPair,
    tasks: VecDeque<WaitingTask<T>>,
}

#[derive(Debug)]
struct WaitingTask<T> {
    task: T,
    given_up: Arc<AtomicBool>,
    number: u64,
}

/// All accounts of one kind.
#[derive(Debug)]
struct AccountKind<K> {
    accounts: Vec<Account>,
    slots: HashMap<K, usize>,
    free: Vec<usize>,
    clock: Duration,
    /// Accounts that are kept before those that are even are forgotten.
    keeps: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// The point where its next run begins, by the clock.
    used: Duration,
    /// The length of its last turn.
    turn: Duration,
    waiting: usize,
    /// Runs that have begun and are not over, those that were set aside included.
    begun: usize,
}

/// The next turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextTurn<K, T> {
    /// A task begins.
    Begin(T, Accounts<K>),
    /// The run that was set aside under this number goes on.
    Resume(u64),
}

/// The least one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// It would be one more beside another of its second account, in whichever circle: that waits until nobody else
    /// does.
    is_further: bool,
    /// The lead of the account that will be further ahead after its turn.
    end: Duration,
    /// The lead of its second account after its turn: within a circle, its callers have their shares too.
    own_end: Duration,
    /// First come, first served.
    number: u64,
    /// The leads before the turn.
    lead: Duration,
    own_lead: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Candidate<K> {
    Flow(Accounts<K>),
    Aside(u64),
}

/// A task or run that comes before a run that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Before {
    /// The run that goes on, if none begins.
    pub(super) resumes: Option<u64>,
    rank: Rank,
}

impl<K: Hash + Eq + Copy, T> FairQueue<K, T> {
    /// Creates a queue with room for so many tasks that wait.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            flows: HashMap::new(),
            aside: HashMap::new(),
            kinds: [AccountKind::new(), AccountKind::new()],
            waiting: 0,
            next_number: 0,
            capacity,
            keeps: FEW,
            pushed: 0,
        }
    }

    /// Adds a task. When the queue is full, accounts with less in it than their share, were all places shared alike,
    /// still get one, up to twice the queue in all.
    pub(crate) fn push(
        &mut self,
        accounts: Accounts<K>,
        given_up: Arc<AtomicBool>,
        task: T,
    ) -> Result<(), QueueFull> {
        if !self.has_room(&accounts) {
            return Err(QueueFull);
        }
        self.add(accounts, given_up, task);
        Ok(())
    }

    /// Returns whether there is room for one more task of these accounts, see [`push`](Self::push).
    pub(super) fn has_room(&mut self, accounts: &Accounts<K>) -> bool {
        // Where all places are taken, not each time: that looks at all who wait.
        let looks = self.waiting >= self.capacity && self.pushed > self.waiting / SWEEPS;
        if looks || self.waiting >= self.keeps {
            self.drop_given_up();
            self.keeps = (self.waiting * 2).max(FEW);
            self.pushed = 0;
        }
        self.pushed += 1;
        self.waiting < self.bound(accounts)
    }

    /// Returns whether a task of these accounts is the first that waits of its second one, and there is room for such.
    pub(super) fn is_first(&self, accounts: &Accounts<K>) -> bool {
        self.waiting < self.capacity.saturating_mul(2) && !self.kinds[1].waits(&accounts[1])
    }

    /// Adds a task, for which there is room.
    pub(super) fn add(&mut self, accounts: Accounts<K>, given_up: Arc<AtomicBool>, task: T) {
        let number = self.number();
        let slots = self.slots(&accounts);
        let flow = self.flows.entry(accounts).or_insert_with(|| Flow {
            slots,
            tasks: VecDeque::new(),
        });
        flow.tasks.push_back(WaitingTask {
            task,
            given_up,
            number,
        });
        self.waiting += 1;
        self.each(&slots, |account| account.waiting += 1);
    }

    /// Returns how many tasks wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns whether anything waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting > 0 || !self.aside.is_empty()
    }

    /// Returns how many wait for a turn: runs that were set aside, and one of each who has others waiting.
    pub(super) fn contenders(&self) -> usize {
        self.flows.len() + self.aside.len()
    }

    /// Returns whether the next turn begins a task, which needs a thread.
    pub(super) fn begins_next(&self) -> bool {
        matches!(self.best(true), Some((_, Candidate::Flow(_))))
    }

    /// Takes out the next turn; no task, if none may begin.
    pub(crate) fn next(&mut self, may_begin: bool) -> Option<NextTurn<K, T>> {
        self.set_clocks();
        let (_, candidate) = self.best(may_begin)?;
        match candidate {
            Candidate::Aside(number) => {
                self.aside.remove(&number);
                Some(NextTurn::Resume(number))
            }
            Candidate::Flow(accounts) => {
                let flow = self.flows.get_mut(&accounts)?;
                let (waiting, slots) = (flow.tasks.pop_front()?, flow.slots);
                if flow.tasks.is_empty() {
                    self.flows.remove(&accounts);
                }
                self.waiting -= 1;
                self.each(&slots, |account| account.waiting -= 1);
                self.begin(&accounts);
                Some(NextTurn::Begin(waiting.task, accounts))
            }
        }
    }

    /// Notes that a run begins, maybe one that never waited.
    pub(crate) fn begin(&mut self, accounts: &Accounts<K>) {
        let slots = self.slots(accounts);
        self.each(&slots, |account| account.begun += 1);
        self.charge_slots(&slots, LEAST);
    }

    /// Returns what comes before a run that has begun.
    pub(super) fn comes_before(&mut self, accounts: &Accounts<K>) -> Option<Before> {
        let slots = self.slots(accounts);
        let own = self.rank(&slots, false, 0);
        let (rank, candidate) = self.best(true)?;
        let resumes = match candidate {
            Candidate::Flow(_) => None,
            Candidate::Aside(number) => Some(number),
        };
        let is_before = !rank.is_further && (rank.end, rank.own_end) < (own.end, own.own_end);
        is_before.then_some(Before { resumes, rank })
    }

    /// Returns which of the runs that were set aside, and this one, goes on last; `Some(None)`: this one. It is the
    /// heaviest of those that are so much time ahead of what comes before, and of the heaviest the one furthest ahead. One
    /// without a weight isn't meant.
    pub(super) fn last(
        &mut self,
        accounts: &Accounts<K>,
        before: &Before,
        ahead: Duration,
        weight: impl Fn(Option<u64>) -> Option<usize>,
    ) -> Option<Option<u64>> {
        let slots = self.slots(accounts);
        let own = (self.rank(&slots, false, u64::MAX), None);
        let aside = self.aside.iter();
        let aside = aside.map(|(number, slots)| (self.rank(slots, false, *number), Some(*number)));
        let is_ahead = |rank: &Rank| {
            rank.lead.saturating_sub(before.rank.lead) >= ahead
                || rank.own_lead.saturating_sub(before.rank.own_lead) >= ahead
        };
        let far = aside.chain([own]).filter(|(rank, _)| is_ahead(rank));
        let weighed = far.filter_map(|(rank, number)| Some((weight(number)?, rank, number)));
        let last = weighed.max_by_key(|(weight, rank, _)| (*weight, *rank));
        last.map(|(.., number)| number)
    }

    /// Sets aside a run that has begun. Returns its number.
    pub(super) fn set_aside(&mut self, accounts: &Accounts<K>) -> u64 {
        let number = self.number();
        let slots = self.slots(accounts);
        self.aside.insert(number, slots);
        number
    }

    /// Removes a run that was set aside and ends without another turn.
    pub(super) fn take_back(&mut self, number: u64) {
        self.aside.remove(&number);
    }

    /// Charges a run's time.
    pub(crate) fn charge(&mut self, accounts: &Accounts<K>, time: Duration) {
        let slots = self.slots(accounts);
        self.charge_slots(&slots, time);
        self.each(&slots, |account| account.turn = time);
    }

    fn charge_slots(&mut self, slots: &SlotPair, time: Duration) {
        let catch_up = CATCH_UP.max(self.contenders() * 2);
        let risen = time / u32::try_from(catch_up).unwrap_or(u32::MAX);
        for (kind, slot) in self.kinds.iter_mut().zip(slots) {
            let floor = kind.floor();
            let account = &mut kind.accounts[*slot];
            account.used = account.used.max(floor) + time;
            kind.clock += risen;
        }
    }

    /// Notes that a run that had begun is over.
    pub(crate) fn end(&mut self, accounts: &Accounts<K>) {
        let slots = self.slots(accounts);
        self.each(&slots, |account| account.begun -= 1);
        self.kinds.iter_mut().for_each(AccountKind::forget_even);
    }

    fn bound(&self, accounts: &Accounts<K>) -> usize {
        if self.waiting < self.capacity {
            return self.capacity;
        }
        let mut kinds = self.kinds.iter().zip(accounts);
        if kinds.all(|(kind, key)| kind.waits_less(key, self.capacity)) {
            self.capacity.saturating_mul(2)
        } else {
            self.capacity
        }
    }

    fn best(&self, may_begin: bool) -> Option<(Rank, Candidate<K>)> {
        let aside = self.aside.iter().map(|(number, slots)| {
            let rank = self.rank(slots, false, *number);
            (rank, Candidate::Aside(*number))
        });
        let flows = self.flows.iter().filter(|_| may_begin);
        let flows = flows.filter_map(|(accounts, flow)| {
            let is_further = self.kinds[1].accounts[flow.slots[1]].begun > 0;
            let rank = self.rank(&flow.slots, is_further, flow.tasks.front()?.number);
            Some((rank, Candidate::Flow(*accounts)))
        });
        aside.chain(flows).min_by_key(|(rank, _)| *rank)
    }

    fn rank(&self, slots: &SlotPair, is_further: bool, number: u64) -> Rank {
        let leads = |n: usize| {
            let kind = &self.kinds[n];
            let account = &kind.accounts[slots[n]];
            let lead = |at: Duration| at.saturating_sub(kind.floor());
            (lead(account.used), lead(account.used + account.turn))
        };
        let ((lead, end), (own_lead, own_end)) = (leads(0), leads(1));
        Rank {
            is_further,
            end: end.max(own_end),
            own_end,
            number,
            lead: lead.max(own_lead),
            own_lead,
        }
    }

    /// Moves the clocks on: nobody who waits is ever before the clock for having used less than others who do.
    fn set_clocks(&mut self) {
        for (n, kind) in self.kinds.iter_mut().enumerate() {
            let flows = self.flows.values().map(|flow| flow.slots[n]);
            let waits = flows.chain(self.aside.values().map(|slots| slots[n]));
            let least = waits.map(|slot| kind.accounts[slot].used).min();
            kind.clock = kind.clock.max(least.unwrap_or_default());
        }
    }

    fn slots(&mut self, accounts: &Accounts<K>) -> SlotPair {
        let [first, second] = &mut self.kinds;
        [first.slot(accounts[0]), second.slot(accounts[1])]
    }

    fn each(&mut self, slots: &SlotPair, mut change: impl FnMut(&mut Account)) {
        for (kind, slot) in self.kinds.iter_mut().zip(slots) {
            change(&mut kind.accounts[*slot]);
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Drops the tasks that nobody wants any more.
    fn drop_given_up(&mut self) {
        let mut dropped = Vec::new();
        self.flows.retain(|_, flow| {
            let before = flow.tasks.len();
            let is_wanted = |waiting: &WaitingTask<T>| !waiting.given_up.load(Ordering::Relaxed);
            flow.tasks.retain(is_wanted);
            dropped.push((flow.slots, before - flow.tasks.len()));
            !flow.tasks.is_empty()
        });
        for (slots, count) in dropped {
            self.waiting -= count;
            self.each(&slots, |account| account.waiting -= count);
        }
    }
}

impl<K: Hash + Eq> AccountKind<K> {
    fn new() -> Self {
        Self {
            accounts: Vec::new(),
            slots: HashMap::new(),
            free: Vec::new(),
            clock: CREDIT,
            keeps: FEW,
        }
    }

    /// Returns the point where an idle account begins.
    fn floor(&self) -> Duration {
        self.clock.saturating_sub(CREDIT)
    }

    fn slot(&mut self, key: K) -> usize {
        *self.slots.entry(key).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.accounts.push(Account::default());
                self.accounts.len() - 1
            })
        })
    }

    fn waits(&self, key: &K) -> bool {
        let own = self.slots.get(key);
        own.is_some_and(|slot| self.accounts[*slot].waiting > 0)
    }

    /// Returns whether an account has less waiting than its share of so many places.
    fn waits_less(&self, key: &K, places: usize) -> bool {
        let own = self.slots.get(key);
        let own = own.map_or(0, |slot| self.accounts[*slot].waiting);
        let all = self.accounts.iter();
        let others = all.filter(|account| account.waiting > 0).count();
        let share = places / (others + usize::from(own == 0));
        own < share.max(1)
    }

    /// Forgets those that are as if they had never been.
    fn forget_even(&mut self) {
        if self.slots.len() <= self.keeps {
            return;
        }
        let floor = self.floor();
        self.slots.retain(|_, slot| {
            let account = &mut self.accounts[*slot];
            let keeps = account.waiting > 0 || account.begun > 0 || account.used > floor;
            if !keeps {
                *account = Account::default();
                self.free.push(*slot);
            }
            keeps
        });
        self.keeps = (self.slots.len() * 2).max(FEW);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FairQueue, LEAST, NextTurn};

    const SLICE: Duration = Duration::from_millis(10);

    type Queue = FairQueue<&'static str, &'static str>;

    fn push(queue: &mut Queue, accounts: [&'static str; 2], task: &'static str) {
        queue.push(accounts, Default::default(), task).unwrap();
    }

    /// Begins all that waits, each of them over at once.
    fn order(queue: &mut Queue) -> Vec<&'static str> {
        let mut order = Vec::new();
        while let Some(NextTurn::Begin(task, accounts)) = queue.next(true) {
            queue.end(&accounts);
            order.push(task);
        }
        order
    }

    #[test]
    fn accounts_take_turns_and_keep_their_order() {
        let mut queue = Queue::new(10);
        for task in ["a1", "a2", "a3", "b1", "b2", "c1"] {
            push(&mut queue, [&task[..1]; 2], task);
        }
        assert_eq!(order(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_caller_in_many_circles_has_one_share() {
        let mut queue = Queue::new(100);
        for (circle, task) in [("a", "m1"), ("b", "m2"), ("c", "m3"), ("d", "m4")] {
            push(&mut queue, [circle, "mallory"], task);
        }
        push(&mut queue, ["v", "victor"], "v1");
        push(&mut queue, ["v", "victor"], "v2");
        assert_eq!(order(&mut queue), ["m1", "v1", "m2", "v2", "m3", "m4"]);
    }

    #[test]
    fn callers_of_one_circle_have_their_shares() {
        let mut queue = Queue::new(100);
        for task in ["m1", "m2", "m3"] {
            push(&mut queue, ["a", "mallory"], task);
        }
        push(&mut queue, ["a", "victor"], "v1");
        assert_eq!(order(&mut queue), ["m1", "v1", "m2", "m3"]);
    }

    #[test]
    fn a_long_run_gives_way_to_whoever_has_used_less() {
        let mut queue = Queue::new(100);
        for _ in 0..5 {
            push(&mut queue, ["a", "mallory"], "long");
        }
        let Some(NextTurn::Begin(_, long)) = queue.next(true) else {
            panic!("it waits")
        };
        queue.charge(&long, SLICE);
        assert_eq!(queue.comes_before(&long), None, "its own kind waits");
        push(&mut queue, ["b", "victor"], "short");
        assert!(queue.comes_before(&long).is_some());
        let number = queue.set_aside(&long);
        let Some(NextTurn::Begin("short", short)) = queue.next(true) else {
            panic!("it comes first")
        };
        queue.end(&short);
        assert_eq!(
            queue.next(true),
            Some(NextTurn::Resume(number)),
            "before it begins another"
        );
    }

    #[test]
    fn one_has_not_all_places_while_others_wait() {
        let mut queue = Queue::new(100);
        for task in ["a1", "a2"] {
            push(&mut queue, ["a", "mallory"], task);
        }
        push(&mut queue, ["b", "victor"], "b1");
        queue.charge(&["b", "victor"], SLICE);
        for task in ["a1", "b1", "a2"] {
            assert!(matches!(queue.next(true), Some(NextTurn::Begin(next, _)) if next == task));
        }
    }

    #[test]
    fn another_caller_of_the_circle_comes_before_a_long_run_of_it() {
        let mut queue = Queue::new(100);
        for _ in 0..3 {
            push(&mut queue, ["a", "mallory"], "long");
        }
        for _ in 0..2 {
            assert!(matches!(queue.next(true), Some(NextTurn::Begin("long", _))));
        }
        queue.charge(&["a", "mallory"], SLICE);
        push(&mut queue, ["a", "victor"], "short");
        assert!(queue.comes_before(&["a", "mallory"]).is_some());
        queue.set_aside(&["a", "mallory"]);
        assert!(matches!(
            queue.next(true),
            Some(NextTurn::Begin("short", _))
        ));
    }

    #[test]
    fn what_was_used_while_nobody_waited_is_not_held_against_anyone_for_long() {
        let mut queue = Queue::new(100);
        push(&mut queue, ["a"; 2], "a1");
        let Some(NextTurn::Begin(_, a)) = queue.next(true) else {
            panic!("it waits")
        };
        queue.charge(&a, SLICE);
        queue.end(&a);
        for task in ["a2", "a3"] {
            push(&mut queue, ["a"; 2], task);
        }
        // The clock goes to where it stands.
        assert!(matches!(queue.next(true), Some(NextTurn::Begin("a2", _))));
        push(&mut queue, ["b"; 2], "b1");
        push(&mut queue, ["b"; 2], "b2");
        assert!(matches!(queue.next(true), Some(NextTurn::Begin("b1", _))));
        queue.charge(&["b"; 2], SLICE);
        assert!(matches!(queue.next(true), Some(NextTurn::Begin("a3", _))));
    }

    #[test]
    fn accounts_that_are_even_are_forgotten() {
        let mut queue = FairQueue::<u32, u32>::new(100);
        for n in 0..10_000 {
            queue.push([n, n], Default::default(), n).unwrap();
            let Some(NextTurn::Begin(_, accounts)) = queue.next(true) else {
                panic!("it waits")
            };
            queue.charge(&accounts, SLICE);
            queue.end(&accounts);
        }
        for kind in &queue.kinds {
            let (known, kept) = (kind.slots.len(), kind.accounts.len());
            assert!(known < 500 && kept < 500, "{known} {kept}");
        }
    }

    #[test]
    fn whoever_comes_now_and_then_comes_first_however_many_flood_the_circle() {
        let mut queue = FairQueue::<u32, u32>::new(1000);
        let (circle, victim) = (1_000_000, 999);
        for n in 0..200 {
            queue.push([circle, n], Default::default(), n).unwrap();
        }
        // All of them run, one after the other, and wait for their next turns; some use more than others.
        let mut ran = std::collections::HashMap::new();
        for round in 0..400 {
            let (who, accounts) = match queue.next(true).unwrap() {
                NextTurn::Begin(who, accounts) => (who, accounts),
                NextTurn::Resume(number) => ran.remove(&number).unwrap(),
            };
            queue.charge(&accounts, SLICE + LEAST * (round % 7));
            ran.insert(queue.set_aside(&accounts), (who, accounts));
        }
        for n in 0..50 {
            queue
                .push([circle, victim], Default::default(), victim)
                .unwrap();
            let Some(NextTurn::Begin(who, accounts)) = queue.next(true) else {
                panic!("it waits behind the {n} times that it came before")
            };
            assert_eq!(who, victim);
            queue.charge(&accounts, LEAST);
            queue.end(&accounts);
        }
    }

    #[test]
    fn a_circle_that_comes_now_and_then_comes_first_however_many_flood_others() {
        let mut queue = FairQueue::<u32, u32>::new(1000);
        let mut ran = std::collections::HashMap::new();
        for n in 0..200 {
            let accounts = [1_000_000 + n, n];
            queue.push(accounts, Default::default(), n).unwrap();
        }
        for _ in 0..400 {
            let accounts = match queue.next(true).unwrap() {
                NextTurn::Begin(_, accounts) => accounts,
                NextTurn::Resume(number) => ran.remove(&number).unwrap(),
            };
            queue.charge(&accounts, SLICE);
            ran.insert(queue.set_aside(&accounts), accounts);
        }
        queue.push([1, 999], Default::default(), 999).unwrap();
        assert!(matches!(queue.next(true), Some(NextTurn::Begin(999, _))));
    }

    #[test]
    fn a_caller_begins_no_more_anywhere_while_others_wait_or_one_was_set_aside() {
        let mut queue = Queue::new(100);
        push(&mut queue, ["a", "mallory"], "a1");
        push(&mut queue, ["b", "mallory"], "b1");
        assert!(matches!(queue.next(true), Some(NextTurn::Begin("a1", _))));
        queue.charge(&["a", "mallory"], SLICE);
        push(&mut queue, ["v", "victor"], "v1");
        let number = queue.set_aside(&["a", "mallory"]);
        for next in [
            NextTurn::Begin("v1", ["v", "victor"]),
            NextTurn::Resume(number),
        ] {
            assert_eq!(queue.next(true), Some(next));
        }
        assert_eq!(
            queue.next(true),
            Some(NextTurn::Begin("b1", ["b", "mallory"])),
            "nobody else wants it"
        );
    }

    #[test]
    fn whoever_has_used_a_little_comes_before_long_among_those_who_have_used_nothing() {
        let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let mut queue = FairQueue::<&str, &str>::new(1000);
        queue.charge(&["old"; 2], LEAST);
        queue.push(["old"; 2], Default::default(), "old").unwrap();
        let found = names.iter().any(|name| {
            let accounts = [name.as_str(); 2];
            queue.push(accounts, Default::default(), "new").unwrap();
            let Some(NextTurn::Begin(task, accounts)) = queue.next(true) else {
                panic!("they wait")
            };
            queue.end(&accounts);
            task == "old"
        });
        assert!(found);
    }

    #[test]
    fn the_one_that_is_far_ahead_of_what_waits_goes_on_last() {
        let mut queue = Queue::new(100);
        for [circle, key] in [["a", "m"], ["b", "n"], ["c", "o"]] {
            push(&mut queue, [circle, key], "long");
            assert!(queue.next(true).is_some());
        }
        queue.charge(&["a", "m"], 3 * SLICE);
        queue.charge(&["b", "n"], 4 * SLICE);
        queue.charge(&["c", "o"], 2 * SLICE);
        let first = queue.set_aside(&["a", "m"]);
        let most = queue.set_aside(&["b", "n"]);
        push(&mut queue, ["v", "victor"], "short");
        let before = queue.comes_before(&["c", "o"]).unwrap();
        assert_eq!(before.resumes, None);
        let mut last = |ahead| queue.last(&["c", "o"], &before, ahead, |_| Some(0));
        assert_eq!(last(3 * SLICE), Some(Some(most)));
        assert_eq!(last(5 * SLICE), None, "it isn't so far ahead");
        queue.take_back(most);
        queue.charge(&["c", "o"], 2 * SLICE);
        let mut last = |weight: &dyn Fn(Option<u64>) -> usize| {
            queue.last(&["c", "o"], &before, 2 * SLICE, |number| {
                Some(weight(number))
            })
        };
        assert_eq!(last(&|_| 0), Some(None));
        let lighter = last(&|number| usize::from(number.is_some()));
        assert_eq!(lighter, Some(Some(first)), "it holds more");
    }
}
