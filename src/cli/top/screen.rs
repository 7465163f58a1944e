//! Draws what is shown, as far as the terminal has room.

use circled_protocol::PublicKey;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row, Table},
};

use super::view::{Latency, Rate, View};

/// The length of a circle's key in hex, and of one that is cut off.
const WHOLE_KEY: u16 = 66;
const SHORT_KEY: u16 = 13;
/// The width from which keys are shown as a whole.
const WIDE: u16 = 190;
/// The width from which slow scripts are shown with their circles.
const NAMED: u16 = 44;

/// Draws the screen: the view, and the error of the last look, if there was one.
pub(super) fn draw(frame: &mut Frame<'_>, url: &str, view: Option<&View>, error: Option<&str>) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let last = match error {
        Some(error) => Line::from(error.to_owned()).red().bold(),
        None => Line::from("q: leave").dim(),
    };
    frame.render_widget(last, foot);
    let Some(view) = view else {
        frame.render_widget(Line::from(format!("circled  {url}  looking ...")), head);
        return;
    };
    frame.render_widget(Paragraph::new(head_of(view)), head);
    // What a server does comes first where there is little room.
    let needed = view.rates.len().max(view.latencies.len()) as u16 + 3;
    let [upper, lower] =
        Layout::vertical([Constraint::Length(needed), Constraint::Fill(1)]).areas(body);
    let [rates, latencies] =
        Layout::horizontal([Constraint::Length(34), Constraint::Fill(1)]).areas(upper);
    draw_rates(frame, rates, &view.rates);
    draw_latencies(frame, latencies, &view.latencies);
    draw_circles(frame, lower, view);
}

fn head_of(view: &View) -> Vec<Line<'static>> {
    let ready = match view.is_ready {
        true => "ready".green(),
        false => "NOT READY".red().bold(),
    };
    let gauge = |name| view.gauges.get(name).copied();
    let mut state = Vec::new();
    if let Some(sessions) = gauge("sessions") {
        let circles = gauge("session_circles").unwrap_or(0.0);
        state.push(format!("sessions {sessions} in {circles} circles"));
    }
    if let Some(watches) = gauge("watches").filter(|watches| *watches > 0.0) {
        state.push(format!("watches {watches}"));
    }
    state.push(format!("cores {:.2}", gauge("cores_used").unwrap_or(0.0)));
    if let Some(memory) = gauge("process_resident_memory_bytes") {
        state.push(format!("memory {}", bytes(memory)));
    }
    if let (Some(open), Some(most)) = (gauge("process_open_fds"), gauge("process_max_fds")) {
        state.push(format!("files {open} of {most}"));
    }
    if let Some(free) = gauge("disk_free_bytes") {
        state.push(format!("disk free {}", bytes(free)));
    }
    let mut redis = Vec::new();
    if let Some(is_up) = gauge("redis_up") {
        redis.push(match is_up > 0.0 {
            true => "Redis up  ".green(),
            false => "REDIS DOWN  ".red().bold(),
        });
    }
    if let Some(workers) = gauge("workers") {
        redis.push(Span::from(format!("workers {workers}  ")));
    }
    let title = Span::from(format!("circled {}", view.version)).bold();
    let up = uptime(view.uptime_seconds);
    let mut first = vec![
        title,
        Span::from(format!("  {}  up {up}  ", view.url)),
        ready,
    ];
    first.push(Span::from("  "));
    first.extend(redis);
    vec![
        Line::from(first),
        Line::from(state.join("  ")),
        waiting(view),
    ]
}

/// Returns the line about what waits. Dead letters need somebody.
fn waiting(view: &View) -> Line<'static> {
    let mut parts = vec![Span::from("waiting:")];
    let some = view.waiting.iter().filter(|(_, number)| **number > 0);
    for (name, number) in some {
        let text = match name.as_str() {
            "write_queue_bytes" => format!("  writes {}", bytes(*number as f64)),
            "jobs_pending" => format!("  jobs {number}"),
            "jobs_dead" => format!("  dead letters {number}"),
            queue => format!("  {} {number}", queue.replace('_', " ")),
        };
        parts.push(match name == "jobs_dead" {
            true => text.red(),
            false => Span::from(text),
        });
    }
    let oldest = view.gauges.get("jobs_oldest_pending_seconds");
    if let Some(age) = oldest.filter(|age| **age >= 1.0) {
        parts.push(Span::from(format!("  oldest job {}", uptime(*age as u64))));
    }
    if parts.len() == 1 {
        parts.push(Span::from("  nothing"));
    }
    Line::from(parts)
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, rates: &[Rate]) {
    let rows = rates.iter().map(|rate| {
        let failed = rate.failed_per_second.filter(|failed| *failed > 0.0);
        let failed = Span::from(failed.map_or_else(String::new, number)).red();
        Row::new([
            Line::from(rate.name),
            Line::from(number(rate.per_second)).right_aligned(),
            Line::from(failed).right_aligned(),
        ])
    });
    let columns = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(7),
    ];
    let table = Table::new(rows, columns).header(head(["", "all", "failed"]));
    frame.render_widget(table.block(titled("each second")), area);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, latencies: &[Latency]) {
    let rows = latencies.iter().map(|latency| {
        let times = [latency.p50_ms, latency.p90_ms, latency.p99_ms].map(|time| {
            let is_any = latency.per_second > 0.0;
            Line::from(if is_any {
                milliseconds(time)
            } else {
                "-".to_owned()
            })
            .right_aligned()
        });
        let rate = Line::from(number(latency.per_second)).right_aligned();
        let mut cells = vec![Line::from(latency.name.clone()), rate];
        cells.extend(times);
        Row::new(cells)
    });
    let columns = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(6),
    ];
    let table = Table::new(rows, columns).header(head(["", "each s", "p50", "p90", "p99"]));
    frame.render_widget(table.block(titled("milliseconds")), area);
}

fn draw_circles(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let key = match area.width >= WIDE {
        true => WHOLE_KEY,
        false => SHORT_KEY,
    };
    let [busiest, largest, slow] = Layout::horizontal([
        Constraint::Length(key + 11),
        Constraint::Length(key + 11),
        Constraint::Fill(1),
    ])
    .areas(area);
    let circles = |title, rows: Vec<(PublicKey, String)>| {
        let rows = rows.into_iter().map(move |(circle, value)| {
            let value = Line::from(value).right_aligned();
            Row::new([Line::from(shown(&circle, key)), value])
        });
        let columns = [Constraint::Length(key), Constraint::Fill(1)];
        Table::new(rows, columns).block(titled(title))
    };
    let rows = view.busiest.iter();
    let rows = rows.map(|busy| (busy.circle, number(busy.jobs_per_second)));
    frame.render_widget(circles("busiest, jobs/s", rows.collect()), busiest);
    let rows = view.largest.iter();
    let rows = rows.map(|large| (large.circle, bytes(large.bytes as f64)));
    frame.render_widget(circles("largest stores", rows.collect()), largest);
    let (key, has_circle) = (SHORT_KEY, slow.width >= NAMED);
    let rows = view.slow.iter().map(|slow| {
        let name = slow.script.as_deref().unwrap_or(&slow.kind);
        let version = slow.version.as_deref().unwrap_or_default();
        let version: String = version.chars().take(8).collect();
        Row::new([
            Line::from(format!("{name} {version}")),
            Line::from(slow.runs.to_string()).right_aligned(),
            Line::from(milliseconds(slow.longest_ms as f64)).right_aligned(),
            Line::from(shown(&slow.circle, key)),
        ])
    });
    // Without a column, its cells aren't drawn.
    let columns = [
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(key),
    ];
    let columns = columns.into_iter().take(3 + usize::from(has_circle));
    let table = Table::new(rows, columns).header(head(["", "runs", "longest", "circle"]));
    frame.render_widget(table.block(titled("slow scripts")), slow);
}

fn titled(title: &'static str) -> Block<'static> {
    Block::bordered()
        .border_style(Style::new().fg(Color::DarkGray))
        .title(title)
}

fn head<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    let is_first = |n| n == 0;
    let cells = names.into_iter().enumerate().map(|(n, name)| {
        let line = Line::from(name);
        match is_first(n) || name == "circle" {
            true => line,
            false => line.right_aligned(),
        }
    });
    Row::new(cells).dim()
}

/// Returns a circle's key, cut off if it is too long.
fn shown(circle: &PublicKey, width: u16) -> String {
    let key = circle.to_string();
    match width >= WHOLE_KEY {
        true => key,
        false => format!("{}\u{2026}", &key[..usize::from(width) - 1]),
    }
}

/// Returns a rate with as many digits as tell something.
fn number(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        _ if rate < 10.0 => format!("{rate:.1}"),
        _ if rate < 1e6 => format!("{rate:.0}"),
        _ => format!("{:.1}M", rate / 1e6),
    }
}

fn milliseconds(time: f64) -> String {
    match time {
        _ if time < 10.0 => format!("{time:.2}"),
        _ if time < 100.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit == 0 || value >= 100.0 {
        true => format!("{value:.0} {}", units[unit]),
        false => format!("{value:.1} {}", units[unit]),
    }
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
