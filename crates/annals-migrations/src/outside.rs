//! Statements that cannot run in a transaction, and whose effect the catalog shows.

use squawk_syntax::ast::{self, AstNode};
use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::class::{OutsideObject, ReindexScope, StatementClass};

fn spelled(node: Option<impl AstNode>) -> Option<String> {
    node.map(|node| node.syntax().text().to_string().trim().to_owned())
}

/// `REINDEX … CONCURRENTLY`; of the system, which no server does, it is left to the server.
pub(crate) fn reindex(node: &SyntaxNode) -> StatementClass {
    use SyntaxKind as K;
    let target = ast::Reindex::cast(node.clone()).and_then(|it| it.reindex_target());
    let Some(target) = target else { return StatementClass::Repeatable };
    let target = target.syntax();
    let scope = match target.kind() {
        K::REINDEX_TARGET_INDEX => ReindexScope::Index,
        K::REINDEX_TARGET_TABLE => ReindexScope::Table,
        K::REINDEX_TARGET_SCHEMA => ReindexScope::Schema,
        K::REINDEX_TARGET_DATABASE => ReindexScope::Database,
        _ => return StatementClass::Repeatable,
    };
    let name = target.children().last().map(|name| name.text().to_string());
    StatementClass::ConcurrentReindex { name, scope }
}

/// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`.
pub(crate) fn detach(node: &SyntaxNode) -> Result<StatementClass, String> {
    let alter = ast::AlterTable::cast(node.clone()).expect("the kind was checked");
    let table = alter.table_relation_name().and_then(|it| spelled(it.table_name_ref()));
    let detach = node.descendants().find_map(ast::DetachPartition::cast);
    let partition = detach.and_then(|it| spelled(it.table_name_ref()));
    match (table, partition) {
        (Some(table), Some(partition)) => Ok(StatementClass::ConcurrentDetach { partition, table }),
        _ => Err("DETACH PARTITION … CONCURRENTLY names a table and a partition".to_owned()),
    }
}

/// `ALTER SUBSCRIPTION … PUBLICATION`: naming the whole list, or reading it anew, may be repeated.
pub(crate) fn publications(node: &SyntaxNode) -> Result<StatementClass, String> {
    let changes = [SyntaxKind::ADD_KW, SyntaxKind::DROP_KW];
    let mut tokens = node.descendants_with_tokens();
    if tokens.any(|element| element.as_token().is_some_and(|it| changes.contains(&it.kind()))) {
        return Err(
            "ALTER SUBSCRIPTION … ADD and DROP PUBLICATION fail when they are repeated after \
                    a crash; name the whole list with SET PUBLICATION"
                .to_owned(),
        );
    }
    Ok(StatementClass::Repeatable)
}

/// `CREATE` and `DROP` of what stands outside every transaction; nothing for other statements.
pub(crate) fn existence(node: &SyntaxNode) -> Option<StatementClass> {
    use OutsideObject as O;
    use SyntaxKind as K;
    let created =
        |object, name: Option<String>| name.map(|name| StatementClass::Creation { name, object });
    let dropped = |object, name: Option<String>, if_exists: Option<ast::IfExists>| {
        let if_exists = if_exists.is_some();
        name.map(|name| StatementClass::Removal { if_exists, name, object })
    };
    let node = node.clone();
    match node.kind() {
        K::CREATE_DATABASE => {
            created(O::Database, spelled(ast::CreateDatabase::cast(node)?.database()))
        }
        K::CREATE_TABLESPACE => {
            created(O::Tablespace, spelled(ast::CreateTablespace::cast(node)?.tablespace()))
        }
        K::CREATE_SUBSCRIPTION => {
            created(O::Subscription, spelled(ast::CreateSubscription::cast(node)?.subscription()))
        }
        K::DROP_DATABASE => {
            let it = ast::DropDatabase::cast(node)?;
            dropped(O::Database, spelled(it.database_ref()), it.if_exists())
        }
        K::DROP_TABLESPACE => {
            let it = ast::DropTablespace::cast(node)?;
            dropped(O::Tablespace, spelled(it.tablespace_ref()), it.if_exists())
        }
        K::DROP_SUBSCRIPTION => {
            let it = ast::DropSubscription::cast(node)?;
            dropped(O::Subscription, spelled(it.subscription_ref()), it.if_exists())
        }
        _ => None,
    }
}
