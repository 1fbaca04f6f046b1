//! Verifies log, checkpoints, files and schema; yields findings; needs no store.
