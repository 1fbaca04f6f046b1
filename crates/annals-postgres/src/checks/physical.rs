//! What the extension amcheck sees in the files of tables and indexes.

use sqlx::Row;

use super::data::{Index, Plan, Table};
use super::keys::Verdict;
use super::rows::evidence;
use super::statement::{Guard, Met, Statements, number};
use super::{CheckOptions, Report, Why};
use crate::fault::Fault;

/// What of amcheck there is.
#[derive(Debug, Default)]
pub(super) struct Amcheck {
    /// `bt_index_check`, as SQL spells it.
    btree: Option<String>,
    /// `gin_index_check`, as SQL spells it.
    gin: Option<String>,
    /// `verify_heapam`, as SQL spells it.
    pub(super) heap: Option<String>,
}

const FUNCTIONS: &str =
    " SELECT format('%I.%I', n.nspname, p.proname) AS name, p.proname::text AS bare,
    has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE') AS allowed
  FROM pg_extension e
  JOIN member m ON m.classid = 'pg_proc'::regclass AND EXISTS (
       SELECT FROM pg_depend d WHERE d.classid = m.classid AND d.objid = m.objid
          AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid)
  JOIN pg_proc p ON p.oid = m.objid JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE e.extname = 'amcheck' AND (p.proname IN ('verify_heapam', 'gin_index_check')
    OR (p.proname = 'bt_index_check' AND p.pronargs = 2))";

/// `verify_heapam` came with 14.
const HEAP_SINCE: u32 = 14;

/// `gin_index_check` came with 18.
const GIN_SINCE: u32 = 18;

/// A function of amcheck, and what is checked with it.
struct Means {
    function: &'static str,
    check: &'static str,
    since: u32,
    /// The version of amcheck that brought it.
    version: &'static str,
}

const MEANS: [Means; 3] = [
    Means { function: "bt_index_check", check: "index.corrupt", since: 13, version: "1.1" },
    Means { function: "verify_heapam", check: "data.heap", since: HEAP_SINCE, version: "1.3" },
    Means { function: "gin_index_check", check: "index.corrupt", since: GIN_SINCE, version: "1.5" },
];

impl Amcheck {
    /// Looks what there is, and says what is not.
    pub(super) async fn find(
        line: &mut Statements,
        options: &CheckOptions<'_>,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<Self, Fault> {
        let mut found = Self::default();
        if !options.has("index.corrupt") && !options.has("data.heap") {
            return Ok(found);
        }
        let sql = super::catalog::complete(FUNCTIONS, options);
        let rows = match line.rows(&Guard::Catalog, &sql).await? {
            Ok(rows) => rows,
            Err(why) => {
                for check in ["index.corrupt", "data.heap"].into_iter().filter(|c| options.has(c)) {
                    report.miss(check, "extension amcheck", why.clone());
                }
                return Ok(found);
            }
        };
        let is_installed = !rows.is_empty();
        let mut functions = Vec::new();
        for row in rows {
            let (name, bare): (String, String) = (row.try_get("name")?, row.try_get("bare")?);
            functions.push((name, bare, row.try_get::<bool, _>("allowed")?));
        }
        let has_gin = plan.indexes.iter().any(|index| index.method == "gin");
        for means in MEANS.iter().filter(|means| options.has(means.check)) {
            let why = match functions.iter().find(|(_, bare, _)| bare == means.function) {
                Some((name, _, true)) => {
                    *found.slot(means.function) = Some(name.clone());
                    continue;
                }
                Some((name, ..)) => Why::Privilege(format!("this role may not execute {name}")),
                None if line.major() < means.since => {
                    Why::Version(format!("{} needs PostgreSQL {}", means.function, means.since))
                }
                None if is_installed => {
                    Why::Extension(format!("amcheck is older than version {}", means.version))
                }
                None => Why::Extension("amcheck is not installed".to_owned()),
            };
            // Before 18 nothing can look into a GIN index, and the check speaks of none.
            let is_of_gin = means.function == "gin_index_check";
            if !is_of_gin {
                report.miss(means.check, "extension amcheck", why);
            } else if has_gin && is_installed && line.major() >= GIN_SINCE {
                report.miss(means.check, "GIN indexes", why);
            }
        }
        Ok(found)
    }

    fn slot(&mut self, function: &str) -> &mut Option<String> {
        match function {
            "bt_index_check" => &mut self.btree,
            "gin_index_check" => &mut self.gin,
            _ => &mut self.heap,
        }
    }

    /// The call that checks an index, if there is one.
    pub(super) fn of(&self, index: &Index) -> Option<String> {
        let (function, and_heap) = match index.method.as_str() {
            "gin" => (&self.gin, ""),
            _ => (&self.btree, ", true"),
        };
        let function = function.as_ref()?;
        Some(format!("{function}({}::oid::regclass{and_heap})", index.oid))
    }
}

/// Whether a table can be read from end to end.
pub(super) async fn is_readable(
    line: &mut Statements,
    from: &str,
) -> Result<Option<String>, Fault> {
    let sql = format!("SELECT count(*) AS n FROM {from}");
    Ok(match line.row(Guard::Rows, &sql).await? {
        Err(Met::Damage(message)) => Some(message),
        Ok(_) | Err(Met::Not(_)) => None,
    })
}

/// Checks an index: its order and, of a B-tree, that every row is in it.
pub(super) async fn check_index(
    line: &mut Statements,
    call: &str,
    index: &Index,
) -> Result<Verdict, Fault> {
    let sql = format!("SELECT {call} AS done");
    let message = match line.ask(Guard::Catalog, &sql).await? {
        Ok(_) => return Ok(Ok(None)),
        Err(Met::Damage(message)) => message,
        Err(met) => return Ok(Err(met)),
    };
    // It reads the table too: a table that cannot be read is not the index's fault.
    match is_readable(line, &format!("ONLY {} t", index.table)).await? {
        Some(damage) => {
            Ok(Err(Met::Not(Why::Failed(format!("its table cannot be read: {damage}")))))
        }
        None => Ok(Ok(Some(message))),
    }
}

/// Checks the pages of a table.
pub(super) async fn check_heap(
    line: &mut Statements,
    function: &str,
    table: &Table,
) -> Result<Verdict, Fault> {
    let sql = format!(
        "SELECT count(*)::int8 AS n, string_agg(format('block %s, row %s: %s', q.blkno, q.offnum, \
         q.msg), '; ' ORDER BY q.at) FILTER (WHERE q.at <= 3) AS places FROM (SELECT v.*, \
         row_number() OVER () AS at FROM {function}({}::oid::regclass, check_toast => true) v) q",
        table.oid
    );
    let row = match line.row(Guard::Catalog, &sql).await? {
        Ok(row) => row,
        Err(Met::Damage(message)) => return Ok(Err(Met::Not(Why::Failed(message)))),
        Err(met) => return Ok(Err(met)),
    };
    let (count, places): (u64, Option<String>) = (number(&row, "n")?, row.try_get("places")?);
    let what = "are damaged";
    Ok(Ok((count > 0).then(|| evidence(count, what, &places.unwrap_or_default()))))
}
