//! The rows a statement takes away, as far as its text says.

use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxElement, SyntaxKind, SyntaxNode};

/// What a statement takes away. Names are as spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A table, with all of its rows.
    Table(String),
    /// All rows of a table, which stays.
    Rows(String),
    /// The rows of a table that a `DELETE` chooses.
    Chosen {
        /// The table.
        table: String,
        /// What stands between `DELETE` and the end, as a query that counts: `FROM … WHERE …`.
        from: String,
    },
    /// A column: what is not null in it.
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A schema, with everything in it.
    Schema(String),
    /// It may take rows away, and its text does not say which.
    Unknown(&'static str),
}

/// What `sql`, one statement, takes away.
pub fn losses(sql: &str) -> Vec<Loss> {
    let tree = SourceFile::parse(sql).tree();
    tree.syntax().children().next().map(|node| of_statement(&node)).unwrap_or_default()
}

fn of_statement(node: &SyntaxNode) -> Vec<Loss> {
    let refs = |kind: SyntaxKind| node.children().filter(move |child| child.kind() == kind);
    match node.kind() {
        SyntaxKind::DROP_TABLE => {
            refs(SyntaxKind::TABLE_NAME_REF).map(|name| Loss::Table(spelled(&name))).collect()
        }
        SyntaxKind::DROP_SCHEMA if cascades(node) => {
            refs(SyntaxKind::SCHEMA_REF).map(|name| Loss::Schema(spelled(&name))).collect()
        }
        SyntaxKind::TRUNCATE => {
            let tables =
                node.descendants().filter(|child| child.kind() == SyntaxKind::TABLE_RELATION_NAME);
            tables.map(|name| Loss::Rows(relation(&name))).collect()
        }
        SyntaxKind::DELETE => vec![deletion(node)],
        SyntaxKind::ALTER_TABLE => {
            let table = refs(SyntaxKind::TABLE_RELATION_NAME).next();
            let table = table.map(|name| relation(&name)).unwrap_or_default();
            let columns = refs(SyntaxKind::DROP_COLUMN).filter_map(|drop| {
                let name =
                    drop.children().find(|child| child.kind() == SyntaxKind::COLUMN_NAME_REF)?;
                Some(Loss::Column { table: table.clone(), column: spelled(&name) })
            });
            columns.collect()
        }
        SyntaxKind::DROP_TYPE | SyntaxKind::DROP_DOMAIN if cascades(node) => {
            vec![Loss::Unknown("columns of the type go with it (CASCADE)")]
        }
        SyntaxKind::DROP_EXTENSION if cascades(node) => {
            vec![Loss::Unknown("what depends on the extension goes with it (CASCADE)")]
        }
        SyntaxKind::DROP_OWNED => vec![Loss::Unknown("what a role owns goes (DROP OWNED)")],
        SyntaxKind::DO => vec![Loss::Unknown("a DO block may do anything")],
        SyntaxKind::CALL => vec![Loss::Unknown("a procedure may do anything")],
        SyntaxKind::MERGE => vec![Loss::Unknown("which rows a MERGE deletes is not looked at")],
        _ => Vec::new(),
    }
}

fn deletion(node: &SyntaxNode) -> Loss {
    let part = |kind: SyntaxKind| node.children().find(|child| child.kind() == kind);
    let Some(table) = part(SyntaxKind::RELATION_NAME) else {
        return Loss::Unknown("which rows a DELETE chooses is not looked at");
    };
    let odd = [SyntaxKind::WITH_CLAUSE, SyntaxKind::WHERE_CURRENT_OF];
    if node.children().any(|child| odd.contains(&child.kind())) {
        return Loss::Unknown(
            "which rows a DELETE with a query before it chooses is not looked at",
        );
    }
    let text = |node: &SyntaxNode| node.text().to_string().trim().to_owned();
    let alias = part(SyntaxKind::OPTIONAL_AS_ALIAS).map(|alias| text(&alias));
    let condition = part(SyntaxKind::WHERE_CLAUSE).map(|clause| text(&clause));
    let using = part(SyntaxKind::USING_CLAUSE).map(|clause| {
        let clause = text(&clause);
        clause.get("using".len()..).unwrap_or_default().trim().to_owned()
    });
    let name = relation(&table);
    if condition.is_none() && using.is_none() {
        return Loss::Rows(name);
    }
    let condition = condition.unwrap_or_default();
    let mut from = format!("FROM {}", text(&table));
    if let Some(alias) = alias {
        from.push(' ');
        from.push_str(&alias);
    }
    match using {
        // A row is deleted once, however many rows it meets.
        Some(using) => from.push_str(&format!(" WHERE EXISTS (SELECT FROM {using} {condition})")),
        None => from.push_str(&format!(" {condition}")),
    }
    Loss::Chosen { table: name, from }
}

fn cascades(node: &SyntaxNode) -> bool {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let mut tokens = tokens;
    tokens.any(|token| token.kind() == SyntaxKind::CASCADE_KW)
}

/// A relation without `ONLY` and `*`.
fn relation(node: &SyntaxNode) -> String {
    let named = |kind| matches!(kind, SyntaxKind::TABLE_NAME_REF | SyntaxKind::RELATION_NAME_REF);
    let name = node.descendants().find(|child| named(child.kind()));
    spelled(&name.unwrap_or_else(|| node.clone()))
}

fn spelled(node: &SyntaxNode) -> String {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let tokens = tokens
        .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    tokens.map(|token| token.text().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Loss {
        Loss::Table(name.to_owned())
    }

    fn rows(name: &str) -> Loss {
        Loss::Rows(name.to_owned())
    }

    fn column(table: &str, column: &str) -> Loss {
        Loss::Column { table: table.to_owned(), column: column.to_owned() }
    }

    fn chosen(table: &str, from: &str) -> Loss {
        Loss::Chosen { table: table.to_owned(), from: from.to_owned() }
    }

    #[test]
    fn what_goes_is_found_in_the_text() {
        let cases = [
            ("DROP TABLE IF EXISTS a, s . \"T x\" CASCADE", vec![table("a"), table("s.\"T x\"")]),
            ("TRUNCATE TABLE ONLY a, b RESTART IDENTITY", vec![rows("a"), rows("b")]),
            ("DELETE FROM ONLY s.t", vec![rows("s.t")]),
            (
                "ALTER TABLE IF EXISTS t DROP COLUMN a, ADD b int, DROP IF EXISTS \"C d\" CASCADE",
                vec![column("t", "a"), column("t", "\"C d\"")],
            ),
            ("DELETE FROM t AS x WHERE x.a > 3", vec![chosen("t", "FROM t AS x WHERE x.a > 3")]),
            (
                "DELETE FROM t USING u, v WHERE t.a = u.a RETURNING *",
                vec![chosen("t", "FROM t WHERE EXISTS (SELECT FROM u, v WHERE t.a = u.a)")],
            ),
            ("DROP SCHEMA s CASCADE", vec![Loss::Schema("s".to_owned())]),
            ("DROP SCHEMA s", vec![]),
            ("DROP INDEX i", vec![]),
            ("DROP VIEW v CASCADE", vec![]),
            ("ALTER TABLE t DROP CONSTRAINT c", vec![]),
            ("CREATE TABLE t (a int)", vec![]),
        ];
        for (sql, expected) in cases {
            assert_eq!(losses(sql), expected, "{sql}");
        }
        for sql in [
            "DO $$ BEGIN DELETE FROM t; END $$",
            "CALL p()",
            "WITH a AS (SELECT 1) DELETE FROM t WHERE x IN (SELECT * FROM a)",
            "DROP TYPE t CASCADE",
            "DROP OWNED BY r",
            "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
        ] {
            assert!(matches!(losses(sql).as_slice(), [Loss::Unknown(_)]), "{sql}");
        }
    }
}
