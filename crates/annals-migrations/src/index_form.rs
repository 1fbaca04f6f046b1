//! The definition of an index, taken from its statement and put on another table.

use squawk_syntax::SourceFile as SqlFile;
use squawk_syntax::ast::{self, AstNode};

/// How a `CREATE INDEX` is written anew.
#[derive(Debug, Clone, Copy)]
pub struct IndexForm<'a> {
    /// With `CONCURRENTLY`, or without.
    pub concurrently: bool,
    /// Under this name, quoted where it has to be.
    pub name: &'a str,
    /// On this table, quoted where it has to be; `ONLY` may stand before it.
    pub relation: &'a str,
}

/// Writes the `CREATE INDEX` in `sql` anew, with the same definition: without `IF NOT EXISTS` and
/// semicolon. Nothing if it is no such statement.
pub fn index_as(sql: &str, form: &IndexForm<'_>) -> Option<String> {
    let tree = SqlFile::parse(sql).tree();
    let create = tree.syntax().children().find_map(ast::CreateIndex::cast)?;
    let (index, table) = (create.index()?, create.table_relation_name()?);
    let mut edits = vec![
        (index.syntax().text_range(), form.name.to_owned()),
        (table.syntax().text_range(), form.relation.to_owned()),
    ];
    edits.extend(create.semicolon_token().map(|it| (it.text_range(), String::new())));
    edits.extend(create.if_not_exists().map(|it| (it.syntax().text_range(), String::new())));
    let concurrently = create.concurrently_token().filter(|_| !form.concurrently);
    edits.extend(concurrently.map(|it| (it.text_range(), String::new())));
    edits.sort_by_key(|(range, _)| range.start());
    let start = usize::from(create.syntax().text_range().start());
    let end = usize::from(create.syntax().text_range().end());
    let (mut out, mut copied) = (String::new(), start);
    for (range, text) in edits {
        let kept = &sql[copied..usize::from(range.start())];
        copied = usize::from(range.end());
        // A word that is left out takes the space behind it along.
        if text.is_empty() && sql[copied..].starts_with(' ') {
            copied += 1;
        }
        out.push_str(kept);
        out.push_str(&text);
    }
    out.push_str(sql.get(copied..end).unwrap_or_default());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_moves_to_another_table() {
        let sql = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"a b\" ON ONLY public.t \
                   USING btree (lower(x) DESC, y) INCLUDE (z) WHERE x <> 'CONCURRENTLY'; ";
        let form = IndexForm { concurrently: false, name: "i", relation: "pg_temp.t" };
        assert_eq!(
            index_as(sql, &form).unwrap(),
            "CREATE UNIQUE INDEX i ON pg_temp.t USING btree (lower(x) DESC, y) INCLUDE (z) \
             WHERE x <> 'CONCURRENTLY'"
        );
        let form = IndexForm { concurrently: true, name: "i", relation: "p" };
        let sql = "create index concurrently i9 on t(a);";
        assert_eq!(index_as(sql, &form).unwrap(), "create index concurrently i on p(a)");
        assert_eq!(index_as("select 1", &form), None);
    }
}
