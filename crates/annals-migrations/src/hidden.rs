//! Text that shows otherwise than it is: characters nobody sees, or that steer what is seen.

use crate::position::Position;

/// Whether `c` hides, reorders, or steers a terminal: control characters but line feed, carriage
/// return and tab; bidirectional controls; characters without width; tags; and separators that only
/// look like a line's end.
pub fn is_hidden(c: char) -> bool {
    match c {
        '\n' | '\r' | '\t' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            true
        }
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fe00}'..='\u{fe0f}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        c => c.is_control(),
    }
}

/// Where the first hidden character of `text` is, and which.
pub fn first_hidden(text: &str) -> Option<(Position, char)> {
    let (at, c) = text.char_indices().find(|(_, c)| is_hidden(*c))?;
    Some((Position::of(text, at), c))
}

/// `text` with every hidden character as `\u{…}`.
pub fn shown(text: &str) -> String {
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    let spelled = |c: char| if is_hidden(c) { c.escape_unicode().to_string() } else { c.into() };
    text.chars().map(spelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_is_found_and_shown() {
        for c in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{feff}',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{e0041}',
            '\u{2028}',
            '\0',
        ] {
            let text = format!("SELECT 1;\nDROP{c} TABLE t;");
            let (place, found) = first_hidden(&text).unwrap();
            assert_eq!((place.line, place.column, found), (2, 5, c), "{c:?}");
            assert!(!shown(&text).contains(c) && shown(&text).contains("\\u{"), "{c:?}");
        }
        for text in ["SELECT 'ü — 漢字 🙂';\r\n\tx", "", "-- é"] {
            assert_eq!((first_hidden(text), shown(text)), (None, text.to_owned()));
        }
    }
}
