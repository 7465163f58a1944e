//! The server's side of each method, one file each, and the parts that some share. `circled_protocol` declares their
//! params and results.

mod add_member;
mod authenticate;
mod call;
mod delete_script;
mod deliveries;
mod discover;
mod fetch_nonce;
mod get_delivery;
mod get_job;
mod get_script;
mod jobs;
mod list_deliveries;
mod list_jobs;
mod list_members;
mod list_scripts;
mod play;
mod put_script;
mod redeliver;
mod remove_member;
mod retry_job;
mod run;
mod stop_job;
mod submit_job;
mod subscribe;
mod unsubscribe;
mod whoami;
