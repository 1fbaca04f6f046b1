//! The annals command line.
fn main() {}
