//! Signatures and notes others have published: RFC 8032 and the examples of C2SP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_events::Digest;
use annals_keys::{NoteError, SecretKey, SignedNote, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = if hex == "-" { "" } else { hex };
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

struct Vector {
    seed: Vec<u8>,
    public: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../../../event-store/vectors/ed25519.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let vectors = lines.map(|line| {
        let fields: Vec<Vec<u8>> = line.split(' ').skip(1).map(bytes).collect();
        let [seed, public, message, signature] = fields.try_into().unwrap();
        Vector { seed, public, message, signature }
    });
    vectors.collect()
}

/// The text of a key: `<name>+<id>+<base64 of type and key>`.
fn key_text(name: &str, public: &[u8], key: &[u8]) -> String {
    let id = Digest::of(&[name.as_bytes(), b"\n\x01", public].concat()).short(8);
    format!("{name}+{id}+{}", BASE64.encode([b"\x01", key].concat()))
}

/// As `annals-keys` calls it.
#[test]
fn ed25519_is_that_of_rfc_8032() {
    let vectors = vectors();
    assert_eq!(vectors.iter().map(|v| v.message.len()).collect::<Vec<_>>(), [0, 1, 2, 1023, 64]);
    for Vector { seed, public, message, signature } in vectors {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        assert_eq!(pair.public_key().as_ref(), public);
        assert_eq!(pair.sign(&message).as_ref(), signature);
        let key = UnparsedPublicKey::new(&ED25519, &public);
        assert!(key.verify(&message, &signature).is_ok());
        for bit in [0, 7, 255, 256, 500] {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key.verify(&message, &changed).is_err());
        }
        assert!(key.verify(&[&message[..], b"x"].concat(), &signature).is_err());
    }
}

#[test]
fn the_keys_of_rfc_8032_are_read_and_sign_notes() {
    for Vector { seed, public, .. } in vectors() {
        let secret = format!("PRIVATE+KEY+{}", key_text("a/b", &public, &seed));
        let secret = SecretKey::parse(&secret).unwrap();
        let verifier: VerifierKey = key_text("a/b", &public, &public).parse().unwrap();
        assert_eq!(secret.verifier(), verifier);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let note = secret.sign_note("text\n");
        let id: [u8; 4] = verifier.id().to_be_bytes();
        let signature = [&id[..], pair.sign(b"text\n").as_ref()].concat();
        assert_eq!(note, format!("text\n\n— a/b {}\n", BASE64.encode(signature)));
        SignedNote::parse(note.as_bytes()).unwrap().verify(&verifier).unwrap();
    }
}

/// RFC 8032 §5.1.7: the scalar lies below the group order, else each signature had several.
#[test]
fn a_signature_has_one_spelling() {
    let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let Vector { public, seed, .. } = vectors().remove(0);
    let verifier: VerifierKey = key_text("a/b", &public, &public).parse().unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let mut signature = [&verifier.id().to_be_bytes()[..], pair.sign(b"text\n").as_ref()].concat();
    let mut carry = 0u16;
    for (byte, add) in signature[36..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    let note = format!("text\n\n— a/b {}\n", BASE64.encode(signature));
    let refused = SignedNote::parse(note.as_bytes()).unwrap().verify(&verifier);
    assert_eq!(refused, Err(NoteError::BadSignature("a/b".into())));
}

/// <https://c2sp.org/signed-note>, "Example".
#[test]
fn the_signed_note_of_c2sp_verifies() {
    let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let key: VerifierKey = text.parse().unwrap();
    assert_eq!(
        (key.name(), key.id(), key.to_string()),
        ("example.com/foo", 0x530d_903a, text.into())
    );
    let note = "This is an example message.\n\n\
        — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let parsed = SignedNote::parse(note.as_bytes()).unwrap();
    parsed.verify(&key).unwrap();
    assert_eq!(parsed.text(), "This is an example message.\n");
    for (from, to) in
        [("example message", "Example message"), (".\n\n", ".\n\n\n"), ("Uw2QOk", "Uw2QOg")]
    {
        let changed = note.replacen(from, to, 1);
        assert_ne!(changed, note);
        let refused = SignedNote::parse(changed.as_bytes()).unwrap().verify(&key);
        assert_eq!(refused, Err(NoteError::BadSignature("example.com/foo".into())), "{to:?}");
    }
}

/// The other notes in the texts of C2SP, whose keys are not given there.
#[test]
fn the_notes_of_c2sp_are_read() {
    let verses = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n\
        ed è subito sera.\n";
    let poem = format!(
        "{verses}\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    );
    assert_eq!(SignedNote::parse(poem.as_bytes()).unwrap().text(), verses);
    let head =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = format!(
        "{head}\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    );
    let parsed = SignedNote::parse(checkpoint.as_bytes()).unwrap();
    assert_eq!(parsed.text(), head);
    let stranger = SecretKey::generate("example.com/behind-the-sofa").unwrap().verifier();
    let unknown = NoteError::UnknownKey("example.com/behind-the-sofa".into());
    assert_eq!(parsed.verify(&stranger), Err(unknown));
}
