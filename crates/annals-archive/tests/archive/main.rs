//! Backups of real databases, brought back and compared.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on fails")]

mod common;
mod damage;
mod golden;
mod objects;
mod refusals;
mod round_trip;
mod stores;
mod tables;
