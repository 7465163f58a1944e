//! The figures between two looks, and the screen that shows them.

use std::time::{Duration, Instant};

use circled_protocol::{PublicKey, SecretKey};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    exposition::Exposition,
    look::{Busy, Circles, Large, Look, Slow},
    screen::draw,
    view::{View, quantile},
};

fn circle(n: u8) -> PublicKey {
    SecretKey::from_hex(&hex::encode([n; 32])).unwrap().public()
}

/// Returns a look at a server that has had so many plays, all of the same time, and so many errors.
fn look(at: Instant, plays: u64, errors: u64) -> Look {
    let half = plays / 2;
    let metrics = format!(
        r#"circled_build_info{{version="1.2.3"}} 1
circled_ready 1
circled_sessions 12
circled_session_circles 3
circled_process_cpu_seconds_total {}
circled_process_start_time_seconds 1000
circled_process_resident_memory_bytes 1.5e8
circled_process_open_fds 60
circled_process_max_fds 1024
circled_calls_total{{method="play",code="ok"}} {plays}
circled_calls_total{{method="play",code="-32000"}} {errors}
circled_call_duration_seconds_bucket{{le="0.001",method="play"}} {half}
circled_call_duration_seconds_bucket{{le="0.002",method="play"}} {plays}
circled_call_duration_seconds_bucket{{le="+Inf",method="play"}} {plays}
circled_call_duration_seconds_bucket{{le="+Inf",method="whoami"}} 0
circled_queue_length{{queue="script"}} 4
circled_queue_length{{queue="waiting_room"}} 0
circled_jobs_pending 7
circled_jobs_dead 2
circled_jobs_oldest_pending_seconds 90
circled_write_queue_bytes 0
"#,
        plays as f64 / 1000.0
    );
    let largest = [(1, 5 << 30), (2, 100_000)];
    let busiest = [(2, 1200.0), (1, 0.5)];
    Look {
        at,
        unix_time: 1000.0 + 7500.0,
        metrics: Exposition::read(&metrics),
        circles: Circles {
            busiest: busiest
                .map(|(n, jobs_per_second)| Busy {
                    circle: circle(n),
                    jobs_per_second,
                })
                .into(),
            largest: largest
                .map(|(n, bytes)| Large {
                    circle: circle(n),
                    bytes,
                })
                .into(),
            slow: vec![Slow {
                circle: circle(1),
                kind: "call".to_owned(),
                script: Some("report".to_owned()),
                version: Some("abcdef0123456789".to_owned()),
                runs: 31,
                longest_ms: 1234,
            }],
        },
    }
}

fn view() -> View {
    let now = Instant::now();
    let before = look(now, 1000, 10);
    let after = look(now + Duration::from_secs(2), 3000, 14);
    View::between("http://127.0.0.1:8081", &before, &after)
}

/// Returns the rows of a screen of this size, without the spaces at their ends.
fn drawn(width: u16, height: u16, view: Option<&View>, error: Option<&str>) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, "http://127.0.0.1:8081", view, error))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    let rows = rows.map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[test]
fn rates_and_latencies_are_those_between_the_looks() {
    let view = view();
    assert_eq!((view.version.as_str(), view.is_ready), ("1.2.3", true));
    assert_eq!((view.uptime_seconds, view.seconds), (7500, 2.0));
    assert_eq!(view.gauges["cores_used"], 1.0);
    let calls = &view.rates[0];
    assert_eq!((calls.name, calls.per_second), ("calls", 1002.0));
    assert_eq!(calls.failed_per_second, Some(2.0));
    let play = &view.latencies[0];
    assert_eq!((play.name.as_str(), play.per_second), ("play", 1000.0));
    assert!((play.p50_ms - 1.0).abs() < 1e-9, "{play:?}");
    assert!((play.p90_ms - 1.8).abs() < 1e-9, "{play:?}");
    assert_eq!(
        view.latencies[1].name, "scripts inline",
        "whoami wasn't called"
    );

    // A server that was started again counts from 0.
    let now = Instant::now();
    let later = look(now + Duration::from_secs(2), 500, 0);
    let view = View::between("", &look(now, 1000, 10), &later);
    assert_eq!(view.rates[0].per_second, 250.0);
    assert_eq!(view.latencies[0].per_second, 250.0);
}

#[test]
fn quantiles_are_within_their_buckets() {
    let buckets = [(1.0, 10.0), (2.0, 10.0), (4.0, 20.0), (f64::INFINITY, 30.0)];
    for (wanted, expected) in [(0.1, 0.3), (1.0 / 3.0, 1.0), (0.5, 3.0), (0.99, 4.0)] {
        let found = quantile(&buckets, wanted);
        assert!((found - expected).abs() < 1e-9, "{wanted}: {found}");
    }
    assert_eq!(quantile(&[(1.0, 0.0)], 0.5), 0.0);
    assert_eq!(quantile(&[], 0.5), 0.0);
}

#[test]
fn a_usual_terminal_has_all_of_it() {
    insta::assert_snapshot!(drawn(80, 24, Some(&view()), None), @"
    circled 1.2.3  http://127.0.0.1:8081  up 2 h 5 min  ready
    sessions 12 in 3 circles  cores 1.00  memory 143 MiB  files 60 of 1024
    waiting:  dead letters 2  jobs 7  script 4  oldest job 1 min
    ┌each second─────────────────────┐┌milliseconds────────────────────────────────┐
    │                     all  failed││                 each s    p50    p90    p99│
    │calls               1002     2.0││play               1000   1.00   1.80   1.98│
    │logins                 0        ││scripts inline        0      -      -      -│
    │sessions opened        0        ││scripts thread        0      -      -      -│
    │webhooks               0        ││synced writes         0      -      -      -│
    │jobs                   0        ││                                            │
    │script runs            0        ││                                            │
    │conflicts              0        ││                                            │
    │commits                0        ││                                            │
    │live queries           0        ││                                            │
    └────────────────────────────────┘└────────────────────────────────────────────┘
    ┌busiest, jobs/s───────┐┌largest stores────────┐┌slow scripts──────────────────┐
    │024d4b6cd136…     1200││031b84c5567b…  5.0 GiB││                  runs longest│
    │031b84c5567b…      0.5││024d4b6cd136… 97.7 KiB││report abcdef01     31    1234│
    │                      ││                      ││                              │
    │                      ││                      ││                              │
    │                      ││                      ││                              │
    │                      ││                      ││                              │
    └──────────────────────┘└──────────────────────┘└──────────────────────────────┘
    q: leave
    ");
}

#[test]
fn a_wide_terminal_has_whole_keys() {
    let screen = drawn(200, 50, Some(&view()), None);
    for n in [1, 2] {
        let key = circle(n).to_string();
        assert_eq!(screen.matches(&key).count(), 2, "{screen}");
    }
    assert!(screen.contains("report abcdef01"), "{screen}");
}

#[test]
fn every_size_can_be_drawn() {
    let view = view();
    for width in [1, 2, 20, 79, 300] {
        for height in [1, 2, 5, 23, 100] {
            drawn(width, height, Some(&view), Some("gone"));
        }
    }
    let error = drawn(80, 24, Some(&view), Some("it does not answer"));
    assert!(error.ends_with("it does not answer"), "{error}");
    assert!(drawn(80, 5, None, None).contains("looking"));
}
