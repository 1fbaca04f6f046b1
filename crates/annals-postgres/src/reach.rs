//! What a change of some relations may reach on a target: tables whose rows may change with theirs.

use crate::batch::literal;
use crate::fault::Fault;
use crate::session::Session;

/// What a change may reach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Tables, as SQL spells them: those that were named, of an index its table, what inherits from them, and what
    /// foreign keys change with them.
    pub tables: Vec<String>,
    /// What may change anything else: triggers and rules of these.
    pub beyond: Vec<String>,
}

const REACH: &str = "WITH RECURSIVE named AS (
    SELECT coalesce(i.indrelid, c.oid) AS oid
      FROM unnest({names}::text[]) name JOIN pg_class c ON c.oid = to_regclass(name)
      LEFT JOIN pg_index i ON i.indexrelid = c.oid),
  reach AS (
    SELECT oid FROM named
    UNION
    SELECT x.oid FROM reach r CROSS JOIN LATERAL (
        SELECT k.conrelid AS oid FROM pg_constraint k
         WHERE k.contype = 'f' AND k.confrelid = r.oid
           AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
        UNION ALL
        SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = r.oid) x)
SELECT 't', format('%I.%I', n.nspname, c.relname)
  FROM reach JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
UNION
SELECT 'b', format('the trigger %I of %I.%I', g.tgname, n.nspname, c.relname)
  FROM reach JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_trigger g ON g.tgrelid = c.oid
 WHERE g.tgenabled IN ('O', 'A')
   AND coalesce((SELECT x.contype FROM pg_constraint x WHERE x.oid = g.tgconstraint), 't') = 't'
UNION
SELECT 'b', format('the rule %I of %I.%I', w.rulename, n.nspname, c.relname)
  FROM reach JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_rewrite w ON w.ev_class = c.oid WHERE w.ev_type <> '1'
 ORDER BY 1, 2";

/// Functions that may change rows when a statement calls them.
const FUNCTIONS: &str = "SELECT DISTINCT p.proname::text FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'annals') AND n.nspname !~ '^pg_'
   AND p.provolatile = 'v' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
       AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY 1";

impl Session {
    /// What a change of these relations, as SQL spells them, may reach. What is not there is left out.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn reach_of(&mut self, relations: &[String]) -> Result<Reach, Fault> {
        let names: Vec<String> = relations.iter().map(|name| literal(name)).collect();
        let names = format!("ARRAY[{}]", names.join(", "));
        let mut reach = Reach::default();
        for row in self.texts(&REACH.replace("{names}", &names)).await? {
            let mut row = row.into_iter().flatten();
            match (row.next().as_deref(), row.next()) {
                (Some("t"), Some(table)) => reach.tables.push(table),
                (_, Some(what)) => reach.beyond.push(what),
                _ => return Err(Fault::Protocol("a relation has no name".to_owned())),
            }
        }
        Ok(reach)
    }

    /// Where the server writes its WAL, or replays it.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn wal_position(&mut self) -> Result<String, Fault> {
        let position = "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() \
            THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END)::text";
        let found = self.texts(position).await?.into_iter().flatten().flatten().next();
        found.ok_or_else(|| Fault::Protocol("the server has no place in its WAL".to_owned()))
    }

    /// The names of functions, of no extension, that may change rows when they are called.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn changing_functions(&mut self) -> Result<Vec<String>, Fault> {
        Ok(self.texts(FUNCTIONS).await?.into_iter().flatten().flatten().collect())
    }
}
