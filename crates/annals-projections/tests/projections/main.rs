//! Read models: what they say of a log, and that they say the same of it everywhere and for ever.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adoption;
mod any;
mod durations;
mod golden;
mod known;
mod made;
mod story;
mod views;
