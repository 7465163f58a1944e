//! Random histories: of commits, of notices about them that come late or not at all, and of runs that end in any order.

mod devices;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use circled_protocol::{PublicKey, Role, SecretKey};
use proptest::{collection::vec, prelude::*, sample};
use serde_json::{json, value::to_raw_value};

use super::{recent::RECENT_KEYS, *};
use crate::{
    circle::QueryScript,
    config,
    memory::MemoryBudget,
    shares::Bounds,
    store::{CommitFeed, Hub},
};

const KEYS: u8 = 6;
/// The caller whose role may change.
const LISTED: u8 = 2;

#[derive(Debug, Clone)]
enum Step {
    Write(u8, u8),
    SetListed(bool),
    Deliver,
    Narrow,
    Miss,
    Sync,
    Start,
    Finish(sample::Index),
    Fail(sample::Index, bool),
    Retry,
    ReadRole,
    FinishRole(sample::Index),
    Watch(u8, u8),
    Resume(sample::Index),
    Unwatch(sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..KEYS, 0..3_u8).prop_map(|(key, value)| Step::Write(key, value)),
        1 => any::<bool>().prop_map(Step::SetListed),
        8 => Just(Step::Deliver),
        2 => Just(Step::Narrow),
        1 => Just(Step::Miss),
        2 => Just(Step::Sync),
        6 => Just(Step::Start),
        6 => any::<sample::Index>().prop_map(Step::Finish),
        1 => (any::<sample::Index>(), any::<bool>()).prop_map(|(run, told)| Step::Fail(run, told)),
        1 => Just(Step::Retry),
        2 => Just(Step::ReadRole),
        2 => any::<sample::Index>().prop_map(Step::FinishRole),
        3 => (0..SPECS, 0..3_u8).prop_map(|(spec, caller)| Step::Watch(spec, caller)),
        1 => any::<sample::Index>().prop_map(Step::Resume),
        1 => any::<sample::Index>().prop_map(Step::Unwatch),
    ];
    vec(step, 0..300)
}

fn places(places: usize) -> Shares<PublicKey> {
    Shares::new(Bounds {
        places,
        share: places,
        shared_places: Bounds::ALL_FOR_ONE,
    })
}

/// The scripts that there are.
const SPECS: u8 = 5;

/// The state of a circle after a commit.
#[derive(Debug, Clone, Default)]
struct State {
    values: [u8; KEYS as usize],
    is_listed: bool,
}

fn key(number: u8) -> Key {
    Key::new(&[number])
}

/// Runs a script.
fn eval(spec: u8, caller: u8, state: &State) -> (String, Reads, bool) {
    let mut reads = Reads::default();
    let mut get = |number: u8| {
        reads.keys.insert(key(number));
        state.values[usize::from(number)]
    };
    let (value, by_caller) = match spec {
        0 => (json!(1), false),
        1 => (json!(get(0)), false),
        // Which key it reads depends on another one.
        2 => {
            let which = get(1);
            (json!(get(2 + which)), false)
        }
        // It uses the caller only sometimes.
        3 if get(0) == 1 => (json!([get(3), caller]), true),
        3 => (json!(get(3)), false),
        _ => {
            reads.ranges.insert((key(2), key(5)));
            let sum: u8 = state.values[2..5].iter().sum();
            (json!(sum / 2), false)
        }
    };
    (value.to_string(), reads, by_caller)
}

fn public(caller: u8) -> PublicKey {
    SecretKey::from_hex(&hex::encode([caller + 1; 32]))
        .unwrap()
        .public()
}

#[derive(Debug, Default)]
struct Log {
    has_begun: bool,
    has_ended: bool,
    last: Option<String>,
    last_at: u64,
    /// The answers since the last look, each with its commit.
    new: Vec<(String, u64)>,
}

struct Recorder(Rc<RefCell<Log>>);

fn text(answer: &Answer) -> String {
    match &answer.content {
        Content::Value(value) => value.get().to_owned(),
        Content::Failed(error) => error.to_string(),
    }
}

impl Watcher for Recorder {
    fn begin(&mut self, answer: &Arc<Answer>, is_known: bool, at: u64) {
        let mut log = self.0.borrow_mut();
        assert!(!log.has_begun && !log.has_ended);
        log.has_begun = true;
        if is_known {
            assert_eq!(log.last.as_ref(), Some(&text(answer)), "it has that value");
        }
        log.last = Some(text(answer));
        log.last_at = at;
        log.new.push((text(answer), at));
    }

    fn tell(&mut self, answer: &Arc<Answer>, at: u64) {
        let mut log = self.0.borrow_mut();
        assert!(log.has_begun && !log.has_ended);
        assert_ne!(log.last.as_ref(), Some(&text(answer)), "it has that value");
        log.last = Some(text(answer));
        log.last_at = at;
        log.new.push((text(answer), at));
    }

    fn end(&mut self, _: Ended) {
        let mut log = self.0.borrow_mut();
        assert!(!log.has_ended);
        log.has_ended = true;
    }
}

struct TestWatch {
    id: WatchId,
    spec: u8,
    caller: u8,
    least: u64,
    log: Rc<RefCell<Log>>,
}

struct World {
    queries: Queries<Recorder>,
    states: Vec<State>,
    hub: Hub,
    feed: CommitFeed,
    /// True if the feed tells only of what is wanted.
    is_narrow: bool,
    runs: Vec<(QueryId, Ran)>,
    roles: Vec<(WatchId, Option<Role>)>,
    paused: Vec<QueryId>,
    watches: Vec<TestWatch>,
    last_watch: WatchId,
}

impl World {
    fn new() -> Self {
        let settings = config::Settings::load(None, []).unwrap().settings.store;
        let hub = Hub::new(&settings);
        let feed = hub.commits().watch(public(9));
        Self {
            queries: Queries::new(public(9), places(100)),
            states: vec![State::default()],
            hub,
            feed,
            is_narrow: false,
            runs: Vec::new(),
            roles: Vec::new(),
            paused: Vec::new(),
            watches: Vec::new(),
            last_watch: 0,
        }
    }

    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    fn number(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn commit(&mut self, state: State, key: Key) {
        self.states.push(state);
        let commits = self.hub.commits();
        commits.publish(&public(9), self.number(), || vec![key]);
    }

    fn watch(&mut self, spec: u8, caller: u8, before: Option<(String, u64)>) {
        self.watch_as(Caller::Key(public(caller)), spec, caller, before);
    }

    fn watch_as(
        &mut self,
        acting: Caller<'static>,
        spec: u8,
        caller: u8,
        before: Option<(String, u64)>,
    ) {
        self.last_watch += 1;
        let id = self.last_watch;
        let log = Rc::new(RefCell::new(Log {
            last: before.as_ref().map(|(value, _)| value.clone()),
            ..Log::default()
        }));
        let least = self.number();
        let source = QueryScript::Source(spec.to_string().into());
        let new = NewWatch {
            spec: Arc::new(Spec::new(
                source,
                json!(null),
                MemoryBudget::new("", 1 << 20).try_reserve(1).unwrap(),
            )),
            caller: acting,
            requires: (caller == LISTED).then_some(Role::Member),
            since: before.map(|(_, at)| at),
            least,
            watcher: Recorder(log.clone()),
        };
        self.queries.watch(id, new);
        self.watches.push(TestWatch {
            id,
            spec,
            caller,
            least,
            log,
        });
    }

    fn start(&mut self) -> bool {
        if self.is_narrow {
            self.narrow();
        }
        let Some((id, spec, caller)) = self.queries.next_run() else {
            return false;
        };
        let spec: u8 = spec.source().unwrap().parse().unwrap();
        let caller = (0..3).find(|n| caller == Caller::Key(public(*n))).unwrap();
        let (value, reads, by_caller) = eval(spec, caller, self.state());
        let value = circled_json::parse(&value).unwrap();
        let ran = Ran {
            answer: Answer::new(Content::Value(to_raw_value(&value).unwrap()), None),
            at: self.number(),
            reads,
            by_caller,
        };
        self.runs.push((id, ran));
        true
    }

    fn finish(&mut self, n: usize) {
        let (id, ran) = self.runs.remove(n);
        self.queries.on_ran(id, ran);
    }

    fn read_role(&mut self) -> bool {
        let Some((id, _, caller)) = self.queries.next_confirm() else {
            return false;
        };
        assert_eq!(caller, Caller::Key(public(LISTED)));
        let role = self.state().is_listed.then_some(Role::Member);
        self.roles.push((id, role));
        true
    }

    fn finish_role(&mut self, n: usize) {
        let (id, role) = self.roles.remove(n);
        self.queries.on_role(id, role);
    }

    fn deliver(&mut self) -> bool {
        let signal = self.feed.try_next();
        signal
            .map(|signal| self.queries.on_signal(&signal))
            .is_some()
    }

    fn narrow(&mut self) {
        while !self.feed.narrow(self.queries.wanted()) {
            while self.deliver() {}
        }
        self.is_narrow = self.queries.wanted().is_some();
    }

    fn sync(&mut self) {
        if self.queries.needs_sync() {
            let last = self.number();
            self.queries.on_synced(last);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(number, value) => {
                let mut state = self.state().clone();
                state.values[usize::from(number)] = value;
                self.commit(state, key(number));
            }
            Step::SetListed(is_listed) => {
                let state = State {
                    is_listed,
                    ..self.state().clone()
                };
                self.commit(state, circle::member_key(&public(LISTED)));
            }
            Step::Deliver => drop(self.deliver()),
            Step::Narrow => self.narrow(),
            // All that waits is lost with it.
            Step::Miss => self.hub.commits().signal_missed(&public(9)),
            Step::Sync => self.sync(),
            Step::Start => drop(self.start()),
            Step::Finish(n) if !self.runs.is_empty() => self.finish(n.index(self.runs.len())),
            Step::Fail(n, is_told) if !self.runs.is_empty() => {
                let (id, _) = self.runs.remove(n.index(self.runs.len()));
                let error = if is_told {
                    RunError::Conflict
                } else {
                    RunError::Unavailable
                };
                if self.queries.on_failed(id, &error).is_some() {
                    self.paused.push(id);
                }
            }
            Step::Retry => {
                for id in std::mem::take(&mut self.paused) {
                    self.queries.on_retry(id);
                }
            }
            Step::ReadRole => drop(self.read_role()),
            Step::FinishRole(n) if !self.roles.is_empty() => {
                self.finish_role(n.index(self.roles.len()));
            }
            Step::Watch(spec, caller) => self.watch(spec, caller, None),
            Step::Resume(n) if !self.watches.is_empty() => {
                let watch = self.watches.swap_remove(n.index(self.watches.len()));
                self.queries.unwatch(watch.id);
                let log = watch.log.borrow();
                let before = log.last.clone().filter(|_| log.has_begun);
                let before = before.map(|value| (value, log.last_at));
                self.watch(watch.spec, watch.caller, before);
            }
            Step::Unwatch(n) if !self.watches.is_empty() => {
                let watch = self.watches.swap_remove(n.index(self.watches.len()));
                self.queries.unwatch(watch.id);
            }
            Step::Finish(_)
            | Step::Fail(..)
            | Step::FinishRole(_)
            | Step::Resume(_)
            | Step::Unwatch(_) => {}
        }
        self.check();
    }

    /// Checks what was told since the last look: it was so at that commit, and the caller had the role then or since.
    fn check(&self) {
        for watch in &self.watches {
            let mut log = watch.log.borrow_mut();
            for (value, at) in log.new.drain(..) {
                if value == RunError::Conflict.to_string() {
                    continue;
                }
                let at = usize::try_from(at).unwrap();
                let (expected, ..) = eval(watch.spec, watch.caller, &self.states[at]);
                assert_eq!(value, expected, "at {at}");
                assert!(at as u64 >= watch.least, "at {at} of {}", watch.least);
                let mut since = self.states[at..].iter();
                assert!(watch.caller != LISTED || since.any(|state| state.is_listed));
            }
        }
    }

    /// Does all that is left to do.
    fn settle(&mut self) {
        loop {
            let mut goes_on = self.deliver();
            self.sync();
            goes_on |= self.start() | self.read_role();
            while !self.runs.is_empty() {
                self.finish(0);
                goes_on = true;
            }
            while !self.roles.is_empty() {
                self.finish_role(0);
                goes_on = true;
            }
            for id in std::mem::take(&mut self.paused) {
                self.queries.on_retry(id);
                goes_on = true;
            }
            self.check();
            if !goes_on {
                return;
            }
        }
    }
}

proptest! {
    #[test]
    fn in_the_end_whoever_watches_has_the_value_of_the_last_state(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        for watch in &world.watches {
            let log = watch.log.borrow();
            if log.has_ended {
                continue;
            }
            let (expected, ..) = eval(watch.spec, watch.caller, world.state());
            prop_assert_eq!(log.last.as_ref(), Some(&expected));
            prop_assert!(watch.caller != LISTED || world.state().is_listed);
        }
        let ids: Vec<_> = world.watches.iter().map(|watch| watch.id).collect();
        for id in ids {
            world.queries.unwatch(id);
        }
        let now = Instant::now();
        world.queries.expire(now);
        world.queries.expire(now + LINGER);
        prop_assert!(world.queries.is_empty());
        prop_assert!(world.queries.index.is_empty());
    }
}

#[test]
fn a_large_commit_that_comes_before_the_last_one_is_known_is_not_forgotten() {
    let mut world = World::new();
    let keys = (0..=RECENT_KEYS).map(|n| Key::new(&n.to_be_bytes()));
    world
        .hub
        .commits()
        .publish(&public(9), 6, || keys.collect());
    let Some(CommitSignal::Commit(commit)) = world.feed.try_next() else {
        panic!("it is published");
    };
    let mut recent = Recent::new();
    recent.push(commit);
    recent.complete(5);
    let (_, reads, _) = eval(0, 0, &State::default());
    assert!(recent.touches(5, &reads), "it may have been touched");
    assert!(!recent.touches(6, &reads));
}

#[test]
fn queries_that_nobody_watches_make_room_for_others() {
    let mut world = World::new();
    world.queries = Queries::new(public(9), places(2));
    for spec in [0, 1, 4] {
        world.watch(spec, 0, None);
    }
    world.settle();
    let has_ended = |n: usize, world: &World| world.watches[n].log.borrow().has_ended;
    assert!(!has_ended(0, &world) && !has_ended(1, &world) && has_ended(2, &world));
    let gone = world.watches[0].id;
    world.queries.unwatch(gone);
    world.watch(4, 0, None);
    world.watch(1, 1, None);
    world.settle();
    assert!(!has_ended(3, &world) && !has_ended(4, &world));
}

#[test]
fn queries_are_run_only_for_what_they_have_read_and_once_for_all_who_watch() {
    let mut world = World::new();
    for caller in 0..2 {
        for _ in 0..100 {
            world.watch(1, caller, None);
            world.watch(4, caller, None);
        }
    }
    let mut runs = 0;
    let mut settle = |world: &mut World| {
        runs = 0;
        world.sync();
        while world.deliver() {}
        while world.start() {
            runs += 1;
            world.finish(0);
        }
        runs
    };
    assert_eq!(settle(&mut world), 2);
    for (number, expected) in [(0, 1), (1, 0), (2, 1), (4, 1), (5, 0)] {
        world.step(Step::Write(number, 2));
        assert_eq!(settle(&mut world), expected, "{number}");
    }
    // Several commits by one run.
    for value in 0..3 {
        world.step(Step::Write(0, value));
        world.step(Step::Write(3, value));
    }
    assert_eq!(settle(&mut world), 2);
}
