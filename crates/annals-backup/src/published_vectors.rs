//! The published vectors of Cobblestone-256, read with the code that reads backups.
//!
//! Source and licence: `tests/vectors/README.md`.

use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::cobblestone::{CHUNK_BYTES, Opener, PREFIX_BYTES, SALT_BYTES, Sealer};
use crate::error::BackupError;
use crate::header::read_whole;
use crate::secret::Secret;
use crate::window::{Piece, Window};

const VECTORS: &str =
    include_str!("../tests/vectors/c2sp_chunked_encryption_aes_256_gcm_test.json");

struct Vector {
    name: String,
    key: Vec<u8>,
    context: Vec<u8>,
    sealed: Vec<u8>,
    valid: bool,
    fails_in_header: bool,
    /// Length and SHA-512 of the message, or of the most a streaming reader may hand out.
    message: (usize, Vec<u8>),
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a hex field");
    let mut out = vec![0; text.len() / 2];
    assert!(crate::hex::read(text, &mut out), "{text}");
    out
}

fn vector(test: &Value) -> Vector {
    let compressed = bytes(&test["ct"]);
    let has_message = test.get("msgLength").is_some();
    Vector {
        name: format!("tcId {}: {}", test["tcId"], test["comment"]),
        key: bytes(&test["key"]),
        context: bytes(&test["ctx"]),
        sealed: miniz_oxide::inflate::decompress_to_vec_zlib(&compressed).expect("a zlib stream"),
        valid: test["result"] == "valid",
        fails_in_header: test["flags"].as_array().expect("flags").contains(&"HeaderFailure".into()),
        message: if has_message {
            let length = test["msgLength"].as_u64().expect("a length");
            (usize::try_from(length).expect("fits"), bytes(&test["msgSha512"]))
        } else {
            (0, Sha512::digest(b"").to_vec())
        },
    }
}

fn vectors() -> Vec<Vector> {
    let file: Value = serde_json::from_str(VECTORS).expect("the published file is JSON");
    assert_eq!(file["algorithm"], "Cobblestone-256");
    let groups = file["testGroups"].as_array().expect("groups");
    let tests = groups.iter().flat_map(|group| group["tests"].as_array().expect("tests"));
    let vectors: Vec<_> = tests.map(vector).collect();
    assert_eq!(vectors.len(), 35);
    vectors
}

/// Hands out what is verified and how it ended; `None` is a refusal before any chunk.
fn open(vector: &Vector) -> Option<(Vec<u8>, Result<(), BackupError>)> {
    let key = Secret::copy_from(&vector.key)?;
    let mut source = vector.sealed.as_slice();
    let mut prefix = [0; PREFIX_BYTES];
    read_whole(&mut source, &mut prefix, "payload").ok()?;
    let mut opener = Opener::new(&key, &prefix, &vector.context)?;
    let mut window = Window::new(source, 0);
    let mut message = Vec::new();
    loop {
        let piece = window.advance().expect("a slice is readable");
        match opener.open(window.chunk()) {
            Ok(chunk) => message.extend_from_slice(chunk),
            Err(error) => return Some((message, Err(error))),
        }
        if piece == Piece::Last {
            return Some((message, Ok(())));
        }
    }
}

fn seal_again(vector: &Vector, message: &[u8]) -> Vec<u8> {
    let key = Secret::copy_from(&vector.key).expect("a key of 32 bytes");
    let salt: [u8; SALT_BYTES] = vector.sealed[..SALT_BYTES].try_into().expect("a salt");
    let (mut sealer, prefix) = Sealer::new(&key, salt, &vector.context);
    let mut sealed = prefix.to_vec();
    let last = message.len() / CHUNK_BYTES;
    for index in 0..=last {
        let end = message.len().min((index + 1) * CHUNK_BYTES);
        let mut chunk = message[index * CHUNK_BYTES..end].to_vec();
        sealer.seal(&mut chunk).expect("within the limits");
        sealed.extend(chunk);
    }
    sealed
}

#[test]
fn the_published_vectors_open_or_are_refused_as_published() {
    for vector in vectors() {
        let Some((message, end)) = open(&vector) else {
            assert!(vector.fails_in_header && !vector.valid, "{}", vector.name);
            continue;
        };
        assert!(!vector.fails_in_header, "{}", vector.name);
        assert_eq!(end.is_ok(), vector.valid, "{}", vector.name);
        assert_eq!(message.len(), vector.message.0, "{}", vector.name);
        assert_eq!(Sha512::digest(&message).to_vec(), vector.message.1, "{}", vector.name);
    }
}

#[test]
fn sealing_the_published_messages_gives_the_published_bytes() {
    let valid: Vec<_> = vectors().into_iter().filter(|vector| vector.valid).collect();
    assert_eq!(valid.len(), 10);
    for vector in valid {
        let (message, _) = open(&vector).expect("a valid vector opens");
        assert!(seal_again(&vector, &message) == vector.sealed, "{}", vector.name);
    }
}
