//! Acceptance: the built program against real servers, as its users run it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod bad_target;
mod copies;
mod crash;
mod damaged;
mod guards;
mod keys;
mod large;
mod replay;
mod sandbox;
mod stores;
mod story;
mod tamper;
mod tour;
