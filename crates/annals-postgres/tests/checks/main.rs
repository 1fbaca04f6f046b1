//! Integrity checks on a real server: each damage is found as exactly that, and what a role may not
//! see is not checked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod contents;
mod damage;
mod files;
mod ground;
mod limits;
