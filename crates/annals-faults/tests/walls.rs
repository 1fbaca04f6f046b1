//! No build of annals that anybody uses has failpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

/// What cargo would build for `arguments`, with the features of every crate.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--edges"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const FEATURE: &str = "annals-executor feature \"failpoints\"";

#[test]
fn no_build_for_use_has_failpoints() {
    for wanted in [
        &["normal,build,features", "--package", "annals-cli"][..],
        &["normal,build,features", "--workspace"],
    ] {
        let tree = tree(wanted);
        assert!(tree.contains("annals-executor"), "{wanted:?} builds the executor");
        assert!(!tree.contains(FEATURE), "{wanted:?} builds the executor with its failpoints");
    }
}

#[test]
fn the_program_under_test_has_them() {
    assert!(tree(&["normal,dev,features", "--package", "annals-faults"]).contains(FEATURE));
}
