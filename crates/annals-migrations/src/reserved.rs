//! What is for annals alone: the schema it keeps in a target, and what kind of transaction a step is.
//!
//! What a statement says is refused before anything runs; what a function does unseen is found when
//! the step commits.

use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode, SyntaxToken};

/// The schema annals keeps in a target.
const SCHEMA: &str = "annals";

/// Settings that can only be set before a transaction's first statement, which is annals' own.
const OF_TRANSACTIONS: &[&str] =
    &["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Why the statement is refused, if it is.
pub(crate) fn objection(node: &SyntaxNode) -> Option<String> {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    for token in tokens {
        if is_schema(&token) && changes(&token) {
            return Some(
                "this changes the schema annals, in which the target keeps what has taken effect; what \
                 is in it is for annals alone to change, remove it"
                    .to_owned(),
            );
        }
        if let Some(setting) = sets_transaction(&token) {
            return Some(format!(
                "{setting} can be set before the first statement of a transaction only, and that is \
                 annals' own; remove it"
            ));
        }
    }
    None
}

fn is_schema(token: &SyntaxToken) -> bool {
    let text = token.text();
    text.eq_ignore_ascii_case(SCHEMA) || text.strip_prefix('"') == Some("annals\"")
}

/// Whether the name is one of something the statement changes, not of something it reads.
fn changes(token: &SyntaxToken) -> bool {
    use SyntaxKind as K;
    let mut is_whole = false;
    for node in token.parent_ancestors() {
        match node.kind() {
            // The first part of a longer name.
            K::PATH_REF | K::PATH if !is_whole => is_whole = follows_dot(&node, token),
            K::SCHEMA_REF => is_whole = true,
            K::CREATE_SCHEMA => return true,
            K::FROM_CLAUSE
            | K::USING_CLAUSE
            | K::CALL_EXPR
            | K::REFERENCES_CONSTRAINT
            | K::FOREIGN_KEY_CONSTRAINT
            | K::SELECT
            | K::GRANT => return false,
            K::INSERT | K::UPDATE | K::DELETE | K::MERGE | K::TRUNCATE | K::LOCK | K::COPY => {
                return is_whole;
            }
            K::REVOKE | K::COMMENT_ON => return is_whole,
            kind => {
                let name = format!("{kind:?}");
                if ["ALTER_", "DROP_", "CREATE_"].iter().any(|verb| name.starts_with(verb)) {
                    return is_whole;
                }
            }
        }
    }
    false
}

/// Whether `node` goes on with a dot behind `token`.
fn follows_dot(node: &SyntaxNode, token: &SyntaxToken) -> bool {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let mut behind = tokens.skip_while(|other| other != token).skip(1);
    behind.find(|token| !token.kind().is_trivia()).is_some_and(|token| token.text() == ".")
}

/// The setting of a transaction that is set here, by `SET`, `RESET` or `set_config`.
fn sets_transaction(token: &SyntaxToken) -> Option<&'static str> {
    let text = token.text().trim_matches(['\'', '"']);
    let setting = OF_TRANSACTIONS.iter().find(|name| text.eq_ignore_ascii_case(name))?;
    let sets = token.parent_ancestors().any(|node| match node.kind() {
        SyntaxKind::SET | SyntaxKind::RESET => true,
        SyntaxKind::CALL_EXPR => {
            node.text().to_string().to_ascii_lowercase().contains("set_config")
        }
        _ => false,
    });
    sets.then_some(*setting)
}

#[cfg(test)]
mod tests {
    use squawk_syntax::SourceFile;
    use squawk_syntax::ast::AstNode;

    use super::*;

    fn refused(sql: &str) -> bool {
        objection(SourceFile::parse(sql).tree().syntax()).is_some()
    }

    #[test]
    fn what_annals_keeps_is_not_for_files_to_change() {
        for sql in [
            "DELETE FROM annals.ledger WHERE a = 1",
            "INSERT INTO Annals.ledger SELECT 1",
            "WITH d AS (DELETE FROM \"annals\".ledger RETURNING 1) SELECT 1",
            "UPDATE ONLY annals . ledger SET a = 1",
            "TRUNCATE app.t, annals.ledger",
            "MERGE INTO annals.ledger l USING x ON true WHEN MATCHED THEN DELETE",
            "DROP SCHEMA annals CASCADE",
            "CREATE SCHEMA IF NOT EXISTS annals",
            "ALTER SCHEMA annals RENAME TO b",
            "ALTER TABLE annals.ledger ADD a int",
            "DROP TABLE annals.ledger",
            "CREATE TABLE annals.foo (a int)",
            "CREATE TRIGGER t AFTER INSERT ON annals.ledger EXECUTE FUNCTION f()",
            "REVOKE ALL ON SCHEMA annals FROM y",
            "REVOKE ALL ON annals.ledger FROM y",
            "COMMENT ON TABLE annals.ledger IS 'x'",
            "LOCK TABLE annals.ledger",
            "COPY annals.ledger FROM stdin",
        ] {
            assert!(refused(sql), "{sql}");
        }
        for sql in [
            "SELECT * FROM annals.ledger",
            "INSERT INTO app.copy SELECT * FROM annals.ledger",
            "DELETE FROM app.t USING annals.ledger l WHERE l.run = t.run",
            "UPDATE app.t SET a = 1 FROM annals.ledger",
            "CREATE VIEW v AS SELECT * FROM annals.ledger",
            "GRANT USAGE ON SCHEMA annals TO auditor",
            "GRANT SELECT ON annals.ledger TO auditor",
            "CREATE TABLE annals (a int)",
            "DELETE FROM annals",
            "ALTER TABLE app.annals ADD annals int",
            "SELECT 'DROP SCHEMA annals'",
            "SET search_path = annals",
        ] {
            assert!(!refused(sql), "{sql}");
        }
    }

    #[test]
    fn what_kind_of_transaction_it_is_was_said_before() {
        for sql in [
            "SET LOCAL transaction_isolation = 'serializable'",
            "SET transaction_read_only TO on",
            "RESET transaction_deferrable",
            "SELECT set_config('transaction_read_only', 'on', true)",
        ] {
            assert!(refused(sql), "{sql}");
        }
        for sql in [
            "SET LOCAL lock_timeout = '1s'",
            "SELECT 'transaction_read_only'",
            "SHOW transaction_isolation",
            "SET default_transaction_read_only = on",
        ] {
            assert!(!refused(sql), "{sql}");
        }
    }
}
