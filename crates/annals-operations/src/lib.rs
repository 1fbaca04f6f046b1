//! One function for each verb; wires the crates; owns the clock and the identifiers.
