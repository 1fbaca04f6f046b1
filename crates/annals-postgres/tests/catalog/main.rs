//! The picture of a schema against a real server: everything is in it, and a picture that is
//! brought up to date is the one read anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod again;
mod client;
mod everything;
mod quiet;
