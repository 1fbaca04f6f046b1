//! What a rehearsal asks of a sandbox: what each statement holds and rewrites, and rows as text.

use futures_util::StreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, Row, raw_sql};

use crate::fault::Fault;
use crate::session::Session;

/// A lock on a relation of the database, at the end of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// The relation's OID.
    pub relation: u32,
    /// Its name with its schema, as SQL spells it; none once it is dropped.
    pub name: Option<String>,
    /// `pg_class.relkind`; none once it is dropped.
    pub kind: Option<String>,
    /// Its file; none where it has none.
    pub file: Option<u32>,
    /// `AccessExclusiveLock` and so on.
    pub mode: String,
}

/// What was seen behind one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// How long the statement took, in microseconds.
    pub us: u64,
    /// Every lock on a relation this backend holds now.
    pub locks: Vec<HeldLock>,
}

/// What statements came to that were watched.
#[derive(Debug)]
pub struct Traced {
    /// One for each statement that was completed.
    pub traces: Vec<Trace>,
    /// The statement behind them, from 0, and what it failed with; a position counts from its start.
    /// With the number of statements: what was deferred to their end.
    pub fault: Option<(usize, Fault)>,
}

/// The first column and the last say when the look began and ended; catalogs lie below 16384.
const PREPARE: &str = "PREPARE annals_trace AS SELECT \
    (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)\
        ::pg_catalog.int8::pg_catalog.text AS annals_trace, \
    (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(\
        l.relation::pg_catalog.int8, \
        CASE WHEN c.oid IS NOT NULL \
            THEN pg_catalog.format('%I.%I', n.nspname, c.relname) END, \
        c.relkind::pg_catalog.text, \
        pg_catalog.pg_relation_filenode(c.oid)::pg_catalog.int8, l.mode)), '[]') \
     FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation \
     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' \
     AND l.relation >= 16384 AND coalesce(n.nspname, '') <> 'pg_toast' \
     AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
        WHERE d.datname = pg_catalog.current_database()))::pg_catalog.text AS locks, \
    (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)\
        ::pg_catalog.int8::pg_catalog.text AS until";

const LOOK: &str = "EXECUTE annals_trace;\n";

/// A look: when it began, when it ended, what it saw.
struct Look {
    from_us: i64,
    until_us: i64,
    locks: Vec<HeldLock>,
}

type LockRow = (u32, Option<String>, Option<String>, Option<u32>, String);

fn look(row: &PgRow) -> Result<Look, Fault> {
    let protocol = |what: String| Fault::Protocol(what);
    let from: &str = row.try_get("annals_trace")?;
    let locks: &str = row.try_get("locks")?;
    let until: &str = row.try_get("until")?;
    let locks: Vec<LockRow> =
        serde_json::from_str(locks).map_err(|error| protocol(format!("locks: {error}")))?;
    let locks = locks.into_iter().map(|(relation, name, kind, file, mode)| HeldLock {
        relation,
        name,
        kind,
        file,
        mode,
    });
    let locks = locks.collect();
    let number =
        |text: &str| text.parse::<i64>().map_err(|error| protocol(format!("{text}: {error}")));
    Ok(Look { from_us: number(from)?, until_us: number(until)?, locks })
}

impl Session {
    /// Makes the session ready for [`Self::run_traced`].
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn prepare_traces(&mut self) -> Result<(), Fault> {
        self.run(PREPARE).await
    }

    /// Runs statements in one message and looks behind each of them which locks it holds.
    ///
    /// # Errors
    ///
    /// The loss of the connection; what a statement fails with is in the result.
    pub async fn run_traced(&mut self, statements: &[&str]) -> Result<Traced, Fault> {
        self.run_traced_and(statements, "").await
    }

    /// As [`Self::run_traced`], to the end of what is in the transaction: what is deferred happens.
    ///
    /// # Errors
    ///
    /// As [`Self::run_traced`].
    pub async fn run_traced_to_end(&mut self, statements: &[&str]) -> Result<Traced, Fault> {
        let rider = self.rider.sql.take().unwrap_or_default();
        self.run_traced_and(statements, &format!("SET CONSTRAINTS ALL IMMEDIATE;\n{rider}")).await
    }

    async fn run_traced_and(&mut self, statements: &[&str], behind: &str) -> Result<Traced, Fault> {
        let mut sql = String::from(LOOK);
        let mut starts = Vec::with_capacity(statements.len());
        let mut chars = LOOK.len();
        for statement in statements {
            starts.push(chars);
            sql.push_str(statement);
            sql.push_str("\n;\n");
            sql.push_str(LOOK);
            chars += statement.chars().count() + 3 + LOOK.len();
        }
        sql.push_str(behind);
        let mut last = None;
        let (mut looks, mut fault): (Vec<Look>, Option<Fault>) = (Vec::new(), None);
        {
            let mut answers = raw_sql(AssertSqlSafe(sql)).fetch_many(self.connection());
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(Either::Right(row)) if looks.len() > statements.len() => last = Some(row),
                    Ok(Either::Right(row)) if row.try_get_raw("annals_trace").is_ok() => {
                        looks.push(look(&row)?);
                    }
                    Ok(_) => {}
                    Err(error) => fault = Some(error.into()),
                }
            }
        }
        let pairs = looks.windows(2).map(|pair| Trace {
            us: u64::try_from(pair[1].from_us - pair[0].until_us).unwrap_or(0),
            locks: pair[1].locks.clone(),
        });
        let traces: Vec<Trace> = pairs.collect();
        let Some(fault) = fault else {
            self.rider.answer = last;
            return Ok(Traced { traces, fault: None });
        };
        if fault.ends_session() {
            return Err(fault);
        }
        if looks.len() > statements.len() {
            return Ok(Traced { traces, fault: Some((statements.len(), fault)) });
        }
        // A message that cannot be parsed is refused whole.
        let pointed_at = match fault.position() {
            Some(position) if looks.is_empty() => {
                starts.iter().rposition(|start| *start < position)
            }
            _ => None,
        };
        let at = pointed_at.unwrap_or(traces.len()).min(statements.len().saturating_sub(1));
        let start = starts.get(at).copied().unwrap_or_default();
        Ok(Traced { traces, fault: Some((at, fault.behind(start))) })
    }

    /// Prepares a query with one parameter, an array of texts, for [`Self::reset_and_ask`].
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn prepare_question(&mut self, name: &str, query: &str) -> Result<(), Fault> {
        self.run(&format!("PREPARE {name} (pg_catalog.text[]) AS {query}")).await
    }

    /// Gives the session the state it began with and asks a question that was prepared; `texts` is
    /// SQL, with commas between them. Its rows have one column.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn reset_and_ask(
        &mut self,
        question: &str,
        texts: &str,
    ) -> Result<Vec<Option<String>>, Fault> {
        // One plan for all times: the catalog grows.
        let sql = format!(
            "{}; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
             EXECUTE {question} (ARRAY[{texts}]::pg_catalog.text[]); \
             RESET plan_cache_mode; RESET enable_seqscan",
            self.reset_sql()
        );
        // Resetting answers with a row of many columns.
        let rows = self.texts(&sql).await?.into_iter().filter(|row| row.len() == 1);
        Ok(rows.flatten().collect())
    }

    /// Runs a query as it stands; every value as the server writes it.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn texts(&mut self, query: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let rows = self.rows(query).await?;
        let text = |row: &PgRow| {
            (0..row.len())
                .map(|at| {
                    let value = row.try_get_raw(at)?;
                    if sqlx::ValueRef::is_null(&value) {
                        return Ok(None);
                    }
                    let text =
                        value.as_str().map_err(|error| Fault::Protocol(error.to_string()))?;
                    Ok(Some(text.to_owned()))
                })
                .collect()
        };
        rows.iter().map(text).collect()
    }
}
