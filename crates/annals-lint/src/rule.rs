//! What a rule is.

use std::collections::BTreeSet;

use annals_events::Direction;
use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxNode};

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Others wait.
    Blocking,
    /// Programs that use the old shape fail.
    Breaking,
    /// Data is gone.
    DataLoss,
}

impl Risk {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Breaking => "breaking",
            Self::DataLoss => "data loss",
        }
    }
}

/// A rule: data for the documentation, and a check.
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// What may happen.
    pub risk: Risk,
    /// What the statement does.
    pub effect: &'static str,
    /// What to do instead.
    pub instead: &'static str,
    /// SQL it finds nothing in.
    pub good: &'static str,
    /// SQL it finds something in.
    pub bad: &'static str,
    /// The subjects it finds in one statement.
    pub(crate) check: fn(&SyntaxNode, &Context<'_>) -> Vec<String>,
}

/// What a rule knows besides the statement.
pub(crate) struct Context<'a> {
    /// Tables created earlier in the plan.
    pub(crate) created: &'a BTreeSet<String>,
    /// Which way the step goes.
    pub(crate) direction: Direction,
}

impl Context<'_> {
    /// Whether `table` is new in this plan.
    pub(crate) fn is_new(&self, table: &str) -> bool {
        self.created.contains(table)
    }
}

/// One thing a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The rule.
    pub rule: &'static str,
    /// What may happen.
    pub risk: Risk,
    /// The file.
    pub file: String,
    /// The line the statement starts at, from 1.
    pub line: u32,
    /// The object.
    pub subject: String,
    /// What the statement does to it.
    pub effect: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

/// The statement's node, where the grammar reads it.
pub(crate) fn parse(sql: &str) -> Option<SyntaxNode> {
    SourceFile::parse(sql).tree().syntax().children().next()
}

/// Names of relations, compared as spelled but for case and a leading `public.`.
pub(crate) mod relation_name {
    use squawk_syntax::{SyntaxKind, SyntaxNode};

    pub(crate) fn normalized(name: &str) -> String {
        let name = name.trim().to_lowercase();
        name.strip_prefix("public.").unwrap_or(&name).to_owned()
    }

    /// The first child of one of `kinds`, as a name.
    pub(crate) fn child(node: &SyntaxNode, kinds: &[SyntaxKind]) -> Option<String> {
        let child = node.children().find(|child| kinds.contains(&child.kind()))?;
        let text = child.text().to_string();
        let text = text.trim();
        let text = text.strip_prefix("only ").or(text.strip_prefix("ONLY ")).unwrap_or(text);
        Some(normalized(text))
    }

    /// The table an `ALTER TABLE` or `CREATE INDEX` is about.
    pub(crate) fn table(node: &SyntaxNode) -> String {
        child(node, &[SyntaxKind::TABLE_RELATION_NAME]).unwrap_or_default()
    }

    /// The table a statement creates.
    pub(crate) fn created(node: &SyntaxNode) -> Option<String> {
        let creates = matches!(node.kind(), SyntaxKind::CREATE_TABLE | SyntaxKind::CREATE_TABLE_AS);
        if creates { child(node, &[SyntaxKind::TABLE_NAME]) } else { None }
    }
}

/// Whether `node` itself holds a token of `kind`, not counting what its children hold.
pub(crate) fn has_token(node: &SyntaxNode, kind: squawk_syntax::SyntaxKind) -> bool {
    node.children_with_tokens().any(|e| e.as_token().is_some_and(|token| token.kind() == kind))
}

/// The columns of a table known to others that an `ALTER TABLE` alters by an action of `kind`.
pub(crate) fn altered_columns(
    node: &SyntaxNode,
    context: &Context<'_>,
    kind: squawk_syntax::SyntaxKind,
) -> Vec<String> {
    use squawk_syntax::SyntaxKind;
    let table = relation_name::table(node);
    if node.kind() != SyntaxKind::ALTER_TABLE || context.is_new(&table) {
        return Vec::new();
    }
    let alters = node.children().filter(|child| child.kind() == SyntaxKind::ALTER_COLUMN);
    alters
        .filter(|alter| alter.children().any(|child| child.kind() == kind))
        .filter_map(|alter| relation_name::child(&alter, &[SyntaxKind::COLUMN_NAME_REF]))
        .map(|column| format!("{table}.{column}"))
        .collect()
}
