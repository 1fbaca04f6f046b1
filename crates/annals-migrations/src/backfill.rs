//! Backfills: one statement that is run again and again, each time for the next rows of a key.

use squawk_syntax::{SourceFile as SqlFile, SyntaxElement, SyntaxKind, SyntaxNode, ast::AstNode};

use crate::class::StatementClass;

/// What `-- annals: backfill=<table>.<column>` and its companions ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillDirective {
    /// The table whose rows are walked through, as spelled.
    pub table: String,
    /// Its key, as spelled.
    pub column: String,
    /// `batch=<rows>`: keys of one batch, and of one transaction. Default 1000.
    pub batch: u64,
    /// `pause=<duration>`: from one batch to the next, in milliseconds. Default 100 ms.
    pub pause_ms: u64,
}

pub(crate) const DEFAULT_BATCH: u64 = 1_000;
pub(crate) const DEFAULT_PAUSE_MS: u64 = 100;

/// A batch is one transaction: it holds its row locks, and is lost as a whole.
const MAX_BATCH: u64 = 1_000_000;

/// Reads `table.column` or `schema.table.column`, each part as SQL spells a name.
pub(crate) fn parse_key(text: &str) -> Result<(String, String), String> {
    let wrong =
        || format!("backfill={text:?}: name a table and its key, such as backfill=orders.id");
    let parts = name_parts(text).ok_or_else(wrong)?;
    match parts.split_last() {
        Some((column, table)) if (1..=2).contains(&table.len()) => {
            Ok((table.join("."), (*column).to_owned()))
        }
        _ => Err(wrong()),
    }
}

/// Splits a dotted name; nothing if a part is not a name.
fn name_parts(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let end = name_end(rest)?;
        parts.push(&rest[..end]);
        rest = &rest[end..];
        if rest.is_empty() {
            return Some(parts);
        }
        rest = rest.strip_prefix('.')?;
    }
}

/// Where the name at the start of `text` ends.
fn name_end(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_start = |c: char| c.is_alphabetic() || c == '_';
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        return text.starts_with(is_start).then_some(end);
    };
    let mut from = 0;
    loop {
        let at = from + quoted[from..].find('"')?;
        if !quoted[at + 1..].starts_with('"') {
            // Two quotation marks, and at least one character between them.
            return (at > 0).then_some(at + 2);
        }
        from = at + 2;
    }
}

/// A number of rows: `5000`.
pub(crate) fn parse_batch(text: &str) -> Result<u64, String> {
    let rows = text.parse().ok().filter(|rows| (1..=MAX_BATCH).contains(rows));
    let digits_only = text.bytes().all(|b| b.is_ascii_digit());
    rows.filter(|_| digits_only)
        .ok_or_else(|| format!("batch={text:?}: a batch is 1 to {MAX_BATCH} rows"))
}

/// Whether this is `:from` or `:to`.
pub(crate) fn is_bound(node: &SyntaxNode) -> bool {
    bound(node).is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    From,
    To,
}

fn bound(node: &SyntaxNode) -> Option<Bound> {
    if node.kind() != SyntaxKind::NON_STANDARD_PARAM {
        return None;
    }
    match node.text().to_string().as_str() {
        ":from" => Some(Bound::From),
        ":to" => Some(Bound::To),
        _ => None,
    }
}

/// Makes the class of the statement of a backfill, if it keeps to its batch.
pub(crate) fn classify(
    node: &SyntaxNode,
    directive: &BackfillDirective,
) -> Result<StatementClass, String> {
    use SyntaxKind as K;
    if !matches!(node.kind(), K::UPDATE | K::DELETE | K::INSERT) {
        return Err("a backfill is one UPDATE, DELETE or INSERT … SELECT".to_owned());
    }
    let key = folded(&directive.column);
    let mut found = (false, false);
    for condition in node.descendants().filter(holds_for_every_row) {
        let (from, to) = bounds_key(&condition, &key);
        found = (found.0 || from, found.1 || to);
    }
    if found != (true, true) {
        return Err(format!(
            "a backfill says which rows are of its batch: WHERE {} BETWEEN :from AND :to, joined to \
             what else must hold with AND (the keys :from and :to are the first and the last of \
             the batch, both included)",
            directive.column
        ));
    }
    let mut set = node.descendants().filter(|node| node.kind() == K::COLUMN_TARGET);
    if node.kind() == K::UPDATE && set.any(|node| last_name(&node).as_ref() == Some(&key)) {
        return Err(format!(
            "a backfill must not change {}, the key it goes by: a row would meet it twice",
            directive.column
        ));
    }
    let BackfillDirective { table, column, batch, pause_ms } = directive.clone();
    Ok(StatementClass::Backfill { table, column, batch, pause_ms })
}

/// Whether a row for which this condition is false is left out: it is one of those a WHERE joins
/// with AND.
fn holds_for_every_row(node: &SyntaxNode) -> bool {
    use SyntaxKind as K;
    if !matches!(node.kind(), K::BETWEEN_EXPR | K::BIN_EXPR) {
        return false;
    }
    let is_and = |node: &SyntaxNode| node.kind() == K::BIN_EXPR && has_token(node, K::AND_KW);
    let outer = node.ancestors().skip(1);
    let mut outer = outer.skip_while(|node| node.kind() == K::PAREN_EXPR || is_and(node));
    let Some(place) = outer.next().filter(|node| node.kind() == K::WHERE_CLAUSE) else {
        return false;
    };
    place.parent().is_some_and(|it| matches!(it.kind(), K::UPDATE | K::DELETE | K::SELECT))
}

fn has_token(node: &SyntaxNode, kind: SyntaxKind) -> bool {
    node.children_with_tokens()
        .any(|element| element.as_token().is_some_and(|token| token.kind() == kind))
}

/// Whether the condition keeps the key from falling below `:from`, from rising above `:to`.
fn bounds_key(condition: &SyntaxNode, key: &str) -> (bool, bool) {
    use SyntaxKind as K;
    let parts: Vec<SyntaxNode> = condition.children().collect();
    let is_key = |node: &SyntaxNode| {
        matches!(node.kind(), K::NAME_REF | K::FIELD_EXPR)
            && last_name(node).is_some_and(|name| name == key)
    };
    match (condition.kind(), parts.as_slice()) {
        (K::BETWEEN_EXPR, [operand, low, high]) if !has_token(condition, K::NOT_KW) => {
            let both = is_key(operand)
                && bound(low) == Some(Bound::From)
                && bound(high) == Some(Bound::To);
            (both, both)
        }
        (K::BIN_EXPR, [left, right]) => {
            let (at_least, at_most) =
                (has_token(condition, K::GTEQ), has_token(condition, K::LTEQ));
            let (keyed, bound, at_least, at_most) = if is_key(left) {
                (true, bound(right), at_least, at_most)
            } else {
                (is_key(right), bound(left), at_most, at_least)
            };
            (
                keyed && at_least && bound == Some(Bound::From),
                keyed && at_most && bound == Some(Bound::To),
            )
        }
        _ => (false, false),
    }
}

/// The last name in `node`, as the server folds it.
fn last_name(node: &SyntaxNode) -> Option<String> {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let words =
        tokens.filter(|t| !matches!(t.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT));
    words.last().map(|token| folded(token.text()))
}

fn folded(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// The statement of one batch: `:from` and `:to` replaced by literals, which the server has quoted.
///
/// What stands in strings and comments is no placeholder.
pub fn with_bounds(sql: &str, from: &str, to: &str) -> String {
    let tree = SqlFile::parse(sql).tree();
    let mut out = String::with_capacity(sql.len() + from.len() + to.len());
    let mut copied = 0;
    for node in tree.syntax().descendants() {
        let Some(bound) = bound(&node) else { continue };
        let range = node.text_range();
        out.push_str(&sql[copied..usize::from(range.start())]);
        out.push_str(match bound {
            Bound::From => from,
            Bound::To => to,
        });
        copied = usize::from(range.end());
    }
    out.push_str(&sql[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    #[test]
    fn a_key_is_named_as_sql_names_it() {
        let key = |text: &str| parse_key(text).ok();
        let some = |table: &str, column: &str| Some((table.to_owned(), column.to_owned()));
        assert_eq!(key("orders.id"), some("orders", "id"));
        assert_eq!(key("s.Orders.Id"), some("s.Orders", "Id"));
        assert_eq!(key("\"a.b\".\"c\"\"d\""), some("\"a.b\"", "\"c\"\"d\""));
        for bad in ["", "id", "a.b.c.d", "a..b", ".a.b", "a.b.", "1a.b", "a.\"\"", "a.\"b", "a.b c"]
        {
            assert_eq!(key(bad), None, "{bad}");
        }
    }

    #[test]
    fn placeholders_are_tokens() {
        let sql = "UPDATE t SET a = ':from', b = x::text, c = arr[1:2] /* :to */ -- :from\n\
                   WHERE id BETWEEN :from AND :to";
        let expected = "UPDATE t SET a = ':from', b = x::text, c = arr[1:2] /* :to */ -- :from\n\
                        WHERE id BETWEEN '1'::int AND '9'::int";
        assert_eq!(with_bounds(sql, "'1'::int", "'9'::int"), expected);
    }

    const BACKFILL: &str = "-- annals: backfill=t.id, batch=10\n";

    #[test]
    fn a_backfill_keeps_to_its_batch() {
        let good = [
            "update t set a = 1 where id between :from and :to",
            "update t set a = 1 where ID >= :from and t.id <= :to and (b or c)",
            "delete from t where (:to >= id) and a and (id >= :from)",
            "insert into u select * from t as x where x.\"id\" between :from and :to",
            "with b as (select id from t where id between :from and :to for update) \
             update t set a = 1 from b where t.id = b.id",
            "update t set a = s.n from (select t_id, count(*) n from u where t_id between :from and \
             :to group by 1) s where t.id = s.t_id and t.id between :from and :to",
        ];
        let class = StatementClass::Backfill {
            batch: 10,
            column: "id".into(),
            pause_ms: 100,
            table: "t".into(),
        };
        for sql in good {
            let script = parse(&format!("{BACKFILL}{sql};")).expect(sql);
            assert!(!script.directives.transaction);
            assert_eq!(script.statements[0].class, class, "{sql}");
        }
    }

    #[test]
    fn what_does_not_keep_to_its_batch_is_refused() {
        let which = "a backfill says which rows";
        let bad = [
            ("update t set a = 1 where id > :from and id <= :to", which),
            ("update t set a = 1 where id >= :from and id < :to", which),
            ("update t set a = 1 where id between :to and :from", which),
            ("update t set a = 1 where id not between :from and :to", which),
            ("update t set a = 1 where id between :from and :to or a > 1", which),
            ("update t set a = 1 where not (id between :from and :to)", which),
            ("update t set a = 1 where other between :from and :to", which),
            ("update t set a = case when id between :from and :to then 1 end", which),
            ("update t set a = 1", which),
            ("insert into u values (:from, :to)", which),
            (
                "update t set id = id + 1 where id between :from and :to",
                "a backfill must not change id",
            ),
            (
                "update t set (a, \"id\") = (1, 2) where id between :from and :to",
                "a backfill must not",
            ),
            ("select 1 from t where id between :from and :to", "a backfill is one UPDATE"),
            ("vacuum t", "a backfill is one UPDATE"),
            ("update t set a = :x where id between :from and :to", "Invalid parameter"),
            (
                "delete from t where id between :from and :to; select 1",
                "a backfill is one statement",
            ),
            (
                "update t set a = set_config('a.b', 'c', true) where id between :from and :to",
                "in a file",
            ),
        ];
        for (sql, expected) in bad {
            let problems = parse(&format!("{BACKFILL}{sql};")).expect_err(sql);
            assert!(problems[0].1.contains(expected), "{sql}: {problems:?}");
        }
        let without = "update t set a = 1 where id between :from and :to";
        assert!(parse(without).unwrap_err()[0].1.contains("Invalid parameter"));
    }
}
