//! Scripts: their inputs and results, and the bounds of each run.

mod effects;
mod hashes;
mod isolation;
mod play;
mod time;
mod who;
