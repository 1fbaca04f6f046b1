//! The relations a statement names: what somebody else's lock could keep it from.

use std::collections::BTreeSet;

use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxElement, SyntaxKind, SyntaxNode};

/// The names of all relations `sql` refers to, as spelled and without white space: tables, views,
/// sequences and indexes, whether it changes or only reads them.
///
/// What it creates is not among them, nor what the body of a function mentions. The name of a common
/// table expression is, since nothing but the catalog tells it from a table.
pub fn relations(sql: &str) -> BTreeSet<String> {
    let tree = SourceFile::parse(sql).tree();
    let named = tree.syntax().descendants().filter(|node| names_a_relation(node.kind()));
    named.map(|node| spelled(&node)).filter(|name| is_plain(name)).collect()
}

fn names_a_relation(kind: SyntaxKind) -> bool {
    matches!(
        kind,
        SyntaxKind::TABLE_NAME_REF
            | SyntaxKind::RELATION_NAME_REF
            | SyntaxKind::INDEX_REF
            | SyntaxKind::VIEW_REF
            | SyntaxKind::SEQUENCE_REF
    )
}

fn spelled(node: &SyntaxNode) -> String {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let tokens = tokens
        .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    tokens.map(|token| token.text().to_owned()).collect()
}

/// Whether the server's `to_regclass` reads it: one or two parts, each quoted or a plain word.
fn is_plain(name: &str) -> bool {
    let (mut parts, mut quoted, mut length) = (1, false, 0);
    for c in name.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '.' if length > 0 => (parts, length) = (parts + 1, 0),
            '_' | '$' => {}
            c if c.is_alphanumeric() => {}
            _ => return false,
        }
        length += usize::from(c != '.' || quoted);
    }
    !quoted && length > 0 && parts <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_found_wherever_a_statement_names_them() {
        let cases: &[(&str, &[&str])] = &[
            (
                "ALTER TABLE ONLY s . \"T x\" ADD a int REFERENCES other (id)",
                &["other", "s.\"T x\""],
            ),
            ("CREATE INDEX CONCURRENTLY i ON public.t (a)", &["public.t"]),
            ("DROP TABLE a, s.b CASCADE", &["a", "s.b"]),
            ("DROP INDEX CONCURRENTLY i", &["i"]),
            ("INSERT INTO t SELECT * FROM a.b JOIN c USING (id)", &["a.b", "c", "t"]),
            ("UPDATE ONLY t SET a = 1 FROM z", &["t", "z"]),
            ("TRUNCATE a, b", &["a", "b"]),
            ("CREATE TRIGGER g AFTER INSERT ON tt EXECUTE FUNCTION f()", &["tt"]),
            ("CREATE TABLE child PARTITION OF parent FOR VALUES IN (1)", &["parent"]),
            ("CREATE TABLE n (a int)", &[]),
            ("CREATE POLICY p ON t USING (true)", &["t"]),
            ("REFRESH MATERIALIZED VIEW mv", &["mv"]),
            ("VACUUM ANALYZE v", &["v"]),
            ("SELECT 1", &[]),
            ("DROP TABLE x.y.z", &[]),
        ];
        for (sql, expected) in cases {
            let found: Vec<String> = relations(sql).into_iter().collect();
            assert_eq!(found, *expected, "{sql}");
        }
    }

    #[test]
    fn only_what_the_server_reads_as_a_name_is_passed_on() {
        for name in ["a", "a.b", "\"A.b\"", "s.\"x y\"", "\"q\"\"q\"", "ä$1"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "a.", ".a", "a b", "a.b.c", "\"a", "a'"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
