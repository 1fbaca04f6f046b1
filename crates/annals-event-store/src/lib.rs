//! Append-only homes for the log: file segments and signed checkpoints.
