//! Transfers between accounts, durable: a named script that reads two keys and writes two, beside the same as a function
//! in PostgreSQL.

use std::sync::Arc;

use circled_protocol::SecretKey;
use serde_json::{Value, json};

use crate::{
    Options, Subject, by_turns, measure,
    postgres::Postgres,
    server::{Persistence, Process, Server, ThroughRedis},
    session::{Requests, Session},
    table::{Beside, Line, Round},
};

/// The accounts, each with [`START`].
const ACCOUNTS: usize = 100_000;
const START: u64 = 1_000_000;
/// Accounts that one play opens.
const AT_ONCE: usize = 1000;
const SESSIONS: usize = 64;
const IN_FLIGHT: usize = 40;
/// The exponent of the skewed choice: the first account is in 38 of 100 choices.
const ZIPF: f64 = 1.5;

const TRANSFER: &str = r#"
    let from = store.get(ARGS.from);
    let to = store.get(ARGS.to);
    if from < 1 { return false }
    if ARGS.from != ARGS.to {
        store.set(ARGS.from, from - 1);
        store.set(ARGS.to, to + 1);
    }
    true
"#;
const OPEN: &str = r#"for n in ARGS.from..ARGS.end { store.set(`a${n}`, ARGS.start) }"#;
const SUM: &str = r#"
    let sum = 0;
    for n in ARGS.from..ARGS.end { sum += store.get(`a${n}`) }
    sum
"#;

/// Rows are updated in order, so that no two transfers wait for each other.
const SQL: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO accounts SELECT n, 1000000 FROM generate_series(1, 100000) n;
    CREATE FUNCTION transfer(a int, b int) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
        IF a = b THEN RETURN true; END IF;
        IF a < b THEN
            UPDATE accounts SET balance = balance - 1 WHERE id = a AND balance > 0;
            IF NOT FOUND THEN RETURN false; END IF;
            UPDATE accounts SET balance = balance + 1 WHERE id = b;
            RETURN true;
        END IF;
        UPDATE accounts SET balance = balance + 1 WHERE id = b;
        UPDATE accounts SET balance = balance - 1 WHERE id = a AND balance > 0;
        IF FOUND THEN RETURN true; END IF;
        UPDATE accounts SET balance = balance - 1 WHERE id = b;
        RETURN false;
    END $$;
    ANALYZE accounts;
";

/// The choice of the two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Uniform,
    Zipf,
}

impl Choice {
    const ALL: [Self; 2] = [Self::Uniform, Self::Zipf];

    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf 1.5",
        }
    }

    fn pgbench(self) -> String {
        let choice = match self {
            Self::Uniform => format!("random(1, {ACCOUNTS})"),
            Self::Zipf => format!("random_zipfian(1, {ACCOUNTS}, {ZIPF})"),
        };
        format!("\\set a {choice}\n\\set b {choice}\nSELECT transfer(:a, :b);\n")
    }
}

/// A server with accounts.
enum Bank {
    Circled(Box<Server>, SecretKey),
    Postgres(Postgres),
}

/// Transfers at one bank, with accounts chosen in one way.
struct Transfers<'a> {
    bank: &'a Bank,
    choice: Choice,
}

/// Measures transfers of 64 sessions, one and 40 at a time each.
pub(super) async fn transfers(options: &Options) -> Vec<Line> {
    println!("\n{SESSIONS} sessions move money between {ACCOUNTS} accounts, durable");
    let zipf = Arc::new(Zipf::new());
    let mut banks: Vec<Bank> = Postgres::start(SQL)
        .map(Bank::Postgres)
        .into_iter()
        .collect();
    if banks.is_empty() {
        println!("PostgreSQL isn't installed, so nothing is beside it");
    }
    banks.push(Bank::open(Server::circled).await);
    let setup = ThroughRedis {
        persistence: Persistence::Always,
        workers: 1,
        partitions: 16,
    };
    banks.push(Bank::open(|circle| Server::through_redis(circle, setup)).await);
    let mut lines = Vec::new();
    for in_flight in [1, IN_FLIGHT] {
        let able = banks
            .iter()
            .filter(|bank| in_flight == 1 || !bank.is_postgres());
        let of_bank = |bank| Choice::ALL.map(|choice| Transfers { bank, choice });
        let subjects: Vec<Transfers<'_>> = able.flat_map(of_bank).collect();
        let round =
            async |transfers: &Transfers<'_>| transfers.round(options, &zipf, in_flight).await;
        let rounds = by_turns(options.rounds, &subjects, round).await;
        let line = |n: usize, base: usize| {
            let Transfers { bank, choice } = subjects[n];
            let what = format!("{}, {SESSIONS} x {in_flight}", choice.name());
            let line = Line::new(
                &what,
                bank.name(),
                &rounds[n],
                &rounds[base],
                Beside::PerSecond,
            );
            line.print();
            line
        };
        Line::print_head(subjects[0].bank.name());
        lines.extend((0..subjects.len()).map(|n| line(n, n % 2)));
        Line::print_head("the same bank, uniform");
        for n in (1..subjects.len()).step_by(2) {
            line(n, n - 1);
        }
    }
    for bank in &banks {
        let sum = bank.sum().await;
        let all = ACCOUNTS as u64 * START;
        println!("{:<41} has {sum} of {all} still", bank.name());
        assert_eq!(sum, all, "money was made, or lost");
    }
    lines
}

impl Bank {
    async fn open(serve: impl FnOnce(&SecretKey) -> Server) -> Self {
        let owner = SecretKey::generate().expect("randomness");
        let server = serve(&owner);
        let mut session = Session::open(&server.url).await;
        session.login(&owner).await;
        let script = json!({ "name": "transfer", "source": TRANSFER });
        session.call("put_script", script).await;
        for from in (0..ACCOUNTS).step_by(AT_ONCE) {
            session.call("play", range(OPEN, from)).await;
        }
        Self::Circled(Box::new(server), owner)
    }

    fn name(&self) -> &str {
        match self {
            Self::Circled(server, _) => &server.name,
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Returns the money that there is.
    async fn sum(&self) -> u64 {
        match self {
            Self::Circled(server, owner) => {
                let mut session = Session::open(&server.url).await;
                session.login(owner).await;
                let mut sum = 0;
                for from in (0..ACCOUNTS).step_by(AT_ONCE) {
                    let played = session.call("play", range(SUM, from)).await;
                    sum += played["value"].as_u64().expect("a sum");
                }
                sum
            }
            Self::Postgres(postgres) => {
                let sum = postgres.value("SELECT sum(balance) FROM accounts");
                sum.parse().expect("a sum")
            }
        }
    }
}

impl Transfers<'_> {
    async fn round(&self, options: &Options, zipf: &Arc<Zipf>, in_flight: usize) -> Round {
        match self.bank {
            Bank::Postgres(postgres) => {
                // It knows whole seconds only.
                let seconds = options.seconds.ceil() as u64;
                postgres.transactions(&self.choice.pgbench(), SESSIONS, seconds)
            }
            Bank::Circled(server, owner) => {
                let (choice, zipf) = (self.choice, zipf.clone());
                let account = move || match choice {
                    Choice::Uniform => fastrand::usize(..ACCOUNTS),
                    Choice::Zipf => zipf.draw(),
                };
                let requests = Requests::made(move |id| {
                    let (from, to) = (account(), account());
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"call","params":{{"name":"transfer","args":{{"from":"a{from}","to":"a{to}"}}}},"id":{id}}}"#
                    )
                });
                measure::requests(server, owner, requests, options, SESSIONS, in_flight).await
            }
        }
    }
}

impl Subject for Transfers<'_> {
    fn name(&self) -> &str {
        self.bank.name()
    }

    fn process(&self) -> Option<Process> {
        match self.bank {
            Bank::Circled(server, _) => server.process(),
            Bank::Postgres(_) => None,
        }
    }
}

/// Draws accounts, the `n`th as often as n to the power of -[`ZIPF`] says.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new() -> Self {
        let mut sum = 0.0;
        let add = |n| {
            sum += (n as f64).powf(-ZIPF);
            sum
        };
        Self((1..=ACCOUNTS).map(add).collect())
    }

    fn draw(&self) -> usize {
        let drawn = fastrand::f64() * self.0[ACCOUNTS - 1];
        self.0.partition_point(|sum| *sum < drawn)
    }
}

/// Returns the parameters of a play that goes over the next accounts.
fn range(script: &str, from: usize) -> Value {
    json!({ "script": script, "args": { "from": from, "end": from + AT_ONCE, "start": START } })
}
