//! An index built without CONCURRENTLY.

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::rule::{Context, Risk, Rule, has_token, relation_name};

pub(crate) const RULE: Rule = Rule {
    id: "index-blocks-writes",
    risk: Risk::Blocking,
    effect: "nobody can write to the table while it is built",
    instead: "CREATE INDEX CONCURRENTLY in a file of its own with `-- annals: transaction=off`",
    good: "CREATE INDEX CONCURRENTLY i ON t (a)",
    bad: "CREATE INDEX i ON t (a)",
    check,
};

fn check(node: &SyntaxNode, context: &Context<'_>) -> Vec<String> {
    let table = relation_name::table(node);
    let builds = node.kind() == SyntaxKind::CREATE_INDEX
        && !has_token(node, SyntaxKind::CONCURRENTLY_KW)
        && !context.is_new(&table);
    if builds { vec![table] } else { Vec::new() }
}
