//! A second reader and writer of the format, written from its document with `ring` alone.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hkdf, hmac};

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The length that `ring` asks for when it expands a key.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

pub(crate) fn expand(key: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA512, key)
        .expand(&[info], Length(length))
        .and_then(|output| output.fill(&mut out))
        .expect("a length that HKDF can give");
    out
}

fn mac(data_key: &[u8], label: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &expand(data_key, label.as_bytes(), 32));
    hmac::sign(&key, message).as_ref().to_vec()
}

/// The AEAD key, base nonce and commitment of one message, one after the other.
pub(crate) fn message_keys(input_key: &[u8], salt: &[u8], context: &[u8]) -> Vec<u8> {
    expand(input_key, &[INFO, salt, context].concat(), 76)
}

pub(crate) fn context(label: &str, prologue: &[u8]) -> Vec<u8> {
    [label.as_bytes(), b"\0", &sha256(prologue)].concat()
}

fn at(keys: &[u8], position: u64) -> (LessSafeKey, Nonce) {
    let key = UnboundKey::new(&AES_256_GCM, &keys[..32]).expect("32 bytes");
    let mut nonce: [u8; 12] = keys[32..44].try_into().expect("12 bytes");
    for (byte, counter) in nonce[4..].iter_mut().zip(position.to_be_bytes()) {
        *byte ^= counter;
    }
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce))
}

fn open_message(input_key: &[u8], context: &[u8], message: &[u8]) -> Vec<u8> {
    let (prefix, mut rest) = message.split_at(56);
    let keys = message_keys(input_key, &prefix[..24], context);
    assert_eq!(keys[44..], prefix[24..], "commitment");
    let mut out = Vec::new();
    for position in 0.. {
        let (sealed, after) = rest.split_at(rest.len().min(16_400));
        let (key, nonce) = at(&keys, position);
        let mut chunk = sealed.to_vec();
        out.extend_from_slice(key.open_in_place(nonce, Aad::empty(), &mut chunk).expect("the tag"));
        rest = after;
        if sealed.len() < 16_400 {
            break;
        }
    }
    assert!(rest.is_empty());
    out
}

fn seal_message(input_key: &[u8], salt: &[u8], context: &[u8], plain: &[u8]) -> Vec<u8> {
    let keys = message_keys(input_key, salt, context);
    let mut out = [salt, &keys[44..]].concat();
    for position in 0..=plain.len() / 16_384 {
        let end = plain.len().min((position + 1) * 16_384);
        let mut chunk = plain[position * 16_384..end].to_vec();
        let (key, nonce) = at(&keys, position as u64);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut chunk).expect("sealed");
        out.extend(chunk);
    }
    out
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// Opens a backup for the first recipient that `kek` is; panics where the format is not kept.
pub(crate) fn open(kek: &[u8], file: &[u8]) -> Vec<u8> {
    assert_eq!(&file[..10], b"ANNALSBK\0\x01");
    let prologue = &file[..30 + number(&file[26..30])];
    let mut at = prologue.len() + 2;
    let mut data_key = None;
    for _ in 0..number(&file[at - 2..at]) {
        let (kind, length) = (number(&file[at..at + 2]), number(&file[at + 2..at + 4]));
        let body = &file[at + 4..at + 4 + length];
        at += 4 + length;
        if kind == 1 && body[..16] == expand(kek, b"annals-backup/v1/key-id", 16) {
            let context = context("annals-backup/v1/wrap", prologue);
            data_key = Some(open_message(kek, &context, &body[16..]));
        }
    }
    let data_key = data_key.expect("a stanza for this key");
    assert_eq!(mac(&data_key, "annals-backup/v1/header-mac", &file[..at]), file[at..at + 32]);

    let (rest, trailer) = file.split_at(file.len() - 80);
    let context = context("annals-backup/v1/payload", prologue);
    let plain = open_message(&data_key, &context, &rest[at + 32..]);
    assert_eq!(&trailer[..8], b"ANNALEND");
    assert_eq!(number(&trailer[8..16]), plain.len());
    assert_eq!(trailer[16..48], sha256(rest));
    assert_eq!(mac(&data_key, "annals-backup/v1/trailer-mac", &trailer[..48]), trailer[48..]);
    plain
}

/// What a sealing draws at random.
pub(crate) struct Drawn {
    pub(crate) data_key: [u8; 32],
    pub(crate) wrap_salt: [u8; 24],
    pub(crate) payload_salt: [u8; 24],
}

/// A stanza of a type that version 1 does not define.
fn unknown_stanza(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [&[0x7f, 0xff], length.as_slice(), body].concat()
}

/// Seals a backup for one recipient that is known, after one that is not if `stranger` is some.
pub(crate) fn seal(
    kek: &[u8],
    (id, metadata, stranger): (&[u8; 16], &[u8], Option<&[u8]>),
    plain: &[u8],
    d: &Drawn,
) -> Vec<u8> {
    let length = u32::try_from(metadata.len()).expect("short").to_be_bytes();
    let prologue = [b"ANNALSBK\0\x01".as_slice(), id, &length, metadata].concat();
    let wrap = context("annals-backup/v1/wrap", &prologue);
    let mut file = prologue.clone();
    file.extend([0, 1 + u8::from(stranger.is_some())]);
    file.extend(stranger.map(unknown_stanza).unwrap_or_default());
    file.extend([0, 1, 0, 120]);
    file.extend(expand(kek, b"annals-backup/v1/key-id", 16));
    file.extend(seal_message(kek, &d.wrap_salt, &wrap, &d.data_key));
    file.extend(mac(&d.data_key, "annals-backup/v1/header-mac", &file));
    let payload = context("annals-backup/v1/payload", &prologue);
    file.extend(seal_message(&d.data_key, &d.payload_salt, &payload, plain));
    let mut trailer = b"ANNALEND".to_vec();
    trailer.extend((plain.len() as u64).to_be_bytes());
    trailer.extend(sha256(&file));
    trailer.extend(mac(&d.data_key, "annals-backup/v1/trailer-mac", &trailer));
    [file, trailer].concat()
}
