//! The file log in a process of its own, which is failed and killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod appender;
mod counts;
mod faults;
#[path = "../fixture/mod.rs"]
mod fixture;
mod kill;
mod race;
mod strace;
