//! Recipient stanzas: the data key of a backup, wrapped for each key that may open it.

use crate::cobblestone::{Opener, PREFIX_BYTES, SALT_BYTES, Sealer, TAG_BYTES};
use crate::error::BackupError;
use crate::header::bound_context;
use crate::key::{KeyEncryptionKey, KeyId};
use crate::passphrase::PassphraseRecipe;
use crate::secret::Secret;

/// The number of recipients one backup may have; opening tries each, so it is bounded.
pub const MAX_RECIPIENTS: usize = 32;

/// The longest stanza body a reader accepts, in bytes; a longer one is malformed.
pub(crate) const MAX_STANZA_BYTES: usize = 4096;
/// The stanza type of a symmetric key-encryption key.
pub(crate) const SYMMETRIC: u16 = 1;
/// The stanza type of a key that is made of a passphrase.
pub(crate) const PASSPHRASE: u16 = 2;

const WRAPPED_BYTES: usize = PREFIX_BYTES + Secret::BYTES + TAG_BYTES;
const SYMMETRIC_BYTES: usize = KeyId::BYTES + WRAPPED_BYTES;
const PASSPHRASE_BYTES: usize = PassphraseRecipe::BYTES + SYMMETRIC_BYTES;
const WRAP_LABEL: &str = "annals-backup/v1/wrap";

/// A data key wrapped for one symmetric key.
pub(crate) struct Stanza {
    /// The key it is wrapped for.
    pub(crate) key_id: KeyId,
    /// How that key is made, of one that comes from a passphrase.
    pub(crate) recipe: Option<PassphraseRecipe>,
    prefix: [u8; PREFIX_BYTES],
    sealed: [u8; Secret::BYTES + TAG_BYTES],
}

impl Stanza {
    /// Wraps `data_key` for `key`, bound to the header it will stand in.
    pub(crate) fn wrap(
        data_key: &Secret,
        key: &KeyEncryptionKey,
        header_hash: &[u8; 32],
        salt: [u8; SALT_BYTES],
    ) -> Result<Self, BackupError> {
        let context = bound_context(WRAP_LABEL, header_hash);
        let (mut sealer, prefix) = Sealer::new(key.secret(), salt, &context);
        // Room for the tag from the start: growing would leave an unwiped copy of the key behind.
        let mut chunk = Vec::with_capacity(Secret::BYTES + TAG_BYTES);
        chunk.extend_from_slice(data_key.expose());
        sealer.seal(&mut chunk)?;
        let sealed = chunk.try_into().expect("a wrapped key is the key and its tag");
        Ok(Self { key_id: key.id(), recipe: key.recipe(), prefix, sealed })
    }

    /// Unwraps the data key with the key that the stanza names.
    pub(crate) fn unwrap(
        &self,
        key: &KeyEncryptionKey,
        header_hash: &[u8; 32],
    ) -> Result<Secret, BackupError> {
        let refused = || BackupError::WrappedKeyRefused { key_id: self.key_id };
        let context = bound_context(WRAP_LABEL, header_hash);
        let mut opener = Opener::new(key.secret(), &self.prefix, &context).ok_or_else(refused)?;
        let mut buffer = zeroize::Zeroizing::new(self.sealed);
        let data_key = opener.open(&mut *buffer).map_err(|_| refused())?;
        Secret::copy_from(data_key).ok_or_else(refused)
    }

    /// Appends the stanza as it stands in the header.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, bytes) = match self.recipe {
            None => (SYMMETRIC, SYMMETRIC_BYTES),
            Some(_) => (PASSPHRASE, PASSPHRASE_BYTES),
        };
        let length = u16::try_from(bytes).expect("a stanza body fits its length field");
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        if let Some(recipe) = &self.recipe {
            recipe.encode(out);
        }
        out.extend_from_slice(self.key_id.as_bytes());
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&self.sealed);
    }

    /// Reads the body of a stanza for a passphrase; `None` if its length is not the one of the type.
    pub(crate) fn decode_passphrase(body: &[u8]) -> Option<Self> {
        let (recipe, rest) = body.split_first_chunk()?;
        let recipe = Some(PassphraseRecipe::decode(recipe));
        Some(Self { recipe, ..Self::decode(rest)? })
    }

    /// Reads the body of a symmetric stanza; `None` if its length is not the one of the type.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (key_id, rest) = body.split_first_chunk()?;
        let (prefix, rest) = rest.split_first_chunk()?;
        let sealed = rest.try_into().ok()?;
        Some(Self { key_id: KeyId::from_bytes(*key_id), recipe: None, prefix: *prefix, sealed })
    }
}
