//! Parts several commands show.

use annals_api::{FindingDocument, LintDocument, PlanDocument, PlanStatement, PlanStep};

use crate::style::{self, BAD, FAINT, HINT, NOTE, STRONG};

/// Said of a log that nothing vouches for.
pub(crate) const UNVERIFIED: &str = "note: only the links of this log were checked: there is no \
    checkpoint, or no public key (--key) to verify it with";

/// Findings, one under the other.
pub(crate) fn findings(findings: &[FindingDocument]) -> String {
    let mut text = String::new();
    for finding in findings {
        let look = if finding.severity == "error" { BAD } else { NOTE };
        text.push_str(&format!(
            "{look}{}{look:#} {STRONG}{}{STRONG:#} [{}]\n    {}\n    {HINT}next{HINT:#}: {}\n",
            finding.severity,
            style::safe(&finding.subject),
            finding.id,
            style::safe(&finding.evidence),
            style::safe(&finding.remedy)
        ));
    }
    text
}

fn class(statement: &PlanStatement) -> &'static str {
    match statement.class {
        "transactional" => "",
        "concurrent_index_build" => "  [builds an index concurrently]",
        "concurrent_index_drop" => "  [drops an index concurrently]",
        _ => "  [cannot run in a transaction]",
    }
}

/// The limits a step runs under, for people.
fn limits(step: &PlanStep) -> String {
    let outside = step.statements.iter().filter(|s| s.class != "transactional").count();
    let inside = format!("lock timeout {}", style::limit(step.lock_timeout_ms));
    let alone = format!("lock timeout {}", style::limit(step.lock_timeout_outside_ms));
    match outside {
        0 => inside,
        n if n == step.statements.len() || inside == alone => alone,
        _ => format!(
            "{inside}, outside a transaction {}",
            style::limit(step.lock_timeout_outside_ms)
        ),
    }
}

fn step(step: &PlanStep, number: usize, sql: bool) -> String {
    let mode = match step.mode {
        "transactional" => "one transaction",
        _ => "statement by statement",
    };
    let mut text = format!(
        "{STRONG}{number}. {} {}_{}{STRONG:#}  {FAINT}{mode}, {}, {}{FAINT:#}\n",
        step.direction,
        step.version,
        step.name,
        style::count(step.statements.len(), "statement"),
        limits(step)
    );
    for statement in &step.statements {
        if sql {
            text.push_str(&style::safe(&statement.sql));
            text.push_str(&format!("{FAINT}{}{FAINT:#}\n", class(statement)));
        } else {
            let line = style::first_line(&statement.sql, 78);
            text.push_str(&format!("   {line}{NOTE}{}{NOTE:#}\n", class(statement)));
        }
    }
    text
}

fn lint(lint: &LintDocument) -> String {
    let look = if lint.risk == "data loss" { BAD } else { NOTE };
    format!(
        "{look}{}{look:#} {}:{}: {}: {} [{}]\n    {HINT}instead{HINT:#}: {}\n",
        lint.risk, lint.file, lint.line, lint.subject, lint.effect, lint.rule, lint.instead
    )
}

/// A plan; with the whole SQL, or the beginning of each statement.
pub(crate) fn plan(document: &PlanDocument, sql: bool) -> String {
    if document.steps.is_empty() {
        return format!("{}nothing to do on {}\n", notes(&document.notes), document.target);
    }
    let mut text = String::new();
    for (n, planned) in document.steps.iter().enumerate() {
        text.push_str(&step(planned, n + 1, sql));
        text.push('\n');
    }
    for finding in &document.lints {
        text.push_str(&lint(finding));
    }
    text.push_str(&notes(&document.notes));
    text.push_str(&format!(
        "plan {} for {}: {} {}. Nothing was changed.\n",
        &document.hash[..12],
        document.target,
        style::count(document.steps.len(), "step"),
        document.direction
    ));
    text
}

/// Things that are allowed but should be known.
pub(crate) fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("{NOTE}note{NOTE:#}: {}\n", style::safe(note))).collect()
}
