//! The worked example in the format's document is the golden backup, byte for byte.

use std::fs;
use std::path::Path;

use crate::ring_format::{context, expand, message_keys, sha256};

const GOLDEN: &[u8] = include_bytes!("../golden/v1-worked-example.sealed");

fn document() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(folder.join("../../docs/reference/backup-format.md")).expect("the document")
}

/// Returns the lines of the code block that follows the marker `<!-- name -->`.
fn block(document: &str, name: &str) -> Vec<String> {
    let (_, after) = document.split_once(&format!("<!-- {name} -->")).expect("the marker");
    let mut lines = after.lines().skip_while(|line| !line.starts_with("```")).skip(1);
    lines.by_ref().take_while(|line| !line.starts_with("```")).map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_documented_bytes_are_the_golden_backup() {
    let mut written = String::new();
    for line in block(&document(), "worked example: bytes") {
        let (offset, rest) = line.split_once("  ").expect("an offset, two spaces, bytes");
        assert_eq!(offset, format!("{:04x}", written.len() / 2), "{line}");
        let bytes = rest.split("  ").next().expect("bytes before the remark");
        written.extend(bytes.split(' '));
    }
    assert_eq!(written, hex(GOLDEN));
}

#[test]
fn the_documented_derived_values_follow_from_the_golden_backup() {
    let kek: Vec<u8> = (0xa0..0xc0).collect();
    let data_key: Vec<u8> = (0..0x20).collect();
    let prologue = &GOLDEN[..50];
    let wrap = context("annals-backup/v1/wrap", prologue);
    let wrap = message_keys(&kek, &GOLDEN[72..96], &wrap);
    let payload = context("annals-backup/v1/payload", prologue);
    let payload = message_keys(&data_key, &GOLDEN[208..232], &payload);
    let expected = [
        ("key-encryption key", kek.clone()),
        ("data key", data_key.clone()),
        ("header hash", sha256(prologue)),
        ("key id", expand(&kek, b"annals-backup/v1/key-id", 16)),
        ("wrap: AEAD key", wrap[..32].to_vec()),
        ("wrap: base nonce", wrap[32..44].to_vec()),
        ("wrap: commitment", wrap[44..].to_vec()),
        ("header MAC key", expand(&data_key, b"annals-backup/v1/header-mac", 32)),
        ("payload: AEAD key", payload[..32].to_vec()),
        ("payload: base nonce", payload[32..44].to_vec()),
        ("payload: commitment", payload[44..].to_vec()),
        ("trailer MAC key", expand(&data_key, b"annals-backup/v1/trailer-mac", 32)),
        ("sha256 of the file", sha256(GOLDEN)),
    ];
    let lines = block(&document(), "worked example: values");
    let expected: Vec<_> =
        expected.iter().map(|(name, bytes)| format!("{name:<20} {}", hex(bytes))).collect();
    assert_eq!(lines, expected);
}
