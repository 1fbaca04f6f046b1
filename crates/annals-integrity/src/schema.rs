//! The live schema against the one the last run left.

use annals_schema::{Change, Difference};

use crate::finding::{CheckFamily, Finding, Severity};

/// Compares the live schema with the expected one.
pub fn check_schema(differences: &[Difference]) -> Vec<Finding> {
    differences.iter().map(difference).collect()
}

fn difference(difference: &Difference) -> Finding {
    let key = difference.key();
    let (id, severity, evidence, remedy) = match difference {
        Difference::Removed(_) => (
            "schema.missing",
            Severity::Error,
            "it was there after the last run, and is gone".to_owned(),
            "bring it back with a new migration, or restore it by hand",
        ),
        Difference::Added(_) => (
            "schema.unexpected",
            Severity::Error,
            "it is not part of what the migrations left".to_owned(),
            "write a migration for it, or remove it by hand",
        ),
        Difference::Changed(_, changes) => (
            "schema.changed",
            Severity::Error,
            changes.iter().map(change).collect::<Vec<_>>().join("; "),
            "undo the change by hand, or write a migration for it",
        ),
    };
    Finding {
        id,
        family: CheckFamily::Schema(key.kind.family()),
        severity,
        subject: key.to_string(),
        evidence,
        remedy: remedy.to_owned(),
    }
}

fn change(change: &Change) -> String {
    let show = |value: &Option<String>| match value {
        None => "nothing".to_owned(),
        Some(value) => {
            let short: String = value.chars().take(80).collect();
            let dots = if short.len() < value.len() { "…" } else { "" };
            format!("{:?}{dots}", short)
        }
    };
    format!("{} was {}, is {}", change.attribute, show(&change.before), show(&change.after))
}
