//! Measures circled beside a bare echo, all in one run: `make bench`, or `cargo bench --bench load -- --help`.
//!
//! Every server is a process of its own, and every figure that is compared is measured in turns, for this
//! machine may be busy with other things: a ratio is the median over the rounds of the ratio within one.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't go on has nothing to say but why"
)]

mod echo;
mod server;
mod session;

use std::time::{Duration, Instant};

use circled::auth::SecretKey;
use clap::Parser;
use tokio::task::JoinSet;

use server::Server;
use session::Session;

/// Plays per second, their latency, logins per second and memory per idle session, beside a bare
/// axum echo in the same run.
#[derive(Debug, Parser)]
struct Options {
    /// Sessions that play at once.
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Requests each of them has under way.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    in_flight: Vec<usize>,
    /// The script that is played.
    #[arg(long, default_value = "40 + 2")]
    script: String,
    /// How often each server is measured, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Idle sessions for the memory figure; 0 leaves it out.
    #[arg(long, default_value_t = 8000)]
    idle: usize,
    /// Another running server to measure beside, NAME=ws://host:port/path; it must know fetch_nonce,
    /// authenticate and play.
    #[arg(long = "peer", value_name = "NAME=URL")]
    peers: Vec<String>,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "plays,logins,idle")]
    only: Vec<String>,
    /// Serve the echo instead of measuring.
    #[arg(long, hide = true)]
    echo: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one round of one server came to.
#[derive(Debug, Clone, Default)]
struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    errors: usize,
}

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if options.echo {
        return runtime.block_on(echo::serve());
    }
    raise_open_files();
    let errors = runtime.block_on(measure(&options));
    if errors > 0 {
        eprintln!("{errors} replies were errors: the figures above are worth nothing");
        std::process::exit(1);
    }
}

async fn measure(options: &Options) -> usize {
    let key = SecretKey::generate().expect("randomness");
    let mut servers = vec![Server::echo(), Server::circled(&key)];
    servers.extend(options.peers.iter().map(|peer| Server::peer(peer)));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores; {} rounds of {} s each, in turns; script `{}`\n",
        options.rounds, options.seconds, options.script
    );
    println!(
        "{:<28} {:>10} {:>9} {:>9} {:>14}",
        "", "per second", "p50", "p99", "beside echo"
    );

    let wants = |what: &str| options.only.iter().any(|only| only == what);
    let mut errors = 0;
    if wants("plays") {
        for &in_flight in &options.in_flight {
            errors += in_turns(
                options,
                &servers,
                &format!("play {} x {in_flight}", options.sessions),
                true,
                async |server| plays(server, &key, options, in_flight).await,
            )
            .await;
        }
    }
    if wants("logins") {
        errors += in_turns(options, &servers[1..], "login", false, async |server| {
            logins(server, options).await
        })
        .await;
    }
    drop(servers);
    if wants("idle") && options.idle > 0 {
        let (kib, count) = idle(options).await;
        println!(
            "{:<28} {kib:>10.2} KiB a session, authenticated, at {count}",
            "idle: circled"
        );
    }
    errors
}

/// Measures one thing at every server in turns, and prints a line each.
async fn in_turns(
    options: &Options,
    servers: &[Server],
    what: &str,
    compare: bool,
    measure: impl AsyncFn(&Server) -> Round,
) -> usize {
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    for _ in 0..options.rounds {
        let mut round = Vec::new();
        for server in servers {
            round.push(measure(server).await);
        }
        rounds.push(round);
    }
    let mut errors = 0;
    for (n, server) in servers.iter().enumerate() {
        let of_server =
            |figure: fn(&Round) -> f64| median(rounds.iter().map(|round| figure(&round[n])));
        let ratio = median(
            rounds
                .iter()
                .map(|round| round[n].per_second / round[0].per_second),
        );
        let ratio = if compare {
            format!("{ratio:.2}")
        } else {
            String::new()
        };
        let (p50, p99) = (
            of_server(|round| round.p50.as_secs_f64()),
            of_server(|round| round.p99.as_secs_f64()),
        );
        let what = format!("{what}: {}", server.name);
        println!(
            "{what:<28} {:>10.0} {:>6.0} us {:>6.0} us {ratio:>14}",
            of_server(|round| round.per_second),
            p50 * 1e6,
            p99 * 1e6
        );
        errors += rounds.iter().map(|round| round[n].errors).sum::<usize>();
    }
    errors
}

/// Plays per second over sessions that are logged in, each with so many requests under way.
async fn plays(server: &Server, key: &SecretKey, options: &Options, in_flight: usize) -> Round {
    let mut sessions = Vec::new();
    for _ in 0..options.sessions {
        let mut session = Session::open(&server.url).await;
        if !server.is_echo {
            session.login(key).await;
        }
        sessions.push(session);
    }
    let warm_up = Duration::from_secs_f64(options.seconds / 5.0);
    let start = Instant::now() + warm_up;
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut tasks = JoinSet::new();
    for session in sessions {
        tasks.spawn(session.play(
            options.script.clone(),
            in_flight,
            start,
            end,
            server.is_echo,
        ));
    }
    gather(tasks.join_all().await, end - start)
}

/// Logins per second: the text fetched, signed and verified, over connections that are open already.
async fn logins(server: &Server, options: &Options) -> Round {
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..options.sessions {
        let mut session = Session::open(&server.url).await;
        let key = SecretKey::generate().expect("randomness");
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while Instant::now() < end {
                let before = Instant::now();
                session.login(&key).await;
                taken.push(before.elapsed());
            }
            (taken, 0)
        });
    }
    gather(tasks.join_all().await, end - start)
}

/// What the server's memory grows by for each session that is logged in and does nothing.
async fn idle(options: &Options) -> (f64, usize) {
    let key = SecretKey::generate().expect("randomness");
    let server = Server::circled(&key);
    let open = async |count: usize| {
        let mut sessions = Vec::new();
        for _ in 0..count {
            let mut session = Session::open(&server.url).await;
            session.login(&key).await;
            sessions.push(session);
        }
        sessions
    };
    // What the server needs once: threads, curve tables, the first sessions' own.
    let _warm = open(100).await;
    let before = server.resident();
    let sessions = open(options.idle).await;
    let after = server.resident();
    (
        (after - before) as f64 / 1024.0 / sessions.len() as f64,
        sessions.len(),
    )
}

fn gather(sessions: Vec<(Vec<Duration>, usize)>, over: Duration) -> Round {
    let errors = sessions.iter().map(|(_, errors)| errors).sum();
    let mut taken: Vec<Duration> = sessions.into_iter().flat_map(|(taken, _)| taken).collect();
    taken.sort_unstable();
    let at = |share: f64| {
        taken
            .get((taken.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    Round {
        per_second: taken.len() as f64 / over.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        errors,
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
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
