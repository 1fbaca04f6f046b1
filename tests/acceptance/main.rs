//! Acceptance: the built program against real servers, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bad_target;
mod crash;
mod guards;
mod sandbox;
mod tamper;
mod tour;
