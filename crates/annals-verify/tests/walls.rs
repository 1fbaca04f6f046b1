//! What is linked into the verifier: an auditor need not trust a database driver, a network or a
//! runtime.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What is never part of it, by the beginning of the name.
const NEVER: &[&str] = &[
    "async-",
    "futures",
    "h2",
    "http",
    "hyper",
    "mio",
    "native-tls",
    "object_store",
    "openssl",
    "postgres",
    "quinn",
    "reqwest",
    "rustls",
    "socket2",
    "sqlx",
    "tokio",
    "tonic",
    "tower",
    "ureq",
];

/// All it may be made of; anything new is looked at first.
const MOST_PACKAGES: usize = 90;

/// Every package that is linked into `annals-verify`, by cargo's own resolution: normal
/// dependencies and those they have, on this machine's platform.
fn linked() -> BTreeSet<String> {
    let host = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeMap<String, String> =
        packages.iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<String, &Value> =
        nodes.iter().map(|node| (text(&node["id"]), node)).collect();
    let start = names.iter().find(|(_, name)| *name == "annals-verify").unwrap().0;
    let (mut found, mut open) = (BTreeSet::new(), vec![start.clone()]);
    while let Some(id) = open.pop() {
        if !found.insert(id.clone()) {
            continue;
        }
        for dependency in nodes[&id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    found.iter().map(|id| names[id].clone()).collect()
}

#[test]
fn no_database_network_or_runtime_is_linked_into_the_verifier() {
    let linked = linked();
    for own in ["annals-events", "annals-integrity", "annals-keys", "ring"] {
        assert!(linked.contains(own), "{own} is part of it: {linked:?}");
    }
    let bad: Vec<&String> =
        linked.iter().filter(|name| NEVER.iter().any(|never| name.starts_with(never))).collect();
    assert!(bad.is_empty(), "annals-verify links {bad:?}: an auditor verifies without them");
    assert!(linked.len() <= MOST_PACKAGES, "{} packages: {linked:?}", linked.len());
}
