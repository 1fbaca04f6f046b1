//! Fuzz targets for everything annals parses that may come from a stranger.
//!
//! A target takes any bytes, returns whether they were accepted, and panics where an invariant of
//! the parser is broken: what is accepted is written back as the same bytes. The targets need no
//! nightly Rust; [`drive`] feeds them mutations of [`seeds`], and `cargo fuzz` could as well.

mod drive;
mod mutate;
pub mod seeds;
pub mod targets;

pub use drive::{Budget, Failure, Outcome, drive};
pub use mutate::{Mutator, Numbers};

/// A parser under test: whether it accepts the bytes; panics if it breaks its word.
pub type Target = fn(&[u8]) -> bool;

/// Every target by name, with inputs that it accepts.
pub fn all() -> Vec<(&'static str, Target, Vec<Vec<u8>>)> {
    vec![
        ("canonical_json", targets::canonical_json, seeds::lines()),
        ("event_line", targets::event_line, seeds::lines()),
        ("signed_note", targets::signed_note, seeds::notes()),
        ("checkpoint", targets::checkpoint, seeds::checkpoints()),
        ("checkpoint_text", targets::checkpoint_text, seeds::checkpoint_texts()),
        ("verifier_key", targets::verifier_key, seeds::verifier_keys()),
        ("tile_path", targets::tile_path, seeds::tile_paths()),
        ("tile_bytes", targets::tile_bytes, seeds::tile_bytes()),
        ("bundle_bytes", targets::bundle_bytes, seeds::bundle_bytes()),
        ("tlog_proof", targets::tlog_proof, seeds::tlog_proofs()),
        ("sql_pieces", targets::sql_pieces, seeds::sql_files()),
        ("merkle_proof", targets::merkle_proof, seeds::merkle_proofs()),
    ]
}
