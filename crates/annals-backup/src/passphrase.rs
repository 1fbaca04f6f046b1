//! Keys made of passphrases: Argon2id, with everything that makes the key again but the passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::entropy::{Entropy, SystemEntropy, draw};
use crate::error::BackupError;
use crate::key::KeyEncryptionKey;
use crate::secret::Secret;
use crate::secret_text::SecretText;

/// The most memory a recipe may ask for, in KiB: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// The most passes over the memory.
const MAX_ITERATIONS: u32 = 10;
/// The most lanes.
const MAX_LANES: u32 = 16;

/// What a guess at a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory, in KiB; 8 for each lane to 1 GiB.
    pub memory_kib: u32,
    /// Passes over it, 1 to 10.
    pub iterations: u32,
    /// Lanes, 1 to 16.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// The second recommended choice of RFC 9106, section 4: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, iterations: 3, lanes: 4 }
    }
}

impl Argon2Cost {
    /// Whether it is within the limits: who writes a header must not make its reader work for hours.
    pub(crate) fn is_bounded(&self) -> bool {
        (1..=MAX_LANES).contains(&self.lanes)
            && (1..=MAX_ITERATIONS).contains(&self.iterations)
            && (8 * self.lanes..=MAX_MEMORY_KIB).contains(&self.memory_kib)
    }
}

/// How a key is made of a passphrase. Public: it stands in the header of what the key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseRecipe {
    /// What a guess costs.
    pub cost: Argon2Cost,
    salt: [u8; Self::SALT_BYTES],
}

impl PassphraseRecipe {
    /// The length of a recipe as it is stored, in bytes.
    pub(crate) const BYTES: usize = 12 + Self::SALT_BYTES;
    /// The shortest passphrase that something is sealed for, in bytes.
    pub const MIN_PASSPHRASE_BYTES: usize = 12;

    const SALT_BYTES: usize = 16;

    /// A recipe of that cost, with a fresh random salt.
    ///
    /// # Errors
    /// [`BackupError::Randomness`] if there is none, [`BackupError::Argon2Cost`] for a cost beyond its
    /// limits.
    pub fn generate(cost: Argon2Cost) -> Result<Self, BackupError> {
        Self::generate_from(cost, &mut SystemEntropy)
    }

    pub(crate) fn generate_from(
        cost: Argon2Cost,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, BackupError> {
        let recipe = Self { cost, salt: draw(entropy)? };
        if cost.is_bounded() { Ok(recipe) } else { Err(BackupError::Argon2Cost { cost }) }
    }

    /// Makes the key. Takes the memory of the cost, and some time, on purpose.
    ///
    /// # Errors
    /// [`BackupError::Argon2Cost`] for a cost beyond its limits: nothing is reckoned then.
    pub fn derive(&self, passphrase: &SecretText) -> Result<KeyEncryptionKey, BackupError> {
        let refused = || BackupError::Argon2Cost { cost: self.cost };
        if !self.cost.is_bounded() {
            return Err(refused());
        }
        let Argon2Cost { memory_kib, iterations, lanes } = self.cost;
        let params = Params::new(memory_kib, iterations, lanes, Some(Secret::BYTES));
        let argon2 =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|_| refused())?);
        let mut key = Zeroizing::new([0; Secret::BYTES]);
        argon2
            .hash_password_into(passphrase.expose(), &self.salt, &mut *key)
            .map_err(|_| refused())?;
        Ok(KeyEncryptionKey::from_bytes(&*key)?.made_by(*self))
    }

    /// Appends the recipe as it is stored.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.cost.memory_kib, self.cost.iterations, self.cost.lanes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.salt);
    }

    /// Reads a recipe as it is stored; its limits are checked when it is used.
    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let cost = Argon2Cost { memory_kib: number(0), iterations: number(4), lanes: number(8) };
        let mut salt = [0; Self::SALT_BYTES];
        salt.copy_from_slice(&bytes[12..]);
        Self { cost, salt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_the_reference_implementation_makes_of_the_passphrase() {
        // By the reference implementation:
        // `printf password | argon2 somesaltsomesalt -id -t 2 -k 65536 -p 1 -l 32 -r`.
        let cost = Argon2Cost { memory_kib: 65_536, iterations: 2, lanes: 1 };
        let recipe = PassphraseRecipe { cost, salt: *b"somesaltsomesalt" };
        let key = recipe.derive(&SecretText::new(b"password".to_vec())).expect("bounded");
        let expected = "fc33b78139231d34b71626bd6245c1d72efa190ad605c3d8166a72adcedfa2c2";
        let expected = KeyEncryptionKey::from_bytes(&{
            let mut bytes = [0; 32];
            assert!(crate::hex::read(expected, &mut bytes));
            bytes
        });
        assert_eq!(key.id(), expected.expect("32 bytes").id());
    }

    #[test]
    fn a_cost_beyond_its_limits_is_refused_before_anything_is_reckoned() {
        let usual = Argon2Cost::default();
        for cost in [
            Argon2Cost { memory_kib: MAX_MEMORY_KIB + 1, ..usual },
            Argon2Cost { memory_kib: 31, ..usual },
            Argon2Cost { iterations: 0, ..usual },
            Argon2Cost { iterations: MAX_ITERATIONS + 1, ..usual },
            Argon2Cost { lanes: 0, ..usual },
            Argon2Cost { lanes: u32::MAX, ..usual },
        ] {
            let recipe = PassphraseRecipe { cost, salt: [0; 16] };
            let refused = recipe.derive(&SecretText::new(b"x".to_vec())).err();
            assert!(
                matches!(refused, Some(BackupError::Argon2Cost { cost: found }) if found == cost)
            );
            assert!(PassphraseRecipe::generate(cost).is_err());
        }
    }
}
