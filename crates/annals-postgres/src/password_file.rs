//! `.pgpass`: passwords by host, port, database and user.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whom a password is for.
pub(crate) struct Login<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password `path` has for `login`. A file others may read is not used, with a warning.
pub(crate) fn password(path: &Path, login: &Login<'_>) -> Option<String> {
    let metadata = path.metadata().ok()?;
    let shown = path.display();
    if !metadata.is_file() {
        tracing::warn!("the password file {shown} is not used: it is no plain file");
        return None;
    }
    if metadata.mode() & 0o077 != 0 {
        tracing::warn!(
            "the password file {shown} is not used: others may read it; chmod 600 {shown}"
        );
        return None;
    }
    match std::fs::read(path) {
        Ok(bytes) => in_text(&String::from_utf8_lossy(&bytes), login),
        Err(error) => {
            tracing::warn!("the password file {shown} is not used: {error}");
            None
        }
    }
}

fn in_text(text: &str, login: &Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.database, login.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for value in wanted {
            let (field, after) = field(rest)?;
            if field != value && &rest[..rest.len() - after.len() - 1] != "*" {
                return None;
            }
            rest = after;
        }
        // The last field ends at a bare colon too; what an older format had behind it is nobody's.
        Some(field(rest).map_or_else(|| unescaped(rest), |(password, _)| password))
    })
}

/// The text before the first bare colon, unescaped, and what follows the colon.
fn field(text: &str) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b':' => return Some((unescaped(&text[..at]), &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'_> =
        Login { host: "db.example", port: 5433, database: "shop", user: "ann" };

    #[test]
    fn the_first_line_that_fits_counts() {
        let cases = [
            ("db.example:5433:shop:ann:secret", Some("secret")),
            ("*:*:*:*:secret", Some("secret")),
            ("# *:*:*:*:no\n\nother:*:*:*:no\ndb.example:*:*:*:yes\n*:*:*:*:no", Some("yes")),
            ("*:*:*:bob:no", None),
            ("*:*:*:ann", None),
            (r"*:*:*:ann:a\:b\\c", Some(r"a:b\c")),
            (r"\*:*:*:ann:no", None),
            ("*:5432:*:*:no", None),
            ("*:*:*:ann:pass word ", Some("pass word ")),
        ];
        for (text, password) in cases {
            assert_eq!(in_text(text, &LOGIN).as_deref(), password, "{text}");
        }
    }
}
