//! What the design takes PostgreSQL to do, tried on a real server: the facts X1 to X21.
//!
//! `docs/reference/facts.md` lists them with the decisions they carry. A test that fails here after
//! an upgrade of the server names the decision that no longer stands.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod commits;
mod deaths;
mod indexes;
mod locks;
mod races;
mod reading;
mod session;
