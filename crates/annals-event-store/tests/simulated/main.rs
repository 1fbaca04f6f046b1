//! The file log on a disk that forgets, fails and deceives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod disk;
mod fault_points;
#[path = "../fixture/mod.rs"]
mod fixture;
mod programs;
mod witness;
