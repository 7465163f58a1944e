//! Whose turn it is: fair queueing by the time that runs have used.
//!
//! Every run is charged to two accounts, such as its circle and its caller, and the one whose accounts have used the
//! least comes next. An account that is idle saves nothing up: it begins again at the virtual time, which is where the
//! turn that was given last began (start-time fair queueing). So a flood waits behind whoever has used less than its
//! share, however many circles one caller floods.

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

/// What beginning a run costs, however short it is.
const LEAST: Duration = Duration::from_micros(100);
/// Virtual time rises by this part of what is used: so whoever is ahead waits for so many times as much at most,
/// however many come who have used nothing.
const CATCH_UP: u32 = 64;
/// Accounts that needn't be looked through.
const FEW: usize = 64;

/// Whom a run is charged to; the same one twice where there is only one.
pub(super) type Accounts<K> = [K; 2];

/// Tasks that have not begun, and runs that were set aside.
#[derive(Debug)]
pub(super) struct Shares<K, T> {
    /// First in, first out in each.
    flows: HashMap<Accounts<K>, VecDeque<Waiting<T>>>,
    aside: HashMap<u64, Accounts<K>>,
    /// Those who wait, run, or are ahead of the virtual time.
    accounts: HashMap<K, Account>,
    virtual_time: Duration,
    /// So many accounts are kept before those that are even are forgotten.
    keeps: usize,
    waiting: usize,
    next_number: u64,
    /// Tasks that may wait.
    capacity: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    task: T,
    given_up: Arc<AtomicBool>,
    number: u64,
}

#[derive(Debug, Default)]
struct Account {
    /// Where its next run begins, in virtual time.
    used: Duration,
    waiting: usize,
    /// Runs that have begun and are not over, those that were set aside included.
    begun: usize,
}

/// What gets the next turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<K, T> {
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
    start: Duration,
    /// What its second account has used: within a circle, its callers have their shares too.
    own: Duration,
    /// First come, first served.
    number: u64,
}

#[derive(Debug, Clone, Copy)]
enum Candidate<K> {
    Flow(Accounts<K>),
    Aside(u64),
}

/// What comes before a run that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Before {
    /// The run that goes on, if none begins.
    pub(super) resumes: Option<u64>,
    rank: Rank,
}

impl<K: Hash + Eq + Copy, T> Shares<K, T> {
    /// With room for so many tasks that wait.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            flows: HashMap::new(),
            aside: HashMap::new(),
            accounts: HashMap::new(),
            virtual_time: Duration::ZERO,
            keeps: FEW,
            waiting: 0,
            next_number: 0,
            capacity,
        }
    }

    /// Has a task wait for its turn. When the queue is full, an account with less in it than its share, were all places
    /// shared alike, still gets one, up to twice the queue in all.
    pub(super) fn push(
        &mut self,
        accounts: Accounts<K>,
        given_up: Arc<AtomicBool>,
        task: T,
    ) -> Result<(), QueueFull> {
        if self.waiting >= self.capacity {
            self.drop_given_up();
        }
        if self.waiting >= self.bound(&accounts) {
            return Err(QueueFull);
        }
        let number = self.number();
        let waiting = Waiting {
            task,
            given_up,
            number,
        };
        self.flows.entry(accounts).or_default().push_back(waiting);
        self.waiting += 1;
        self.each(&accounts, |account| account.waiting += 1);
        Ok(())
    }

    /// Tasks that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether anything waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting > 0 || !self.aside.is_empty()
    }

    /// Whether what comes next is a task, which needs a thread.
    pub(super) fn begins_next(&self) -> bool {
        matches!(self.best(true), Some((_, Candidate::Flow(_))))
    }

    /// Takes out what comes next; no task, if none may begin.
    pub(super) fn next(&mut self, may_begin: bool) -> Option<Next<K, T>> {
        let (rank, candidate) = self.best(may_begin)?;
        self.virtual_time = self.virtual_time.max(rank.start);
        match candidate {
            Candidate::Aside(number) => {
                self.aside.remove(&number);
                Some(Next::Resume(number))
            }
            Candidate::Flow(accounts) => {
                let flow = self.flows.get_mut(&accounts)?;
                let waiting = flow.pop_front()?;
                if flow.is_empty() {
                    self.flows.remove(&accounts);
                }
                self.waiting -= 1;
                self.each(&accounts, |account| {
                    account.waiting -= 1;
                    account.begun += 1;
                });
                self.charge(&accounts, LEAST);
                Some(Next::Begin(waiting.task, accounts))
            }
        }
    }

    /// What comes before a run that has begun.
    pub(super) fn comes_before(&self, accounts: &Accounts<K>) -> Option<Before> {
        let own = self.rank(accounts, false, 0);
        let (rank, candidate) = self.best(true)?;
        let resumes = match candidate {
            Candidate::Flow(_) => None,
            Candidate::Aside(number) => Some(number),
        };
        let is_before = !rank.is_further && (rank.start, rank.own) < (own.start, own.own);
        is_before.then_some(Before { resumes, rank })
    }

    /// Which of the runs that were set aside, and this one, goes on last; `Some(None)`: this one. None, where that one is
    /// less than so much time ahead of what comes before.
    pub(super) fn last(
        &self,
        accounts: &Accounts<K>,
        before: &Before,
        ahead: Duration,
    ) -> Option<Option<u64>> {
        let own = (self.rank(accounts, false, u64::MAX), None);
        let aside = self.aside.iter();
        let aside =
            aside.map(|(number, accounts)| (self.rank(accounts, false, *number), Some(*number)));
        let (rank, last) = aside.chain([own]).max_by_key(|(rank, _)| *rank)?;
        let is_ahead = rank.start.saturating_sub(before.rank.start) >= ahead
            || rank.own.saturating_sub(before.rank.own) >= ahead;
        is_ahead.then_some(last)
    }

    /// Sets aside a run that has begun. Returns its number.
    pub(super) fn set_aside(&mut self, accounts: Accounts<K>) -> u64 {
        let number = self.number();
        self.aside.insert(number, accounts);
        number
    }

    /// A run that was set aside ends, without another turn.
    pub(super) fn take_back(&mut self, number: u64) {
        self.aside.remove(&number);
    }

    /// Charges a run's time.
    pub(super) fn charge(&mut self, accounts: &Accounts<K>, time: Duration) {
        let now = self.virtual_time;
        self.each(accounts, |account| {
            account.used = account.used.max(now) + time;
        });
        self.virtual_time += time / CATCH_UP;
    }

    /// A run that had begun is over.
    pub(super) fn end(&mut self, accounts: &Accounts<K>) {
        self.each(accounts, |account| account.begun -= 1);
        if self.accounts.len() > self.keeps {
            let now = self.virtual_time;
            self.accounts.retain(|_, account| {
                account.waiting > 0 || account.begun > 0 || account.used > now
            });
            self.keeps = (self.accounts.len() * 2).max(FEW);
        }
    }

    fn bound(&self, accounts: &Accounts<K>) -> usize {
        if self.waiting < self.capacity {
            return self.capacity;
        }
        let waits = |key| self.accounts.get(key).map_or(0, |account| account.waiting);
        let own = accounts.iter().map(waits).max().unwrap_or(0);
        let all = self.accounts.values();
        let others = all.filter(|account| account.waiting > 0).count();
        let share = self.capacity / (others + usize::from(own == 0));
        if own < share.max(1) {
            self.capacity.saturating_mul(2)
        } else {
            self.capacity
        }
    }

    fn best(&self, may_begin: bool) -> Option<(Rank, Candidate<K>)> {
        let aside = self.aside.iter().map(|(number, accounts)| {
            let rank = self.rank(accounts, false, *number);
            (rank, Candidate::Aside(*number))
        });
        let flows = self.flows.iter().filter(|_| may_begin);
        let flows = flows.filter_map(|(accounts, flow)| {
            let own = self.accounts.get(&accounts[1]);
            let is_further = own.is_some_and(|own| own.begun > 0);
            let rank = self.rank(accounts, is_further, flow.front()?.number);
            Some((rank, Candidate::Flow(*accounts)))
        });
        aside.chain(flows).min_by_key(|(rank, _)| *rank)
    }

    fn rank(&self, accounts: &Accounts<K>, is_further: bool, number: u64) -> Rank {
        let used = |key| {
            self.accounts
                .get(key)
                .map_or(Duration::ZERO, |one| one.used)
        };
        let [first, second] = accounts;
        Rank {
            is_further,
            start: self.virtual_time.max(used(first)).max(used(second)),
            own: self.virtual_time.max(used(second)),
            number,
        }
    }

    fn each(&mut self, accounts: &Accounts<K>, mut change: impl FnMut(&mut Account)) {
        let [first, second] = accounts;
        change(self.accounts.entry(*first).or_default());
        if first != second {
            change(self.accounts.entry(*second).or_default());
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Drops the tasks that nobody wants any more.
    fn drop_given_up(&mut self) {
        let mut dropped = Vec::new();
        self.flows.retain(|accounts, flow| {
            let before = flow.len();
            flow.retain(|waiting| !waiting.given_up.load(Ordering::Relaxed));
            dropped.push((*accounts, before - flow.len()));
            !flow.is_empty()
        });
        for (accounts, count) in dropped {
            self.waiting -= count;
            self.each(&accounts, |account| account.waiting -= count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LEAST, Next, Shares};

    const SLICE: Duration = Duration::from_millis(10);

    type Turns = Shares<&'static str, &'static str>;

    fn push(turns: &mut Turns, accounts: [&'static str; 2], task: &'static str) {
        turns.push(accounts, Default::default(), task).unwrap();
    }

    /// Begins all that waits, each of them over at once.
    fn order(turns: &mut Turns) -> Vec<&'static str> {
        let mut order = Vec::new();
        while let Some(Next::Begin(task, accounts)) = turns.next(true) {
            turns.end(&accounts);
            order.push(task);
        }
        order
    }

    #[test]
    fn accounts_take_turns_and_keep_their_order() {
        let mut turns = Turns::new(10);
        for task in ["a1", "a2", "a3", "b1", "b2", "c1"] {
            push(&mut turns, [&task[..1]; 2], task);
        }
        assert_eq!(order(&mut turns), ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[test]
    fn a_caller_in_many_circles_has_one_share() {
        let mut turns = Turns::new(100);
        for (circle, task) in [("a", "m1"), ("b", "m2"), ("c", "m3"), ("d", "m4")] {
            push(&mut turns, [circle, "mallory"], task);
        }
        push(&mut turns, ["v", "victor"], "v1");
        push(&mut turns, ["v", "victor"], "v2");
        assert_eq!(order(&mut turns), ["m1", "v1", "m2", "v2", "m3", "m4"]);
    }

    #[test]
    fn callers_of_one_circle_have_their_shares() {
        let mut turns = Turns::new(100);
        for task in ["m1", "m2", "m3"] {
            push(&mut turns, ["a", "mallory"], task);
        }
        push(&mut turns, ["a", "victor"], "v1");
        assert_eq!(order(&mut turns), ["m1", "v1", "m2", "m3"]);
    }

    #[test]
    fn a_long_run_gives_way_to_whoever_has_used_less() {
        let mut turns = Turns::new(100);
        for _ in 0..5 {
            push(&mut turns, ["a", "mallory"], "long");
        }
        let Some(Next::Begin(_, long)) = turns.next(true) else {
            panic!("it waits")
        };
        turns.charge(&long, SLICE);
        assert_eq!(turns.comes_before(&long), None, "its own kind waits");
        push(&mut turns, ["b", "victor"], "short");
        assert!(turns.comes_before(&long).is_some());
        let number = turns.set_aside(long);
        let Some(Next::Begin("short", short)) = turns.next(true) else {
            panic!("it comes first")
        };
        turns.end(&short);
        assert_eq!(
            turns.next(true),
            Some(Next::Resume(number)),
            "before it begins another"
        );
    }

    #[test]
    fn one_has_not_all_places_while_others_wait() {
        let mut turns = Turns::new(100);
        for task in ["a1", "a2"] {
            push(&mut turns, ["a", "mallory"], task);
        }
        push(&mut turns, ["b", "victor"], "b1");
        turns.charge(&["b", "victor"], SLICE);
        for task in ["a1", "b1", "a2"] {
            assert!(matches!(turns.next(true), Some(Next::Begin(next, _)) if next == task));
        }
    }

    #[test]
    fn another_caller_of_the_circle_comes_before_a_long_run_of_it() {
        let mut turns = Turns::new(100);
        for _ in 0..3 {
            push(&mut turns, ["a", "mallory"], "long");
        }
        for _ in 0..2 {
            assert!(matches!(turns.next(true), Some(Next::Begin("long", _))));
        }
        turns.charge(&["a", "mallory"], SLICE);
        push(&mut turns, ["a", "victor"], "short");
        assert!(turns.comes_before(&["a", "mallory"]).is_some());
        turns.set_aside(["a", "mallory"]);
        assert!(matches!(turns.next(true), Some(Next::Begin("short", _))));
    }

    #[test]
    fn what_was_used_while_nobody_waited_is_not_held_against_anyone_for_long() {
        let mut turns = Turns::new(100);
        push(&mut turns, ["a"; 2], "a1");
        let Some(Next::Begin(_, a)) = turns.next(true) else {
            panic!("it waits")
        };
        turns.charge(&a, SLICE);
        turns.end(&a);
        for task in ["a2", "a3"] {
            push(&mut turns, ["a"; 2], task);
        }
        // Giving it a turn is where the virtual time goes to.
        assert!(matches!(turns.next(true), Some(Next::Begin("a2", _))));
        push(&mut turns, ["b"; 2], "b1");
        push(&mut turns, ["b"; 2], "b2");
        assert!(matches!(turns.next(true), Some(Next::Begin("b1", _))));
        turns.charge(&["b"; 2], SLICE);
        assert!(matches!(turns.next(true), Some(Next::Begin("a3", _))));
    }

    #[test]
    fn accounts_that_are_even_are_forgotten() {
        let mut turns = Turns::new(100);
        for circle in ["a", "b", "c"] {
            push(&mut turns, [circle; 2], circle);
        }
        order(&mut turns);
        for _ in 0..2 {
            turns.keeps = 0;
            push(&mut turns, ["d"; 2], "d");
            order(&mut turns);
        }
        assert!(turns.accounts.len() <= 1, "{:?}", turns.accounts);
    }

    #[test]
    fn a_caller_begins_no_more_anywhere_while_others_wait_or_one_was_set_aside() {
        let mut turns = Turns::new(100);
        push(&mut turns, ["a", "mallory"], "a1");
        push(&mut turns, ["b", "mallory"], "b1");
        assert!(matches!(turns.next(true), Some(Next::Begin("a1", _))));
        turns.charge(&["a", "mallory"], SLICE);
        push(&mut turns, ["v", "victor"], "v1");
        let number = turns.set_aside(["a", "mallory"]);
        for next in [Next::Begin("v1", ["v", "victor"]), Next::Resume(number)] {
            assert_eq!(turns.next(true), Some(next));
        }
        assert_eq!(
            turns.next(true),
            Some(Next::Begin("b1", ["b", "mallory"])),
            "nobody else wants it"
        );
    }

    #[test]
    fn whoever_has_used_a_little_comes_before_long_among_those_who_have_used_nothing() {
        let names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let mut turns = Shares::<&str, &str>::new(1000);
        turns.charge(&["old"; 2], LEAST);
        turns.push(["old"; 2], Default::default(), "old").unwrap();
        let found = names.iter().any(|name| {
            let accounts = [name.as_str(); 2];
            turns.push(accounts, Default::default(), "new").unwrap();
            let Some(Next::Begin(task, accounts)) = turns.next(true) else {
                panic!("they wait")
            };
            turns.end(&accounts);
            task == "old"
        });
        assert!(found);
    }

    #[test]
    fn the_one_that_is_far_ahead_of_what_waits_goes_on_last() {
        let mut turns = Turns::new(100);
        for [circle, key] in [["a", "m"], ["b", "n"], ["c", "o"]] {
            push(&mut turns, [circle, key], "long");
            assert!(turns.next(true).is_some());
        }
        turns.charge(&["a", "m"], 3 * SLICE);
        turns.charge(&["b", "n"], 4 * SLICE);
        turns.charge(&["c", "o"], 2 * SLICE);
        turns.set_aside(["a", "m"]);
        let most = turns.set_aside(["b", "n"]);
        push(&mut turns, ["v", "victor"], "short");
        let before = turns.comes_before(&["c", "o"]).unwrap();
        assert_eq!(before.resumes, None);
        let last = |ahead| turns.last(&["c", "o"], &before, ahead);
        assert_eq!(last(3 * SLICE), Some(Some(most)));
        assert_eq!(last(5 * SLICE), None, "it isn't so far ahead");
        turns.take_back(most);
        turns.charge(&["c", "o"], 2 * SLICE);
        assert_eq!(turns.last(&["c", "o"], &before, 3 * SLICE), Some(None));
    }
}
