//! Values added to an enumeration cannot be used in the transaction that adds them.

use std::collections::BTreeSet;

use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode};

/// What the statements of a file so far have added.
#[derive(Debug, Default)]
pub(crate) struct EnumValues {
    /// Types made in this file: their values may be used at once.
    created: BTreeSet<String>,
    /// Values of other types, as spelled, with their quotes.
    added: BTreeSet<String>,
}

impl EnumValues {
    /// Takes in the next statement of a transaction.
    ///
    /// # Errors
    ///
    /// When it uses a value that was added before: a string constant of that spelling, since
    /// nothing but the server knows the type of a constant.
    pub(crate) fn check(&mut self, node: &SyntaxNode) -> Result<(), String> {
        use SyntaxKind as K;
        match node.kind() {
            K::CREATE_TYPE => self.created.extend(type_name(node)),
            // Values next to which others are added, and names in remarks, are not used.
            K::ALTER_TYPE => self.added.extend(added_value(node, &self.created)),
            K::COMMENT_ON => {}
            _ if self.added.is_empty() => {}
            kind => {
                let is_block = kind == K::DO;
                if let Some(value) = strings(node).find_map(|text| self.used(&text, is_block)) {
                    return Err(format!(
                        "the value {value} was added to its type in this file, and PostgreSQL \
                         lets nobody use it in the same transaction; add it in a migration of its \
                         own, before this one"
                    ));
                }
            }
        }
        Ok(())
    }

    fn used(&self, constant: &str, is_block: bool) -> Option<String> {
        let value = self.added.get(constant);
        let inside = || self.added.iter().find(|value| constant.contains(value.as_str()));
        value.or_else(|| if is_block { inside() } else { None }).cloned()
    }
}

fn strings(node: &SyntaxNode) -> impl Iterator<Item = String> {
    use SyntaxKind as K;
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let strings = tokens.filter(|token| {
        matches!(token.kind(), K::STRING | K::ESC_STRING | K::DOLLAR_QUOTED_STRING)
    });
    strings.map(|token| {
        let text = token.text();
        text.strip_prefix(['e', 'E']).unwrap_or(text).to_owned()
    })
}

/// The last part of the name of the type a statement is about, as PostgreSQL folds it.
fn type_name(node: &SyntaxNode) -> Option<String> {
    use SyntaxKind as K;
    let is_name = |child: &SyntaxNode| matches!(child.kind(), K::TYPE_NAME | K::TYPE_NAME_REF);
    let path = node.children().find(is_name)?;
    let last = path.descendants_with_tokens().filter_map(SyntaxElement::into_token).last()?;
    let text = last.text();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Some(quoted.map_or_else(|| text.to_lowercase(), str::to_owned))
}

fn added_value(node: &SyntaxNode, created: &BTreeSet<String>) -> Option<String> {
    let action = node.descendants().find(|child| child.kind() == SyntaxKind::ADD_VALUE)?;
    if type_name(node).is_some_and(|name| created.contains(&name)) {
        return None;
    }
    strings(&action).next()
}
