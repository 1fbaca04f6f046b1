//! A table in a backup and in a target: whether rows of the one can be put back into the other.

use annals_events::RowsWanted;

use crate::tables::{KeyForm, TableForm};

/// What somebody allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Which rows are wanted.
    pub rows: RowsWanted,
    /// Columns that only one side has, or has with another type, are left alone.
    pub common_columns: bool,
    /// Triggers of the target fire.
    pub triggers: bool,
}

/// A table on both sides.
#[derive(Debug, Clone)]
pub struct TablePair {
    /// As the target has it.
    pub target: TableForm,
    pub(crate) key: KeyForm,
    /// The columns that are compared and put back: what is computed is computed.
    pub(crate) columns: Vec<String>,
    /// As the backup has it.
    pub(crate) backup: TableForm,
    /// Columns of the backup that stay in it.
    pub left_out: Vec<String>,
}

/// Why rows of a table in the target cannot be found or put back at all, whatever the backup holds.
pub fn obstacles_in_target(table: &TableForm, allowed: Allowed) -> Vec<String> {
    let name = &table.name;
    let mut all = Vec::new();
    match &table.key {
        None => all.push(format!(
            "{name} has no primary key, and no unique index over columns that are NOT NULL: nothing \
             tells one row from another; bring the backup beside the target (annals restore <backup> \
             --into <database>) and copy what is missing by hand"
        )),
        Some(key) if key.operators.iter().any(Option::is_none) => all.push(format!(
            "the key {} of {name} is not one of a B-tree: whether two rows are the same is not told by \
             being equal; bring the backup beside the target (--into) and copy what is missing by hand",
            key.name
        )),
        Some(_) => {}
    }
    if table.hidden {
        all.push(format!(
            "row-level security hides rows of {name} from this role: they would seem to be missing; \
             connect as the table's owner, or as a role with BYPASSRLS"
        ));
    }
    let rights = [
        ("SELECT", table.may_read, true),
        ("INSERT", table.may_insert, allowed.rows != RowsWanted::Changed),
        ("UPDATE", table.may_update, allowed.rows != RowsWanted::Missing),
    ];
    for (right, granted, is_needed) in rights {
        if is_needed && !granted {
            all.push(format!("this role has no right to {right} on {name}"));
        }
    }
    if !table.triggers.is_empty() && !allowed.triggers && !table.owned {
        all.push(format!(
            "triggers of {name} ({}) can be kept from firing by its owner only; --fire-triggers lets them",
            table.triggers().join(", ")
        ));
    }
    all
}

/// Puts both sides together, or says why they do not fit.
///
/// # Errors
///
/// Every reason, each with the way that is left.
pub fn pair(
    target: TableForm,
    backup: TableForm,
    allowed: Allowed,
) -> Result<TablePair, Vec<String>> {
    let name = &target.name;
    let mut obstacles = obstacles_in_target(&target, allowed);
    let Some(key) = target.key.clone() else { return Err(obstacles) };
    if target.kind != backup.kind {
        obstacles.push(format!("{name} is partitioned on one side only: name its partitions"));
    }
    let stored = |table: &TableForm| {
        let stored = table.columns.iter().filter(|column| !column.generated);
        stored.cloned().collect::<Vec<_>>()
    };
    let (mut columns, mut left_out, mut differs) = (Vec::new(), Vec::new(), Vec::new());
    for column in stored(&target) {
        match backup.column(&column.name) {
            Some(then) if then.type_name == column.type_name && !then.generated => {
                columns.push(column.name);
            }
            then => {
                let was = match then {
                    None => format!("{} is not in the backup", column.name),
                    Some(then) if then.generated => format!("{} was computed", column.name),
                    Some(then) => {
                        format!(
                            "{} was {} and is {}",
                            column.name, then.type_name, column.type_name
                        )
                    }
                };
                if column.required && allowed.rows != RowsWanted::Changed {
                    obstacles.push(format!(
                        "{name}: {was}, and a row needs a value for it: give it a default first, or bring \
                         the backup beside the target (--into) and copy the rows with a value of yours"
                    ));
                }
                differs.push(was);
            }
        }
    }
    for column in stored(&backup) {
        if columns.contains(&column.name) {
            continue;
        }
        if target.column(&column.name).is_none() {
            differs.push(format!("{} is not in the target any more", column.name));
        }
        left_out.push(column.name);
    }
    if !differs.is_empty() && !allowed.common_columns {
        obstacles.push(format!(
            "{name} is another table than in the backup ({}): --common-columns puts back the columns that \
             both have as they are, and leaves the others alone",
            differs.join("; ")
        ));
    }
    let missing: Vec<&String> = key.columns.iter().filter(|it| !columns.contains(it)).collect();
    if let Some(column) = missing.first() {
        obstacles.push(format!(
            "the key {} of {name} has the column {column}, which the backup does not have as it is: \
             nothing tells which row is which",
            key.name
        ));
    }
    let fixed = |it: &&String| {
        !key.columns.contains(it) && target.column(it).is_some_and(|column| column.always)
    };
    if allowed.rows != RowsWanted::Missing
        && let Some(column) = columns.iter().find(fixed)
    {
        obstacles.push(format!(
            "{name}.{column} is GENERATED ALWAYS AS IDENTITY and not part of the key: the server lets nobody \
             change it in a row that is there"
        ));
    }
    if obstacles.is_empty() {
        Ok(TablePair { target, key, columns, backup, left_out })
    } else {
        Err(obstacles)
    }
}

impl TablePair {
    /// What rows are told apart by, in words.
    pub fn key(&self) -> String {
        format!("({})", self.key.columns.join(", "))
    }

    /// Whether that is the primary key; else a unique index.
    pub fn is_primary(&self) -> bool {
        self.key.primary
    }

    /// The hash of `columns` of the row `alias`: the same text on both sides, whatever its collation.
    pub(crate) fn hash(alias: &str, columns: &[String]) -> String {
        format!(
            "pg_catalog.sha256(pg_catalog.convert_to(ROW({})::pg_catalog.text, 'UTF8'))",
            Self::list(alias, columns)
        )
    }

    pub(crate) fn list(alias: &str, columns: &[String]) -> String {
        columns.iter().map(|it| format!("{alias}.{it}")).collect::<Vec<_>>().join(", ")
    }

    /// That `left` and `right` are the same row.
    pub(crate) fn same(&self, left: &str, right: &str) -> String {
        let equal = |(column, operator): (&String, &Option<String>)| {
            let operator = operator.as_deref().unwrap_or("OPERATOR(pg_catalog.=)");
            format!("{left}.{column} {operator} {right}.{column}")
        };
        let all = self.key.columns.iter().zip(&self.key.operators).map(equal);
        all.collect::<Vec<_>>().join(" AND ")
    }
}
