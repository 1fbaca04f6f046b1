//! A copy of a schema without its rows, in an empty database of another server.

use annals_postgres::{DumpProgram, SchemaScope, Section, Session, read_schema_inside};
use annals_schema::{Snapshot, attachments};

use crate::error::ArchiveError;
use crate::platform::make_bare;
use crate::restore::SETTINGS;
use crate::sections::{POST_DATA, PRE_DATA, cut, is_set_by_us, statements_of};

/// How a schema is copied.
pub struct TwinOptions<'a> {
    /// What writes its text.
    pub dump: &'a DumpProgram,
    /// What belongs to the schema.
    pub scope: &'a SchemaScope,
    /// The longest that anybody's lock is waited for.
    pub lock_timeout_ms: u64,
    /// The role whose objects belong to another one in the copy, and that one.
    pub owner: (&'a str, &'a str),
}

/// A statement the copy's server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCopied {
    /// Its first line.
    pub statement: String,
    /// Why.
    pub reason: String,
}

/// Codes of what is there already, as a platform brings it: a comparison says whether it is the same.
const IS_THERE: [&str; 5] = ["42P06", "42P07", "42710", "42723", "42P16"];

/// Copies the schema `from` sees into the database of `to`, statement by statement. What is refused
/// there is left out and told, beside the picture of the schema as of the same snapshot.
///
/// `from` is only read, in a transaction of its own that ends here. What the platform of `to` gives a new
/// database is taken back first: `from` says what has become of it.
///
/// # Errors
///
/// When the schema cannot be read, or either server is lost.
pub async fn copy_schema(
    from: &mut Session,
    to: &mut Session,
    options: &TwinOptions<'_>,
) -> Result<(Snapshot, Vec<NotCopied>), ArchiveError> {
    let spec = from.spec().ok_or(ArchiveError::NoSpec)?;
    from.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let read = async {
        let rows = from.texts("SELECT pg_catalog.pg_export_snapshot()").await?;
        let snapshot = rows.into_iter().flatten().flatten().next().unwrap_or_default();
        let picture = read_schema_inside(from, options.scope).await?;
        let (excluded, wait) = (&options.scope.excluded(), options.lock_timeout_ms);
        let section = |section| options.dump.section(&spec, &snapshot, section, excluded, wait);
        let before = section(Section::PreData).await?;
        Ok::<_, ArchiveError>((picture, before, section(Section::PostData).await?))
    };
    let read = read.await;
    from.roll_back().await?;
    let (picture, before, behind) = read?;
    to.run(SETTINGS).await?;
    make_bare(to).await?;
    let (mut all, mut left) = (cut(&before, PRE_DATA)?, Vec::new());
    all.extend(cut(&behind, POST_DATA)?);
    let attached = attachments(&picture, &options.scope.excluded());
    all.extend(statements_of(attached.into_iter().flat_map(|it| it.sql).collect()));
    for statement in all.into_iter().filter(|statement| !is_set_by_us(&statement.sql)) {
        let sql = with_owner(&statement.sql, options.owner);
        let Err(fault) = to.run(&sql).await else { continue };
        if fault.ends_session() {
            return Err(fault.into());
        }
        if !fault.code().is_some_and(|code| IS_THERE.contains(&code)) {
            let line = sql.lines().next().unwrap_or_default();
            let statement = line.chars().take(100).collect();
            left.push(NotCopied { statement, reason: fault.to_string() });
        }
    }
    Ok((picture, left))
}

/// The statement, with another role in it where it says who owns an object.
fn with_owner(sql: &str, (from, to): (&str, &str)) -> String {
    let plain = format!(" OWNER TO {from};");
    let quoted = format!(" OWNER TO \"{}\";", from.replace('"', "\"\""));
    let trimmed = sql.trim_end();
    let found = [plain, quoted].into_iter().find_map(|end| trimmed.strip_suffix(&*end));
    match found {
        Some(rest) => format!("{rest} OWNER TO \"{}\";", to.replace('"', "\"\"")),
        None => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_owner_becomes_another_one() {
        let owned = |sql| with_owner(sql, ("app", "postgres"));
        let ours = "ALTER TABLE public.t OWNER TO \"postgres\";";
        assert_eq!(owned("ALTER TABLE public.t OWNER TO app;"), ours);
        assert_eq!(owned("ALTER TABLE public.t OWNER TO \"app\";"), ours);
        for other in ["ALTER TABLE public.t OWNER TO app2;", "CREATE TABLE public.app (id int);"] {
            assert_eq!(owned(other), other);
        }
    }
}
