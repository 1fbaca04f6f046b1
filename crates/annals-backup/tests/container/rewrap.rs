//! Other recipients for a backup that is sealed already: the payload stays, byte for byte.

use annals_backup::{
    Argon2Cost, BackupError, KeyEncryptionKey, PassphraseRecipe, SecretText, examine, read_header,
    rewrap,
};

use crate::common::*;

/// Cheap on purpose: what is tested is the container, not how long a guess takes.
const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 64, iterations: 1, lanes: 1 };

fn passphrase(text: &str) -> SecretText {
    SecretText::new(text.as_bytes().to_vec())
}

fn rewrapped(
    bytes: &[u8],
    keys: &[&KeyEncryptionKey],
    recipients: &[&KeyEncryptionKey],
) -> Result<Vec<u8>, BackupError> {
    let (out, done) = rewrap(bytes, keys.iter().copied(), recipients.iter().copied(), Vec::new())?;
    assert_eq!(done.before, examine(bytes).expect("what was read is whole").receipt);
    assert_eq!(done.after, examine(&out[..]).expect("what was written is whole").receipt);
    Ok(out)
}

/// What stands between header and trailer: the sealed payload.
fn payload(bytes: &[u8]) -> &[u8] {
    let header = read_header(bytes).expect("a header");
    let stanzas = header.recipients.len() * 124 + header.passphrases.len() * 28;
    let begins = 30 + header.public_metadata.len() + 2 + stanzas + 32;
    &bytes[begins..bytes.len() - TRAILER]
}

#[test]
fn the_new_key_opens_it_the_old_one_does_not_and_the_payload_is_the_same() {
    for length in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 7] {
        let plain = pattern(length);
        let before = sealed(&plain);
        let after = rewrapped(&before, &[&key(1)], &[&key(2), &key(3)]).expect("rewrapped");
        assert!(payload(&before) == payload(&after), "{length}");
        assert_eq!(payload(&before).len(), 56 + length + 16 * (length / CHUNK + 1));
        for new in [2, 3] {
            let (out, end) = read_by(&after, &[&key(new)], 4096);
            assert!(out == plain && end.is_ok(), "{length}");
        }
        let old = read_by(&after, &[&key(1)], 4096).1;
        assert!(matches!(old, Err(BackupError::NoKeyFits { .. })));
        // And back: other salts, so other stanzas, and still the same payload.
        let back = rewrapped(&after, &[&key(3)], &[&key(1)]).expect("rewrapped");
        assert!(payload(&back) == payload(&before) && back != before, "{length}");
        assert!(read(&back).1.is_ok());
    }
}

#[test]
fn no_salt_is_used_twice_however_often_it_is_wrapped() {
    let mut bytes = sealed(b"rows");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let body = 30 + METADATA.len() + 2 + 4;
        assert!(seen.insert(bytes[body + 16..body + 40].to_vec()), "a salt came twice");
        bytes = rewrapped(&bytes, &[&key(1)], &[&key(1)]).expect("rewrapped");
    }
}

#[test]
fn what_was_altered_is_not_wrapped_again() {
    let plain = pattern(CHUNK + 5);
    let whole = sealed(&plain);
    for at in (0..whole.len()).step_by(97).chain(whole.len() - TRAILER..whole.len()) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(
            rewrap(altered.as_slice(), [&key(1)], [&key(2)], Vec::new()).is_err(),
            "byte {at} was flipped"
        );
    }
    for cut in [0, 40, BEFORE_CHUNKS, BEFORE_CHUNKS + 9, whole.len() - TRAILER, whole.len() - 1] {
        let refused = rewrap(&whole[..cut], [&key(1)], [&key(2)], Vec::new());
        assert!(refused.is_err(), "cut to {cut} bytes");
    }
    let nobody: [&KeyEncryptionKey; 0] = [];
    let refused = rewrap(whole.as_slice(), [&key(1)], nobody, Vec::new()).err();
    assert!(matches!(refused, Some(BackupError::NoRecipients)));
    let refused = rewrap(whole.as_slice(), [&key(9)], [&key(2)], Vec::new()).err();
    assert!(matches!(refused, Some(BackupError::NoKeyFits { .. })));
}

#[test]
fn a_passphrase_opens_what_is_sealed_for_it_beside_a_key() {
    let recipe = PassphraseRecipe::generate(CHEAP).expect("bounded");
    let made = recipe.derive(&passphrase("correct horse battery")).expect("bounded");
    let plain = pattern(CHUNK + 1);
    let (bytes, _) = sealed_as(1, &[&key(1), &made], &plain);
    assert!(read(&bytes).1.is_ok(), "the key opens it as before");

    // Whoever has the passphrase alone learns everything else from the header.
    let header = read_header(bytes.as_slice()).expect("a header");
    assert_eq!(header.recipients, [key(1).id(), made.id()]);
    assert_eq!(header.passphrases, [recipe]);
    let again = header.passphrases[0].derive(&passphrase("correct horse battery"));
    let again = again.expect("bounded");
    assert_eq!(read_by(&bytes, &[&again], 4096).0, plain);
    let other = header.passphrases[0].derive(&passphrase("correct horse batterz"));
    let other = read_by(&bytes, &[&other.expect("bounded")], 4096).1;
    assert!(matches!(other, Err(BackupError::NoKeyFits { .. })));

    // A recipe that was weakened, or made dear, opens nothing: the header's code covers it.
    let at = 30 + METADATA.len() + 2 + 124 + 4;
    assert_eq!(bytes[at..at + 4], 64u32.to_be_bytes());
    let mut altered = bytes.clone();
    altered[at + 3] = 63;
    assert!(matches!(refused(&altered), BackupError::HeaderRefused));
    let mut dear = bytes.clone();
    dear[at..at + 4].fill(0xff);
    let header = read_header(dear.as_slice()).expect("it is well formed");
    let refused = header.passphrases[0].derive(&passphrase("x")).err();
    assert!(matches!(refused, Some(BackupError::Argon2Cost { .. })));

    // It is given up like any other recipient.
    let without = rewrapped(&bytes, &[&again], &[&key(2)]).expect("rewrapped");
    assert!(read_header(without.as_slice()).expect("a header").passphrases.is_empty());
    assert!(read_by(&without, &[&again], 4096).1.is_err());
}
