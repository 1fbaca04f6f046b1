//! What to write instead of a statement PostgreSQL does not do, ready to be pasted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use annals_migrations::{IndexForm, index_as};
use annals_postgres::{Fault, Session, free_name, partition_tree};

/// The index of a partitioned table, built partition by partition: on the parents alone, where
/// there is nothing to read, then concurrently on each partition with rows, then put together.
///
/// The last `ATTACH` of a parent makes its index valid.
pub(crate) async fn of_build(
    session: &mut Session,
    sql: &str,
    index: &str,
    table: &str,
) -> Result<String, Fault> {
    let tree = partition_tree(session, table).await?;
    let bare = match index.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => index.to_lowercase(),
    };
    // By table: the name of its index.
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut given: Vec<String> = Vec::new();
    for node in &tree {
        let name = match node.parent {
            None => index.to_owned(),
            Some(_) => {
                let wanted = format!("{bare}_{}", node.name);
                free_name(session, &node.schema, &wanted, &given).await?
            }
        };
        given.push(name.clone());
        names.insert(&node.qualified, name);
    }
    let mut out = String::from("-- annals: transaction=off\n\n");
    let (leaves, parents): (Vec<_>, Vec<_>) = tree.iter().partition(|node| node.is_leaf);
    for node in parents.iter().chain(&leaves) {
        let only = if node.is_leaf { "" } else { "ONLY " };
        let relation = format!("{only}{}", node.qualified);
        let name = &names[node.qualified.as_str()];
        let form = IndexForm { concurrently: node.is_leaf, name, relation: &relation };
        let build = index_as(sql, &form)
            .ok_or_else(|| Fault::Protocol("the statement makes no index".to_owned()))?;
        // A comment at the end of a line would take the semicolon with it.
        let end =
            if build.lines().last().is_some_and(|line| line.contains("--")) { "\n" } else { "" };
        let _ = writeln!(out, "{}{end};", build.trim_end());
    }
    for node in tree.iter().rev() {
        let parent = node.parent.as_ref().and_then(|parent| {
            let schema = &tree.iter().find(|other| other.qualified == *parent)?.schema;
            Some(format!("{schema}.{}", names.get(parent.as_str())?))
        });
        let Some(parent) = parent else { continue };
        let own = &names[node.qualified.as_str()];
        let _ = writeln!(out, "ALTER INDEX {parent} ATTACH PARTITION {}.{own};", node.schema);
    }
    Ok(out)
}
