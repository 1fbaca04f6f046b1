//! The sealed backup container, used as another crate uses it.

mod chunks;
mod common;
mod damage;
mod format_doc;
mod golden;
mod key_file;
mod refusals;
mod rewrap;
mod ring_format;
mod round_trip;
mod second_implementation;
