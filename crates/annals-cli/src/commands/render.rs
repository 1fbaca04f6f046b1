//! Parts several commands show.

use annals_api::{
    AnchorOutcome, FindingDocument, LintDocument, PlanDocument, PlanStatement, PlanStep,
    TimelineEvent,
};
use annals_schema::{ObjectKind, parts_in_words, wholes};
use anstyle::Style;

use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// The look of an event in a timeline.
pub(crate) fn tone(tone: &str) -> Style {
    match tone {
        "good" => GOOD,
        "bad" => BAD,
        "note" => NOTE,
        _ => Style::new(),
    }
}

/// An event in one line.
pub(crate) fn event(event: &TimelineEvent) -> String {
    let look = tone(event.tone);
    format!(
        "{FAINT}{:>5}  {}  {:<10}{FAINT:#} {look}{}{look:#}\n",
        event.seq,
        style::time(&event.recorded_at),
        style::safe(&event.by),
        style::safe(&event.text)
    )
}

/// Said of a log that nothing vouches for.
pub(crate) const UNVERIFIED: &str = "note: of some of these events only the links were checked: \
    there is no checkpoint, no public key (--key) to verify it with, or they stand behind the \
    signed head, where whoever can write the log can add to it";

/// The object a finding about the schema speaks of, as its subject spells it.
fn object(subject: &str) -> Option<(ObjectKind, &str)> {
    ObjectKind::ALL.iter().find_map(|kind| {
        let name = subject.strip_prefix(&kind.as_str().replace('_', " "))?.strip_prefix(' ')?;
        Some((*kind, name))
    })
}

/// What came or went with the object of each finding, in words; none for a finding that is told with
/// another one.
fn parts(findings: &[FindingDocument]) -> Vec<Option<String>> {
    let mut told = vec![Some(String::new()); findings.len()];
    for id in ["schema.missing", "schema.unexpected"] {
        let of_this = findings.iter().enumerate().filter(|(_, finding)| finding.id == id);
        let (places, objects): (Vec<usize>, Vec<_>) =
            of_this.filter_map(|(at, finding)| Some((at, object(&finding.subject)?))).unzip();
        let found = wholes(&objects);
        for (n, at) in places.iter().enumerate() {
            let kinds = objects.iter().zip(&found).filter(|(_, whole)| **whole == Some(n));
            let words = parts_in_words(kinds.map(|((kind, _), _)| *kind));
            told[*at] = found[n].is_none().then_some(words);
        }
    }
    told
}

/// Findings, one under the other; of a relation that is gone or new the parts are counted.
pub(crate) fn findings(findings: &[FindingDocument]) -> String {
    let mut text = String::new();
    for (finding, parts) in findings.iter().zip(parts(findings)) {
        let Some(parts) = parts else { continue };
        let with = if parts.is_empty() { parts } else { format!(" (with {parts})") };
        let look = if finding.severity == "error" { BAD } else { NOTE };
        text.push_str(&format!(
            "{look}{}{look:#} {STRONG}{}{STRONG:#} [{}]\n    {}{with}\n    {HINT}next{HINT:#}: {}\n",
            finding.severity,
            style::safe(&finding.subject),
            finding.id,
            style::safe(&finding.evidence),
            style::safe(&finding.remedy)
        ));
    }
    text
}

fn class(statement: &PlanStatement) -> String {
    let words = match statement.class {
        "transactional" => return String::new(),
        "concurrent_index_build" => "builds an index concurrently",
        "concurrent_index_drop" => "drops an index concurrently",
        "concurrent_reindex" => "rebuilds indexes concurrently",
        "concurrent_detach" => "detaches a partition concurrently",
        _ => "cannot run in a transaction",
    };
    match &statement.batches {
        None => format!("  [{words}]"),
        Some(batches) => format!(
            "  [in batches of {} by {}.{}, {} apart]",
            style::count(usize::try_from(batches.rows).unwrap_or(usize::MAX), "row"),
            style::safe(&batches.table),
            style::safe(&batches.key),
            style::pause(batches.pause_ms)
        ),
    }
}

/// Whether it runs under the limits of what cannot run in a transaction.
fn is_outside(statement: &PlanStatement) -> bool {
    statement.class != "transactional" && statement.batches.is_none()
}

/// The limits a step runs under, for people.
fn limits(step: &PlanStep) -> String {
    let outside = step.statements.iter().filter(|s| is_outside(s)).count();
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

fn count(of: u64) -> usize {
    usize::try_from(of).unwrap_or(usize::MAX)
}

fn statements(step: &PlanStep) -> String {
    let streamed = step.streamed.as_ref().map(|file| count(file.statements));
    style::count(streamed.unwrap_or(step.statements.len()), "statement")
}

fn data(statement: &PlanStatement) -> String {
    let lines = statement.data.as_ref().map(|data| style::count(data.lines().count(), "line"));
    lines.map(|lines| format!("  [{lines} of data]")).unwrap_or_default()
}

/// One step of a plan; with the whole SQL, or the beginning of each statement.
pub(crate) fn step(step: &PlanStep, number: usize, sql: bool) -> String {
    let mode = match step.mode {
        "transactional" => "one transaction",
        _ if step.statements.iter().any(|statement| statement.batches.is_some()) => {
            "a transaction for each batch"
        }
        _ => "statement by statement",
    };
    let proof = step.proof.map_or_else(String::new, |proof| format!(", {proof}"));
    let lock = step.lock.as_ref().map_or_else(String::new, |lock| format!(", locks {lock}"));
    let mut text = format!(
        "{STRONG}{number}. {} {}_{}{STRONG:#}  {FAINT}{mode}, {}, {}{proof}{lock}{FAINT:#}\n",
        step.direction,
        step.version,
        step.name,
        statements(step),
        limits(step)
    );
    for statement in &step.statements {
        if sql {
            text.push_str(&style::safe(&statement.sql));
            text.push_str(&format!("{FAINT}{}{FAINT:#}\n", class(statement)));
            if let Some(data) = &statement.data {
                text.push_str(&format!("{}\\.\n", style::safe(data)));
            }
        } else {
            let line = style::first_line(&statement.sql, 78);
            text.push_str(&format!(
                "   {line}{NOTE}{}{}{NOTE:#}\n",
                class(statement),
                data(statement)
            ));
        }
    }
    if let Some(file) = &step.streamed {
        let copies = style::count(count(file.copies), "COPY");
        text.push_str(&format!(
            "   {NOTE}{} of {}, with data for {copies}, are read from the file{NOTE:#}\n",
            style::count(count(file.bytes), "byte"),
            step.file
        ));
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
    for loss in &document.losses {
        text.push_str(&format!(
            "{BAD}lost{BAD:#} {}:{}: {}\n",
            loss.file,
            loss.line,
            style::safe(&loss.text)
        ));
    }
    text.push_str(&notes(&document.notes));
    text.push_str(&notes(&document.surroundings));
    if let Some(kind) = document.backup {
        text.push_str(&match kind {
            "external" => format!(
                "{FAINT}first: a backup that somebody else keeps is named (--external-backup){FAINT:#}\n"
            ),
            _ => format!("{FAINT}first: a backup ({kind}) is taken and read again{FAINT:#}\n"),
        });
    }
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

/// What an anchor holds, in one line.
pub(crate) fn anchor(anchor: &AnchorOutcome) -> String {
    let name = style::safe(&anchor.anchor);
    match (anchor.size, &anchor.problem) {
        (Some(size), _) => {
            format!("  {FAINT}anchored{FAINT:#}    {name} holds the first {size} events\n")
        }
        (None, problem) => format!(
            "  {NOTE}unanchored{NOTE:#}  {}\n",
            style::safe(problem.as_deref().unwrap_or_default())
        ),
    }
}

/// The events nothing outside vouches for.
pub(crate) fn unanchored(from: Option<u64>, log_size: u64) -> String {
    match from {
        Some(from) if from < log_size => format!(
            "  {NOTE}unanchored{NOTE:#}  events {from} to {}: nothing outside vouches for them\n",
            log_size - 1
        ),
        _ => String::new(),
    }
}
