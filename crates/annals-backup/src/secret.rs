//! Thirty-two secret bytes that are wiped when they are dropped.

use zeroize::Zeroize;

use crate::entropy::Entropy;
use crate::error::BackupError;

/// A 256-bit secret on the heap, so that moving it leaves no copy behind.
///
/// It has no `Debug`, `Clone`, comparison or serialization.
pub(crate) struct Secret(Box<[u8; Self::BYTES]>);

impl Secret {
    /// The length of every secret here, in bytes.
    pub(crate) const BYTES: usize = 32;

    /// Builds a secret by letting `fill` write it in place.
    pub(crate) fn build<E>(
        fill: impl FnOnce(&mut [u8; Self::BYTES]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; Self::BYTES]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Draws a fresh random secret.
    pub(crate) fn random(entropy: &mut dyn Entropy) -> Result<Self, BackupError> {
        Self::build(|bytes| entropy.fill(bytes))
    }

    /// Copies a secret from bytes of exactly the right length.
    pub(crate) fn copy_from(bytes: &[u8]) -> Option<Self> {
        Self::build(|own| {
            if bytes.len() != own.len() {
                return Err(());
            }
            own.copy_from_slice(bytes);
            Ok(())
        })
        .ok()
    }

    /// Lends the bytes.
    pub(crate) fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
