//! A file's SQL: read with a PostgreSQL grammar, cut into statements, each classified.
//!
//! The cutter says where a statement ends and the grammar what it is. What either cannot read, or
//! what they read differently, is refused with its place.

use std::io::Read;

use annals_events::Digest;
use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SourceFile as SqlFile, SyntaxElement, SyntaxKind, SyntaxNode};

use crate::canonical::Canonical;
use crate::class::StatementClass;
use crate::complaints::grammar_problems;
use crate::cut::{Cut, CutError, Cutter, Remark};
use crate::directives::{self, Directives};
use crate::enum_values::EnumValues;
use crate::plan::StreamedFile;
use crate::{backfill, outside, reserved};

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with its semicolon where it has one.
    pub text: String,
    /// Byte of the file where it starts.
    pub start: usize,
    /// Line of the file where it starts, from 1.
    pub line: u32,
    /// How it meets the transaction boundary.
    pub class: StatementClass,
    /// The lines behind a `COPY … FROM stdin`.
    pub data: Option<String>,
}

/// A file's SQL, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its statements in order, empty ones left out; none of a file that is streamed.
    pub statements: Vec<Statement>,
    /// What it asks of the executor.
    pub directives: Directives,
    /// SHA-256 over the statements alone, so that a formatting-only edit keeps it.
    ///
    /// Line ends are LF; comments and white space between tokens are dropped, leaving one space
    /// where two words or two operators would otherwise run together; a statement ends in LF.
    /// Data follows its statement and ends in a line `\.`.
    pub canonical: Digest,
    /// What is said of a file that is streamed instead of its statements.
    pub streamed: Option<StreamedFile>,
}

/// Why SQL is refused: byte of the text, and the reason.
pub(crate) type SqlProblem = (usize, String);

/// A statement as it was cut, before anything is known of it.
struct Piece<'a> {
    text: &'a str,
    start: usize,
    line: u32,
    takes_data: bool,
    data: String,
}

impl Piece<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// Reads `text`, without a byte order mark.
///
/// Two readers cut it, the [`Cutter`] and the grammar, and what they do not agree on is refused. A
/// text with data for `COPY … FROM stdin` is no SQL as a whole: there the grammar reads each
/// statement alone, and must find one and no more.
///
/// # Errors
///
/// Everything that is wrong, each with the byte it starts at: what cannot be cut or the grammar
/// cannot read, psql meta-commands, transaction control, statements that need another
/// `transaction` directive, and a file without any statement.
pub fn parse(text: &str) -> Result<Script, Vec<SqlProblem>> {
    let mut cutter = Cutter::new(text.as_bytes());
    let pieces =
        cut_all(text, &mut cutter).map_err(|error| vec![(offset(error.offset), error.reason)])?;
    let (directives, errors) = directives_of(&cutter);
    let has_data = pieces.iter().any(|piece| piece.takes_data);
    let read = match has_data {
        true => read_each(&pieces),
        false => read_whole(text, &pieces, &directives),
    };
    let (nodes, mut problems) = match read {
        Ok(nodes) => (nodes, Vec::new()),
        Err(problems) => (Vec::new(), problems),
    };
    problems.extend(errors.into_iter().map(|(remark, reason)| (offset(remark.offset), reason)));
    if problems.is_empty() && pieces.is_empty() {
        problems.push((0, "the file has no statement".to_owned()));
    }
    let mut canonical = Canonical::default();
    if let (Some(_), Some(second)) = (&directives.backfill, pieces.get(1)) {
        let reason = "a backfill is one statement; move this one to a file of its own".to_owned();
        problems.push((second.start, reason));
    }
    let mut judge = Judge::new(directives.clone(), has_data);
    let mut statements = Vec::with_capacity(nodes.len());
    let is_alone = nodes.len() == 1;
    for (node, piece) in nodes.iter().zip(pieces) {
        match judge.judge(node, piece.takes_data) {
            Ok(class) => {
                let class = if is_alone { alone(node, class, &directives) } else { class };
                canonical.statement(node);
                let data = piece.takes_data.then_some(piece.data);
                if let Some(data) = &data {
                    canonical.data(data);
                    canonical.end_data();
                }
                let (text, start, line) = (piece.text.to_owned(), piece.start, piece.line);
                statements.push(Statement { text, start, line, class, data });
            }
            Err(reason) => problems.push((piece.start, reason)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Script { canonical: canonical.finish(), statements, directives, streamed: None })
}

/// Where the placeholders of a backfill stand; other files have none.
fn bounds(root: &SyntaxNode, directives: &Directives) -> Vec<usize> {
    let nodes = root.descendants().filter(|_| directives.backfill.is_some());
    let nodes = nodes.filter(backfill::is_bound);
    nodes.map(|node| usize::from(node.text_range().start())).collect()
}

fn offset(of: u64) -> usize {
    usize::try_from(of).unwrap_or(usize::MAX)
}

fn cut_all<'a>(text: &'a str, cutter: &mut Cutter<&[u8]>) -> Result<Vec<Piece<'a>>, CutError> {
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    while let Some(cut) = cutter.next_cut()? {
        match cut {
            Cut::Gap(_) => {}
            Cut::Statement { text: own, at, start, takes_data } => {
                let start = offset(start);
                let text = &text[start..start + own.len()];
                pieces.push(Piece { text, start, line: at.line, takes_data, data: String::new() });
            }
            Cut::Data(lines) => {
                let copy = pieces.last_mut().expect("invariant: data follows its COPY");
                copy.data.push_str(lines);
            }
        }
    }
    Ok(pieces)
}

/// The directives among the comments a cutter has passed, and what is wrong with them.
pub(crate) fn directives_of<R: Read>(cutter: &Cutter<R>) -> (Directives, Vec<(Remark, String)>) {
    let (remarks, first_statement) = cutter.remarks();
    let comments = remarks.iter().map(|remark| (offset(remark.offset), remark.text.as_str()));
    let header_end = first_statement.map_or(usize::MAX, offset);
    let (directives, errors) = directives::collect(comments, header_end);
    let errors = errors.into_iter().map(|error| {
        let remark = remarks.iter().find(|remark| offset(remark.offset) == error.offset);
        (remark.expect("invariant: an error is about a comment").clone(), error.reason)
    });
    (directives, errors.collect())
}

/// Reads all of `text` with the grammar, which must cut it as the pieces are cut.
fn read_whole(
    text: &str,
    pieces: &[Piece<'_>],
    directives: &Directives,
) -> Result<Vec<SyntaxNode>, Vec<SqlProblem>> {
    let parsed = SqlFile::parse(text);
    let bounds = bounds(parsed.tree().syntax(), directives);
    let errors = parsed.errors();
    let errors = errors.iter().map(|e| (usize::from(e.range().start()), e.message()));
    let errors: Vec<_> = errors.filter(|(at, _)| !bounds.contains(at)).collect();
    if !errors.is_empty() {
        return Err(grammar_problems(text, errors));
    }
    let nodes: Vec<SyntaxNode> = parsed.tree().syntax().children().filter(is_statement).collect();
    let agree = |node: &SyntaxNode, piece: &Piece<'_>| {
        let range = node.text_range();
        usize::from(range.start()) == piece.start && usize::from(range.end()) <= piece.end()
    };
    let differing = nodes.iter().zip(pieces).position(|(node, piece)| !agree(node, piece));
    let differing =
        differing.or((nodes.len() != pieces.len()).then(|| nodes.len().min(pieces.len())));
    match differing {
        None => Ok(nodes),
        Some(at) => {
            let piece = pieces.get(at.min(pieces.len().saturating_sub(1)));
            Err(vec![(piece.map_or(0, |piece| piece.start), TWO_READERS.to_owned())])
        }
    }
}

fn read_each(pieces: &[Piece<'_>]) -> Result<Vec<SyntaxNode>, Vec<SqlProblem>> {
    let (mut nodes, mut problems) = (Vec::with_capacity(pieces.len()), Vec::new());
    for piece in pieces {
        match read_one(piece.text) {
            Ok(node) => nodes.push(node),
            Err((at, reason)) => problems.push((piece.start + at, reason)),
        }
    }
    if problems.is_empty() { Ok(nodes) } else { Err(problems) }
}

/// Reads one statement with the grammar, which must find it and nothing else.
pub(crate) fn read_one(text: &str) -> Result<SyntaxNode, SqlProblem> {
    let parsed = SqlFile::parse(text);
    let errors = parsed.errors();
    if !errors.is_empty() {
        let errors = errors.iter().map(|e| (usize::from(e.range().start()), e.message()));
        let first = grammar_problems(text, errors.collect()).into_iter().next();
        return Err(first.expect("invariant: there is an error"));
    }
    let tree = parsed.tree();
    let mut nodes = tree.syntax().children().filter(is_statement);
    match (nodes.next(), nodes.next()) {
        (Some(node), None) if node.text_range().start() == 0.into() => Ok(node),
        _ => Err((0, TWO_READERS.to_owned())),
    }
}

const TWO_READERS: &str = "it is not certain where this statement ends: the two readers of annals \
                           disagree; write it in a plainer way, or move it to a file of its own";

/// What the statements of a file are judged by.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) directives: Directives,
    /// Whether it is sent in several messages, each of which the server reads as it is set then.
    pub(crate) in_parts: bool,
    values: EnumValues,
}

impl Judge {
    pub(crate) fn new(directives: Directives, in_parts: bool) -> Self {
        Self { directives, in_parts, values: EnumValues::default() }
    }

    /// What the next statement of the file comes to.
    ///
    /// # Errors
    ///
    /// Why it has no place there.
    pub(crate) fn judge(
        &mut self,
        node: &SyntaxNode,
        takes_data: bool,
    ) -> Result<StatementClass, String> {
        let class = fit(node, classify(node)?, &self.directives)?;
        check_copy(node, takes_data, &self.directives)?;
        if self.in_parts && changes_the_reading(node) {
            return Err("what stands behind this would be read otherwise: a file with data or of \
                        more than 1 MiB keeps standard_conforming_strings on"
                .to_owned());
        }
        if self.directives.transaction {
            self.values.check(node)?;
        }
        Ok(class)
    }
}

/// Whether strings may be read otherwise behind it.
fn changes_the_reading(node: &SyntaxNode) -> bool {
    use SyntaxKind as K;
    const SETTING: &str = "standard_conforming_strings";
    let mut words = node
        .descendants_with_tokens()
        .filter_map(SyntaxElement::into_token)
        .filter(|token| !matches!(token.kind(), K::WHITESPACE | K::COMMENT | K::SEMICOLON));
    if node.kind() == K::RESET {
        return words.any(|word| word.kind() == K::ALL_KW || word.text().contains(SETTING));
    }
    let text = node.text().to_string().to_lowercase();
    let is_on = |word: &str| matches!(word.trim_matches('\''), "on" | "true" | "1" | "yes");
    let last = || words.last().map(|word| word.text().to_lowercase());
    text.contains(SETTING) && !(node.kind() == K::SET && last().is_some_and(|word| is_on(&word)))
}

fn is_statement(node: &SyntaxNode) -> bool {
    !matches!(node.kind(), SyntaxKind::EMPTY_STMT | SyntaxKind::ERROR)
}

/// `COPY` speaks to its client here only with data that stands in the file.
fn check_copy(node: &SyntaxNode, takes_data: bool, directives: &Directives) -> Result<(), String> {
    use SyntaxKind as K;
    let part = |kind| node.children().find(|child| child.kind() == kind);
    if node.kind() != K::COPY {
        return if takes_data { Err(TWO_READERS.to_owned()) } else { Ok(()) };
    }
    let is_client = |side: &SyntaxNode| has(side, &[K::STDIN_KW]) || has(side, &[K::STDOUT_KW]);
    if part(K::COPY_TO).is_some_and(|to| is_client(&to)) {
        return Err("COPY … TO STDOUT gives its rows to nobody; remove it".to_owned());
    }
    let reads = part(K::COPY_FROM).is_some_and(|from| is_client(&from));
    match (reads, takes_data) {
        (false, false) => return Ok(()),
        (true, true) => {}
        _ => return Err("write COPY … FROM stdin, with the data on the lines behind it".to_owned()),
    }
    if !directives.transaction {
        return Err("COPY … FROM stdin has no place in a file with transaction=off; move it to a \
                    file of its own"
            .to_owned());
    }
    let options = node.children().filter(|child| child.kind() != K::COPY_FROM);
    let is_binary = |text: &str| text.trim_matches(['"', '\'']).eq_ignore_ascii_case("binary");
    let tokens = options.flat_map(|option| match option.kind() {
        K::COPY_TABLE => option.first_token().into_iter().collect::<Vec<_>>(),
        K::WHERE_CLAUSE => Vec::new(),
        _ => option.descendants_with_tokens().filter_map(SyntaxElement::into_token).collect(),
    });
    if tokens.into_iter().any(|token| is_binary(token.text())) {
        return Err("binary data cannot stand in a file of text; use the text or csv format".into());
    }
    Ok(())
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
    directives: &Directives,
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
    if let Some(directive) = &directives.backfill {
        return backfill::classify(node, directive);
    }
    // Of a partitioned table they cannot run in a transaction, which only the catalog knows.
    let is_again = matches!(node.kind(), SyntaxKind::REINDEX | SyntaxKind::CLUSTER);
    if is_again && !directives.transaction && class == StatementClass::Transactional {
        return Ok(StatementClass::Repeatable);
    }
    Ok(class)
}

/// A routine that may end transactions itself, alone in a file with `transaction=off`, is sent
/// outside of one: it must be written so that it can run again.
fn alone(node: &SyntaxNode, class: StatementClass, directives: &Directives) -> StatementClass {
    let ends = |word: &str| ["commit", "rollback"].iter().any(|end| word.eq_ignore_ascii_case(end));
    let may_end = match node.kind() {
        SyntaxKind::CALL => true,
        SyntaxKind::DO => {
            node.text().to_string().split(|c: char| !c.is_alphanumeric() && c != '_').any(ends)
        }
        _ => false,
    };
    if may_end && !directives.transaction { StatementClass::Repeatable } else { class }
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
    if let Some(objection) = reserved::objection(node) {
        return Err(objection);
    }
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
        K::REINDEX if reindexes_concurrently(node) => Ok(outside::reindex(node)),
        K::REINDEX if reindex_is_outside(node) => Ok(Repeatable),
        K::CLUSTER if node.children().all(|part| part.kind() == K::OPTION_ITEM_LIST) => {
            Ok(Repeatable)
        }
        K::ALTER_SUBSCRIPTION if has(node, &[K::PUBLICATION_KW]) => outside::publications(node),
        K::ALTER_SUBSCRIPTION if has_slot_option(node) => Err(
            "this changes a slot of the publisher, which no transaction takes back and no catalog \
                 here shows; run it outside the migrations"
                .to_owned(),
        ),
        // Where it is already, it stays: PostgreSQL does nothing then.
        K::ALTER_DATABASE if has(node, &[K::TABLESPACE_KW]) => Ok(Repeatable),
        K::ALTER_TABLE if has(node, &[K::DETACH_KW, K::CONCURRENTLY_KW]) => outside::detach(node),
        _ => Ok(outside::existence(node).unwrap_or(Transactional)),
    }
}

/// Options the publisher keeps with the slot.
fn has_slot_option(node: &SyntaxNode) -> bool {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    tokens.into_iter().any(|token| {
        ["failover", "two_phase"].iter().any(|option| token.text().eq_ignore_ascii_case(option))
    })
}

/// `CONCURRENTLY`, as a word or as an option that is not switched off.
fn reindexes_concurrently(node: &SyntaxNode) -> bool {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let mut tokens = tokens.filter(|token| !token.kind().is_trivia());
    let found = tokens.any(|token| token.kind() == SyntaxKind::CONCURRENTLY_KW);
    let off = ["false", "off", "0", "'false'", "'off'"];
    let is_off = |text: &str| off.iter().any(|word| text.eq_ignore_ascii_case(word));
    found && !tokens.next().is_some_and(|token| is_off(token.text()))
}

fn reindex_is_outside(node: &SyntaxNode) -> bool {
    use SyntaxKind as K;
    [K::DATABASE_KW, K::SYSTEM_KW, K::SCHEMA_KW].iter().any(|kind| has(node, &[*kind]))
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
    let if_exists = drop.if_exists().is_some();
    let mut names = drop.index_refs().map(|name| name.syntax().text().to_string());
    match (names.next(), names.next()) {
        (Some(index), None) => Ok(StatementClass::ConcurrentIndexDrop { if_exists, index }),
        _ => Err("DROP INDEX CONCURRENTLY takes one index".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{OutsideObject, ReindexScope};

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
            ("copy t from stdin;\n1\n", "0: COPY … FROM stdin takes the lines behind it"),
            ("select 1;\ncopy t from stdin", "10: COPY … FROM stdin takes the lines behind it"),
            ("copy t from stdout;\n1\n\\.\n", "22: \\. is a psql meta-command"),
            ("copy t from stdout", "0: write COPY … FROM stdin, with the data"),
            ("copy t to stdout;", "0: COPY … TO STDOUT gives its rows to nobody"),
            ("copy binary t from stdin;\n\\.\n", "0: binary data cannot stand"),
            ("copy t from stdin (format 'binary');\n\\.\n", "0: binary data cannot stand"),
            ("copy t from stdin with binary;\n\\.\n", "0: binary data cannot stand"),
            (
                "select 1; copy t from stdin;\n1\n\\.\nselect 1,,2;",
                "43: expected an expression, found \",\"",
            ),
            (
                "-- annals: transaction=off\ncopy t from stdin;\n\\.\n",
                "27: COPY … FROM stdin has no",
            ),
            ("select e'a'\n'\\'; select '';--';", "0: it is not certain where this statement ends"),
            (
                "alter type t add value 'x';\ninsert into a values ('x');",
                "28: the value 'x' was added",
            ),
            ("-- annals: transaction=off\nset role x;", "27: in a file with transaction=off"),
            (
                "-- annals: transaction=off\nselect set_config('a.b', 'c', false);",
                "27: in a file with",
            ),
            ("discard all;", "0: this changes the session"),
            ("vacuum t;", "0: this statement cannot run inside a transaction"),
            ("create database x;", "0: this statement cannot run inside a transaction"),
            ("alter table t detach partition p concurrently", "0: this statement cannot run"),
            ("alter database d set tablespace t;", "0: this statement cannot run"),
            ("alter subscription s refresh publication;", "0: this statement cannot run"),
            (
                "alter subscription s add publication p;",
                "0: ALTER SUBSCRIPTION … ADD and DROP PUBLICATION fail",
            ),
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
    fn data_of_a_copy_is_part_of_its_statement() {
        let sql = "create table t (a text);\n-- x\ncopy t from stdin;\n1\n2\n\\.\nselect 1;\n";
        let script = parse(sql).unwrap();
        let found: Vec<_> = script
            .statements
            .iter()
            .map(|s| (s.line, s.text.as_str(), s.data.as_deref()))
            .collect();
        let expected = [
            (1, "create table t (a text);", None),
            (3, "copy t from stdin;", Some("1\n2\n")),
            (7, "select 1;", None),
        ];
        assert_eq!(found, expected);
        let digest = |sql: &str| parse(sql).unwrap().canonical;
        assert_eq!(digest(sql), digest(&sql.replace('\n', "\r\n")));
        assert_eq!(digest(sql), digest(&sql.replace("-- x\ncopy t", "copy  t")));
        assert_ne!(digest(sql), digest(&sql.replace("2\n", "2 \n")));
        assert_ne!(digest(sql), digest(&sql.replace("2\n", "")));
        let set = "SET standard_conforming_strings = on; set x = 'on';";
        assert!(parse(&format!("{set}{sql}")).is_ok());
        for (data, other) in [("select 1;\n", ""), ("", "select 1;\n")] {
            let file = format!("copy t from stdin;\n{data}\\.\n{other}");
            assert_eq!(parse(&file).unwrap().statements[0].data.as_deref(), Some(data));
        }
    }

    #[test]
    fn a_value_added_to_a_type_waits_for_the_next_transaction() {
        let add = "alter type s.\"T\" add value if not exists 'x' after 'w';";
        for used in [
            "insert into a values ('x');",
            "create table a (b t default E'x');",
            "do $$ begin insert into a values ('x'); end $$;",
        ] {
            assert!(parse(&format!("{add} {used}")).is_err(), "{used}");
            assert!(parse(&format!("{used} {add}")).is_ok(), "{used}");
            let off = format!("-- annals: transaction=off\n{add} {used}");
            assert!(parse(&off).is_ok(), "{used}");
            let made = format!("create type \"T\" as enum ('w'); {add} {used}");
            assert!(parse(&made).is_ok(), "{used}");
        }
        for unused in [
            "alter type s.\"T\" add value 'y' after 'x';",
            "comment on type s.\"T\" is 'x';",
            "insert into a values ('xx', x);",
            "create function f() returns void language plpgsql as $$ begin perform 'x'; end $$;",
        ] {
            assert!(parse(&format!("{add} {unused}")).is_ok(), "{unused}");
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
            StatementClass::ConcurrentIndexDrop { if_exists: true, index: "s.i".into() }
        );
        assert_eq!(class("vacuum full t"), StatementClass::Repeatable);
        assert_eq!(class("cluster"), StatementClass::Repeatable);
        assert_eq!(class("cluster t"), StatementClass::Repeatable);
        assert_eq!(class("call p()"), StatementClass::Repeatable);
        assert_eq!(class("do $$ begin commit; end $$"), StatementClass::Repeatable);
        assert_eq!(class("do $$ begin committed(); end $$"), StatementClass::Transactional);
        assert_eq!(class("call p(); select 1"), StatementClass::Transactional);
        assert_eq!(class("reindex table t"), StatementClass::Repeatable);
        let inside = |sql: &str| parse(sql).unwrap().statements.remove(0).class;
        let off = "reindex (concurrently off, verbose) table t";
        for sql in [
            "reindex table t",
            off,
            "reindex (concurrently false) index i",
            "cluster t",
            "call p()",
            "do $$ begin commit; end $$",
        ] {
            assert_eq!(inside(sql), StatementClass::Transactional, "{sql}");
        }
        let reindex = |scope, name: Option<&str>| StatementClass::ConcurrentReindex {
            name: name.map(str::to_owned),
            scope,
        };
        let cases = [
            ("reindex table concurrently t", reindex(ReindexScope::Table, Some("t"))),
            (
                "reindex (verbose, concurrently) index s.\"I\"",
                reindex(ReindexScope::Index, Some("s.\"I\"")),
            ),
            ("reindex schema concurrently s", reindex(ReindexScope::Schema, Some("s"))),
            ("reindex database concurrently", reindex(ReindexScope::Database, None)),
            ("reindex schema s", StatementClass::Repeatable),
            ("alter database d set tablespace t", StatementClass::Repeatable),
            ("alter subscription s set publication p, q", StatementClass::Repeatable),
            ("alter subscription s refresh publication", StatementClass::Repeatable),
        ];
        for (sql, expected) in cases {
            assert_eq!(class(sql), expected, "{sql}");
        }
        assert_eq!(
            class("alter table if exists only s.t detach partition s.p concurrently"),
            StatementClass::ConcurrentDetach { partition: "s.p".into(), table: "s.t".into() }
        );
        let objects = [
            (OutsideObject::Database, "create database \"d 1\" template template0", "\"d 1\""),
            (OutsideObject::Tablespace, "create tablespace d location '/x'", "d"),
            (
                OutsideObject::Subscription,
                "create subscription d connection 'c' publication p",
                "d",
            ),
        ];
        for (object, sql, name) in objects {
            assert_eq!(class(sql), StatementClass::Creation { name: name.into(), object });
            let word = object.as_str();
            for (sql, if_exists) in
                [(format!("drop {word} d"), false), (format!("drop {word} if exists d"), true)]
            {
                let expected = StatementClass::Removal { if_exists, name: "d".into(), object };
                assert_eq!(class(&sql), expected);
            }
        }
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
