//! Anchors, against real folders and a real S3 server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod crashes;
mod directory;
mod fits;
mod kills;
mod memory;
mod s3;
mod s3_faults;
mod sample;
mod whole;

/// Plays the S3 server for the tests of this binary.
#[test]
fn s3_server() {
    annals_s3_server::play_or_try("s3_server");
}
