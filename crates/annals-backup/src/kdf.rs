//! Key derivation and authentication codes: HKDF-Expand-SHA-512 and HMAC-SHA-256.

use std::convert::Infallible;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::Secret;

/// The length of an authentication code, in bytes.
pub(crate) const MAC_BYTES: usize = 32;

const BLOCK_BYTES: usize = 64;

/// Expands `key` into `out`; `info` is the concatenation of its parts (RFC 5869, section 2.3).
///
/// Extract is left out because every key here is uniformly random already, and because the C2SP
/// construction is defined on Expand with a key shorter than the hash. At most 255 blocks.
pub(crate) fn expand(key: &Secret, info: &[&[u8]], out: &mut [u8]) {
    let mut previous = Zeroizing::new([0; BLOCK_BYTES]);
    for (index, block) in out.chunks_mut(BLOCK_BYTES).enumerate() {
        let counter = u8::try_from(index + 1).expect("HKDF-Expand is asked for at most 255 blocks");
        let mut mac = hmac::<Hmac<Sha512>>(key);
        if index > 0 {
            mac.update(&*previous);
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        let mut output = mac.finalize().into_bytes();
        previous.copy_from_slice(&output);
        block.copy_from_slice(&output[..block.len()]);
        output.as_mut_slice().zeroize();
    }
}

/// Expands `key` into another secret for the purpose that `label` names.
pub(crate) fn subkey(key: &Secret, label: &str) -> Secret {
    let built: Result<_, Infallible> = Secret::build(|bytes| {
        expand(key, &[label.as_bytes()], bytes);
        Ok(())
    });
    let Ok(secret) = built;
    secret
}

/// Computes HMAC-SHA-256 over `message`.
pub(crate) fn authenticate(key: &Secret, message: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = hmac::<Hmac<Sha256>>(key);
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Compares HMAC-SHA-256 over `message` with `expected`, in constant time.
pub(crate) fn authentic(key: &Secret, message: &[u8], expected: &[u8]) -> bool {
    let mut mac = hmac::<Hmac<Sha256>>(key);
    mac.update(message);
    mac.verify_slice(expected).is_ok()
}

fn hmac<M: KeyInit>(key: &Secret) -> M {
    M::new_from_slice(key.expose()).expect("HMAC takes a key of any length")
}
