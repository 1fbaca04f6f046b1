//! Servers, workspaces and faults for the tests of annals.
