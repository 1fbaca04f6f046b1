//! Acceptance: the built program against real servers, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adopt;
mod aftermath;
mod backfill;
mod backup;
mod bad_input;
mod bad_target;
mod checks;
mod classes;
mod connections;
mod copies;
mod crash;
mod crowd;
mod damaged;
mod drift;
mod failover;
mod guards;
mod harmless;
mod keys;
mod large;
mod outside;
mod proof;
mod proof_kinds;
mod psql;
mod replay;
mod sandbox;
mod schema;
mod sql_files;
mod stores;
mod story;
mod tamper;
mod together;
mod tour;
mod upgrade;
