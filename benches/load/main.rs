//! Measures circled beside a bare echo, all in one run: `make bench`, or `cargo bench --bench load -- --help`.
//!
//! Every server is a process of its own, and compared figures are measured in turns, because the machine may be busy
//! with other things: a ratio is the median over the rounds of the ratio within one round.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't go on has nothing to say but why"
)]

mod audience;
mod broadcast;
mod echo;
mod fairness;
mod fanout;
mod leaderboard;
mod measure;
mod postgres;
mod server;
mod session;
mod table;
mod transfers;
mod watches;
mod webhook;

use std::{
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
};

use circled_protocol::SecretKey;
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use serde_json::{Value, json};

use echo::Echo;
use fairness::Neighbour;
use fanout::{Fanout, Pace};
use leaderboard::{Board, Reads};
use measure::Connections;
use server::{Named, Persistence, Process, Server, ThroughRedis};
use table::{Beside, Line, Round};
use watches::Watched;

/// Measures plays per second, their latency, logins per second and memory per idle session, beside a bare axum echo in
/// the same run; plays that read and write the store, beside plays that don't; durable webhooks; events to many
/// subscribers, beside a bare broadcast; live queries; and the effect of a flooded circle on another.
#[derive(Debug, Parser)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
struct Options {
    /// Sessions that play, or log in, at once.
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Connections for webhooks, one request each: one scenario for each number.
    #[arg(long, value_delimiter = ',', default_value = "16,64")]
    connections: Vec<usize>,
    /// Requests under way in each session: one scenario for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    in_flight: Vec<usize>,
    /// The script that is played.
    #[arg(long, default_value = "40 + 2")]
    script: String,
    /// The number of measurements of each server, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The length of each measurement in seconds, after a warm-up of a fifth of that.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Subscribers of one session's events: one scenario for each number.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
    subscribers: Vec<usize>,
    /// Players of the leaderboard.
    #[arg(long, default_value_t = 1_000_000)]
    players: usize,
    /// Idle sessions for the memory figure.
    #[arg(long, default_value_t = 8000)]
    idle: usize,
    /// Another running server to measure beside, by its ws:// address; it must know fetch_nonce, authenticate and play.
    /// May be given several times.
    #[arg(long = "peer", value_name = "NAME=URL")]
    peers: Vec<Named<String>>,
    /// Another running server that accepts Stripe's webhooks, signed with "whsec_bench", to measure beside, by the
    /// http:// address of the webhooks.
    #[arg(long = "webhook-peer", value_name = "NAME=URL")]
    webhook_peers: Vec<Named<String>>,
    /// The process of such a server, which should have just been started, to measure its memory, too.
    #[arg(long = "peer-pid", value_name = "NAME=PID")]
    peer_processes: Vec<Named<u32>>,
    /// The parts to measure.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "plays,store,webhooks,redis,logins,idle,fanout,watches,fairness,transfers,leaderboard"
    )]
    only: Vec<What>,
    /// Print the results as JSON too, in one last line.
    #[arg(long)]
    json: bool,
    /// Serve an echo instead of measuring.
    #[arg(long, hide = true)]
    echo: Option<Echo>,
    /// The flag that `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Plays over sessions that are logged in.
    Plays,
    /// Plays that read, and that write, one key.
    Store,
    /// Stripe's webhooks; each is stored on disk and its script has run before the response.
    Webhooks,
    /// Plays and webhooks through Redis: one worker and two; the log off, synced each second and always; and by the
    /// number of partitions.
    Redis,
    /// Logins over new connections, and over open ones.
    Logins,
    /// Memory of idle sessions.
    Idle,
    /// Events from one session to very many: throughput and latency after the commit.
    Fanout,
    /// Transfers between 100,000 accounts, embedded and through Redis, beside PostgreSQL where Debian's is installed.
    Transfers,
    /// A leaderboard: its top, a page and a player's neighbours, while scores are written.
    Leaderboard,
    /// Live queries: values to sessions that watch the same, and writes beside sessions that watch other keys.
    Watches,
    /// Plays of one circle while another is flooded.
    Fairness,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(echo) = options.echo {
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(echo::serve(echo));
        return ExitCode::SUCCESS;
    }
    check(&options);
    raise_open_files();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let errors = runtime.expect("a runtime").block_on(run(&options));
    if errors > 0 {
        eprintln!("{errors} replies were errors: the figures above are worth nothing");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Ends the program if the options make no sense together.
fn check(options: &Options) {
    let peers = &options.peers;
    let stray = options
        .peer_processes
        .iter()
        .find(|process| peers.iter().all(|peer| peer.name != process.name));
    let message = if let Some(stray) = stray {
        format!("--peer-pid {0}=... without --peer {0}=...", stray.name)
    } else if options.sessions == 0
        || options.rounds == 0
        || options.in_flight.contains(&0)
        || options.subscribers.contains(&0)
    {
        "with no sessions, subscribers, rounds or requests there is nothing to measure".to_owned()
    } else {
        return;
    };
    let error = Options::command().error(ErrorKind::ValueValidation, message);
    error.exit();
}

/// Measures and prints. Returns the number of error replies.
async fn run(options: &Options) -> usize {
    let key = SecretKey::generate().expect("randomness");
    let peers: Vec<Server> = options
        .peers
        .iter()
        .map(|peer| Server::peer(peer, &options.peer_processes))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = commit().unwrap_or_else(|| "unknown".to_owned());
    println!(
        "{cores} cores, shared with the clients; commit {commit}; script `{}`; {} rounds of {} s each, in turns\n",
        options.script, options.rounds, options.seconds
    );

    // The servers have done nothing yet: memory that they had freed would hide the memory of sessions.
    let mut memory = Vec::new();
    if options.only.contains(&What::Idle) {
        let circled = Server::circled(&key);
        for server in std::iter::once(&circled).chain(&peers) {
            let kib = measure::idle(server, &key, options.idle).await;
            memory.extend(kib.map(|kib| (server.name.clone(), kib)));
        }
    }

    let mut servers = vec![
        Server::echo("echo", Echo::Default),
        Server::echo("echo, tuned", Echo::Tuned),
        Server::circled(&key),
    ];
    servers.extend(peers);
    let mut lines = Vec::new();
    if options.only.contains(&What::Plays) {
        Line::print_head("echo");
        for &in_flight in &options.in_flight {
            let what = format!("play, {} x {in_flight}", options.sessions);
            let plays = async |server: &Server| {
                measure::plays(
                    server,
                    &key,
                    &options.script,
                    options,
                    options.sessions,
                    in_flight,
                )
                .await
            };
            lines.extend(in_turns(options.rounds, &servers, &what, Beside::PerSecond, plays).await);
        }
    }
    if options.only.contains(&What::Store) {
        let server = Server::circled(&key);
        let scripts = SCRIPTS.map(|(name, source)| Script {
            name,
            source,
            server: &server,
        });
        Line::print_head(scripts[0].name);
        for &in_flight in &options.in_flight {
            let what = format!("play, {} x {in_flight}", options.sessions);
            let plays = async |script: &Script<'_>| {
                measure::plays(
                    &server,
                    &key,
                    script.source,
                    options,
                    options.sessions,
                    in_flight,
                )
                .await
            };
            lines.extend(in_turns(options.rounds, &scripts, &what, Beside::PerSecond, plays).await);
        }
    }
    if options.only.contains(&What::Webhooks) {
        let circled = Server::circled(&key);
        let peers = options.webhook_peers.iter().map(|peer| Target {
            name: peer.name.clone(),
            url: peer.value.clone(),
            process: None,
        });
        let bare = Server::echo("axum, same HMAC", Echo::Webhook);
        let mut targets: Vec<Target> = peers.collect();
        targets.push(Target {
            name: bare.name.clone(),
            url: bare.url.replace("ws://", "http://"),
            process: bare.process(),
        });
        Line::print_head(&targets[0].name);
        targets.push(Target {
            name: circled.name.clone(),
            url: circled.webhooks_url(&key),
            process: circled.process(),
        });
        for &connections in &options.connections {
            let what = format!("webhook, {connections} x 1");
            let webhooks = async |target: &Target| {
                webhook::deliveries(&target.url, options, connections).await
            };
            lines.extend(
                in_turns(options.rounds, &targets, &what, Beside::PerSecond, webhooks).await,
            );
        }
    }
    if options.only.contains(&What::Redis) {
        lines.extend(through_redis(options, &key, &servers).await);
    }
    if options.only.contains(&What::Logins) {
        Line::print_head("circled");
        for (connections, what) in [
            (Connections::New, "login, new connection"),
            (Connections::Open, "login, open connection"),
        ] {
            let logins =
                async |server: &&Server| measure::logins(server, options, connections).await;
            let servers = servers.iter().filter(|server| !server.is_echo);
            let servers: Vec<&Server> = servers.collect();
            lines.extend(in_turns(options.rounds, &servers, what, Beside::PerSecond, logins).await);
        }
        println!(
            "{:<41} {:>10.0} us of it are the client's own signature, on the same cores",
            "",
            measure::signing().as_secs_f64() * 1e6
        );
    }
    if options.only.contains(&What::Fanout) {
        lines.extend(fanned_out(options).await);
    }
    if options.only.contains(&What::Watches) {
        lines.extend(watched(options, &key).await);
    }
    if options.only.contains(&What::Fairness) {
        lines.extend(beside_a_flood(options, &key).await);
    }
    if options.only.contains(&What::Transfers) {
        lines.extend(transfers::transfers(options).await);
    }
    if options.only.contains(&What::Leaderboard) {
        lines.extend(leaderboard(options).await);
    }
    if !memory.is_empty() {
        println!();
    }
    for (server, kib) in &memory {
        let what = format!("idle, {} logged in", options.idle);
        println!("{what:<24} {server:<16} {kib:>10.2} KiB a session");
    }
    if options.json {
        let memory = memory.iter().map(|(server, kib)| {
            json!({ "server": server, "sessions": options.idle, "kib_a_session": kib })
        });
        let results = json!({
            "cores": cores,
            "commit": commit,
            "script": options.script,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "lines": lines.iter().map(Line::json).collect::<Value>(),
            "idle": memory.collect::<Value>(),
        });
        println!("\n{results}");
    }
    lines.iter().map(|line| line.errors).sum()
}

/// Measures plays and webhooks through Redis, beside the peers if there are any.
async fn through_redis(options: &Options, key: &SecretKey, servers: &[Server]) -> Vec<Line> {
    let of_log = |persistence| {
        [1, 2].map(|workers| ThroughRedis {
            persistence,
            workers,
            partitions: 16,
        })
    };
    let logs = [
        Persistence::Off,
        Persistence::EverySecond,
        Persistence::Always,
    ];
    let partitions = [1, 4, 64].map(|partitions| ThroughRedis {
        persistence: Persistence::Off,
        workers: 1,
        partitions,
    });
    let setups = logs.into_iter().flat_map(of_log).chain(partitions);
    let circled: Vec<_> = setups
        .map(|setup| Server::through_redis(key, setup))
        .collect();
    let peers = servers.iter().filter(|server| server.is_peer());
    let all: Vec<&Server> = peers.chain(&circled).collect();
    let mut lines = Vec::new();
    println!("\nThrough Redis: when its log is synced, w workers, p partitions");
    Line::print_head(&all[0].name);
    for (sessions, in_flight) in [(16, 1), (16, 32), (512, 1)] {
        let what = format!("play, {sessions} x {in_flight}");
        let plays = async |server: &&Server| {
            measure::plays(server, key, &options.script, options, sessions, in_flight).await
        };
        lines.extend(in_turns(options.rounds, &all, &what, Beside::PerSecond, plays).await);
    }
    let peers = options.webhook_peers.iter().map(|peer| Target {
        name: peer.name.clone(),
        url: peer.value.clone(),
        process: None,
    });
    let circled = circled.iter().map(|server| Target {
        name: server.name.clone(),
        url: server.webhooks_url(key),
        process: server.process(),
    });
    let targets: Vec<_> = peers.chain(circled).collect();
    Line::print_head(&targets[0].name);
    for &connections in &options.connections {
        let what = format!("webhook, {connections} x 1");
        let webhooks =
            async |target: &Target| webhook::deliveries(&target.url, options, connections).await;
        lines.extend(in_turns(options.rounds, &targets, &what, Beside::PerSecond, webhooks).await);
    }
    lines
}

/// Measures one session's events at very many subscribers.
async fn fanned_out(options: &Options) -> Vec<Line> {
    let mut lines = Vec::new();
    println!("\nDeliveries, and how long each arrives after the first sign of its commit");
    Line::print_head("broadcast");
    for &subscribers in &options.subscribers {
        let servers = Fanout::all(subscribers).await;
        for (pace, how) in [(Pace::Full, ""), (Pace::Steady, ", paced")] {
            let what = format!("events, 1 to {subscribers}{how}");
            let events = async |server: &Fanout| server.round(options, pace).await;
            let beside = Beside::PerSecond;
            lines.extend(in_turns(options.rounds, &servers, &what, beside, events).await);
        }
    }
    lines
}

/// Measures how soon a value is at all who watch it, and writes beside sessions that watch other keys.
async fn watched(options: &Options, circle: &SecretKey) -> Vec<Line> {
    const WRITES: &str = r#"store.set("key", 42)"#;

    let mut lines = Vec::new();
    println!(
        "\nLive queries: values, and how long each arrives after the first sign of its commit; and writes"
    );
    Line::print_head("nobody watches");
    for &sessions in &options.subscribers {
        let what = format!("values, 1 to {sessions}, paced");
        let servers = [Fanout::of_values(sessions).await];
        let values = async |server: &Fanout| server.round(options, Pace::Steady).await;
        lines.extend(in_turns(options.rounds, &servers, &what, Beside::Nothing, values).await);
        let servers = Watched::all(circle, sessions).await;
        for &in_flight in &options.in_flight {
            let what = format!("writes, {} x {in_flight}", options.sessions);
            let plays = async |watched: &Watched| {
                let (server, sessions) = (&watched.server, options.sessions);
                measure::plays(server, circle, WRITES, options, sessions, in_flight).await
            };
            lines.extend(in_turns(options.rounds, &servers, &what, Beside::PerSecond, plays).await);
        }
    }
    lines
}

/// Measures reads of a leaderboard while scores are written.
async fn leaderboard(options: &Options) -> Vec<Line> {
    let board = Board::fill(options.players).await;
    println!(
        "\nA leaderboard of {} players, while scores are written",
        options.players
    );
    Line::print_head("");
    let (before, written) = (board.conflicts(), AtomicUsize::new(0));
    let reads = async |reads: &Reads<'_>| {
        let (round, scores) = reads.round(options).await;
        written.fetch_add(scores, Ordering::Relaxed);
        round
    };
    let lines = in_turns(
        options.rounds,
        &board.reads(),
        "leaderboard",
        Beside::Nothing,
        reads,
    )
    .await;
    let (written, conflicts) = (written.into_inner(), board.conflicts() - before);
    println!("{written} scores written, {conflicts} runs started over");
    lines
}

/// Measures plays of one circle while another is quiet, and while it is flooded.
async fn beside_a_flood(options: &Options, circle: &SecretKey) -> Vec<Line> {
    let server = Server::circled(circle);
    let neighbours = Neighbour::all(&server, options);
    let mut lines = Vec::new();
    println!("\nPlays of a circle, by what another is flooded with; the ratio is of the p99");
    Line::print_head(neighbours[0].name());
    for (what, script) in fairness::scripts(options) {
        let what = format!("{what}, {} x 1", options.sessions);
        let plays =
            async |neighbour: &Neighbour<'_>| neighbour.round(circle, script, options).await;
        lines.extend(in_turns(options.rounds, &neighbours, &what, Beside::P99, plays).await);
    }
    lines
}

/// Measures one thing at every subject in turns, and prints a line for each.
async fn in_turns<S: Subject>(
    rounds: usize,
    subjects: &[S],
    what: &str,
    beside: Beside,
    measure: impl AsyncFn(&S) -> Round,
) -> Vec<Line> {
    let by_subject = by_turns(rounds, subjects, measure).await;
    let line = |(rounds, subject): (&Vec<_>, &S)| {
        let line = Line::new(what, subject.name(), rounds, &by_subject[0], beside);
        line.print();
        line
    };
    by_subject.iter().zip(subjects).map(line).collect()
}

/// Measures one thing at every subject in turns. Returns the rounds of each.
async fn by_turns<S: Subject>(
    rounds: usize,
    subjects: &[S],
    measure: impl AsyncFn(&S) -> Round,
) -> Vec<Vec<Round>> {
    let mut by_subject = vec![Vec::new(); subjects.len()];
    for _ in 0..rounds {
        for (rounds, subject) in by_subject.iter_mut().zip(subjects) {
            let process = subject.process();
            let before = process.map(Process::cpu);
            let round = measure(subject).await;
            let cpu = process.map(Process::cpu).zip(before);
            rounds.push(round.with_cpu(cpu.map(|(after, before)| after.saturating_sub(before))));
        }
    }
    by_subject
}

/// A subject that is measured beside others.
trait Subject {
    fn name(&self) -> &str;
    fn process(&self) -> Option<Process>;
}

impl Subject for Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&self) -> Option<Process> {
        Server::process(self)
    }
}

impl Subject for &Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&self) -> Option<Process> {
        Server::process(self)
    }
}

/// The address of webhooks.
struct Target {
    name: String,
    url: String,
    process: Option<Process>,
}

impl Subject for Target {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&self) -> Option<Process> {
        self.process
    }
}

/// A script at one server.
struct Script<'a> {
    name: &'static str,
    source: &'static str,
    server: &'a Server,
}

impl Subject for Script<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn process(&self) -> Option<Process> {
        self.server.process()
    }
}

/// The scripts that show the cost of the store.
const SCRIPTS: [(&str, &str); 4] = [
    ("no store", "40 + 2"),
    ("calls a function", r#""key".contains("k")"#),
    ("reads a key", r#"store.get("key", 42)"#),
    ("writes a key", r#"store.set("key", 42)"#),
];

/// Returns the commit that is measured, with `-dirty` if files have changed.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .expect("more open files");
}
