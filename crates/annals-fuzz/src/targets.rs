//! The targets: one parser each, and what must hold of all that it accepts.

use annals_events::{
    BundleId, Chain, Draft, LeafHash, MAX_BUNDLE_BYTES, MAX_LINE_BYTES, Seq, TILE_WIDTH, TileId,
    TreeHash, check_canonical, decode, seal, verify_consistency, verify_inclusion,
};
use annals_keys::{Checkpoint, MAX_TLOG_PROOF_BYTES, SignedNote, TlogProof, VerifierKey};
use annals_migrations::{Cut, Cutter};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::seeds;

/// What is accepted has one spelling.
fn assert_spelled(written: &[u8], read: &[u8]) {
    let (is, was) = (written.escape_ascii(), read.escape_ascii());
    assert!(written == read, "read \"{was}\", written \"{is}\"");
}

/// `check_canonical`: accepts exactly what an independent canonicaliser leaves as it is, within the
/// limits of a line.
pub fn canonical_json(line: &[u8]) -> bool {
    let accepted = check_canonical(line).is_ok();
    let value = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
    let expected = value.is_some_and(|value| {
        is_within_limits(&value, 0)
            && serde_json_canonicalizer::to_vec(&value).is_ok_and(|written| written == line)
    });
    assert_eq!(accepted, expected, "canonical to us, to the oracle");
    accepted
}

fn is_within_limits(value: &Value, depth: u32) -> bool {
    const MAX_SAFE: i64 = (1 << 53) - 1;
    let is_plain =
        |key: &str| key.bytes().all(|b| matches!(b, 0x20..0x7f) && !b"\"\\".contains(&b));
    depth <= 32
        && match value {
            Value::Null | Value::Bool(_) | Value::String(_) => true,
            Value::Number(number) => {
                number.as_i64().is_some_and(|number| (-MAX_SAFE..=MAX_SAFE).contains(&number))
            }
            Value::Array(values) => values.iter().all(|value| is_within_limits(value, depth + 1)),
            Value::Object(members) => members
                .iter()
                .all(|(key, value)| is_plain(key) && is_within_limits(value, depth + 1)),
        }
}

/// `decode`: what is read can be sealed again, and only its place in the log is then another one.
pub fn event_line(line: &[u8]) -> bool {
    let Ok(recorded) = decode(line) else {
        return false;
    };
    assert!(line.len() <= MAX_LINE_BYTES, "a line too long was read");
    assert_eq!(recorded.leaf, LeafHash::of_line(line));
    let draft = Draft {
        event: recorded.event,
        id: recorded.id,
        occurred_at: recorded.occurred_at,
        actor: recorded.actor,
        target: recorded.target,
        incarnation: recorded.incarnation,
    };
    let mut sealed = Vec::new();
    seal(&mut Chain::default(), &recorded.origin, &draft, recorded.recorded_at, &mut sealed)
        .expect("what was read can be written");
    let mut moved: Value = serde_json::from_slice(line).expect("what was read is JSON");
    moved["seq"] = 0.into();
    moved["prev"] = LeafHash::ZERO.to_string().into();
    let moved = annals_events::canonical_json(&moved).expect("what was read is canonical");
    assert_spelled(&sealed, format!("{moved}\n").as_bytes());
    true
}

/// `SignedNote::parse`: text, an empty line, signature lines in exact base64, and nothing else.
pub fn signed_note(bytes: &[u8]) -> bool {
    let Ok(note) = SignedNote::parse(bytes) else {
        return false;
    };
    let text = note.text();
    let rest = bytes.strip_prefix(text.as_bytes()).expect("the note begins with its text");
    let rest = std::str::from_utf8(rest).expect("a note is UTF-8");
    assert!(text.ends_with('\n') && bytes.len() <= 64 * 1024);
    let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
    let lines: Vec<&str> = lines.expect("signatures end in a line feed").split('\n').collect();
    assert!((1..=100).contains(&lines.len()), "{} signatures", lines.len());
    for line in lines {
        let (name, data) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.split_once(' '))
            .expect("a signature line has a name and a signature");
        assert!(!name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace()));
        let data_bytes = BASE64.decode(data).expect("a signature is base64");
        assert!(data_bytes.len() > 4 && BASE64.encode(&data_bytes) == data, "{data:?}");
    }
    assert!(!bytes.iter().any(|&b| b < 0x20 && b != b'\n'), "a control character");
    true
}

/// `Checkpoint::open`: only what the key has signed, and it is spelled as it was signed.
pub fn checkpoint(note: &[u8]) -> bool {
    let key = seeds::secret_key();
    let Ok(opened) = Checkpoint::open(note, &key.verifier().into()) else {
        return false;
    };
    assert!(signed_note(note));
    let again = opened.sign(&key);
    let parsed = SignedNote::parse(note).expect("an opened checkpoint is a note");
    let signed = SignedNote::parse(again.as_bytes()).expect("a signed checkpoint is a note");
    assert_eq!(parsed.text(), signed.text());
    let known = seeds::checkpoint_texts();
    assert!(
        known.iter().any(|text| parsed.text().as_bytes() == text),
        "never signed: {:?}",
        parsed.text()
    );
    true
}

/// The text of a checkpoint, behind a good signature: what a mutated note never gets to.
pub fn checkpoint_text(text: &[u8]) -> bool {
    let key = seeds::secret_key();
    let Some(text) = std::str::from_utf8(text).ok().filter(|text| text.ends_with('\n')) else {
        return false;
    };
    let note = key.sign_note(text);
    let Ok(opened) = Checkpoint::open(note.as_bytes(), &key.verifier().into()) else {
        return false;
    };
    assert_spelled(opened.sign(&key).as_bytes(), note.as_bytes());
    true
}

/// `VerifierKey`: a key has one spelling, but for white space behind it.
pub fn verifier_key(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let Ok(key) = text.parse::<VerifierKey>() else {
        return false;
    };
    let written = key.to_string();
    assert_eq!(written.parse(), Ok(key));
    assert_spelled(written.as_bytes(), text.trim_end().as_bytes());
    true
}

/// `TileId::parse` and `BundleId::parse`: a path has one spelling and one meaning.
pub fn tile_path(path: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(path) else {
        return false;
    };
    match (TileId::parse(path), BundleId::parse(path)) {
        (Ok(tile), Err(_)) => {
            assert!(tile.level < 64 && (1..=TILE_WIDTH).contains(&tile.width), "{tile:?}");
            assert_spelled(tile.path().as_bytes(), path.as_bytes());
        }
        (Err(_), Ok(bundle)) => {
            assert!((1..=TILE_WIDTH).contains(&bundle.width), "{bundle:?}");
            assert_spelled(bundle.path().as_bytes(), path.as_bytes());
        }
        (Err(_), Err(_)) => return false,
        (Ok(tile), Ok(bundle)) => panic!("both {tile:?} and {bundle:?}"),
    }
    assert!(path.split('/').all(|name| !["", ".", ".."].contains(&name)), "leaves the folder");
    true
}

/// The width is the first byte and one, the tile the rest.
fn with_width(input: &[u8]) -> Option<(u16, &[u8])> {
    input.split_first().map(|(width, rest)| (u16::from(*width) + 1, rest))
}

/// `TileId::decode`: the bytes are the hashes.
pub fn tile_bytes(input: &[u8]) -> bool {
    let Some((width, bytes)) = with_width(input) else {
        return false;
    };
    let Ok(hashes) = (TileId { level: 0, index: 0, width }).decode(bytes) else {
        return false;
    };
    assert_eq!(hashes.len(), usize::from(width));
    assert_spelled(&hashes.concat(), bytes);
    true
}

/// `BundleId::decode`: as many lines as asked for, which give the same bytes again.
pub fn bundle_bytes(input: &[u8]) -> bool {
    let Some((width, bytes)) = with_width(input) else {
        return false;
    };
    let id = BundleId { index: 0, width };
    let Ok(lines) = id.decode(bytes) else {
        return false;
    };
    assert!(lines.len() == usize::from(width) && bytes.len() <= MAX_BUNDLE_BYTES);
    assert_spelled(&id.encode(&lines).expect("what was read can be written"), bytes);
    true
}

/// `TlogProof::parse`: a proof has one spelling.
pub fn tlog_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = TlogProof::parse(bytes) else {
        return false;
    };
    assert!(bytes.len() <= MAX_TLOG_PROOF_BYTES && proof.hashes().len() <= 64);
    assert_ne!(proof.extra(), Some(&[][..]), "no extra data is no line");
    assert_spelled(proof.to_string().as_bytes(), bytes);
    assert!(signed_note(proof.checkpoint().as_bytes()));
    true
}

/// `Cutter`: the parts are the text, whatever it is read with; and what the grammar makes of it are
/// these parts.
pub fn sql_pieces(bytes: &[u8]) -> bool {
    let mut cutter = Cutter::new(bytes);
    let (mut all, mut statements) = (Vec::new(), Vec::new());
    loop {
        match cutter.next_cut() {
            Err(_) => return false,
            Ok(None) => break,
            Ok(Some(cut)) => {
                assert!(!cut.text().is_empty(), "an empty part");
                if let Cut::Statement { text, start, .. } = cut {
                    assert_eq!(start, all.len() as u64, "where a statement starts");
                    statements.push(text.to_owned());
                }
                all.extend_from_slice(cut.text().as_bytes());
            }
        }
    }
    assert_spelled(&all, bytes);
    let text = std::str::from_utf8(bytes).expect("what was cut is UTF-8");
    if let Ok(script) = annals_migrations::parse(text.trim_start_matches('\u{feff}')) {
        let read: Vec<String> = script.statements.into_iter().map(|s| s.text).collect();
        assert_eq!(read, statements, "two readers");
    }
    true
}

/// Both verifiers: two numbers, two hashes and a proof, which hold only if the hashes are those of
/// a seed.
///
/// The numbers may be others: a proof binds a size only as far as its shape (`verify_inclusion`).
pub fn merkle_proof(input: &[u8]) -> bool {
    let Some((numbers, rest)) = input.split_first_chunk::<16>() else {
        return false;
    };
    let (hashes, []) = rest.as_chunks::<32>() else {
        return false;
    };
    let [first, root, proof @ ..] = hashes else {
        return false;
    };
    let numbers = u128::from_be_bytes(*numbers);
    let (a, b) = ((numbers >> 64) as u64, numbers as u64);
    let root = TreeHash::from_bytes(*root);
    let leaf = LeafHash::from_bytes(*first);
    let is_included = verify_inclusion(leaf, Seq(a), b, proof, root).is_ok();
    let old_root = TreeHash::from_bytes(*first);
    let is_continued = verify_consistency(a, old_root, b, root, proof).is_ok();
    if !is_included && !is_continued {
        return false;
    }
    assert!(proof.len() <= 65, "{} hashes", proof.len());
    let is_trivial = first == root.as_bytes() && proof.is_empty();
    let is_known = seeds::merkle_proofs().iter().any(|seed| seed[16..] == input[16..]);
    assert!(is_known || is_trivial, "a proof of what was never in the tree");
    true
}
