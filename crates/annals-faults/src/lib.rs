//! The fault matrix: every fault at every point of a run, and an oracle that says what must hold behind it.
//!
//! A case runs the program as a user would, on a real server, with an application that writes
//! meanwhile. Nothing here is part of the product, and the product gets no failpoint from here.

pub mod case;
pub mod drive;
pub mod faults;
pub mod kept;
pub mod link;
pub mod migrations;
pub mod oracle;
pub mod own;
pub mod scene;
pub mod table;
pub mod wire;
pub mod writers;
