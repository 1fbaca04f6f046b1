//! RFC 8785 (JCS) for the subset the log allows: printable-ASCII keys, no floats, integers within
//! ±(2^53−1), at most 32 levels deep.
//!
//! [`check`] is one pass over the stored bytes that builds nothing: it accepts a line exactly when
//! parsing it and writing it canonically would give the same bytes back. Duplicate or unsorted keys,
//! optional white space, other number spellings and other string escapes are all refused here.

use serde_json::Value;

/// Levels of arrays and objects a line may nest; bounds the recursion on any input.
const MAX_DEPTH: u32 = 32;

/// The largest integer that every JSON reader represents exactly: 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Where and why a line is not canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct CanonicalError {
    /// Bytes from the start of the line.
    pub offset: usize,
    /// What the rule is.
    pub reason: &'static str,
}

/// Checks that `line` (without its LF) is one canonical JSON object.
///
/// # Errors
///
/// The first place where the bytes differ from the canonical spelling.
pub fn check(line: &[u8]) -> Result<(), CanonicalError> {
    check_text(line).map(|_| ())
}

/// As [`check`]; gives the line as the text it is.
pub(crate) fn check_text(line: &[u8]) -> Result<&str, CanonicalError> {
    let text = std::str::from_utf8(line)
        .map_err(|error| CanonicalError { offset: error.valid_up_to(), reason: "not UTF-8" })?;
    let mut scanner = Scanner { line, at: 0 };
    if line.first() != Some(&b'{') {
        return scanner.refuse("an event is a JSON object");
    }
    scanner.value(0)?;
    if scanner.at == line.len() { Ok(text) } else { scanner.refuse("bytes after the object") }
}

/// How many whole words of eight bytes at the beginning of `bytes` hold nothing that ends a string,
/// is escaped in one, or must be; in bytes.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte below `n` (at most 0x80) leaves its high bit set. Where a lower byte borrows, one more
    // may count as special: it is then looked at alone.
    let below = |word: u64, n: u8| word.wrapping_sub(ONES * u64::from(n)) & !word & HIGH;
    let has_special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let equals = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        below(word, 0x20) | equals(b'"') | equals(b'\\') != 0
    };
    let (words, _) = bytes.as_chunks::<8>();
    8 * words.iter().position(has_special).unwrap_or(words.len())
}

struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn refuse<T>(&self, reason: &'static str) -> Result<T, CanonicalError> {
        Err(CanonicalError { offset: self.at, reason })
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), CanonicalError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.refuse(reason)
        }
    }

    fn value(&mut self, depth: u32) -> Result<(), CanonicalError> {
        match self.peek() {
            Some(b'{' | b'[') if depth > MAX_DEPTH => self.refuse("nested deeper than 32 levels"),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(|_| ()),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ => self.refuse("expected a value without white space before it"),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), CanonicalError> {
        if self.line[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.refuse("expected true, false or null")
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), CanonicalError> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut previous: Option<&'a [u8]> = None;
        loop {
            let start = self.at;
            let key = self.string()?;
            if !key.iter().all(|&b| (0x20..0x7f).contains(&b) && b != b'\\') {
                self.at = start;
                return self.refuse("a key is printable ASCII without escapes");
            }
            if previous.is_some_and(|previous| previous >= key) {
                self.at = start;
                return self.refuse("keys are unique and sorted");
            }
            previous = Some(key);
            self.expect(b':', "expected ':' right after the key")?;
            self.value(depth + 1)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.refuse("expected ',' or '}' without white space before it"),
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), CanonicalError> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.refuse("expected ',' or ']' without white space before it"),
            }
        }
    }

    /// Steps over a string and returns its raw inside.
    fn string(&mut self) -> Result<&'a [u8], CanonicalError> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        loop {
            self.at += plain_bytes(&self.line[self.at..]);
            match self.peek() {
                None => return self.refuse("the string does not end"),
                Some(b'"') => {
                    let inside = &self.line[start..self.at];
                    self.at += 1;
                    return Ok(inside);
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return self.refuse("a control character is not escaped"),
                Some(_) => self.at += 1,
            }
        }
    }

    /// RFC 8785 §3.2.2.2: the two-letter forms where they exist, else `\u00xx` in lower case.
    fn escape(&mut self) -> Result<(), CanonicalError> {
        let rest = &self.line[self.at + 1..];
        let length = match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', b'0', b'0', high @ (b'0' | b'1'), low, ..] => {
                let control = match low {
                    b'0'..=b'9' => low - b'0',
                    b'a'..=b'f' => low - b'a' + 10,
                    _ => return self.refuse("this character is not escaped canonically"),
                } + (high - b'0') * 16;
                if matches!(control, 8 | 9 | 10 | 12 | 13) {
                    return self.refuse("this control character has a two-letter escape");
                }
                6
            }
            _ => return self.refuse("this character is not escaped canonically"),
        };
        self.at += length;
        Ok(())
    }

    fn integer(&mut self) -> Result<(), CanonicalError> {
        let negative = self.peek() == Some(b'-');
        let start = self.at + usize::from(negative);
        let digits = self.line[start..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = &self.line[start..start + digits];
        if digits == 0 || (digits > 1 && text[0] == b'0') || (negative && text == b"0") {
            return self.refuse("an integer has no leading zero and no minus zero");
        }
        if matches!(self.line.get(start + digits), Some(b'.' | b'e' | b'E')) {
            return self.refuse("numbers are integers");
        }
        // 16 digits hold 2^53 − 1; longer ones cannot overflow the fold below.
        let value = text.iter().take(17).fold(0u64, |sum, b| sum * 10 + u64::from(b - b'0'));
        if digits > 16 || value > MAX_SAFE_INTEGER {
            return self.refuse("an integer lies within ±(2^53−1); larger ones are strings");
        }
        self.at = start + digits;
        Ok(())
    }
}

/// Writes `value` canonically.
///
/// Object keys come out sorted because `serde_json` keeps them in a `BTreeMap`, and for the ASCII
/// keys the log allows that is RFC 8785's order.
///
/// # Errors
///
/// When the value holds what the log does not allow: floats, large integers, non-ASCII keys.
pub fn to_line(value: &Value) -> Result<String, CanonicalError> {
    let line = value.to_string();
    check(line.as_bytes()).map(|()| line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn other_spellings_are_refused_where_they_differ() {
        let cases: &[(&str, usize)] = &[
            (r#"{"a": 1}"#, 5),
            (r#"{"b":1,"a":2}"#, 7),
            (r#"{"a":1,"a":2}"#, 7),
            (r#"{"a":1.0}"#, 5),
            (r#"{"a":1e2}"#, 5),
            (r#"{"a":-0}"#, 5),
            (r#"{"a":01}"#, 5),
            (r#"{"a":9007199254740992}"#, 5),
            (r#"{"a":99999999999999999999}"#, 5),
            (r#"{"a":"\u0041"}"#, 6),
            (r#"{"a":"\u000a"}"#, 6),
            (r#"{"a":"\u001F"}"#, 6),
            (r#"{"a":"\/"}"#, 6),
            (r#"{"\u0061":1}"#, 2),
            (r#"{"a":1}x"#, 7),
            (r#"{"a":1"#, 6),
            (r#"{"a""#, 4),
            ("{\"a\":\"\n\"}", 6),
            ("{\"a\":\"\0\"}", 6),
            ("[1]", 0),
            ("", 0),
            (r#"{"a":nul}"#, 5),
            (r#"{"a":NaN}"#, 5),
            (r#"{"é":1}"#, 1),
        ];
        for (line, offset) in cases {
            let error = check(line.as_bytes()).expect_err(line);
            assert_eq!(error.offset, *offset, "{line}: {error}");
        }
        assert_eq!(check(b"{\"a\":\"\xff\"}").unwrap_err().offset, 6);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(check(deep(32).as_bytes()).is_ok());
        assert!(check(deep(33).as_bytes()).is_err());
        assert!(check(deep(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn what_the_log_does_not_allow_is_not_written() {
        assert!(to_line(&json!({"a": 1.5})).is_err());
        assert!(to_line(&json!({"a": u64::MAX})).is_err());
        assert_eq!(
            to_line(&json!({"b": "\u{1}\n\"é", "a": -7})).unwrap(),
            r#"{"a":-7,"b":"\u0001\n\"é"}"#
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[ -\\[\\]-~]{0,6}", inner, 0..5)
                    .prop_map(|map| map.into_iter().filter(|(k, _)| !k.contains('"')).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_an_independent_canonicaliser_writes(value in any_value()) {
            let object = json!({ "value": value });
            let line = to_line(&object).unwrap();
            prop_assert_eq!(line, serde_json_canonicalizer::to_string(&object).unwrap());
        }

        #[test]
        fn an_accepted_line_is_its_own_canonical_form(
            value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut line = json!({ "value": value }).to_string().into_bytes();
            let at = at.index(line.len());
            line[at] = byte;
            if check(&line).is_ok() {
                let parsed: Value = serde_json::from_slice(&line).expect("accepted lines parse");
                let canonical = serde_json_canonicalizer::to_string(&parsed).unwrap();
                prop_assert_eq!(canonical.as_bytes(), &line[..]);
            }
        }

        #[test]
        fn words_of_plain_bytes_hold_nothing_special(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
            let plain = plain_bytes(&bytes);
            prop_assert!(!bytes[..plain].iter().any(is_special));
            let next = bytes[plain..].first_chunk::<8>();
            prop_assert!(next.is_none_or(|word| word.iter().any(is_special)));
        }

        #[test]
        fn checking_ends_on_any_bytes(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&line);
        }
    }
}
