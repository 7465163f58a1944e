//! `circled deliveries`

use std::{io, process::ExitCode};

use circled_client::{Client, Error};
use circled_protocol::{JobId, methods::Delivery, methods::ListDeliveries};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    jobs::{first_line, print_pretty},
    output::remark,
    script::{print_line, seconds},
    with_login::{Login, exit_codes, print_json, print_text},
};

const NO_DELIVERY: (u8, &str) = (8, "there is no such delivery");

const EXAMPLES: &str = "\
  circled deliveries list C --key circle.key --provider stripe
  circled deliveries show C --key circle.key 019ab1c2-...
  circled deliveries redeliver C --key circle.key 019ab1c2-...";

/// Look at a circle's deliveries: what came by webhook.
#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List deliveries, the newest first: job, time, provider, type, status, tries, last error.
    #[command(after_help = exit_codes(&[], EXAMPLES))]
    List {
        #[command(flatten)]
        login: Login,
        /// Only deliveries of this provider.
        #[arg(long)]
        provider: Option<String>,
        /// The most deliveries to list.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print a delivery as JSON, with what the provider sent; only the owner can.
    #[command(after_help = exit_codes(&[NO_DELIVERY], EXAMPLES))]
    Show {
        #[command(flatten)]
        login: Login,
        /// The id of its job, as `circled deliveries list` prints it.
        id: JobId,
    },
    /// Run a delivery once more, with the script as it is now. Prints the new job's id.
    #[command(after_help = exit_codes(&[NO_DELIVERY], EXAMPLES))]
    Redeliver {
        #[command(flatten)]
        login: Login,
        /// The id of its job, as `circled deliveries list` prints it.
        id: JobId,
    },
}

impl Deliveries {
    pub(super) fn run(&self) -> ExitCode {
        match &self.command {
            Command::List {
                login,
                provider,
                limit,
            } => login.run_to(
                None,
                async |client| list(client, provider.as_deref(), *limit).await,
                |deliveries| {
                    if deliveries.is_empty() && !login.manner.json {
                        remark!("no deliveries");
                    }
                    deliveries.iter().try_for_each(|delivery| {
                        if login.manner.json {
                            print_json(delivery)
                        } else {
                            print(delivery)
                        }
                    })
                },
            ),
            Command::Show { login, id } => login.run(
                None,
                async |client| client.get_delivery(*id).await,
                print_pretty,
            ),
            Command::Redeliver { login, id } => login.run(
                None,
                async |client| {
                    let job_id = client.redeliver(*id).await?;
                    Ok(json!({ "job_id": job_id }))
                },
                |answer| print_text(answer["job_id"].as_str().unwrap_or_default()),
            ),
        }
    }
}

async fn list(client: &Client, provider: Option<&str>, limit: u32) -> Result<Vec<Delivery>, Error> {
    super::jobs::pages(limit, async |limit, cursor| {
        let wanted = ListDeliveries {
            provider: provider.map(str::to_owned),
            limit,
            cursor,
            status: None,
        };
        let page = client.list_deliveries(&wanted).await?;
        Ok((page.deliveries, page.cursor))
    })
    .await
}

/// Prints one line for people.
fn print(delivery: &Delivery) -> io::Result<()> {
    let Delivery {
        job_id,
        provider,
        event_type,
        received_at,
        status,
        tries,
        error,
        ..
    } = delivery;
    print_line(&[
        &job_id.to_string(),
        &seconds(*received_at),
        provider,
        event_type.as_deref().unwrap_or("-"),
        status.name(),
        &format!("tries {tries}"),
        first_line(error.as_ref()),
    ])
}
