//! The nonces of one message: each position is used once, in order.

use crate::error::BackupError;

/// The length of an AES-GCM nonce, in bytes.
pub(crate) const NONCE_BYTES: usize = 12;

/// The number of chunks one message may have (C2SP chunked-encryption, "Message chunking").
pub(crate) const MAX_CHUNKS: u64 = 1 << 38;

/// Yields `base XOR position`, position counting from 0 and never going back.
///
/// The position occupies the low 38 bits, so two positions give two nonces: XOR with one base is
/// injective. A base is used with one key for one message.
pub(crate) struct Nonces {
    base: [u8; NONCE_BYTES],
    next: u64,
}

impl Nonces {
    /// Starts at position 0.
    pub(crate) fn new(base: [u8; NONCE_BYTES]) -> Self {
        Self { base, next: 0 }
    }

    /// Returns the position that the next nonce is for.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// Returns the next nonce; after the last position it refuses for ever.
    pub(crate) fn take(&mut self) -> Result<[u8; NONCE_BYTES], BackupError> {
        if self.next >= MAX_CHUNKS {
            return Err(BackupError::TooLong);
        }
        let mut nonce = self.base;
        let low = NONCE_BYTES - size_of::<u64>();
        for (byte, counter) in nonce[low..].iter_mut().zip(self.next.to_be_bytes()) {
            *byte ^= counter;
        }
        self.next += 1;
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MAX_CHUNKS, Nonces};
    use crate::error::BackupError;

    const BASE: [u8; 12] = [0xa5, 0xff, 0, 1, 2, 3, 0xff, 0xff, 0x0f, 0xf0, 0x55, 0xfe];

    fn from(next: u64) -> Nonces {
        Nonces { base: BASE, next }
    }

    #[test]
    fn no_nonce_repeats_over_a_stream() {
        let mut nonces = Nonces::new(BASE);
        let mut seen = HashSet::new();
        for _ in 0..=0x1_0000 {
            assert!(seen.insert(nonces.take().expect("within the limit")));
        }
        // Windows around every bit of the counter, against all of the above and each other.
        for bit in 18..=38 {
            let mut nonces = from((1 << bit) - 4);
            while nonces.position() < ((1 << bit) + 4).min(MAX_CHUNKS) {
                assert!(seen.insert(nonces.take().expect("within the limit")));
            }
        }
    }

    #[test]
    fn the_position_is_xored_big_endian_into_the_last_bytes() {
        let mut nonces = from(0x01_0203_0405);
        let mut expected = BASE;
        for (byte, counter) in expected[7..].iter_mut().zip([1, 2, 3, 4, 5]) {
            *byte ^= counter;
        }
        assert_eq!(nonces.take().expect("within the limit"), expected);
    }

    #[test]
    fn the_counter_refuses_to_wrap() {
        let mut nonces = from(MAX_CHUNKS - 1);
        assert!(nonces.take().is_ok());
        for _ in 0..3 {
            assert!(matches!(nonces.take(), Err(BackupError::TooLong)));
        }
    }
}
