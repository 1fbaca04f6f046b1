//! Outside places that keep a copy of the log, so that whoever rewrites the log at home is found out.
//!
//! Nothing here reads a clock of its own accord, an environment variable, or a line of the log: the
//! log is seen through [`Exhibit`] alone, and a place through [`Shelf`].
//!
//! The wall has two sides. The log side implements [`Exhibit`] once, for every kind of anchor. An
//! anchor that keeps **copies** (a directory, an S3-compatible store) is one implementation of
//! [`Shelf`]; [`publish_to`] and [`download_from`] are the same for all of them. An anchor that
//! keeps no copy, such as a time stamp (RFC 3161) or a witness (C2SP `tlog-witness`), needs only
//! [`Exhibit::note`]: it becomes another kind of [`AnchorPlace`], and nothing changes on the log's
//! side.
//!
//! What a copy promises, and what a crash leaves, stands at [`publish_to`].

mod anchor;
mod directory;
mod download;
mod error;
mod exhibit;
mod limits;
mod place;
mod publish;
mod s3;
mod segments;
mod shelf;

pub use anchor::Anchor;
pub use annals_objects::{Limits, ParsePlaceError, S3Place, Variables};
pub use directory::DirectoryShelf;
pub use download::{Download, LocalFile, download_from};
pub use error::{AnchorError, BoxError};
pub use exhibit::{Exhibit, Object, ObjectPath, UnsafePath};
pub use limits::{MAX_NOTE_BYTES, MAX_OBJECT_BYTES};
pub use place::AnchorPlace;
pub use publish::{OpenNote, Receipt, publish_to};
pub use s3::S3Shelf;
pub use shelf::{Found, Held, Placed, Shelf, Swap, Version};
