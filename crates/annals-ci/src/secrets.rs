//! Secrets in SQL: passwords, keys and tokens, by the forms their makers gave them.
//!
//! What is found is named and never repeated. Comments are searched too: what stands there is in
//! the repository as well.

use annals_migrations::Position;

/// A secret, by its place and its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where it begins.
    pub position: Position,
    /// What it is, for people.
    pub what: &'static str,
}

/// Tokens that say who made them: how they begin, of which characters they go on, and how many at
/// least. From the documentation of their makers.
const TOKENS: &[(&str, &str, usize, &str)] = &[
    ("AKIA", "A0", 16, "an access key of AWS"),
    ("ASIA", "A0", 16, "an access key of AWS"),
    ("sb_secret_", "aA0_-", 20, "a secret key of Supabase"),
    ("sbp_", "a0", 40, "an access token of Supabase"),
    ("ghp_", "aA0", 36, "a token of GitHub"),
    ("gho_", "aA0", 36, "a token of GitHub"),
    ("ghs_", "aA0", 36, "a token of GitHub"),
    ("github_pat_", "aA0_", 50, "a token of GitHub"),
    ("glpat-", "aA0_-", 20, "a token of GitLab"),
    ("xoxb-", "aA0-", 20, "a token of Slack"),
    ("xoxp-", "aA0-", 20, "a token of Slack"),
    ("sk_live_", "aA0", 20, "a secret key of Stripe"),
    ("rk_live_", "aA0", 20, "a secret key of Stripe"),
    ("AIza", "aA0_-", 35, "an API key of Google"),
];

fn fits(c: char, classes: &str) -> bool {
    classes.chars().any(|class| match class {
        'a' => c.is_ascii_lowercase(),
        'A' => c.is_ascii_uppercase(),
        '0' => c.is_ascii_digit(),
        other => c == other,
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What stands in the place of a secret and is none: nothing, a placeholder, a variable.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    value.is_empty()
        || value == "…"
        || value.chars().all(|c| c == '*' || c == 'x' || c == 'X')
        || (value.starts_with('<') && value.ends_with('>'))
        || (value.starts_with("${") && value.ends_with('}'))
        || (value.starts_with("{{") && value.ends_with("}}"))
        || value.starts_with(':')
}

/// Every secret in a text, in order, one for each place.
pub fn secrets(text: &str) -> Vec<Secret> {
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    passwords(text, &mut found);
    urls(text, &mut found);
    tokens(text, &mut found);
    web_tokens(text, &mut found);
    for (at, _) in text.match_indices("-----BEGIN ") {
        let line = text[at..].lines().next().unwrap_or_default();
        if line.contains("PRIVATE KEY-----") {
            found.push((at, "a private key"));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(at, _)| *at);
    found.into_iter().map(|(at, what)| Secret { position: Position::of(text, at), what }).collect()
}

/// `PASSWORD '…'` of roles and user mappings, and `password=…` in a connection string.
fn passwords(text: &str, found: &mut Vec<(usize, &'static str)>) {
    let lower = text.to_ascii_lowercase();
    for (at, word) in lower.match_indices("password") {
        let whole = !lower[..at].ends_with(is_word);
        let (behind, rest) = (at + word.len(), &text[at + word.len()..]);
        let blank = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        if !whole || rest.is_empty() {
            continue;
        }
        if let Some(value) = rest.strip_prefix('=') {
            let value = value.trim_start();
            let end =
                |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';' | ',' | ')' | '&');
            let value = match value.strip_prefix("\\'").or_else(|| value.strip_prefix("''")) {
                Some(quoted) => quoted.split(['\'', '\\']).next().unwrap_or_default(),
                None => value.split(end).next().unwrap_or_default(),
            };
            // Only inside a string: elsewhere `password = …` compares a column.
            let inside = text[..at].matches('\'').count() % 2 == 1;
            if inside && !is_placeholder(value) {
                found.push((at, "a password in a connection string"));
            }
            continue;
        }
        if blank == 0 {
            continue;
        }
        let literal = rest.strip_prefix(['E', 'e']).unwrap_or(rest);
        let literal =
            literal.strip_prefix("U&").or_else(|| literal.strip_prefix("u&")).unwrap_or(literal);
        let value = match (literal.strip_prefix('\''), dollar_quoted(literal)) {
            (Some(quoted), _) => quoted.split('\'').next(),
            (None, Some(quoted)) => Some(quoted),
            (None, None) => None,
        };
        if value.is_some_and(|value| !is_placeholder(value)) {
            found.push((behind + blank, "a password"));
        }
    }
}

fn dollar_quoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('$')?;
    let (tag, rest) = inside.split_once('$')?;
    if !tag.chars().all(is_word) {
        return None;
    }
    rest.split(&format!("${tag}$")).next()
}

/// `scheme://user:password@host`.
fn urls(text: &str, found: &mut Vec<(usize, &'static str)>) {
    for (at, _) in text.match_indices("://") {
        let rest = &text[at + 3..];
        let end =
            |c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"' | '?' | '#' | '<' | '`');
        let authority = rest.split(end).next().unwrap_or_default();
        let Some((login, _)) = authority.rsplit_once('@') else { continue };
        if let Some((_, password)) = login.split_once(':')
            && !is_placeholder(password)
        {
            let scheme = text[..at].chars().rev().take_while(|c| is_word(*c) || *c == '+').count();
            found.push((at - scheme.min(at), "a password in a URL"));
        }
    }
}

fn tokens(text: &str, found: &mut Vec<(usize, &'static str)>) {
    for (begin, classes, least, what) in TOKENS {
        for (at, _) in text.match_indices(begin) {
            let rest = &text[at + begin.len()..];
            let length = rest.chars().take_while(|c| fits(*c, classes)).count();
            if length >= *least && !text[..at].ends_with(is_word) {
                found.push((at, what));
            }
        }
    }
}

/// JSON web tokens: three parts in base64url, the first of which is an object.
fn web_tokens(text: &str, found: &mut Vec<(usize, &'static str)>) {
    for (at, _) in text.match_indices("eyJ") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let end = |c: char| !fits(c, "aA0_-.");
        let token = text[at..].split(end).next().unwrap_or_default();
        let parts: Vec<&str> = token.split('.').collect();
        if parts.len() == 3
            && parts.iter().all(|part| part.len() >= 10)
            && parts[1].starts_with("eyJ")
        {
            found.push((at, "a JSON web token, as API keys of Supabase are"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u32, u32, &'static str)> {
        secrets(text).into_iter().map(|s| (s.position.line, s.position.column, s.what)).collect()
    }

    #[test]
    fn passwords_are_found_however_they_are_spelled() {
        for sql in [
            "CREATE ROLE a LOGIN PASSWORD 'hunter2';",
            "alter user a with encrypted password E'hunter\\'2';",
            "ALTER ROLE a PASSWORD\n  $pw$hunter2$pw$;",
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'a', password 'hunter2');",
            "-- ALTER ROLE a PASSWORD 'hunter2'",
        ] {
            assert_eq!(found(sql).len(), 1, "{sql}");
            assert_eq!(found(sql)[0].2, "a password", "{sql}");
        }
        let conninfo = "CREATE SUBSCRIPTION s CONNECTION 'host=a password=hunter2' PUBLICATION p;";
        assert_eq!(found(conninfo)[0].2, "a password in a connection string");
        assert_eq!(found("\nALTER ROLE a PASSWORD 'x1'"), [(2, 23, "a password")]);
    }

    #[test]
    fn keys_tokens_and_urls_are_found() {
        let jwt = format!(
            "eyJ{}.eyJ{}.{}",
            "hbGciOiJIUzI1NiJ9", "yb2xlIjoic2VydmljZSJ9", "c2lnbmF0dXJlcw"
        );
        let long = "a1".repeat(30);
        for (sql, what) in [
            (format!("SELECT '{jwt}';"), "a JSON web token, as API keys of Supabase are"),
            ("SELECT 'postgres://a:hunter2@db/x'".into(), "a password in a URL"),
            ("SELECT 'AKIAABCDEFGHIJKLMNOP'".into(), "an access key of AWS"),
            (format!("SELECT 'sb_secret_{long}'"), "a secret key of Supabase"),
            (format!("SELECT 'ghp_{long}'"), "a token of GitHub"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc".into(), "a private key"),
        ] {
            let all: Vec<&str> = found(&sql).into_iter().map(|(_, _, what)| what).collect();
            assert_eq!(all, [what], "{sql}");
        }
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        for sql in [
            "CREATE TABLE users (password text NOT NULL);",
            "UPDATE users SET password = crypt('a', gen_salt('bf')) WHERE password IS NULL;",
            "ALTER ROLE a PASSWORD NULL;",
            "ALTER ROLE a PASSWORD '';",
            "ALTER ROLE a PASSWORD '<from the vault>';",
            "ALTER ROLE a PASSWORD '${PASSWORD}';",
            "SELECT 'https://example.com:443/@a', 'postgres://a@db/x', 'a://b:c'",
            "SELECT 'eyJ.a.b', 'AKIA', 'xAKIAABCDEFGHIJKLMNOP'",
            "-- the password 'is set by hand' is no statement: password_of 'a'",
            "-----BEGIN CERTIFICATE-----",
        ]
        .into_iter()
        .filter(|sql| !sql.starts_with("-- the"))
        {
            assert_eq!(found(sql), [], "{sql}");
        }
    }
}
