//! Sample rows: as tables want them, parents first.

use std::collections::{BTreeMap, BTreeSet};

use annals_postgres::{Fault, Session};
use serde_json::Value;

use crate::errand::check_alive;
use crate::report::Skipped;
use crate::values::{candidates, in_turn, mine, quote, series};

/// A column that may get a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Column {
    /// Quoted.
    pub(crate) name: String,
    /// As it is.
    pub(crate) bare: String,
    /// Its type without domains, and that type's name.
    pub(crate) base_type: String,
    pub(crate) base: String,
    /// `pg_type.typtype` of it.
    pub(crate) kind: String,
    /// Of arrays.
    pub(crate) element: Option<String>,
    /// Of ranges.
    pub(crate) subtype: Option<String>,
    /// Of enums.
    pub(crate) labels: Vec<String>,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    /// The server gives it its value.
    pub(crate) is_made: bool,
    /// What its domains want of it.
    pub(crate) domain_checks: Vec<String>,
    /// Values that stand in conditions of its table.
    pub(crate) mined: Vec<String>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Foreign {
    columns: Vec<String>,
    table: String,
    targets: Vec<String>,
}

/// A table that may get rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// Columns of its primary key, not quoted.
    pub(crate) key: Vec<String>,
    /// Columns of its unique indexes, quoted.
    unique: BTreeSet<String>,
    /// Conditions with the columns they are about, quoted.
    checks: Vec<(String, Vec<String>)>,
    foreign: Vec<Foreign>,
}

/// Sample rows of one table in one go.
pub(crate) const ROWS: u64 = 3;

/// The most combinations of values that are tried against the conditions of a table.
const MAX_COMBINATIONS: usize = 20_000;

/// Tables and whatever they refer to, as JSON; of partitioned tables the partitions.
const FACTS: &str = r#"WITH RECURSIVE named AS (
    SELECT pg_catalog.to_regclass(n.n)::pg_catalog.oid AS oid
    FROM pg_catalog.unnest($1) AS n(n)
), leaves AS (
    SELECT c.oid FROM named JOIN pg_catalog.pg_class c USING (oid) WHERE c.relkind = 'r'
    UNION SELECT p.relid FROM named JOIN pg_catalog.pg_class c USING (oid),
        LATERAL (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t
            WHERE t.isleaf ORDER BY t.relid::pg_catalog.oid LIMIT 2) p WHERE c.relkind = 'p'
), wanted AS (
    SELECT oid FROM leaves
    UNION SELECT k.confrelid FROM wanted w
        JOIN pg_catalog.pg_constraint k ON k.conrelid = w.oid AND k.contype = 'f'
), bases AS (
    SELECT t.oid AS top, t.oid, t.typtype, t.typbasetype, t.typtypmod, 0 AS depth
    FROM pg_catalog.pg_type t WHERE t.oid IN (SELECT a.atttypid FROM wanted w
        JOIN pg_catalog.pg_attribute a ON a.attrelid = w.oid WHERE a.attnum > 0)
    UNION ALL SELECT b.top, t.oid, t.typtype, t.typbasetype,
        CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE b.typtypmod END, b.depth + 1
    FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
)
SELECT pg_catalog.json_build_object(
  'name', pg_catalog.format('%I.%I', n.nspname, c.relname),
  'kind', c.relkind,
  'partition', pg_catalog.pg_get_partition_constraintdef(c.oid),
  'columns', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', pg_catalog.quote_ident(a.attname), 'bare', a.attname, 'number', a.attnum,
      'base_type', pg_catalog.format_type(b.oid,
          CASE WHEN b.depth = 0 THEN a.atttypmod ELSE b.typtypmod END),
      'base', t.typname, 'kind', t.typtype,
      'element', (SELECT e.typname FROM pg_catalog.pg_type e
          WHERE e.oid = t.typelem AND t.typcategory = 'A' AND e.typtype = 'b'),
      'subtype', (SELECT s.typname FROM pg_catalog.pg_range r
          JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype WHERE r.rngtypid = t.oid),
      'labels', (SELECT coalesce(pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder), '[]')
          FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid),
      'not_null', a.attnotnull OR EXISTS (SELECT FROM bases d JOIN pg_catalog.pg_type dt
          ON dt.oid = d.oid WHERE d.top = a.atttypid AND dt.typnotnull),
      'has_default', a.atthasdef OR EXISTS (SELECT FROM pg_catalog.pg_type dt
          WHERE dt.oid = a.atttypid AND dt.typdefault IS NOT NULL),
      'is_made', a.attidentity <> '' OR a.attgenerated <> '' OR coalesce((
          SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%'
          FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum), false),
      'domain_checks', (SELECT coalesce(pg_catalog.json_agg(
          pg_catalog.pg_get_expr(k.conbin, 0)), '[]') FROM bases d
          JOIN pg_catalog.pg_constraint k ON k.contypid = d.oid AND k.contype = 'c'
          WHERE d.top = a.atttypid)
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute a JOIN bases b ON b.top = a.atttypid AND b.typtype <> 'd'
    JOIN pg_catalog.pg_type t ON t.oid = b.oid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'key', (SELECT coalesce(pg_catalog.json_agg(a.attname ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
      ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = c.oid AND i.indisprimary),
  'unique', (SELECT coalesce(pg_catalog.json_agg(DISTINCT pg_catalog.quote_ident(a.attname)), '[]')
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a
      ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = c.oid AND i.indisunique),
  'checks', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'condition', pg_catalog.pg_get_expr(k.conbin, k.conrelid),
      'columns', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.quote_ident(a.attname)), '[]')
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey))
    )), '[]') FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'),
  'foreign', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'table', pg_catalog.format('%I.%I', rn.nspname, r.relname),
      'columns', (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(a.attname) ORDER BY x.at)
        FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS x(num, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num),
      'targets', (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(a.attname) ORDER BY x.at)
        FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS x(num, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.num)
    )), '[]') FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.confrelid
      JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
      WHERE k.conrelid = c.oid AND k.contype = 'f')
)::pg_catalog.text
FROM wanted w JOIN pg_catalog.pg_class c ON c.oid = w.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' ORDER BY c.oid"#;

/// Names [`FACTS`] in a session.
const QUESTION: &str = "annals_facts";

/// Makes a session ready for [`read_tables`].
pub(crate) async fn prepare_tables(session: &mut Session) -> Result<(), Fault> {
    session.prepare_question(QUESTION, FACTS).await
}

/// Reads what must be known of tables to give them rows, parents first; the session is as it began.
pub(crate) async fn read_tables(
    session: &mut Session,
    names: &[String],
) -> Result<Vec<Table>, Fault> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<String> = names.iter().map(|name| quote(name)).collect();
    let rows = session.reset_and_ask(QUESTION, &list.join(", ")).await?;
    let mut tables = Vec::new();
    for text in rows.into_iter().flatten() {
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Fault::Protocol(format!("facts of a table: {error}")))?;
        tables.push(table(&value));
    }
    Ok(parents_first(tables))
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn table(value: &Value) -> Table {
    let list = |member: &str| value[member].as_array().cloned().unwrap_or_default();
    let mut columns: Vec<Column> = list("columns").iter().map(column).collect();
    let checks = list("checks");
    let mut checks: Vec<(String, Vec<String>)> =
        checks.iter().map(|check| (word(&check["condition"]), words(&check["columns"]))).collect();
    if let Some(partition) = value["partition"].as_str() {
        let about = columns.iter().filter(|column| partition.contains(&column.name));
        checks.push((partition.to_owned(), about.map(|column| column.name.clone()).collect()));
    }
    for column in &columns {
        for check in &column.domain_checks {
            let condition = with_column(check, &column.name);
            checks.push((condition, vec![column.name.clone()]));
        }
    }
    for column in &mut columns {
        let about = checks.iter().filter(|(_, names)| names.contains(&column.name));
        let conditions: Vec<&str> = about.map(|(condition, _)| condition.as_str()).collect();
        column.mined = mined(column, &conditions);
    }
    let foreign = list("foreign");
    let foreign = foreign.iter().map(|key| Foreign {
        columns: words(&key["columns"]),
        table: word(&key["table"]),
        targets: words(&key["targets"]),
    });
    Table {
        name: word(&value["name"]),
        key: words(&value["key"]),
        unique: words(&value["unique"]).into_iter().collect(),
        foreign: foreign.collect(),
        columns,
        checks,
    }
}

fn column(value: &Value) -> Column {
    let flag = |member: &str| value[member].as_bool().unwrap_or_default();
    Column {
        name: word(&value["name"]),
        bare: word(&value["bare"]),
        base_type: word(&value["base_type"]),
        base: word(&value["base"]),
        kind: word(&value["kind"]),
        element: value["element"].as_str().map(str::to_owned),
        subtype: value["subtype"].as_str().map(str::to_owned),
        labels: words(&value["labels"]),
        not_null: flag("not_null"),
        has_default: flag("has_default"),
        is_made: flag("is_made"),
        domain_checks: words(&value["domain_checks"]),
        mined: Vec::new(),
    }
}

/// What a domain's condition says of `VALUE`, said of a column.
fn with_column(condition: &str, column: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut rest) = (String::new(), condition);
    while let Some(at) = rest.find("VALUE") {
        let (before, behind) = (&rest[..at], &rest[at + 5..]);
        let alone = !before.ends_with(is_word) && !behind.starts_with(is_word);
        out.push_str(before);
        out.push_str(if alone { column } else { "VALUE" });
        rest = behind;
    }
    out + rest
}

/// What the conditions of a column compare with, as values of its type.
fn mined(column: &Column, conditions: &[&str]) -> Vec<String> {
    let (texts, numbers) = mine(conditions);
    let is = |types: &[&str]| types.contains(&column.base.as_str());
    if is(&["int2", "int4", "int8", "numeric", "float4", "float8"]) {
        let near = numbers.iter().flat_map(|number| [number - 1, *number, number + 1]);
        let near: BTreeSet<i64> = near.filter(|number| number.abs() < 30_000).collect();
        return near.into_iter().map(|number| number.to_string()).collect();
    }
    match is(&["text", "varchar", "bpchar", "citext", "date", "timestamp", "timestamptz", "bool"]) {
        true => texts.iter().map(|text| quote(text)).collect(),
        false => Vec::new(),
    }
}

/// A table behind those it refers to; one that refers in circles comes where it comes.
fn parents_first(mut tables: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let waiting: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
        let is_ready = |table: &Table| {
            let mut parents = table.foreign.iter().map(|key| &key.table);
            parents.all(|parent| *parent == table.name || !waiting.contains(parent))
        };
        let at = tables.iter().position(is_ready).unwrap_or(0);
        ordered.push(tables.remove(at));
    }
    ordered
}

/// How much of a row is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fullness {
    /// Every column a value can be said of.
    Full,
    /// Only what must be said.
    Least,
}

impl Table {
    /// Values of sample row `n`, by column; the reason where there can be none.
    fn row(
        &self,
        n: u64,
        fullness: Fullness,
        chosen: &BTreeMap<String, String>,
    ) -> Result<Vec<(&str, String)>, String> {
        let mut values: Vec<(&str, String)> = Vec::new();
        let mut referring: BTreeSet<&str> = BTreeSet::new();
        for key in &self.foreign {
            let column = |name: &String| self.columns.iter().find(|column| column.name == *name);
            let must = key.columns.iter().filter_map(column).any(|column| column.not_null);
            let own = key.table == self.name;
            if own && must {
                return Err("a row would have to refer to one of its own table".to_owned());
            }
            referring.extend(key.columns.iter().map(String::as_str));
            if own || (fullness == Fullness::Least && !must) {
                continue;
            }
            let order = key.targets.join(", ");
            for (column, target) in key.columns.iter().zip(&key.targets) {
                if values.iter().any(|(known, _)| known == column) {
                    continue;
                }
                let place = format!(
                    "(SELECT {target} FROM {0} ORDER BY {order} OFFSET {1} % greatest(\
                     (SELECT pg_catalog.count(*) FROM {0}), 1) LIMIT 1)",
                    key.table,
                    n - 1
                );
                values.push((column, place));
            }
        }
        for column in &self.columns {
            let may_stay_out = !column.not_null || column.has_default;
            let out = referring.contains(column.name.as_str()) || column.is_made;
            if out || (fullness == Fullness::Least && may_stay_out) {
                continue;
            }
            match chosen
                .get(&column.name)
                .cloned()
                .or_else(|| candidates(column, n).into_iter().next())
            {
                Some(value) => values.push((&column.name, value)),
                None if may_stay_out => {}
                None => {
                    let (name, kind) = (&column.name, &column.base_type);
                    return Err(format!("no sample value is known for {name} {kind}"));
                }
            }
        }
        Ok(values)
    }

    fn insert(&self, row: &[(&str, String)]) -> String {
        if row.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", self.name);
        }
        let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = row.iter().map(|(_, value)| value.as_str()).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), values.join(", "))
    }

    /// The columns conditions are about and that get a value of their own.
    fn asked(&self) -> Vec<&Column> {
        let referring: BTreeSet<&String> =
            self.foreign.iter().flat_map(|key| &key.columns).collect();
        self.columns
            .iter()
            .filter(|column| self.checks.iter().any(|(_, names)| names.contains(&column.name)))
            .filter(|column| !column.is_made && !referring.contains(&column.name))
            .collect()
    }

    /// What asks the server which values of row `n` satisfy the conditions together; none where there
    /// is no condition.
    fn question(&self, n: u64) -> Option<Question<'_>> {
        let asked = self.asked();
        let mut lists: Vec<Vec<String>> =
            asked.iter().map(|column| candidates(column, n)).collect();
        for (column, list) in asked.iter().zip(&mut lists) {
            if !column.not_null || list.is_empty() {
                list.push(format!("CAST(NULL AS {})", column.base_type));
            }
        }
        while lists.iter().map(Vec::len).product::<usize>() > MAX_COMBINATIONS {
            let longest = lists.iter_mut().max_by_key(|list| list.len());
            longest.expect("invariant: a product of nothing is one").pop();
        }
        let known =
            |names: &[String]| names.iter().all(|name| asked.iter().any(|c| c.name == *name));
        let conditions: Vec<String> = self
            .checks
            .iter()
            .filter(|(_, names)| known(names) && !names.is_empty())
            .map(|(condition, _)| format!("({condition}) IS NOT FALSE"))
            .collect();
        if conditions.is_empty() {
            return None;
        }
        let source = |(at, (column, list)): (usize, (&&Column, &Vec<String>))| {
            let rows = list.iter().enumerate().map(|(place, value)| format!("({place}, {value})"));
            let rows: Vec<String> = rows.collect();
            format!("(VALUES {}) AS v{at}(p{at}, {})", rows.join(", "), column.name)
        };
        let sources: Vec<String> = asked.iter().zip(&lists).enumerate().map(source).collect();
        let places: Vec<String> = (0..asked.len()).map(|at| format!("p{at}")).collect();
        let query = format!(
            "SELECT {0} FROM {1} WHERE {2} ORDER BY {3}, {0} LIMIT {MAX_FOUND}",
            places.join(", "),
            sources.join(", "),
            conditions.join(" AND "),
            places.join(" + ")
        );
        Some(Question { query, asked, lists })
    }

    /// Takes of what was found what no row in `taken` has where it must be unique; nothing where
    /// nothing was found.
    fn pick(&self, found: &[Chosen], taken: &[Chosen]) -> Chosen {
        let is_new = |chosen: &&Chosen| {
            taken.iter().all(|other| {
                let unique = |name: &&String| self.unique.contains(*name);
                chosen.keys().filter(unique).all(|name| chosen.get(name) != other.get(name))
            })
        };
        let other = |chosen: &&Chosen| !taken.contains(chosen);
        let best = found.iter().find(is_new).or_else(|| found.iter().find(other));
        best.or(found.first()).cloned().unwrap_or_default()
    }

    /// Values for the rows from `first` on that conditions are about.
    async fn choose_all(&self, session: &mut Session, first: u64) -> Result<Vec<Chosen>, Fault> {
        if self.checks.is_empty() {
            return Ok((0..ROWS).map(|_| Chosen::new()).collect());
        }
        // Those before them have taken what must not be there twice.
        let is_unique = self.asked().iter().any(|column| self.unique.contains(&column.name));
        let from = if is_unique { 1 } else { first };
        let questions: Vec<Option<Question<'_>>> =
            (from..first + ROWS).map(|n| self.question(n)).collect();
        let mut taken: Vec<Chosen> = Vec::new();
        for found in answers(session, &questions).await? {
            taken.push(self.pick(&found, &taken));
        }
        Ok(taken.split_off(usize::try_from(first - from).unwrap_or_default()))
    }
}

/// A query for values, and what its answer means.
struct Question<'a> {
    query: String,
    asked: Vec<&'a Column>,
    lists: Vec<Vec<String>>,
}

impl Question<'_> {
    fn read(&self, row: Vec<Option<String>>) -> Chosen {
        let picked = self.asked.iter().zip(&self.lists).zip(row);
        let picked = picked.filter_map(|((column, list), place)| {
            let place: usize = place?.parse().ok()?;
            Some((column.name.clone(), list.get(place)?.clone()))
        });
        picked.collect()
    }
}

/// What each question finds: all of them in one message, or one by one where one of them fails.
async fn answers(
    session: &mut Session,
    questions: &[Option<Question<'_>>],
) -> Result<Vec<Vec<Chosen>>, Fault> {
    let sql: Vec<&str> = questions.iter().flatten().map(|asked| asked.query.as_str()).collect();
    let mut answers = asked_aside(session, &sql).await?;
    if answers.is_none() {
        let mut all = Vec::with_capacity(sql.len());
        for query in &sql {
            let one = asked_aside(session, &[query]).await?;
            all.extend(one.unwrap_or_else(|| vec![Vec::new()]));
        }
        answers = Some(all);
    }
    let mut answers = answers.into_iter().flatten();
    let found = questions.iter().map(|question| {
        let Some(question) = question else { return Vec::new() };
        answers.next().into_iter().flatten().map(|row| question.read(row)).collect()
    });
    Ok(found.collect())
}

/// The rows of each query, and nothing is left of them; none where one fails.
async fn asked_aside(session: &mut Session, queries: &[&str]) -> Result<Option<Vec<Rows>>, Fault> {
    const BACK: &str = "ROLLBACK TO SAVEPOINT annals_choice; RELEASE SAVEPOINT annals_choice";
    if queries.is_empty() {
        return Ok(Some(Vec::new()));
    }
    // Which row is whose is said in front of it.
    let sql: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(at, query)| format!("SELECT {at}, annals_found.* FROM ({query}) annals_found"))
        .collect();
    let sql = format!("SAVEPOINT annals_choice; {}; {BACK}", sql.join("; "));
    match session.texts(&sql).await {
        Ok(rows) => {
            let mut all = vec![Vec::new(); queries.len()];
            for mut row in rows {
                let at: Option<usize> = row.remove(0).and_then(|at| at.parse().ok());
                if let Some(list) = at.and_then(|at| all.get_mut(at)) {
                    list.push(row);
                }
            }
            Ok(Some(all))
        }
        Err(fault) => {
            check_alive(&fault)?;
            session.run(BACK).await?;
            Ok(None)
        }
    }
}

/// Rows as text.
type Rows = Vec<Vec<Option<String>>>;

impl Table {
    /// Statements that each make the rows `$FIRST$` to `$LAST$`, likeliest first: what a row need not
    /// say comes last, and so does what the conditions of the table are asked for.
    pub(crate) async fn series(&self, session: &mut Session) -> Result<Vec<String>, Fault> {
        let chosen = self.choose_all(session, 1).await?;
        let mut ways = Vec::new();
        for fullness in [Fullness::Full, Fullness::Least] {
            ways.extend(self.series_of(fullness, &[]));
            if chosen.iter().any(|row| !row.is_empty()) {
                ways.extend(self.series_of(fullness, &chosen));
            }
        }
        ways.dedup();
        Ok(ways)
    }

    /// None where a row cannot be said so.
    fn series_of(&self, fullness: Fullness, chosen: &[Chosen]) -> Option<String> {
        let (mut values, mut parents) = (BTreeMap::<&str, String>::new(), Vec::new());
        let mut referring: BTreeSet<&str> = BTreeSet::new();
        for (at, key) in self.foreign.iter().enumerate() {
            let column = |name: &String| self.columns.iter().find(|column| column.name == *name);
            let must = key.columns.iter().filter_map(column).any(|column| column.not_null);
            let own = key.table == self.name;
            if own && must {
                return None;
            }
            referring.extend(key.columns.iter().map(String::as_str));
            if own || (fullness == Fullness::Least && !must) {
                continue;
            }
            let targets = key.targets.join(", ");
            parents.push(format!(
                " LEFT JOIN (SELECT pg_catalog.row_number() OVER (ORDER BY {targets}) AS annals_row, \
                 {targets} FROM {table}) AS p{at} ON p{at}.annals_row = 1 + (g.g - 1) % \
                 greatest((SELECT pg_catalog.count(*) FROM {table}), 1)",
                table = key.table
            ));
            for (column, target) in key.columns.iter().zip(&key.targets) {
                values.entry(column).or_insert_with(|| format!("p{at}.{target}"));
            }
        }
        for column in &self.columns {
            let may_stay_out = !column.not_null || column.has_default;
            let out = referring.contains(column.name.as_str()) || column.is_made;
            if out || (fullness == Fullness::Least && may_stay_out) {
                continue;
            }
            let of_choice: Vec<String> =
                chosen.iter().filter_map(|row| row.get(&column.name).cloned()).collect();
            match in_turn(&of_choice).or_else(|| series(column)) {
                Some(value) => drop(values.insert(&column.name, value)),
                None if may_stay_out => {}
                None => return None,
            }
        }
        let from = "FROM pg_catalog.generate_series($FIRST$::int8, $LAST$::int8) AS g(g)";
        if values.is_empty() {
            return None;
        }
        let names: Vec<&str> = values.keys().copied().collect();
        let values: Vec<&str> = values.values().map(String::as_str).collect();
        Some(format!(
            "INSERT INTO {} ({}) SELECT {} {from}{} ON CONFLICT DO NOTHING",
            self.name,
            names.join(", "),
            values.join(", "),
            parents.concat()
        ))
    }
}

/// Values that were chosen, by column.
type Chosen = BTreeMap<String, String>;

/// The most combinations that are looked at of those that satisfy the conditions.
const MAX_FOUND: usize = 200;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) skipped: Vec<Skipped>,
}

/// Writes sample rows from number `first` on into each table, in the transaction that is open.
pub(crate) async fn write_rows(
    session: &mut Session,
    tables: &[Table],
    first: u64,
) -> Result<Written, Fault> {
    let mut written = Written::default();
    for table in tables {
        match write_into(session, table, first).await? {
            Ok(rows) => written.rows += rows,
            Err(reason) => written.skipped.push(Skipped { table: table.name.clone(), reason }),
        }
    }
    Ok(written)
}

/// Runs statements as one; what they fail with leaves nothing.
pub(crate) async fn attempt(session: &mut Session, sql: &str) -> Result<Result<(), Fault>, Fault> {
    let whole = format!("SAVEPOINT annals_rows; {sql}; RELEASE SAVEPOINT annals_rows");
    match session.run(&whole).await {
        Ok(()) => Ok(Ok(())),
        Err(fault) => {
            check_alive(&fault)?;
            session.run("ROLLBACK TO SAVEPOINT annals_rows; RELEASE SAVEPOINT annals_rows").await?;
            Ok(Err(fault))
        }
    }
}

async fn write_into(
    session: &mut Session,
    table: &Table,
    first: u64,
) -> Result<Result<u64, String>, Fault> {
    let chosen = table.choose_all(session, first).await?;
    let row = |at: usize, fullness| {
        let n = first + at as u64;
        table.row(n, fullness, &chosen[at]).map(|row| table.insert(&row))
    };
    // The last one says as little as it may: empty values are values too.
    let last = chosen.len() - 1;
    let usual = |at: usize| row(at, if at == last { Fullness::Least } else { Fullness::Full });
    let all: Result<Vec<String>, String> = (0..chosen.len()).map(usual).collect();
    if let Ok(all) = &all
        && attempt(session, &all.join("; ")).await?.is_ok()
    {
        return Ok(Ok(ROWS));
    }
    let (mut rows, mut reason) = (0, String::new());
    for at in 0..chosen.len() {
        for fullness in [Fullness::Full, Fullness::Least] {
            let sql = match row(at, fullness) {
                Ok(sql) => sql,
                Err(why) => {
                    reason = why;
                    continue;
                }
            };
            // A trigger of the project may want what no sample has.
            let quietly = format!(
                "SET LOCAL session_replication_role = replica; {sql}; \
                 SET LOCAL session_replication_role = origin"
            );
            match attempt(session, &sql).await? {
                Ok(()) => {
                    rows += 1;
                    break;
                }
                Err(fault) if fault.code() == Some("P0001") => {
                    if attempt(session, &quietly).await?.is_ok() {
                        rows += 1;
                        break;
                    }
                    reason = fault.to_string();
                }
                Err(fault) => reason = fault.to_string(),
            }
        }
    }
    Ok(if rows > 0 { Ok(rows) } else { Err(reason) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn referring(name: &str, to: &[&str]) -> Table {
        let key = |table: &&str| Foreign {
            columns: vec!["x".into()],
            table: (*table).to_owned(),
            targets: vec!["id".into()],
        };
        let foreign = to.iter().map(key).collect();
        Table { name: name.to_owned(), foreign, ..Table::default() }
    }

    #[test]
    fn parents_come_first_and_circles_do_not_hang() {
        let tables = vec![
            referring("c", &["b", "c"]),
            referring("b", &["a"]),
            referring("a", &[]),
            referring("x", &["y"]),
            referring("y", &["x"]),
        ];
        let order: Vec<String> =
            parents_first(tables).into_iter().map(|table| table.name).collect();
        assert_eq!(order, ["a", "b", "c", "x", "y"]);
    }

    #[test]
    fn a_domains_condition_is_said_of_the_column() {
        assert_eq!(
            with_column("((VALUE > 0) AND (MYVALUE < 3))", "\"a b\""),
            "((\"a b\" > 0) AND (MYVALUE < 3))"
        );
    }
}
