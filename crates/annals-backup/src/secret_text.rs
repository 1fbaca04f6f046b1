//! Secret text on its way in: a passphrase, or a key as a line of text, wiped when it is dropped.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// A passphrase, or the text of a key, as somebody gave it.
///
/// It has no `Debug`, `Clone`, comparison or serialization, and is wiped when dropped.
pub struct SecretText(Zeroizing<Vec<u8>>);

impl SecretText {
    /// The longest text that is read, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Takes bytes that nobody else keeps.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads to the end of `source`, without the line end there; none if it is longer than
    /// [`MAX_BYTES`](Self::MAX_BYTES).
    ///
    /// # Errors
    /// When `source` fails.
    pub fn read(mut source: impl Read) -> io::Result<Option<Self>> {
        // Room for all of it from the start: growing would leave unwiped copies behind.
        let mut bytes = Zeroizing::new(vec![0; Self::MAX_BYTES + 1]);
        let mut filled = 0;
        while filled < bytes.len() {
            match source.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled > Self::MAX_BYTES {
            return Ok(None);
        }
        bytes.truncate(filled);
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        Ok(Some(Self(bytes)))
    }

    /// Its length, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the same: what somebody typed twice.
    pub fn is_same(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// Lends the bytes.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::SecretText;

    #[test]
    fn a_line_end_is_no_part_of_it_and_its_length_is_bounded() {
        let read = |text: &[u8]| SecretText::read(text).expect("a slice is readable");
        for (given, taken) in [("a b\n", "a b"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n")] {
            let text = read(given.as_bytes()).expect("short");
            assert_eq!(text.expose(), taken.as_bytes());
        }
        assert!(read(&[b'x'; SecretText::MAX_BYTES]).is_some());
        assert!(read(&[b'x'; SecretText::MAX_BYTES + 1]).is_none());
    }
}
