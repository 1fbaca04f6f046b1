//! The sections of a schema, statement by statement. Most of the time behind the rows goes into indexes: those, and
//! the constraints that are indexes, are made side by side. Everything else follows in its order.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use annals_migrations::{Cut, Cutter};
use annals_postgres::Session;
use futures_util::future::try_join_all;

use crate::error::ArchiveError;

/// A statement, with its line in the section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) line: u32,
}

/// The statements of a section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// In any order, several at a time.
    pub(crate) side_by_side: Vec<Statement>,
    /// Behind them, in this order.
    pub(crate) in_order: Vec<Statement>,
}

/// Memory all sessions together may use to make indexes, in MiB.
const MEMORY_MIB: usize = 256;

/// The least one of them gets, in MiB.
const LEAST_MIB: usize = 32;

/// The names of the sections in messages.
pub(crate) const PRE_DATA: &str = "pre-data";
pub(crate) const POST_DATA: &str = "post-data";
pub(crate) const ATTACHED: &str = "what is on the platform's tables";

/// The most SQL that is sent in one message, unless one statement is longer.
const BATCH_BYTES: usize = 64 << 10;

/// Cuts a section into its statements.
pub(crate) fn cut(sql: &str, name: &str) -> Result<Vec<Statement>, ArchiveError> {
    let (mut all, mut cutter) = (Vec::new(), Cutter::new(sql.as_bytes()));
    while let Some(cut) = cutter.next_cut()? {
        match cut {
            Cut::Gap(_) => {}
            Cut::Data(_) => {
                return Err(ArchiveError::Malformed(format!("there are rows in its {name}")));
            }
            Cut::Statement { text, at, .. } => {
                all.push(Statement { sql: text.to_owned(), line: at.line });
            }
        }
    }
    Ok(all)
}

/// Statements that stand in no section.
pub(crate) fn statements_of(sql: Vec<String>) -> Vec<Statement> {
    sql.into_iter().zip(1..).map(|(sql, line)| Statement { sql, line }).collect()
}

/// Sorts the statements of what comes behind the rows.
pub(crate) fn sort(statements: Vec<Statement>) -> Sorted {
    let (mut sorted, mut made) = (Sorted::default(), BTreeSet::new());
    for statement in statements {
        // A view that waits for a key comes here, and its indexes behind it.
        if let Some(rest) = statement.sql.strip_prefix("CREATE MATERIALIZED VIEW ") {
            made.insert(name(rest).to_owned());
        }
        match table_of_index(&statement.sql) {
            Some(table) if !made.contains(table) => sorted.side_by_side.push(statement),
            _ => sorted.in_order.push(statement),
        }
    }
    sorted
}

/// Sends statements, some at a time: one message for all of them would hold every lock there is until its
/// end.
pub(crate) async fn send(
    session: &mut Session,
    statements: &[Statement],
    name: &str,
) -> Result<(), ArchiveError> {
    let (mut batch, mut at) = (String::new(), 0);
    for Statement { sql, line } in statements {
        if !batch.is_empty() && batch.len() + sql.len() > BATCH_BYTES {
            send_batch(session, &std::mem::take(&mut batch), name, at).await?;
        }
        if is_set_by_us(sql) {
            continue;
        }
        if batch.is_empty() {
            at = *line;
        }
        batch.push_str(sql);
        batch.push('\n');
    }
    match batch.is_empty() {
        true => Ok(()),
        false => send_batch(session, &batch, name, at).await,
    }
}

/// What `pg_dump` sets at the head of its output, for versions that may not know it. What a section
/// sets between its statements (`default_tablespace`, `default_table_access_method`) is sent.
pub(crate) fn is_set_by_us(statement: &str) -> bool {
    const NAMES: [&str; 9] = [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
        "client_encoding",
        "check_function_bodies",
        "xmloption",
        "client_min_messages",
        "row_security",
    ];
    let rest = statement.strip_prefix("SET ").unwrap_or_default();
    let name = rest.split([' ', '=']).next().unwrap_or_default();
    NAMES.contains(&name)
}

async fn send_batch(
    session: &mut Session,
    batch: &str,
    name: &str,
    line: u32,
) -> Result<(), ArchiveError> {
    let Err(fault) = session.run(batch).await else { return Ok(()) };
    // The server points into the message where it can; else it is one of these.
    let begins: String = batch.chars().take(100).collect();
    let begins = begins.lines().next().unwrap_or_default().to_owned();
    Err(ArchiveError::Refused { what: format!("{name}, from line {line}: {begins}"), fault })
}

/// The table that a statement makes an index on, as `pg_dump` writes both.
pub(crate) fn table_of_index(sql: &str) -> Option<&str> {
    let of_index =
        ["CREATE INDEX ", "CREATE UNIQUE INDEX "].iter().find_map(|word| sql.strip_prefix(word));
    if let Some(rest) = of_index {
        let behind = rest[name(rest).len()..].strip_prefix(" ON ")?;
        return Some(name(behind.strip_prefix("ONLY ").unwrap_or(behind)));
    }
    let rest = sql.strip_prefix("ALTER TABLE ")?;
    let rest = rest.strip_prefix("ONLY ").unwrap_or(rest);
    let table = name(rest);
    let behind = rest[table.len()..].trim_start().strip_prefix("ADD CONSTRAINT ")?;
    let kind = behind[name(behind).len()..].trim_start();
    let is_index = ["PRIMARY KEY ", "UNIQUE ", "EXCLUDE "].iter().any(|it| kind.starts_with(it));
    is_index.then_some(table)
}

/// The name that `text` begins with, quotes and schema included.
pub(crate) fn name(text: &str) -> &str {
    let mut is_quoted = false;
    let ends = |(_, c): &(usize, char)| {
        is_quoted ^= *c == '"';
        !is_quoted && (c.is_whitespace() || matches!(c, '(' | ';'))
    };
    let end = text.char_indices().find(ends).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// Whether a statement says who owns something, or what somebody may do with it.
pub(crate) fn is_about_owners(sql: &str) -> bool {
    let rights = ["GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES "];
    // Without a literal, which could have these words.
    let owner = sql.starts_with("ALTER ") && sql.contains(" OWNER TO ") && !sql.contains('\'');
    owner || rights.iter().any(|word| sql.starts_with(word))
}

/// The table a foreign key refers to, as `pg_dump` writes it.
pub(crate) fn referred_to(sql: &str) -> Option<&str> {
    let behind = sql.strip_prefix("ALTER TABLE ")?.split_once("ADD CONSTRAINT ")?.1;
    let key = behind[name(behind).len()..].strip_prefix(" FOREIGN KEY ")?;
    Some(name(key.split_once(" REFERENCES ")?.1))
}

/// The schema of a name, without quotes.
pub(crate) fn schema_of(table: &str) -> Option<String> {
    let mut is_quoted = false;
    let dot = table.char_indices().find(|(_, c)| {
        is_quoted ^= *c == '"';
        !is_quoted && *c == '.'
    });
    Some(unquoted(&table[..dot?.0]))
}

/// One name, without quotes.
pub(crate) fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Makes what can be made side by side. What one of them refuses, which may be for the others' sake, is
/// tried once more when they are done.
pub(crate) async fn make_side_by_side(
    sessions: &mut [Session],
    statements: Vec<Statement>,
) -> Result<(), ArchiveError> {
    let each = (MEMORY_MIB / sessions.len().max(1)).max(LEAST_MIB);
    let left = RefCell::new(VecDeque::from(statements));
    let again = RefCell::new(Vec::new());
    let works = sessions.iter_mut().map(|session| {
        let (left, again) = (&left, &again);
        async move {
            session.run(&format!("SET maintenance_work_mem = '{each}MB'")).await?;
            loop {
                let Some(statement) = left.borrow_mut().pop_front() else { break };
                match session.run(&statement.sql).await {
                    Ok(()) => {}
                    Err(fault) if fault.ends_session() => return Err(fault.into()),
                    Err(fault) => {
                        tracing::debug!(%fault, line = statement.line, "is tried once more");
                        again.borrow_mut().push(statement);
                    }
                }
            }
            Ok::<(), ArchiveError>(())
        }
    });
    try_join_all(works).await?;
    let mut again = again.into_inner();
    again.sort_by_key(|statement| statement.line);
    let [first, ..] = sessions else { return Ok(()) };
    first.run(&format!("SET maintenance_work_mem = '{MEMORY_MIB}MB'")).await?;
    for Statement { sql, line } in again {
        send_batch(first, &sql, POST_DATA, line).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, wanted: Option<&str>) {
        assert_eq!(table_of_index(sql), wanted, "{sql}");
    }

    #[test]
    fn only_what_is_an_index_is_made_side_by_side() {
        check("CREATE INDEX i ON public.t USING btree (a);", Some("public.t"));
        check(
            "CREATE UNIQUE INDEX \"an ON \"\"x\" ON ONLY public.\"a t\" USING btree (a);",
            Some("public.\"a t\""),
        );
        check("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a);", Some("public.t"));
        check(
            "ALTER TABLE public.t\n    ADD CONSTRAINT \"UNIQUE \" EXCLUDE USING gist (a WITH =);",
            Some("public.t"),
        );
        for other in [
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT \"PRIMARY KEY \" FOREIGN KEY (a) REFERENCES u(a);",
            "ALTER TABLE ONLY public.t REPLICA IDENTITY USING INDEX i;",
            "ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK ((a > 0)) NOT VALID;",
            "ALTER INDEX public.i ATTACH PARTITION public.j;",
            "CREATE TRIGGER t AFTER INSERT ON public.t EXECUTE FUNCTION f();",
            "COMMENT ON INDEX public.i IS 'CREATE INDEX i ON t';",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn an_index_on_what_is_made_here_follows_it() {
        let sql = "CREATE INDEX i ON public.t USING btree (a);\n\
            CREATE MATERIALIZED VIEW public.m AS\n SELECT 1 AS a\n  WITH NO DATA;\n\
            CREATE UNIQUE INDEX j ON public.m USING btree (a);\n\
            REFRESH MATERIALIZED VIEW public.m;\n\
            CREATE INDEX k ON public.t USING btree (b);\n";
        let sorted = sort(cut(sql, POST_DATA).unwrap());
        let lines = |all: &[Statement]| all.iter().map(|it| it.line).collect::<Vec<_>>();
        assert_eq!(lines(&sorted.side_by_side), [1, 7]);
        assert_eq!(lines(&sorted.in_order), [2, 5, 6]);
    }

    #[test]
    fn owners_and_rights_are_told_from_what_they_are_of() {
        for about in [
            "ALTER TABLE public.t OWNER TO \"a b\";",
            "ALTER FUNCTION public.f(a text) OWNER TO postgres;",
            "GRANT SELECT ON TABLE public.t TO anon;",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ALL ON TABLES TO anon;",
        ] {
            assert!(is_about_owners(about), "{about}");
        }
        for other in [
            "CREATE TABLE public.t (a text);",
            "ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT ' OWNER TO x'::text;",
            "ALTER SEQUENCE public.s OWNED BY public.t.a;",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$GRANT a TO b$$;",
        ] {
            assert!(!is_about_owners(other), "{other}");
        }
    }

    #[test]
    fn a_foreign_key_says_where_it_refers_to() {
        let to = |sql: &str| {
            let table = referred_to(sql).map(str::to_owned);
            (table.as_deref().and_then(schema_of), table)
        };
        let key = "ALTER TABLE ONLY public.\"a FOREIGN KEY t\"\n    ADD CONSTRAINT \"k \"\"x\" FOREIGN KEY (a) \
                   REFERENCES auth.users(id) ON DELETE CASCADE;";
        assert_eq!(to(key), (Some("auth".to_owned()), Some("auth.users".to_owned())));
        let quoted = "ALTER TABLE public.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES \"a.\"\"b\".\"c d\"(id) NOT VALID;";
        let names = (Some("a.\"b".to_owned()), Some("\"a.\"\"b\".\"c d\"".to_owned()));
        assert_eq!(to(quoted), names);
        for other in [
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k CHECK ((a <> ' FOREIGN KEY (a) REFERENCES auth.users('::text));",
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT k PRIMARY KEY (a);",
            "CREATE INDEX i ON public.t USING btree (a);",
        ] {
            assert_eq!(to(other), (None, None), "{other}");
        }
    }
}
