//! Lowercase hexadecimal, strictly.

use std::fmt;

/// Writes `bytes` as lowercase hexadecimal.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `out.len()` bytes of lowercase hexadecimal; false if the text is anything else.
pub(crate) fn read(text: &str, out: &mut [u8]) -> bool {
    let text = text.as_bytes();
    if text.len() != out.len() * 2 {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn only_lowercase_pairs_of_the_exact_length_are_read() {
        let mut out = [0; 2];
        assert!(read("00ff", &mut out));
        assert_eq!(out, [0x00, 0xff]);
        for text in ["", "00f", "00fff", "00fF", "00f ", "0x00", "00fé"] {
            assert!(!read(text, &mut out), "{text:?}");
        }
    }
}
