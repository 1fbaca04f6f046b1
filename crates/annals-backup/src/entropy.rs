//! Where random bytes come from, as an argument: the operating system, or a test's fixed bytes.

use crate::error::BackupError;

/// A source of uniformly random bytes.
pub(crate) trait Entropy {
    /// Fills `out`, or fails and leaves nothing that may be used.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), BackupError>;
}

/// The operating system's generator.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), BackupError> {
        getrandom::fill(out).map_err(BackupError::Randomness)
    }
}

/// Draws `N` bytes that are not secret, such as a salt.
pub(crate) fn draw<const N: usize>(entropy: &mut dyn Entropy) -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
