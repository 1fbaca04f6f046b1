//! The sealed backup container: bytes in, AES-256-GCM in authenticated chunks, the same bytes out.
//!
//! Nothing here speaks to a database or a network, reads a clock or an environment, or compresses;
//! randomness is drawn from the operating system while sealing and nowhere else.
//!
//! [`seal`] returns a [`SealedWriter`] that holds one chunk in memory; [`open`] returns a
//! [`SealedReader`] that hands out a chunk only after its tag has been verified, and reports the
//! end of the backup only after the final chunk and the trailer have been. [`examine`] checks the
//! form and the digest of a sealed backup without any key; [`rewrap`] copies one for other recipients
//! without decrypting it.
//!
//! The bytes are specified in `docs/reference/backup-format.md`, closely enough to write a second
//! reader. The payload is the published C2SP chunked-encryption construction
//! (<https://c2sp.org/chunked-encryption>) in its Cobblestone-256 instantiation.
//!
//! ```
//! use std::io::{Read, Write};
//! use annals_backup::{BackupId, KeyEncryptionKey, SealParams, open, seal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = KeyEncryptionKey::generate()?;
//! let params = SealParams { backup_id: BackupId::from_bytes([7; 16]), public_metadata: b"{}" };
//!
//! let mut writer = seal(Vec::new(), &params, [&key])?;
//! writer.write_all(b"rows")?;
//! let (sealed, receipt) = writer.finish()?;
//!
//! let mut reader = open(sealed.as_slice(), [&key])?.expect_backup(params.backup_id)?;
//! let mut rows = Vec::new();
//! reader.read_to_end(&mut rows)?;
//! assert_eq!(rows, b"rows");
//! assert_eq!(reader.finish()?, receipt);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod cobblestone;
mod entropy;
mod error;
mod examine;
mod header;
mod hex;
mod kdf;
mod key;
#[cfg(unix)]
mod key_file;
mod nonces;
mod open;
mod passphrase;
mod receipt;
mod recipients;
mod rewrap;
mod seal;
mod secret;
mod secret_text;
mod trailer;
mod window;

#[cfg(test)]
mod aes_gcm_vectors;
#[cfg(test)]
mod published_vectors;
#[cfg(test)]
mod worked_example;

pub use cobblestone::CHUNK_BYTES;
pub use error::BackupError;
pub use examine::{Examination, examine};
pub use header::{BackupId, Header, MAX_METADATA_BYTES, VERSION, read_header};
pub use key::{KeyEncryptionKey, KeyId};
pub use open::{SealedReader, open};
pub use passphrase::{Argon2Cost, PassphraseRecipe};
pub use receipt::{FileDigest, Receipt};
pub use recipients::MAX_RECIPIENTS;
pub use rewrap::{Rewrapped, rewrap};
pub use seal::{SealParams, SealedWriter, seal};
pub use secret_text::SecretText;
