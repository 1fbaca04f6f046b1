//! The key a backup is sealed for, and its public name.

use std::fmt;

use zeroize::Zeroizing;

use crate::entropy::SystemEntropy;
use crate::error::BackupError;
use crate::hex;
use crate::kdf;
use crate::passphrase::PassphraseRecipe;
use crate::secret::Secret;
use crate::secret_text::SecretText;

const KEY_ID_LABEL: &[u8] = b"annals-backup/v1/key-id";
const LINE_NAME: &str = "annals-backup-key";
const LINE_VERSION: &str = "v1";

/// A 256-bit symmetric key that wraps the data keys of backups.
///
/// It has no `Debug`, `Clone`, comparison or serialization, and is wiped when dropped.
pub struct KeyEncryptionKey {
    secret: Secret,
    id: KeyId,
    /// How it is made again, of one that comes from a passphrase.
    recipe: Option<PassphraseRecipe>,
}

impl KeyEncryptionKey {
    /// Generates a key from the operating system's random bytes.
    ///
    /// # Errors
    /// [`BackupError::Randomness`] if there are none.
    pub fn generate() -> Result<Self, BackupError> {
        Ok(Self::of(Secret::random(&mut SystemEntropy)?))
    }

    /// Takes a key from its 32 uniformly random bytes; the caller wipes its own copy.
    ///
    /// # Errors
    /// [`BackupError::KeyLength`] at any other length: a key is neither padded nor cut.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackupError> {
        let secret =
            Secret::copy_from(bytes).ok_or(BackupError::KeyLength { found: bytes.len() })?;
        Ok(Self::of(secret))
    }

    /// Reads a key from the text of a key file.
    ///
    /// One line `annals-backup-key v1 <64 hex digits of the key> <32 hex digits of its id>`; empty
    /// lines and lines that start with `#` are skipped. The id catches a mistyped or damaged key.
    ///
    /// # Errors
    /// [`BackupError::KeyText`] for anything else; the error holds nothing of the text.
    pub fn from_text(text: &str) -> Result<Self, BackupError> {
        let mut lines =
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let line = lines.next().ok_or(malformed("it holds no key line"))?;
        if lines.next().is_some() {
            return Err(malformed("it holds more than one line besides comments"));
        }
        Self::from_line(line)
    }

    /// Reads a key from secret text: that of a key file.
    ///
    /// # Errors
    /// As [`from_text`](Self::from_text).
    pub fn from_secret_text(text: &SecretText) -> Result<Self, BackupError> {
        let text = std::str::from_utf8(text.expose());
        Self::from_text(text.map_err(|_| malformed("it is not UTF-8"))?)
    }

    /// Returns how the key is made again, if it comes from a passphrase.
    pub fn recipe(&self) -> Option<PassphraseRecipe> {
        self.recipe
    }

    /// The key, made by `recipe`.
    pub(crate) fn made_by(self, recipe: PassphraseRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// Returns the key as the line that [`from_text`](Self::from_text) reads. Secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        // The capacity is exact enough that growing leaves no unwiped copy behind.
        let mut text = Zeroizing::new(String::with_capacity(160));
        text.push_str(LINE_NAME);
        text.push(' ');
        text.push_str(LINE_VERSION);
        text.push(' ');
        for byte in self.secret.expose() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text.push(' ');
        text.push_str(&self.id.to_string());
        text.push('\n');
        text
    }

    /// Returns the key's public name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Lends the secret to the wrapping code.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn from_line(line: &str) -> Result<Self, BackupError> {
        let mut fields = line.split_ascii_whitespace();
        if (fields.next(), fields.next()) != (Some(LINE_NAME), Some(LINE_VERSION)) {
            return Err(malformed("the key line does not start with \"annals-backup-key v1\""));
        }
        let (Some(key), Some(id), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(malformed("the key line does not have four fields"));
        };
        let secret = Secret::build(|bytes| if hex::read(key, bytes) { Ok(()) } else { Err(()) })
            .map_err(|()| malformed("the key is not 64 lowercase hex digits"))?;
        let found = Self::of(secret);
        if found.id.to_string() != id {
            return Err(malformed("the key does not have the id written beside it"));
        }
        Ok(found)
    }

    fn of(secret: Secret) -> Self {
        let mut id = [0; KeyId::BYTES];
        kdf::expand(&secret, &[KEY_ID_LABEL], &mut id);
        Self { secret, id: KeyId(id), recipe: None }
    }
}

fn malformed(reason: &'static str) -> BackupError {
    BackupError::KeyText { reason }
}

/// The public name of a [`KeyEncryptionKey`], derived from it one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::BYTES]);

impl KeyId {
    /// The length of a key id, in bytes.
    pub const BYTES: usize = 16;

    /// Takes an id from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Lends the bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::marker::PhantomData;

    use super::KeyEncryptionKey;
    use crate::error::BackupError;

    struct Probe<T>(PhantomData<T>);
    trait Absent {
        const CLONE: bool = false;
        const DEBUG: bool = false;
    }
    impl<T> Absent for Probe<T> {}
    // An inherent constant wins over the trait's where its bound holds.
    impl<T: Clone> Probe<T> {
        const CLONE: bool = true;
    }
    impl<T: Debug> Probe<T> {
        const DEBUG: bool = true;
    }

    #[test]
    fn a_key_is_neither_shown_nor_copied_and_is_dropped_with_care() {
        const { assert!(Probe::<u8>::CLONE && Probe::<u8>::DEBUG) };
        const { assert!(!Probe::<KeyEncryptionKey>::CLONE && !Probe::<KeyEncryptionKey>::DEBUG) };
        const { assert!(std::mem::needs_drop::<KeyEncryptionKey>()) };
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for length in [0, 16, 31, 33, 64] {
            let refused = KeyEncryptionKey::from_bytes(&vec![1; length]).err();
            assert!(matches!(refused, Some(BackupError::KeyLength { found }) if found == length));
        }
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = KeyEncryptionKey::generate().expect("randomness");
        let text = key.to_text();
        assert_eq!(text.len(), 17 + 1 + 2 + 1 + 64 + 1 + 32 + 1);
        let again = KeyEncryptionKey::from_text(&format!("# a comment\n\n{}", *text));
        assert_eq!(again.ok().map(|k| k.id()), Some(key.id()));
    }

    #[test]
    fn a_key_text_with_one_wrong_character_is_refused() {
        let key = KeyEncryptionKey::from_bytes(&[0x5a; 32]).expect("32 bytes");
        let text = key.to_text();
        for at in 0..text.len() - 1 {
            for replacement in ["0", "1", "x", " ", "#"] {
                let mut other = text.to_string();
                other.replace_range(at..=at, replacement);
                let same = other.split_whitespace().eq(text.split_whitespace());
                assert_eq!(KeyEncryptionKey::from_text(&other).is_ok(), same, "{other}");
            }
        }
        assert!(KeyEncryptionKey::from_text(&format!("{0}{0}", *text)).is_err());
        assert!(KeyEncryptionKey::from_text("").is_err());
    }
}
