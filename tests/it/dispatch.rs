//! Jobs, on both backends and on each.

mod asked_again;
mod embedded;
mod jobs;
mod lists;
mod redis;
mod retry_dead;
mod same;
mod shares;
mod slow;
mod submitted;
mod usage;
