//! Logins, and the permissions of callers.

mod login;
mod roles;
