//! Rows before and after, compared by their key.

use std::collections::BTreeMap;

use annals_postgres::{Fault, Session};
use serde_json::{Map, Value};

use crate::report::{LostColumn, LostRows};
use crate::sample::Table;
use crate::values::quote;

/// The most rows of one table that are compared.
const MAX_ROWS: usize = 2_000;

/// The rows of some tables at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows(BTreeMap<String, TableRows>);

#[derive(Debug, Clone, Default)]
struct TableRows {
    /// Columns of the primary key.
    key: Vec<String>,
    rows: Vec<Map<String, Value>>,
}

/// Reads the rows of those of `tables` that are there.
pub(crate) async fn read_rows(session: &mut Session, tables: &[Table]) -> Result<Rows, Fault> {
    if tables.is_empty() {
        return Ok(Rows::default());
    }
    let there = those_there(session, tables).await?;
    let is_there = |table: &&Table| there.contains(&table.name);
    read_rows_of(session, tables.iter().filter(is_there)).await
}

/// Which of `tables` are there.
async fn those_there(session: &mut Session, tables: &[Table]) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = tables.iter().map(|table| quote(&table.name)).collect();
    let there = session
        .texts(&format!(
            "SELECT n FROM pg_catalog.unnest(ARRAY[{}]) AS n WHERE EXISTS (\
             SELECT FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass(n) \
             AND c.relkind = 'r')",
            names.join(", ")
        ))
        .await?;
    Ok(there.into_iter().flatten().flatten().collect())
}

/// Reads the rows of `tables`, all of which are there.
pub(crate) async fn read_rows_of(
    session: &mut Session,
    tables: impl IntoIterator<Item = &Table>,
) -> Result<Rows, Fault> {
    let mut all = Rows::default();
    for table in tables {
        all.0.insert(table.name.clone(), TableRows { key: table.key.clone(), rows: Vec::new() });
    }
    let parts: Vec<String> = all
        .0
        .keys()
        .map(|name| {
            let label = quote(name);
            format!(
                "(SELECT {label}, pg_catalog.row_to_json(annals_row.*)::pg_catalog.text \
                 FROM ONLY {name} annals_row \
                 LIMIT {})",
                MAX_ROWS + 1
            )
        })
        .collect();
    if parts.is_empty() {
        return Ok(all);
    }
    for row in session.texts(&parts.join(" UNION ALL ")).await? {
        let [Some(name), Some(text)] = row.as_slice() else { continue };
        let row: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| Fault::Protocol(format!("a row of {name}: {error}")))?;
        if let Some(table) = all.0.get_mut(name) {
            table.rows.push(row);
        }
    }
    // Of a larger table another part might come the next time.
    all.0.retain(|_, table| table.rows.len() <= MAX_ROWS);
    Ok(all)
}

impl Rows {
    /// What is not in `now` any more, table by table; a table that is gone has lost all its rows.
    pub(crate) fn lost_in(&self, now: &Self) -> Vec<LostRows> {
        let lost = |(name, then): (&String, &TableRows)| {
            let nothing = TableRows::default();
            let lost = then.lost_in(now.0.get(name).unwrap_or(&nothing));
            (lost.0 > 0 || !lost.1.is_empty()).then(|| LostRows {
                table: name.clone(),
                of: then.rows.len() as u64,
                rows: lost.0,
                columns: lost.1,
            })
        };
        self.0.iter().filter_map(lost).collect()
    }

    /// The rows that are here and not in `earlier`.
    pub(crate) fn beyond(mut self, earlier: &Self) -> Self {
        for (name, table) in &mut self.0 {
            let Some(known) = earlier.0.get(name) else { continue };
            let keys: Vec<String> = known.rows.iter().map(|row| known.key_of(row)).collect();
            let (key, has_key) = (table.key.clone(), !table.key.is_empty());
            let key_of =
                |row: &Map<String, Value>| TableRows { key: key.clone(), rows: vec![] }.key_of(row);
            if has_key && known.key == table.key {
                table.rows.retain(|row| !keys.contains(&key_of(row)));
            } else {
                // Without a key the first rows are the earlier ones.
                let gone = known.rows.len().min(table.rows.len());
                table.rows.drain(..gone);
            }
        }
        self
    }
}

impl TableRows {
    fn key_of(&self, row: &Map<String, Value>) -> String {
        let values = self.key.iter().map(|column| row.get(column).unwrap_or(&Value::Null));
        values.map(Value::to_string).collect::<Vec<_>>().join("\u{1f}")
    }

    /// Rows that are gone, and values that are in rows that are not.
    fn lost_in(&self, now: &Self) -> (u64, Vec<LostColumn>) {
        let has_key = !self.key.is_empty()
            && now.rows.iter().all(|row| self.key.iter().all(|column| row.contains_key(column)));
        if !has_key {
            return (self.lost_as_a_whole(now), Vec::new());
        }
        let here: BTreeMap<String, &Map<String, Value>> =
            now.rows.iter().map(|row| (self.key_of(row), row)).collect();
        let (mut rows, mut columns) = (0, BTreeMap::<String, u64>::new());
        for row in &self.rows {
            let Some(found) = here.get(&self.key_of(row)) else {
                rows += 1;
                continue;
            };
            for (column, value) in row {
                if found.get(column) != Some(value) && !value.is_null() {
                    *columns.entry(column.clone()).or_default() += 1;
                }
            }
        }
        let columns = columns.into_iter().map(|(column, values)| LostColumn { column, values });
        (rows, columns.collect())
    }

    /// Rows without a key are the same if all columns are that both have.
    fn lost_as_a_whole(&self, now: &Self) -> u64 {
        let shared = |row: &Map<String, Value>| {
            let other = now.rows.first();
            let both = row.iter().filter(|(name, _)| other.is_none_or(|o| o.contains_key(*name)));
            Value::Object(both.map(|(name, value)| (name.clone(), value.clone())).collect())
                .to_string()
        };
        let own = self.rows.first();
        let theirs = now.rows.iter().map(|row| {
            let both = row.iter().filter(|(name, _)| own.is_none_or(|o| o.contains_key(*name)));
            Value::Object(both.map(|(name, value)| (name.clone(), value.clone())).collect())
                .to_string()
        });
        let mut theirs: Vec<String> = theirs.collect();
        let mut lost = 0;
        for row in &self.rows {
            match theirs.iter().position(|other| *other == shared(row)) {
                Some(at) => drop(theirs.swap_remove(at)),
                None => lost += 1,
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(key: &[&str], rows: &[Value]) -> Rows {
        let key = key.iter().map(|column| (*column).to_owned()).collect();
        let rows = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        Rows(BTreeMap::from([("public.t".to_owned(), TableRows { key, rows })]))
    }

    #[test]
    fn rows_are_found_again_by_their_key_and_values_by_their_column() {
        let then =
            rows(&["id"], &[json!({"id": 1, "a": "x", "b": null}), json!({"id": 2, "a": "y"})]);
        assert_eq!(then.lost_in(&then), []);
        let now = rows(&["id"], &[json!({"id": 1, "a": null})]);
        let lost = then.lost_in(&now);
        let column = LostColumn { column: "a".into(), values: 1 };
        let table = "public.t".to_owned();
        assert_eq!(lost, [LostRows { table, of: 2, rows: 1, columns: vec![column] }]);
        let gone = then.lost_in(&Rows::default());
        assert_eq!((gone[0].rows, gone[0].of), (2, 2));
        // A column more is nothing lost.
        let more = rows(
            &["id"],
            &[json!({"id": 1, "a": "x", "c": 3}), json!({"id": 2, "a": "y", "c": 3})],
        );
        assert_eq!(then.lost_in(&more), []);
    }

    #[test]
    fn without_a_key_rows_are_counted() {
        let then = rows(&[], &[json!({"a": 1}), json!({"a": 1}), json!({"a": 2})]);
        let now = rows(&[], &[json!({"a": 2, "b": 1}), json!({"a": 1, "b": 2})]);
        assert_eq!(then.lost_in(&now)[0].rows, 1);
    }

    #[test]
    fn what_came_later_is_told_from_what_was_there() {
        let then = rows(&["id"], &[json!({"id": 1})]);
        let now = rows(&["id"], &[json!({"id": 1}), json!({"id": 2})]);
        assert_eq!(
            now.beyond(&then).0["public.t"].rows,
            [json!({"id": 2}).as_object().unwrap().clone()]
        );
    }
}
