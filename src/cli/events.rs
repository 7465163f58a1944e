//! `circled events`

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use circled_client::{Change, Client, Error, Follow, Notice};
use circled_protocol::{Word, methods::Event};
use clap::Args;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::{
    client_runtime,
    output::{remark, stdout},
    script::{print_line, seconds},
    with_login::{Login, LoginKey, exit_codes, print_json},
};

/// The time without events after which the log counts as printed. Its last event may be for somebody else, and then
/// nothing marks the end.
const SILENCE: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
  circled events C --key me.key                          # all that the log has
  circled events C --key me.key chat. --follow           # what comes from now on
  circled events C --key me.key --since 17 --follow --json";

/// Print a circle's events, a line each: id, time, topic and data.
///
/// Ids may skip, because some events are for others. The server keeps the last events in a log. If it no longer reaches back to --since, standard error says so; with
/// --json there is also a line {"gap": true, "since": N}, and the next event is after N. An event that can't be read is
/// skipped, and standard error says so; with --json there is also a line {"unreadable": true, "id": N}.
#[derive(Debug, Args)]
#[command(after_help = exit_codes(&[(0, "the end of the log was reached")], EXAMPLES))]
pub(super) struct Events {
    #[command(flatten)]
    login: Login,
    /// Only events whose topic begins with this.
    #[arg(default_value = "")]
    topic: String,
    /// Begin after the event with this id. Without it: at the beginning of the log, or with --follow, now.
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Continue with new events. Reconnects whenever the connection is lost, and says so on standard error.
    #[arg(short, long)]
    follow: bool,
}

/// The reason why the command ended.
enum End {
    Reached,
    /// Nobody reads the output.
    Unread,
    /// The caller may not see the events any more.
    Forbidden,
    Failed(Error),
}

impl Events {
    pub(super) fn run(&self) -> ExitCode {
        let key = match self.login.key() {
            Ok(key) => key,
            Err(error) => return self.login.unusable(&error),
        };
        let end = match client_runtime() {
            Ok(runtime) => runtime.block_on(async {
                if self.follow {
                    self.follow(key.clone()).await
                } else {
                    self.log(&key).await
                }
            }),
            Err(error) => {
                remark!("error: {error}");
                return ExitCode::from(3);
            }
        };
        match end {
            End::Reached | End::Unread => ExitCode::SUCCESS,
            End::Forbidden => ExitCode::from(5),
            End::Failed(error) => self.login.failed(&error, None, &key),
        }
    }

    /// Prints the events that the log has now.
    async fn log(&self, key: &LoginKey) -> End {
        let client = match self.login.connect(key).await {
            Ok(client) => client,
            Err(error) => return End::Failed(error),
        };
        let end = self.log_of(&client).await;
        client.close().await;
        end.unwrap_or_else(End::Failed)
    }

    async fn log_of(&self, client: &Client) -> Result<End, Error> {
        let mut since = self.since.unwrap_or(0);
        // A subscription from now on begins after the last event of the log.
        let last = client.subscribe(&self.topic, None).await?.since();
        if since > last {
            remark!("there is no event {since} yet: the last one is {last}");
        }
        while since < last {
            let mut events = client.subscribe(&self.topic, Some(since)).await?;
            while since < last {
                let Ok(next) = timeout(SILENCE, events.next()).await else {
                    return Ok(End::Reached);
                };
                let notice = match next {
                    Some(Err(Error::Behind)) => break,
                    Some(notice) => notice?,
                    None => return Ok(End::Reached),
                };
                match &notice {
                    Notice::Event(event) if event.id > last => return Ok(End::Reached),
                    Notice::Event(event) => since = event.id,
                    Notice::Gap { since: after } => since = *after,
                    Notice::Unreadable { id, .. } => since = id.unwrap_or(since),
                    Notice::Ended { .. } => {}
                }
                if let Some(end) = self.print(&notice) {
                    return Ok(end);
                }
            }
        }
        Ok(End::Reached)
    }

    /// Follows new events and prints them.
    async fn follow(&self, key: LoginKey) -> End {
        let mut follow = Follow::new(&self.login.url, key.signer)
            .login(self.login.manner.login())
            .topic(&self.topic)
            .on_change(remark_connection());
        if let Some(since) = self.since {
            follow = follow.since(since);
        }
        let mut events = follow.start();
        while let Some(next) = events.next().await {
            match next.map(|notice| self.print(&notice)) {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(error) => return End::Failed(error),
            }
        }
        End::Reached
    }

    /// Prints a notice. Returns the reason for the end if it was the last one.
    fn print(&self, notice: &Notice) -> Option<End> {
        let json = self.login.manner.json;
        let printed = match notice {
            Notice::Event(event) if json => print_json(event),
            Notice::Event(event) => print(event),
            Notice::Gap { since } => {
                remark!("events up to {since} may be missing: the log does not reach back to them");
                match json {
                    true => print_json(&json!({ "gap": true, "since": since })),
                    false => Ok(()),
                }
            }
            Notice::Unreadable { id, why } => {
                let name = id.map_or_else(|| "an event".to_owned(), |id| format!("event {id}"));
                remark!("{name} is skipped: it can't be read: {why}");
                match json {
                    true => print_json(&json!({ "unreadable": true, "id": id })),
                    false => Ok(()),
                }
            }
            Notice::Ended { needs } => {
                let needs = needs.as_ref().map_or("another", Word::name);
                remark!(
                    "error: you may not see this circle's events any more: that needs the role {needs}"
                );
                return Some(End::Forbidden);
            }
        };
        // Somebody may be waiting for the event, so it is printed at once.
        printed
            .and_then(|()| stdout().flush())
            .err()
            .map(|_| End::Unread)
    }
}

/// Returns what says on standard error when the connection is lost, and when it is there again.
pub(super) fn remark_connection() -> impl FnMut(Change<'_>) + Send + 'static {
    let (mut lost, mut before) = (false, String::new());
    move |change| match change {
        Change::Connected if lost => {
            (lost, before) = (false, String::new());
            remark!("connected again");
        }
        Change::Connected => {}
        Change::Lost { why, retry_in } => {
            lost = true;
            // The same reason is printed once.
            let why = why.to_string();
            if why != before {
                remark!("{why}; trying again in {:.1} s", retry_in.as_secs_f64());
                before = why;
            }
        }
    }
}

/// Prints one line for people.
fn print(event: &Event) -> io::Result<()> {
    let Event {
        id,
        topic,
        data,
        at,
    } = event;
    print_line(&[&id.to_string(), &seconds(*at), topic, &data.to_string()])
}
