//! Jobs, on both backends and on each.

mod embedded;
mod jobs;
mod redis;
mod same;
