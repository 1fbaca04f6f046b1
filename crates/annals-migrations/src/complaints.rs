//! The grammar's complaints in the file's own words.

use crate::sql::SqlProblem;

/// The grammar's complaints in the file's own words: of each statement the first, since the rest
/// follow from it.
pub(crate) fn grammar_problems(text: &str, mut errors: Vec<(usize, &str)>) -> Vec<SqlProblem> {
    errors.sort_by_key(|(at, _)| *at);
    let mut problems = Vec::new();
    let mut before = None;
    for (at, message) in errors {
        let same_statement = before.is_some_and(|before: usize| {
            text.get(before..at).is_some_and(|between| !between.contains(';'))
        });
        before = Some(at);
        if !same_statement {
            problems.push((at, in_words(text.get(at..).unwrap_or_default(), message)));
        }
    }
    problems
}

/// `message` with the words that stand there instead of the grammar's names for them.
fn in_words(rest: &str, message: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, ';' | '(' | ')' | ',' | '\'');
    let mut words = rest.split(is_end).filter(|word| !word.is_empty());
    // Two words and no more: a statement may hold a password.
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    let expected = message.split_once(", found ").map_or(message, |(expected, _)| expected);
    if expected == "expected command" {
        let second = second.map(|word| format!(" {word}")).unwrap_or_default();
        format!("{first}{second} begins no statement PostgreSQL knows")
    } else if expected.starts_with("expected ") && rest.starts_with(first) && !first.is_empty() {
        format!("{}, found {first:?}", spelled(expected))
    } else {
        spelled(message)
    }
}

/// `message` with each kind of token as SQL spells it.
fn spelled(message: &str) -> String {
    let words = message.split(' ').map(|word| match word {
        "L_PAREN" => "\"(\"",
        "R_PAREN" => "\")\"",
        "COMMA" => "\",\"",
        "SEMICOLON" => "\";\"",
        "EQ" => "\"=\"",
        "IDENT" => "a name",
        word => word.strip_suffix("_KW").unwrap_or(word),
    });
    words.collect::<Vec<_>>().join(" ")
}
