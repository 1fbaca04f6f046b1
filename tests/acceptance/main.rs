//! Acceptance: the built program against real servers, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adopt;
mod aftermath;
mod approvals;
mod backfill;
mod backup;
mod backup_keys;
mod backup_scopes;
mod backup_store;
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
mod recovery;
mod replay;
mod restore;
mod restore_rows;
mod safeguards;
mod sandbox;
mod schema;
mod serve;
mod serve_metrics;
mod sql_files;
mod stores;
mod story;
mod tamper;
mod together;
mod tour;
mod upgrade;
