//! C2SP signed notes with Ed25519 signatures.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// The signature type of plain Ed25519 in C2SP signed-note.
const TYPE_ED25519: u8 = 0x01;

/// What introduces a signature line: em dash, space.
const SIGNATURE_START: &str = "\u{2014} ";

/// The longest note read, in bytes. A checkpoint has about 200.
const MAX_NOTE_BYTES: usize = 64 * 1024;

/// Text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key: {0}")]
pub struct ParseKeyError(pub(crate) &'static str);

/// Why a note is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A signature by the known key does not fit the text.
    #[error("the signature of {0} does not fit the text")]
    BadSignature(String),
    /// No signature by the known key.
    #[error("not signed by {0}")]
    UnknownKey(String),
}

fn key_id(name: &str, public: &[u8]) -> u32 {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', TYPE_ED25519]);
    context.update(public);
    let digest = context.finish();
    u32::from_be_bytes(digest.as_ref()[..4].try_into().expect("a digest has four bytes"))
}

fn name_is_valid(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.contains(char::is_whitespace)
}

/// A public key under a name: `<name>+<key id, 8 hex digits>+<base64 of type and key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// The Ed25519 key `public` under `name`.
    ///
    /// # Errors
    ///
    /// When `name` is empty or holds `+` or white space.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, ParseKeyError> {
        if !name_is_valid(name) {
            return Err(ParseKeyError("a name has no '+' and no white space"));
        }
        Ok(Self { name: name.to_owned(), public })
    }

    /// The 32 bytes of RFC 8032, the same whatever name they go by.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The name the key signs as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of `SHA-256(name ‖ LF ‖ 0x01 ‖ public key)`.
    pub fn id(&self) -> u32 {
        key_id(&self.name, &self.public)
    }

    pub(crate) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(text, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![TYPE_ED25519];
        data.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64.encode(data))
    }
}

fn split_key(text: &str) -> Result<(&str, u32, [u8; 32]), ParseKeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ParseKeyError("expected <name>+<id>+<base64>"));
    };
    if !name_is_valid(name) {
        return Err(ParseKeyError("a name has no '+' and no white space"));
    }
    if id.len() != 8 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ParseKeyError("the id has eight hexadecimal digits"));
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| ParseKeyError("the id is hexadecimal"))?;
    let data = BASE64.decode(data).map_err(|_| ParseKeyError("the key is base64"))?;
    match data.split_first() {
        Some((&TYPE_ED25519, key)) => {
            let key = key.try_into().map_err(|_| ParseKeyError("an Ed25519 key has 32 bytes"))?;
            Ok((name, id, key))
        }
        _ => Err(ParseKeyError("not an Ed25519 key (type 1)")),
    }
}

impl FromStr for VerifierKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, id, public) = split_key(text.trim_end())?;
        let key = Self { name: name.to_owned(), public };
        if key.id() == id { Ok(key) } else { Err(ParseKeyError("the id does not fit the key")) }
    }
}

/// A secret signing key. It cannot be printed or copied, and its seed is wiped on drop.
pub struct SecretKey {
    name: String,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.seed.fill(0);
        // Keeps the fill from being optimised away as a dead store.
        std::hint::black_box(&self.seed);
    }
}

const SECRET_START: &str = "PRIVATE+KEY+";

impl SecretKey {
    /// Draws a new key that signs as `name`.
    ///
    /// # Errors
    ///
    /// When `name` is empty or holds `+` or white space, or the system has no randomness.
    pub fn generate(name: &str) -> Result<Self, ParseKeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| ParseKeyError("no system randomness"))?;
        Self::from_seed(name, seed)
    }

    fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, ParseKeyError> {
        if !name_is_valid(name) {
            return Err(ParseKeyError("a name has no '+' and no white space"));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| ParseKeyError("an Ed25519 seed has 32 bytes"))?;
        Ok(Self { name: name.to_owned(), seed, pair })
    }

    /// Reads `PRIVATE+KEY+<name>+<id>+<base64>`, the form Go's `note` package writes too.
    ///
    /// # Errors
    ///
    /// When the text has another form or its id does not fit.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let Some(rest) = text.trim_end().strip_prefix(SECRET_START) else {
            return Err(ParseKeyError("a secret key begins with PRIVATE+KEY+"));
        };
        let (name, id, seed) = split_key(rest)?;
        let key = Self::from_seed(name, seed)?;
        let fits = key.verifier().id() == id;
        if fits { Ok(key) } else { Err(ParseKeyError("the id does not fit the key")) }
    }

    /// The text [`Self::parse`] reads. Only for the key file.
    pub(crate) fn expose(&self) -> String {
        let mut data = vec![TYPE_ED25519];
        data.extend_from_slice(&self.seed);
        let encoded = BASE64.encode(&data);
        data.fill(0);
        format!("{SECRET_START}{}+{:08x}+{encoded}\n", self.name, self.verifier().id())
    }

    /// The public half.
    pub fn verifier(&self) -> VerifierKey {
        let public = self.pair.public_key().as_ref().try_into().expect("32 bytes by RFC 8032");
        VerifierKey { name: self.name.clone(), public }
    }

    /// Signs `text`, which must end in LF, and returns the whole note.
    pub fn sign_note(&self, text: &str) -> String {
        assert!(text.ends_with('\n'), "invariant: the text of a note ends in a line feed");
        format!("{text}\n{}", self.signature_line(text))
    }

    /// The plain Ed25519 signature over `bytes`.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.pair.sign(bytes).as_ref().try_into().expect("64 bytes by RFC 8032")
    }

    /// The line that signs `text`, with its LF.
    pub(crate) fn signature_line(&self, text: &str) -> String {
        let mut data = self.verifier().id().to_be_bytes().to_vec();
        data.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{SIGNATURE_START}{} {}\n", self.name, BASE64.encode(data))
    }
}

struct Signature<'a> {
    name: &'a str,
    id: u32,
    bytes: Vec<u8>,
}

/// A note taken apart, nothing verified yet.
pub struct SignedNote<'a> {
    text: &'a str,
    signatures: Vec<Signature<'a>>,
}

impl<'a> SignedNote<'a> {
    /// Takes `note` apart.
    ///
    /// # Errors
    ///
    /// When it is not text, blank line, one or more signature lines.
    pub fn parse(note: &'a [u8]) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("longer than 64 KiB"));
        }
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if note.chars().any(|c| c != '\n' && c.is_control()) {
            return Err(NoteError::Malformed("control characters"));
        }
        let end = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("cut last line"))?;
        let signatures = lines.split('\n').map(parse_signature).collect::<Option<Vec<_>>>();
        match signatures {
            Some(signatures) if signatures.len() <= 100 => Ok(Self { text, signatures }),
            _ => Err(NoteError::Malformed("a signature line has another form")),
        }
    }

    /// The signed text, with its last LF.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Names and key ids of all signatures.
    pub fn signers(&self) -> impl Iterator<Item = (&str, u32)> {
        self.signatures.iter().map(|signature| (signature.name, signature.id))
    }

    /// Checks that `key` has signed the text. Signatures by other keys are ignored.
    ///
    /// # Errors
    ///
    /// When there is no signature by `key`, or one of them does not fit.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let mut by_key = self
            .signatures
            .iter()
            .filter(|signature| signature.name == key.name && signature.id == key.id())
            .peekable();
        if by_key.peek().is_none() {
            return Err(NoteError::UnknownKey(key.name.clone()));
        }
        if by_key.all(|signature| key.verify(self.text.as_bytes(), &signature.bytes)) {
            Ok(())
        } else {
            Err(NoteError::BadSignature(key.name.clone()))
        }
    }
}

fn parse_signature(line: &str) -> Option<Signature<'_>> {
    let (name, data) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
    let data = BASE64.decode(data).ok()?;
    let (id, bytes) = data.split_first_chunk::<4>()?;
    if !name_is_valid(name) || bytes.is_empty() {
        return None;
    }
    Some(Signature { name, id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the `note` package of Go's `golang.org/x/mod/sumdb/note`.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_signed_by_another_program_verifies() {
        let key: VerifierKey = VKEY.parse().unwrap();
        assert_eq!(key.to_string(), VKEY);
        let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
        note.verify(&key).unwrap();
        assert!(note.text().ends_with("is.\n"));
        let changed = NOTE.replace("answer", "Answer");
        let error = SignedNote::parse(changed.as_bytes()).unwrap().verify(&key).unwrap_err();
        assert_eq!(error, NoteError::BadSignature("PeterNeumann".into()));
    }

    #[test]
    fn keys_survive_their_text_and_sign() {
        let secret = SecretKey::generate("demo/production").unwrap();
        let again = SecretKey::parse(&secret.expose()).unwrap();
        let note = again.sign_note("hello\n");
        SignedNote::parse(note.as_bytes()).unwrap().verify(&secret.verifier()).unwrap();
        let other = SecretKey::generate("demo/production").unwrap().verifier();
        let parsed = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.verify(&other), Err(NoteError::UnknownKey("demo/production".into())));
    }

    /// RFC 8032 §7.1, test 2: one byte.
    #[test]
    fn the_rfc_8032_vector_is_reproduced() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
                .collect()
        };
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SecretKey::from_seed("k", seed.try_into().unwrap()).unwrap();
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(key.verifier().public[..], public[..]);
        let signature = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        assert_eq!(key.pair.sign(&[0x72]).as_ref(), &signature[..]);
    }

    #[test]
    fn broken_notes_are_refused() {
        for bad in [
            "",
            "text\n",
            "text\n\n",
            "text\n\n— a\n",
            "text\n\nx a AAAA\n",
            "t\r\n\n— a AAAAAAA=\n",
        ] {
            assert!(SignedNote::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
