//! Webhooks from outside: signatures, responses and results.

mod answers;
mod duplicates;
mod flood;
mod jobs;
mod kinds;
mod providers;
mod refusals;
mod secrets;
