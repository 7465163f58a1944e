//! `circled top`

mod exposition;
mod keys;
mod look;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::{io, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use futures_util::future::OptionFuture;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval_at, sleep},
};

use self::{look::Look, terminal::Screen, view::View};
use super::{circle::Address, client_runtime, output::stdout, with_login::print_json};
use crate::units::duration::parse;

const EXAMPLES: &str = "\
  circled top
  circled top --url http://10.0.0.5:8081 --interval 5s
  circled top --json";

/// Show what a server does, live in the terminal.
///
/// Rates, latencies, what waits, the busiest and the largest circles, and slow scripts (log.slow). q ends it. It shows one
/// server: with Redis, each gateway and each worker by itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Top {
    /// The time between two looks.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pace)]
    interval: Duration,
    /// Look for one interval, and print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Address,
}

fn pace(text: &str) -> Result<Duration, &'static str> {
    let is_possible = |pace: &Duration| (200..=3_600_000).contains(&pace.as_millis());
    let pace = parse(text).filter(is_possible);
    pace.ok_or("it must be a time from 200ms to 1h, like 2s")
}

impl Top {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if !self.json && !stdout().is_terminal() {
            bail!("the output is no terminal: use --json");
        }
        let url = self.server.find()?;
        let show = async {
            // A server that can't be reached is told in the way of all commands.
            let first = Look::take(&url).await?;
            match self.json {
                true => self.print(&url, &first).await,
                false => Ok(self.live(&url, first).await?),
            }
        };
        client_runtime()?.block_on(show).map(|()| ExitCode::SUCCESS)
    }

    async fn print(&self, url: &str, first: &Look) -> anyhow::Result<()> {
        sleep(self.interval).await;
        let second = Look::take(url).await?;
        Ok(print_json(&View::between(url, first, &second))?)
    }

    /// Shows it until the user leaves. A server that is gone meanwhile is waited for.
    async fn live(&self, url: &str, first: Look) -> io::Result<()> {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut screen = Screen::open()?;
        let mut keys = keys::read()?;
        let begins = first.at + self.interval;
        let mut ticks = interval_at(begins.into(), self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut view, mut error) = (first, None, None);
        let mut looking = None;
        loop {
            screen.draw(|frame| screen::draw(frame, url, view.as_ref(), error.as_deref()))?;
            tokio::select! {
                _ = ticks.tick(), if looking.is_none() => looking = Some(Box::pin(Look::take(url))),
                Some(look) = OptionFuture::from(looking.as_mut()) => {
                    looking = None;
                    error = match look {
                        Ok(look) => {
                            view = Some(View::between(url, &before, &look));
                            before = look;
                            None
                        }
                        Err(why) => Some(why.to_string()),
                    };
                }
                key = keys.recv() => if key != Some(keys::Key::Other) {
                    return Ok(());
                },
                _ = terminated.recv() => return Ok(()),
            }
        }
    }
}
