//! An S3 server of a test's own, a process beside it, and faults in front of it.
//!
//! The server is not ours: requests are parsed, their signatures checked and their conditions
//! (`If-None-Match`, `If-Match`) decided by the crates `s3s` and `s3s-fs`, which keep objects as
//! files in a folder. Ours are the listener, TLS in front of it, and one lock around each `PUT`:
//! `s3s-fs` looks first and writes then, while S3 promises that the two are one step.
//!
//! The process is the test's own binary, started again. A test binary that wants a server holds
//! this test, which plays the server when it is asked to, and else tries it out:
//!
//! ```text
//! #[test]
//! fn s3_server() {
//!     annals_s3_server::play_or_try("s3_server");
//! }
//! ```

mod front;
mod process;
mod serve;

pub use front::{Answer, Fate, Front, Seen};
pub use process::{BUCKET, S3Server, play_or_try};
