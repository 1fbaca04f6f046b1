//! The live schema against the one the last run left, and for itself.

use annals_schema::{Change, Difference, ObjectKind, Snapshot};

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

/// What is wrong with a schema whatever was expected.
pub fn check_validity(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, attributes) in snapshot.iter() {
        let is = |attribute: &str, value: &str| {
            attributes.get(attribute).is_some_and(|found| found == value)
        };
        let (id, severity, evidence, remedy) = match key.kind {
            ObjectKind::Index if is("valid", "false") => (
                "index.invalid",
                Severity::Error,
                "it is INVALID: a concurrent build did not finish, no query uses it",
                "drop it concurrently and build it again",
            ),
            ObjectKind::Constraint if is("validated", "false") => (
                "constraint.not_validated",
                Severity::Warning,
                "it is NOT VALID: rows from before it may break it",
                "ALTER TABLE … VALIDATE CONSTRAINT in a migration",
            ),
            ObjectKind::Trigger if is("enabled", "no") => (
                "trigger.disabled",
                Severity::Warning,
                "it is disabled",
                "enable it in a migration, or drop it",
            ),
            _ => continue,
        };
        findings.push(Finding {
            id,
            family: CheckFamily::Schema(key.kind.family()),
            severity,
            subject: key.to_string(),
            evidence: evidence.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
    findings.extend(policies_without_row_security(snapshot));
    findings
}

/// A policy on a table whose row level security is off protects nothing.
fn policies_without_row_security(snapshot: &Snapshot) -> impl Iterator<Item = Finding> + '_ {
    let off = snapshot.iter().filter(|(key, attributes)| {
        key.kind == ObjectKind::RowSecurity
            && attributes.get("enabled").is_some_and(|enabled| enabled == "false")
    });
    off.flat_map(|(table, _)| {
        let prefix = format!("{}.", table.name);
        let policies = snapshot.iter().filter(move |(key, _)| {
            key.kind == ObjectKind::Policy && key.name.starts_with(&prefix)
        });
        policies.map(|(policy, _)| Finding {
            id: "policy.without_row_security",
            family: CheckFamily::Schema(ObjectKind::Policy.family()),
            severity: Severity::Error,
            subject: policy.to_string(),
            evidence: format!(
                "row level security is off for {}, so it protects nothing",
                table.name
            ),
            remedy: "ALTER TABLE … ENABLE ROW LEVEL SECURITY in a migration".to_owned(),
        })
    })
}
