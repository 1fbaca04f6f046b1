//! Cobblestone-256: the C2SP chunked-encryption construction over SHA-512 and AES-256-GCM.
//!
//! <https://c2sp.org/chunked-encryption>. A message is `salt ‖ commitment ‖ chunks`; every chunk but
//! the last holds exactly [`CHUNK_BYTES`], the last one fewer, which is what proves the end.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::BackupError;
use crate::kdf;
use crate::nonces::{NONCE_BYTES, Nonces};
use crate::secret::Secret;

/// The plaintext bytes in every chunk but the last, which holds fewer.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// The bytes that an AES-GCM tag adds to a chunk.
pub(crate) const TAG_BYTES: usize = 16;
/// A full chunk as it is stored, in bytes.
pub(crate) const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// The length of a message's salt, in bytes.
pub(crate) const SALT_BYTES: usize = 24;
/// The length of a message's commitment, in bytes.
pub(crate) const COMMITMENT_BYTES: usize = 32;
/// The bytes before a message's first chunk.
pub(crate) const PREFIX_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES;

const INFO: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// What stands before the first chunk: salt and commitment.
pub(crate) type Prefix = [u8; PREFIX_BYTES];

/// Seals the chunks of one message, in order.
pub(crate) struct Sealer {
    cipher: Box<Aes256Gcm>,
    nonces: Nonces,
    ended: bool,
}

impl Sealer {
    /// Derives the message's keys; `salt` must not repeat under `input_key`.
    pub(crate) fn new(
        input_key: &Secret,
        salt: [u8; SALT_BYTES],
        context: &[u8],
    ) -> (Self, Prefix) {
        let derived = derive(input_key, &salt, context);
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..SALT_BYTES].copy_from_slice(&salt);
        prefix[SALT_BYTES..].copy_from_slice(&derived.commitment);
        (Self { cipher: derived.cipher, nonces: derived.nonces, ended: false }, prefix)
    }

    /// Encrypts the next chunk in place and appends its tag; a short chunk is the last one.
    pub(crate) fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<(), BackupError> {
        assert!(chunk.len() <= CHUNK_BYTES, "a chunk holds at most CHUNK_BYTES");
        assert!(!self.ended, "no chunk follows the short final chunk");
        self.ended = chunk.len() < CHUNK_BYTES;
        let nonce = Nonce::from(self.nonces.take()?);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, b"", chunk.as_mut_slice().into())
            .expect("a chunk is far below the length limit of AES-GCM");
        chunk.extend_from_slice(&tag);
        Ok(())
    }
}

/// Opens the chunks of one message, in order.
pub(crate) struct Opener {
    cipher: Box<Aes256Gcm>,
    nonces: Nonces,
    ended: bool,
}

impl Opener {
    /// Derives the message's keys and checks the commitment; `None` if it does not match.
    pub(crate) fn new(input_key: &Secret, prefix: &Prefix, context: &[u8]) -> Option<Self> {
        let (salt, commitment) = prefix.split_at(SALT_BYTES);
        let derived = derive(input_key, salt, context);
        let matches = bool::from(derived.commitment.as_slice().ct_eq(commitment));
        matches.then_some(Self { cipher: derived.cipher, nonces: derived.nonces, ended: false })
    }

    /// Verifies the next chunk and decrypts it in place; a short chunk is the last one.
    ///
    /// On error the buffer does not hold any plaintext: the tag is checked before decryption.
    pub(crate) fn open<'c>(&mut self, sealed: &'c mut [u8]) -> Result<&'c [u8], BackupError> {
        assert!(sealed.len() <= SEALED_CHUNK_BYTES, "a chunk holds at most CHUNK_BYTES");
        assert!(!self.ended, "no chunk follows the short final chunk");
        self.ended = sealed.len() < SEALED_CHUNK_BYTES;
        let position = self.nonces.position();
        let length = sealed
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(BackupError::Truncated { part: "final chunk" })?;
        let (text, tag) = sealed.split_at_mut(length);
        let tag = Tag::try_from(&*tag).expect("the tag was split at its length");
        let nonce = Nonce::from(self.nonces.take()?);
        self.cipher
            .decrypt_inout_detached(&nonce, b"", (&mut *text).into(), &tag)
            .map_err(|_| BackupError::ChunkRefused { position })?;
        Ok(text)
    }
}

struct Derived {
    cipher: Box<Aes256Gcm>,
    nonces: Nonces,
    commitment: [u8; COMMITMENT_BYTES],
}

fn derive(input_key: &Secret, salt: &[u8], context: &[u8]) -> Derived {
    let mut output = Zeroizing::new([0; Secret::BYTES + NONCE_BYTES + COMMITMENT_BYTES]);
    kdf::expand(input_key, &[INFO, salt, context], &mut *output);
    let (key, rest) = output.split_at(Secret::BYTES);
    let (base, rest) = rest.split_at(NONCE_BYTES);
    let mut base_nonce = [0; NONCE_BYTES];
    base_nonce.copy_from_slice(base);
    let mut commitment = [0; COMMITMENT_BYTES];
    commitment.copy_from_slice(rest);
    let cipher = Aes256Gcm::new_from_slice(key).expect("the key was split at its length");
    // On the heap, so that moving a reader or writer leaves no key schedule behind.
    let cipher = Box::new(cipher);
    Derived { cipher, nonces: Nonces::new(base_nonce), commitment }
}
