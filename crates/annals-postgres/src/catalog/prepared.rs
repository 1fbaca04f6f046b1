//! Queries a server parses and plans once for a session.
//!
//! Some forty queries of the catalog take twenty milliseconds to parse and plan, and one or two to
//! run. Whoever reads the same database again and again prepares them. A file of the user's may
//! take them away (`DEALLOCATE ALL`, `DISCARD ALL`) or put others in their place: each reading asks
//! what there is, and only what was prepared here is used.

use std::fmt::Write as _;

use sqlx::Row;

use crate::fault::Fault;
use crate::session::Session;

/// Names of prepared statements begin with it.
const PREFIX: &str = "annals_catalog_";

/// As a column: what there is, by names and when each was prepared.
pub(super) const MARK: &str = "(SELECT pg_catalog.md5(pg_catalog.string_agg(p.name || ':' \
     || pg_catalog.date_part('epoch', p.prepare_time), ',' ORDER BY p.name COLLATE \"C\")) \
     FROM pg_catalog.pg_prepared_statements p WHERE pg_catalog.starts_with(p.name, 'annals_catalog_'))";

/// A query with its parameters, `$1` and on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// Names it among the others.
    pub(super) name: String,
    /// The types of its parameters.
    pub(super) types: &'static str,
    /// Its text.
    pub(super) text: String,
}

/// What a reader has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// What the queries follow from.
    from: String,
    /// Their names.
    names: Vec<String>,
    /// What the server says when all of them are there; none before they were prepared once.
    mark: Option<String>,
}

impl Prepared {
    /// Whether the session has the queries that follow from `from`, `found` being what it says of
    /// itself.
    pub(super) fn are_there(&self, from: &str, found: Option<&str>) -> bool {
        found.is_some() && self.mark.as_deref() == found && self.from == from
    }

    /// Names that begin with a word.
    pub(super) fn of(&self, word: &str) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(move |name| name.starts_with(word))
    }

    /// Prepares queries, and nothing else of ours stays.
    pub(super) async fn prepare(
        &mut self,
        session: &mut Session,
        from: String,
        queries: Vec<Query>,
    ) -> Result<(), Fault> {
        let there = format!(
            "SELECT name FROM pg_catalog.pg_prepared_statements \
             WHERE pg_catalog.starts_with(name, '{PREFIX}')"
        );
        let mut old = String::new();
        for row in &session.rows(&there).await? {
            let name: String = row.try_get("name")?;
            let _ = write!(old, "DEALLOCATE \"{}\";", name.replace('"', "\"\""));
        }
        if !old.is_empty() {
            session.run(&old).await?;
        }
        // One message each: the server keeps the text of the message with each statement.
        for Query { name, types, text } in &queries {
            let types = if types.is_empty() { String::new() } else { format!(" ({types})") };
            session.run(&format!("PREPARE {PREFIX}{name}{types} AS {text}")).await?;
        }
        let rows = session.rows(&format!("SELECT {MARK} AS mark")).await?;
        let row = rows.first().ok_or_else(|| Fault::Protocol("no answer".to_owned()))?;
        self.mark = row.try_get("mark")?;
        self.from = from;
        self.names = queries.into_iter().map(|query| query.name).collect();
        Ok(())
    }
}

/// Runs a prepared query; `arguments` are SQL, with commas between them.
pub(super) fn execute(sql: &mut String, name: &str, arguments: &str) {
    let arguments = if arguments.is_empty() { String::new() } else { format!("({arguments})") };
    let _ = writeln!(sql, "EXECUTE {PREFIX}{name}{arguments};");
}
