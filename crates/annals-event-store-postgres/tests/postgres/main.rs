//! The PostgreSQL home of a log against real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alterations;
mod commits;
mod home;
mod import;
mod install;
mod reader;
mod rights;
mod suite;
mod writers;
