//! The walls of the house. A failure names the rule that was broken.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate: its layer, and the external crates it may use.
///
/// Crates of a lower layer may be imported; a crate of the same layer only where [`SAME_LAYER`]
/// names it.
const CRATES: &[(&str, u8, &str)] = &[
    ("annals-events", 0, "chrono memchr ring serde serde_json thiserror uuid"),
    ("annals-migrations", 1, "serde serde_json squawk-syntax thiserror"),
    ("annals-schema", 1, "serde serde_json thiserror"),
    ("annals-projections", 1, "serde serde_json thiserror"),
    ("annals-keys", 1, "base64 ring thiserror"),
    ("annals-approvals", 2, "base64 serde serde_json thiserror toml"),
    ("annals-ci", 2, "serde serde_json"),
    ("annals-lint", 2, "squawk-syntax"),
    ("annals-integrity", 2, ""),
    ("annals-event-store", 2, "ring thiserror tracing"),
    ("annals-postgres", 2, "futures-util ring rustix serde_json sqlx thiserror tokio tracing"),
    (
        "annals-backup",
        2,
        "aes-gcm argon2 getrandom hmac ring sha2 subtle thiserror zeroize base64 uuid",
    ),
    (
        "annals-archive",
        3,
        "futures-util rustix serde serde_json thiserror tokio tracing twox-hash zstd",
    ),
    ("annals-event-store-postgres", 3, "sqlx thiserror tokio tracing"),
    (
        "annals-objects",
        2,
        "async-trait futures-util http hyper hyper-rustls hyper-util object_store rustls thiserror tokio",
    ),
    (
        "annals-otlp",
        2,
        "http http-body-util hyper hyper-rustls hyper-util opentelemetry-proto prost rustls thiserror tokio",
    ),
    ("annals-planner", 3, ""),
    ("annals-proof", 3, "futures-util serde serde_json thiserror"),
    ("annals-verify", 3, "base64 clap serde serde_json thiserror"),
    ("annals-anchor", 3, "futures-util rustix thiserror tokio tracing"),
    ("annals-executor", 3, "rustix thiserror tokio tracing"),
    ("annals-operations", 4, "chrono rustix serde serde_json thiserror tokio toml tracing uuid"),
    ("annals-api", 5, "serde serde_json"),
    (
        "annals-serve",
        6,
        "axum hyper hyper-util prometheus-client ring rustls serde serde_json thiserror tokio tokio-rustls tracing",
    ),
    (
        "annals-cli",
        7,
        "anstream anstyle clap clap_complete indicatif rustix serde serde_json tokio tracing tracing-subscriber",
    ),
    ("annals-faults", 9, "rustix serde_json sqlx tempfile tokio"),
    ("annals-fuzz", 8, "base64 serde_json serde_json_canonicalizer"),
    ("annals-conformance", 8, "uuid"),
    (
        "annals-s3-server",
        8,
        "http http-body-util hyper hyper-util rcgen rustls s3s s3s-fs tempfile tokio tokio-rustls",
    ),
    ("annals-testkit", 8, "rcgen regex rustix serde_json sqlx tempfile tokio"),
    ("xtask", 8, ""),
];

const SAME_LAYER: &[(&str, &str)] = &[];

/// Decide only: the same input gives the same output on every machine.
const PURE: &[&str] = &[
    "annals-events",
    "annals-migrations",
    "annals-schema",
    "annals-projections",
    "annals-approvals",
    "annals-lint",
    "annals-integrity",
    "annals-planner",
];

/// What a pure crate never lists, and what its sources never say.
const IMPURE_CRATES: &[&str] =
    &["tokio", "sqlx", "axum", "clap", "tracing", "rand", "getrandom", "rustix"];
const IMPURE_WORDS: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "std::env",
    "std::process",
    "now_v7",
    "std::net",
];

/// An external crate that belongs in one place.
const ONLY_IN: &[(&str, &str)] = &[
    ("aes-gcm", "annals-backup"),
    ("twox-hash", "annals-archive"),
    ("zstd", "annals-archive"),
    ("clap_complete", "annals-cli"),
    ("indicatif", "annals-cli"),
    ("axum", "annals-serve"),
    ("prometheus-client", "annals-serve"),
    ("object_store", "annals-objects"),
    ("opentelemetry-proto", "annals-otlp"),
    ("prost", "annals-otlp"),
    ("toml", "annals-approvals"),
    ("toml", "annals-operations"),
];

/// Programs: only they read a command line.
const PROGRAMS: &[&str] = &["annals-cli", "annals-verify"];

/// The rooms at the top of the house; every other folder is hidden or ignored.
const TOP: &[&str] =
    &["benches", "crates", "docs", "event-store", "keys", "migrations", "rollbacks", "tests"];

/// The longest source file, in lines.
const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Normal dependencies of every workspace crate.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let crates = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let all = package["dependencies"].as_array().unwrap();
        let normal = all.iter().filter(|dependency| dependency["kind"].is_null());
        (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
    });
    crates.collect()
}

fn layer(name: &str) -> Option<u8> {
    CRATES.iter().find(|(known, ..)| *known == name).map(|(_, layer, _)| *layer)
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_crate_stands_on_its_layer_and_uses_what_it_may() {
    let mut broken = Vec::new();
    for (name, dependencies) in dependencies() {
        let Some((_, own, allowed)) = CRATES.iter().find(|(known, ..)| *known == name) else {
            broken.push(format!("{name}: every crate has a layer in the table of this test"));
            continue;
        };
        for dependency in dependencies {
            match layer(&dependency) {
                Some(other) if other < *own => {}
                Some(_) if SAME_LAYER.contains(&(name.as_str(), dependency.as_str())) => {}
                Some(other) => broken.push(format!(
                    "{name} (layer {own}) imports {dependency} (layer {other}): imports point downwards"
                )),
                None if allowed.split(' ').any(|crate_name| crate_name == dependency) => {}
                None => broken.push(format!(
                    "{name} uses {dependency}: an external crate is allowed by name in the table of this test"
                )),
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_executor_knows_neither_planner_nor_event_store() {
    let executor = &dependencies()["annals-executor"];
    for stranger in ["annals-planner", "annals-event-store"] {
        assert!(
            !executor.contains(stranger),
            "annals-executor imports {stranger}: a plan has no choices left, and events go to a Recorder"
        );
    }
}

#[test]
fn an_anchor_knows_no_store_of_events() {
    let all = dependencies();
    let ours: Vec<&String> =
        all["annals-anchor"].iter().filter(|name| layer(name).is_some()).collect();
    assert_eq!(
        ours,
        ["annals-events", "annals-keys", "annals-objects"],
        "annals-anchor sees a log as an Exhibit only: not its lines, its home or its projections"
    );
}

#[test]
fn pure_crates_decide_and_do_nothing_else() {
    let all = dependencies();
    let mut broken = Vec::new();
    for name in PURE {
        for impure in IMPURE_CRATES.iter().filter(|impure| all[*name].contains(**impure)) {
            broken.push(format!(
                "{name} lists {impure}: a pure crate has no IO, clock or randomness"
            ));
        }
        for path in sources(&root().join("crates").join(name).join("src")) {
            let text = fs::read_to_string(&path).unwrap();
            // The folders of a workspace are read in one file, which says so.
            for word in IMPURE_WORDS.iter().filter(|word| text.contains(**word)) {
                broken.push(format!(
                    "{}: says {word}: a pure crate has no IO, clock or randomness",
                    path.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn what_belongs_in_one_place_stays_there() {
    for (name, dependencies) in dependencies() {
        for (external, _) in ONLY_IN {
            let of_this = ONLY_IN.iter().filter(|(known, _)| known == external);
            let homes: Vec<&str> = of_this.map(|(_, home)| *home).collect();
            assert!(
                homes.contains(&name.as_str()) || !dependencies.contains(*external),
                "{name} uses {external}: it belongs in {} alone",
                homes.join(" and ")
            );
        }
        assert!(
            PROGRAMS.contains(&name.as_str()) || !dependencies.contains("clap"),
            "{name} uses clap: only a program reads a command line"
        );
    }
}

#[test]
fn the_top_of_the_house_has_its_rooms_and_no_others() {
    let ignored = ["target", "backups"];
    let mut rooms: Vec<String> = fs::read_dir(root())
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !ignored.contains(&name.as_str()))
        .filter(|name| !name.starts_with("annals-demo"))
        .collect();
    rooms.sort();
    assert_eq!(rooms, TOP, "the top-level folders are fixed");
}

#[test]
fn every_crate_begins_by_saying_what_it_is_and_nothing_is_left_undone() {
    let undone = ["todo!", "unimplemented!", "#[ignore", "not implemented", "FIXME", "XXX"];
    let mut broken = Vec::new();
    let folders = [root().join("crates"), root().join("tests"), root().join("benches")];
    for path in folders.iter().flat_map(|folder| sources(folder)) {
        if path.ends_with("xtask/tests/tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            broken.push(format!("{}: a file begins by saying what it is", path.display()));
        }
        if text.lines().count() > MAX_LINES {
            broken.push(format!("{}: longer than {MAX_LINES} lines", path.display()));
        }
        for word in undone.iter().filter(|word| text.contains(**word)) {
            broken.push(format!("{}: says {word}", path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for (name, ..) in CRATES {
        let path = root().join("crates").join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{name}: lints come from the workspace"
        );
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""), "unsafe code is forbidden");
}

#[test]
fn folders_are_named_as_their_packages() {
    for (name, ..) in CRATES {
        let text = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        assert!(
            text.contains(&format!("name = \"{name}\"")),
            "crates/{name} holds another package"
        );
    }
}
