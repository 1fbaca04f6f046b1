//! Gives a copied cluster an identity of its own.
//!
//! Two clusters with one system identifier would be one database to whoever compares them, and annals
//! does. The server has no command for this: the number stands at the beginning of
//! `global/pg_control` (`src/include/catalog/pg_control.h`), whose last member is a CRC-32C of all
//! before it, and in the long header at the beginning of every WAL segment
//! (`src/include/access/xlog_internal.h`), which no checksum covers. Both are read and checked before
//! anything is written.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use annals_events::Digest;

/// Where the identifier stands in the header of a WAL segment.
const WAL_IDENTIFIER: std::ops::Range<usize> = 24..32;

/// Its place is 292 in 13 and moves with each new member; the file is 8 KiB, zero behind it.
const CRC_AT_MOST: usize = 1024;

/// Replaces the system identifier of the stopped cluster in `data`.
///
/// # Errors
///
/// When the files are not as known, or cannot be written.
pub(super) fn renew(data: &Path) -> io::Result<()> {
    let unknown = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let control_path = data.join("global/pg_control");
    let mut control = fs::read(&control_path)?;
    let crc_at = crc_place(&control).ok_or_else(|| unknown("pg_control has an unknown form"))?;
    let old: [u8; 8] = control[..8].try_into().map_err(|_| unknown("pg_control is empty"))?;
    let new = new_identifier(data).to_ne_bytes();
    for entry in fs::read_dir(data.join("pg_wal"))? {
        let entry = entry?;
        let is_segment = entry.file_name().len() == 24 && entry.file_type()?.is_file();
        if is_segment {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new().read(true).write(true).open(entry.path())?;
            let mut header = [0; WAL_IDENTIFIER.end];
            file.read_exact_at(&mut header, 0)?;
            // A segment kept for later is all zero, or not written yet.
            if header[WAL_IDENTIFIER] == old {
                file.write_all_at(&new, WAL_IDENTIFIER.start as u64)?;
            } else if header.iter().any(|byte| *byte != 0) {
                return Err(unknown("a WAL segment has an unknown form"));
            }
        }
    }
    control[..8].copy_from_slice(&new);
    let crc = crc32c(&control[..crc_at]).to_ne_bytes();
    control[crc_at..crc_at + 4].copy_from_slice(&crc);
    fs::write(&control_path, control)
}

/// Seconds in the upper half, as `initdb` does it; below them what differs between two copies made
/// in the same second.
fn new_identifier(data: &Path) -> u64 {
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (copy, process) = (COPIES.fetch_add(1, Ordering::Relaxed), std::process::id());
    let differs = format!("{} {process} {copy} {}", now.as_nanos(), data.display());
    let short = Digest::of(differs.as_bytes()).short(8);
    (now.as_secs() << 32) | u64::from_str_radix(&short, 16).unwrap_or_default()
}

/// Where the checksum stands: the place whose value is that of all before it.
fn crc_place(control: &[u8]) -> Option<usize> {
    let end = CRC_AT_MOST.min(control.len().saturating_sub(4));
    let mut crc = Crc32c::new();
    let mut done = 0;
    // The identifier and the two versions come first.
    for at in (16..=end).step_by(4) {
        crc.add(&control[done..at]);
        done = at;
        if control[at..at + 4] == crc.value().to_ne_bytes() {
            return Some(at);
        }
    }
    None
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.add(bytes);
    crc.value()
}

/// Castagnoli's polynomial, reflected.
struct Crc32c(u32);

impl Crc32c {
    fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                self.0 = (self.0 >> 1) ^ (0x82f6_3b78 & (self.0 & 1).wrapping_neg());
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_file_without_a_checksum_is_not_known() {
        assert_eq!(crc_place(&[7; 512]), None);
        assert_eq!(crc_place(b""), None);
    }
}
