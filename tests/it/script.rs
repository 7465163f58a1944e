//! Scripts: their inputs and results, and the bounds of each run.

mod isolation;
mod play;
