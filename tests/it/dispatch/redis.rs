//! The backend of many processes: gateways and workers around a Redis.

mod across;
mod backup;
mod blame;
mod durability;
mod faults;
mod forgetful;
mod inboxes;
mod inputs;
mod leaving;
mod limits;
mod listing;
mod secured;
mod served_backups;
mod sessions;
mod starting;
mod stopping;
mod turns;
mod unreadable;
