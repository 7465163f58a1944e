//! Jobs, on both backends and on each.

mod asked_again;
mod embedded;
mod jobs;
mod redis;
mod same;
