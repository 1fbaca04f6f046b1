//! The canonical digest: over what a file says, not how it is laid out.

use annals_events::{Digest, DigestBuilder};
use squawk_syntax::{SyntaxElement, SyntaxKind, SyntaxNode};

/// The canonical digest of a file under way.
#[derive(Default)]
pub(crate) struct Canonical {
    digest: DigestBuilder,
    ends_in_cr: bool,
}

impl Canonical {
    /// Takes the next statement.
    pub(crate) fn statement(&mut self, node: &SyntaxNode) {
        let mut text = String::new();
        push_canonical(node, &mut text);
        text.push('\n');
        self.digest.update(text.as_bytes());
    }

    /// Takes a part of the data of the statement before.
    pub(crate) fn data(&mut self, part: &str) {
        let mut rest = part;
        if self.ends_in_cr && !rest.starts_with('\n') {
            self.digest.update(b"\r");
        }
        self.ends_in_cr = rest.ends_with('\r');
        rest = rest.strip_suffix('\r').unwrap_or(rest);
        for (n, lines) in rest.split("\r\n").enumerate() {
            if n > 0 {
                self.digest.update(b"\n");
            }
            self.digest.update(lines.as_bytes());
        }
    }

    /// Says that there is no more data.
    pub(crate) fn end_data(&mut self) {
        if std::mem::take(&mut self.ends_in_cr) {
            self.digest.update(b"\r");
        }
        self.digest.update(b"\\.\n");
    }

    pub(crate) fn finish(self) -> Digest {
        self.digest.finish()
    }
}

fn push_canonical(node: &SyntaxNode, out: &mut String) {
    let is_word =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '"' | '\'') || !c.is_ascii();
    let is_operator = |c: char| "+-*/<>=~!@#%^&|`?:.".contains(c);
    let start = out.len();
    let mut gap = false;
    for token in node.descendants_with_tokens().filter_map(SyntaxElement::into_token) {
        if matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT) {
            gap = true;
            continue;
        }
        let next = token.text().chars().next();
        if gap
            && out.len() > start
            && let (Some(a), Some(b)) = (out.chars().next_back(), next)
            && ((is_word(a) && is_word(b)) || (is_operator(a) && is_operator(b)))
        {
            out.push(' ');
        }
        gap = false;
        if token.kind() != SyntaxKind::SEMICOLON || !is_last(&token, node) {
            out.push_str(&token.text().replace("\r\n", "\n"));
        }
    }
}

fn is_last(token: &squawk_syntax::SyntaxToken, node: &SyntaxNode) -> bool {
    token.text_range().end() == node.text_range().end()
}
