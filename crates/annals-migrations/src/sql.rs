//! A file's SQL: read with a PostgreSQL grammar, cut into statements, each classified.
//!
//! Nothing here looks for semicolons. The statements are nodes of a syntax tree whose leaves give
//! the file's bytes back, and what the grammar cannot read is refused with its place.

use annals_events::Digest;
use serde::{Deserialize, Serialize};
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile as SqlFile, SyntaxElement, SyntaxKind, SyntaxNode};

use crate::directives::{self, Directives};

/// How a statement meets the transaction boundary, and what a crash in it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case", deny_unknown_fields)]
pub enum StatementClass {
    /// Runs in a transaction.
    Transactional,
    /// `CREATE INDEX CONCURRENTLY`: the catalog tells whether it is done.
    ConcurrentIndexBuild {
        /// The index, as spelled.
        index: String,
        /// Its table, as spelled.
        table: String,
        /// Whether it is content with another index of that name.
        if_not_exists: bool,
    },
    /// `DROP INDEX CONCURRENTLY`: the catalog tells whether it is done.
    ConcurrentIndexDrop {
        /// The index, as spelled.
        index: String,
    },
    /// Cannot run in a transaction, and running it twice has the effect of once.
    Repeatable,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with its semicolon where it has one.
    pub text: String,
    /// Byte of the file where it starts.
    pub start: usize,
    /// How it meets the transaction boundary.
    pub class: StatementClass,
}

/// A file's SQL, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its statements in order, empty ones left out.
    pub statements: Vec<Statement>,
    /// What it asks of the executor.
    pub directives: Directives,
    /// SHA-256 over the statements alone, so that a formatting-only edit keeps it.
    ///
    /// Line ends are LF; comments and white space between tokens are dropped, leaving one space
    /// where two words or two operators would otherwise run together; a statement ends in LF.
    pub canonical: Digest,
}

/// Why SQL is refused: byte of the text, and the reason.
pub(crate) type SqlProblem = (usize, String);

/// Reads `text`, without a byte order mark.
///
/// # Errors
///
/// Everything that is wrong, each with the byte it starts at: what the grammar cannot read, psql
/// meta-commands, transaction control, data for `COPY … FROM STDIN`, statements that need another
/// `transaction` directive, and a file without any statement.
pub fn parse(text: &str) -> Result<Script, Vec<SqlProblem>> {
    let parsed = SqlFile::parse(text);
    let root = parsed.tree();
    let root = root.syntax();
    let statements: Vec<SyntaxNode> = root.children().filter(is_statement).collect();
    let mut problems = foreign_problems(text, &statements);
    if problems.is_empty() {
        let errors = parsed.errors();
        let errors = errors.iter().map(|e| (usize::from(e.range().start()), e.message()));
        problems.extend(grammar_problems(text, errors.collect()));
    }
    let comments = comments(root);
    let comments = comments.iter().map(|(at, text)| (*at, text.as_str()));
    let (directives, errors) = directives::collect(comments, header_end(root));
    problems.extend(errors.into_iter().map(|error| (error.offset, error.reason)));
    if problems.is_empty() && statements.is_empty() {
        problems.push((0, "the file has no statement".to_owned()));
    }
    let mut out = Vec::with_capacity(statements.len());
    for node in &statements {
        let start = usize::from(node.text_range().start());
        match classify(node).and_then(|class| fit(node, class, directives)) {
            Ok(class) => out.push(Statement { text: node.text().to_string(), start, class }),
            Err(reason) => problems.push((start, reason)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Script { canonical: canonical_digest(&statements), statements: out, directives })
}

/// The grammar's complaints in the file's own words: of each statement the first, since the rest
/// follow from it.
fn grammar_problems(text: &str, mut errors: Vec<(usize, &str)>) -> Vec<SqlProblem> {
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

fn is_statement(node: &SyntaxNode) -> bool {
    !matches!(node.kind(), SyntaxKind::EMPTY_STMT | SyntaxKind::ERROR)
}

/// What is not SQL at all is named before the grammar's own complaints about it.
fn foreign_problems(text: &str, statements: &[SyntaxNode]) -> Vec<SqlProblem> {
    let copies = statements.iter().filter(|node| copies_to_client(node)).map(|node| {
        let reason = "COPY … FROM STDIN and TO STDOUT carry their data outside SQL; use INSERT, or \
                      another tool";
        (usize::from(node.text_range().start()), reason.to_owned())
    });
    let mut problems: Vec<SqlProblem> = copies.collect();
    if problems.is_empty() {
        problems.extend(meta_commands(text, statements));
    }
    problems
}

fn copies_to_client(node: &SyntaxNode) -> bool {
    let sides = [SyntaxKind::STDIN_KW, SyntaxKind::STDOUT_KW];
    node.kind() == SyntaxKind::COPY && sides.iter().any(|side| has(node, &[*side]))
}

/// A backslash at the start of a line, outside every statement the grammar has read.
fn meta_commands(text: &str, statements: &[SyntaxNode]) -> Vec<SqlProblem> {
    let inside = |at: usize| {
        statements.iter().any(|node| {
            let range = node.text_range();
            usize::from(range.start()) <= at && at < usize::from(range.end())
        })
    };
    let mut problems = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let at = offset + (line.len() - line.trim_start().len());
        offset += line.len();
        if line.trim_start().starts_with('\\') && !inside(at) {
            let word = line.split_whitespace().next().unwrap_or("\\");
            problems.push((at, format!("{word} is a psql meta-command, not SQL; remove it")));
        }
    }
    problems
}

fn comments(root: &SyntaxNode) -> Vec<(usize, String)> {
    root.descendants_with_tokens()
        .filter_map(SyntaxElement::into_token)
        .filter(|token| token.kind() == SyntaxKind::COMMENT)
        .map(|token| (usize::from(token.text_range().start()), token.text().to_owned()))
        .collect()
}

/// Where the first statement starts; without one, past everything.
fn header_end(root: &SyntaxNode) -> usize {
    let first = root.children().find(is_statement);
    first.map_or(usize::MAX, |node| usize::from(node.text_range().start()))
}

/// Whether `node` holds, among its tokens outside parentheses' subqueries or not, each of `kinds`.
fn has(node: &SyntaxNode, kinds: &[SyntaxKind]) -> bool {
    kinds.iter().all(|kind| {
        node.descendants_with_tokens()
            .any(|element| element.as_token().is_some_and(|token| token.kind() == *kind))
    })
}

fn fit(
    node: &SyntaxNode,
    class: StatementClass,
    directives: Directives,
) -> Result<StatementClass, String> {
    if directives.transaction && class != StatementClass::Transactional {
        return Err(
            "this statement cannot run inside a transaction; move it to a file of its own \
                    with `-- annals: transaction=off` at the top"
                .to_owned(),
        );
    }
    if !directives.transaction && sets_the_session(node) {
        return Err(
            "in a file with transaction=off this would not reach the statements behind it, \
                    which may run in another session after a crash; qualify names instead"
                .to_owned(),
        );
    }
    Ok(class)
}

fn sets_the_session(node: &SyntaxNode) -> bool {
    use SyntaxKind as K;
    let sets =
        [K::SET, K::SET_ROLE, K::SET_SESSION_AUTH, K::RESET, K::RESET_ROLE, K::RESET_SESSION_AUTH];
    sets.contains(&node.kind())
        || node.descendants_with_tokens().filter_map(SyntaxElement::into_token).any(|token| {
            token.kind() == K::IDENT && token.text().eq_ignore_ascii_case("set_config")
        })
}

/// What PostgreSQL 13–18 refuse inside a transaction block (`PreventInTransactionBlock` in the
/// server's sources), and what would end or change the transaction annals keeps.
fn classify(node: &SyntaxNode) -> Result<StatementClass, String> {
    use StatementClass::{Repeatable, Transactional};
    use SyntaxKind as K;
    let control = || {
        Err("transaction control is annals' own task: each file runs in one transaction \
             (or, with `-- annals: transaction=off`, statement by statement); remove it"
            .to_owned())
    };
    let unrecoverable = |what: &str| {
        Err(format!(
            "{what} cannot run in a transaction, and after a crash nothing tells whether it took \
             effect; run it outside the migrations"
        ))
    };
    match node.kind() {
        K::BEGIN
        | K::COMMIT_TRANSACTION
        | K::ROLLBACK_TRANSACTION
        | K::ROLLBACK_TO_SAVEPOINT
        | K::SAVEPOINT_CREATE
        | K::RELEASE_SAVEPOINT
        | K::PREPARE_TRANSACTION
        | K::COMMIT_PREPARED
        | K::ROLLBACK_PREPARED
        | K::SET_TRANSACTION => control(),
        K::DISCARD | K::DEALLOCATE | K::PREPARE | K::EXECUTE | K::LISTEN | K::UNLISTEN => {
            Err("this changes the session annals works in, not the database; remove it".to_owned())
        }
        K::CREATE_INDEX if has(node, &[K::CONCURRENTLY_KW]) => concurrent_build(node),
        K::DROP_INDEX if has(node, &[K::CONCURRENTLY_KW]) => concurrent_drop(node),
        K::VACUUM | K::ALTER_SYSTEM => Ok(Repeatable),
        K::REINDEX if reindex_is_outside(node) => Ok(Repeatable),
        K::CLUSTER if !has(node, &[K::PATH]) && node.children().count() == 0 => Ok(Repeatable),
        K::CREATE_DATABASE => unrecoverable("CREATE DATABASE"),
        K::DROP_DATABASE => unrecoverable("DROP DATABASE"),
        K::CREATE_TABLESPACE => unrecoverable("CREATE TABLESPACE"),
        K::DROP_TABLESPACE => unrecoverable("DROP TABLESPACE"),
        K::CREATE_SUBSCRIPTION => unrecoverable("CREATE SUBSCRIPTION"),
        K::DROP_SUBSCRIPTION => unrecoverable("DROP SUBSCRIPTION"),
        K::ALTER_SUBSCRIPTION if has(node, &[K::PUBLICATION_KW]) => {
            unrecoverable("ALTER SUBSCRIPTION … PUBLICATION")
        }
        K::ALTER_DATABASE if has(node, &[K::TABLESPACE_KW]) => {
            unrecoverable("ALTER DATABASE … SET TABLESPACE")
        }
        K::ALTER_TABLE if has(node, &[K::DETACH_KW, K::CONCURRENTLY_KW]) => {
            unrecoverable("DETACH PARTITION CONCURRENTLY")
        }
        _ => Ok(Transactional),
    }
}

fn reindex_is_outside(node: &SyntaxNode) -> bool {
    use SyntaxKind as K;
    [K::CONCURRENTLY_KW, K::DATABASE_KW, K::SYSTEM_KW, K::SCHEMA_KW]
        .iter()
        .any(|kind| has(node, &[*kind]))
}

fn concurrent_build(node: &SyntaxNode) -> Result<StatementClass, String> {
    let create = ast::CreateIndex::cast(node.clone()).expect("the kind was checked");
    let index = create.index().map(|name| name.syntax().text().to_string());
    let table = create.table_relation_name().map(|name| {
        let text = name.syntax().text().to_string();
        strip_only(text.trim()).to_owned()
    });
    match (index, table) {
        (Some(index), Some(table)) => {
            let if_not_exists = create.if_not_exists().is_some();
            Ok(StatementClass::ConcurrentIndexBuild { index, table, if_not_exists })
        }
        _ => Err("give the index a name: without one, nobody can tell after a crash whether it \
                  was built"
            .to_owned()),
    }
}

fn strip_only(table: &str) -> &str {
    match table.split_at_checked(4) {
        Some((word, rest))
            if word.eq_ignore_ascii_case("only") && rest.starts_with(char::is_whitespace) =>
        {
            rest.trim_start()
        }
        _ => table,
    }
}

fn concurrent_drop(node: &SyntaxNode) -> Result<StatementClass, String> {
    let drop = ast::DropIndex::cast(node.clone()).expect("the kind was checked");
    let mut names = drop.index_refs().map(|name| name.syntax().text().to_string());
    match (names.next(), names.next()) {
        (Some(index), None) => Ok(StatementClass::ConcurrentIndexDrop { index }),
        _ => Err("DROP INDEX CONCURRENTLY takes one index".to_owned()),
    }
}

fn canonical_digest(statements: &[SyntaxNode]) -> Digest {
    let mut canonical = String::new();
    for node in statements {
        push_canonical(node, &mut canonical);
        canonical.push('\n');
    }
    Digest::of(canonical.as_bytes())
}

fn push_canonical(node: &SyntaxNode, out: &mut String) {
    let is_word =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '"' | '\'') || !c.is_ascii();
    let is_operator = |c: char| "+-*/<>=~!@#%^&|`?:.".contains(c);
    let start = out.len();
    let mut gap = false;
    for token in node.descendants_with_tokens().filter_map(SyntaxElement::into_token) {
        if matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT) {
            gap = true;
            continue;
        }
        let next = token.text().chars().next();
        if gap
            && out.len() > start
            && let (Some(a), Some(b)) = (out.chars().next_back(), next)
            && ((is_word(a) && is_word(b)) || (is_operator(a) && is_operator(b)))
        {
            out.push(' ');
        }
        gap = false;
        if token.kind() != SyntaxKind::SEMICOLON || !is_last(&token, node) {
            out.push_str(&token.text().replace("\r\n", "\n"));
        }
    }
}

fn is_last(token: &squawk_syntax::SyntaxToken, node: &SyntaxNode) -> bool {
    token.text_range().end() == node.text_range().end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        parse(sql).unwrap().statements.into_iter().map(|s| s.text).collect()
    }

    fn refused(sql: &str) -> String {
        let problems = parse(sql).expect_err(sql);
        format!("{}: {}", problems[0].0, problems[0].1)
    }

    #[test]
    fn statements_are_cut_where_the_grammar_cuts_them() {
        let sql = "\
-- a; comment
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT 1; SELECT CASE WHEN true THEN 2 END; END;
CREATE FUNCTION g() RETURNS text LANGUAGE plpgsql AS $a$ BEGIN RETURN $b$;$b$; END $a$;
;;
SELECT ';' || E'\\';' || \"a;b\" /* ; /* ; */ ; */ FROM t";
        let found = texts(sql);
        assert_eq!(found.len(), 3);
        assert!(found[0].ends_with("END;"));
        assert!(found[1].ends_with("$a$;"));
        assert!(found[2].starts_with("SELECT ';'") && found[2].ends_with("FROM t"));
    }

    #[test]
    fn pieces_and_gaps_give_the_file_back() {
        let sql = "\n-- x\nselect 1; /* y */\nselect $$a\r\n;$$;\n-- end";
        let script = parse(sql).unwrap();
        for statement in script.statements {
            assert_eq!(
                &sql[statement.start..statement.start + statement.text.len()],
                statement.text
            );
        }
        let tree = SqlFile::parse(sql);
        assert_eq!(tree.tree().syntax().text().to_string(), sql);
    }

    #[test]
    fn what_is_not_for_a_migration_file_is_refused_with_its_place() {
        let cases = [
            ("select 1;\nselec 2;", "10: selec 2 begins no statement"),
            ("select 1;\nbegin;", "10: transaction control"),
            ("select 1; end;", "10: transaction control"),
            ("select 1;\n\\d foo\n", "10: \\d is a psql meta-command"),
            ("copy t from stdin;\n1\n\\.\n", "0: COPY … FROM STDIN"),
            ("copy t to stdout;", "0: COPY … FROM STDIN and TO STDOUT"),
            ("-- annals: transaction=off\nset role x;", "27: in a file with transaction=off"),
            (
                "-- annals: transaction=off\nselect set_config('a.b', 'c', false);",
                "27: in a file with",
            ),
            ("discard all;", "0: this changes the session"),
            ("vacuum t;", "0: this statement cannot run inside a transaction"),
            ("create database x;", "0: CREATE DATABASE cannot run in a transaction"),
            ("alter table t detach partition p concurrently", "0: DETACH PARTITION CONCURRENTLY"),
            (
                "-- annals: transaction=off\ncreate index concurrently on t(a);",
                "27: give the index a name",
            ),
            ("", "0: the file has no statement"),
            ("-- only\n/* comments */ ;", "0: the file has no statement"),
            ("-- annals: speed=fast\nselect 1;", "0: unknown directive"),
            ("select 1;\n-- annals: transaction=off", "10: a directive stands at the top"),
        ];
        for (sql, expected) in cases {
            let found = refused(sql);
            assert!(found.starts_with(expected), "{sql}\n  gave {found}");
        }
    }

    #[test]
    fn a_backslash_inside_a_statement_is_not_a_meta_command() {
        assert_eq!(texts("select '\n\\d';\n").len(), 1);
    }

    #[test]
    fn statements_outside_a_transaction_are_classified() {
        let off = "-- annals: transaction=off\n";
        let class = |sql: &str| parse(&format!("{off}{sql}")).unwrap().statements.remove(0).class;
        let build = |index: &str, table: &str, if_not_exists| {
            let (index, table) = (index.into(), table.into());
            StatementClass::ConcurrentIndexBuild { index, table, if_not_exists }
        };
        assert_eq!(class("create index concurrently i on t(a)"), build("i", "t", false));
        assert_eq!(
            class(
                "create unique index concurrently if not exists \"I x\" on only public.\"T\" (a)"
            ),
            build("\"I x\"", "public.\"T\"", true)
        );
        assert_eq!(
            class("drop index concurrently if exists s.i"),
            StatementClass::ConcurrentIndexDrop { index: "s.i".into() }
        );
        assert_eq!(class("vacuum full t"), StatementClass::Repeatable);
        assert_eq!(class("cluster"), StatementClass::Repeatable);
        assert_eq!(class("cluster t"), StatementClass::Transactional);
        assert_eq!(class("reindex table concurrently t"), StatementClass::Repeatable);
        assert_eq!(class("reindex table t"), StatementClass::Transactional);
        assert_eq!(class("insert into t values (1)"), StatementClass::Transactional);
        assert_eq!(
            class("refresh materialized view concurrently m"),
            StatementClass::Transactional
        );
    }

    #[test]
    fn formatting_keeps_the_canonical_digest_and_substance_changes_it() {
        let canonical_digest = |sql: &str| parse(sql).unwrap().canonical;
        let base = canonical_digest(
            "create table t (id int, b text default 'a  b');\nselect a->>'x' from t;",
        );
        let same = [
            "create table t (id int, b text default 'a  b');\r\nselect a->>'x' from t;\r\n",
            "-- new comment\ncreate   table t(id int,b text default 'a  b')  ;;\n\nselect a ->> 'x'\n from t",
        ];
        for sql in same {
            assert_eq!(canonical_digest(sql), base, "{sql}");
        }
        for sql in [
            "create table t (id int, b text default 'a b');\nselect a->>'x' from t;",
            "create table t (id int, b text default 'a  b');\nselect a->'x' from t;",
            "create table t (id int, b text default 'a  b');",
            "CREATE table t (id int, b text default 'a  b');\nselect a->>'x' from t;",
        ] {
            assert_ne!(canonical_digest(sql), base, "{sql}");
        }
        assert_ne!(canonical_digest("select 1 - -1"), canonical_digest("select 1 --1"));
        assert_eq!(canonical_digest("select $$a\r\nb$$"), canonical_digest("select $$a\nb$$"));
    }
}
