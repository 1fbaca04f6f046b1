//! Every check, as one value in a table: what it looks at, how bad it is, what to do, and an
//! example of the damage. `docs/reference/checks.md` is generated from it.

mod constraints;
mod data;
mod history;
mod indexes;
mod permissions;
mod structure;

use annals_events::CheckLevel;

use crate::finding::{CheckFamily, Finding, Severity};

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, such as `index.invalid`.
    pub id: &'static str,
    /// The family it belongs to.
    pub family: CheckFamily,
    /// The lowest level it is made at.
    pub level: CheckLevel,
    /// How bad it is when it finds something.
    pub severity: Severity,
    /// What it looks at and when it finds something: a sentence without its full stop.
    pub looks_at: &'static str,
    /// What to do about a finding.
    pub remedy: &'static str,
    /// An example of the damage: SQL, or words where no SQL does it.
    pub damage: &'static str,
}

impl Check {
    /// The check with this name.
    pub fn find(id: &str) -> Option<&'static Self> {
        Self::all().find(|check| check.id == id)
    }

    /// Every check, family by family.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        [
            history::CHECKS,
            structure::CHECKS,
            data::CHECKS,
            constraints::CHECKS,
            indexes::CHECKS,
            permissions::CHECKS,
        ]
        .into_iter()
        .flatten()
    }

    /// The words of its level.
    pub const fn level_word(&self) -> &'static str {
        self.level.as_str()
    }

    /// What it found.
    pub fn finding(&self, subject: String, evidence: String) -> Finding {
        Finding {
            id: self.id,
            family: self.family,
            severity: self.severity,
            subject,
            evidence,
            remedy: self.remedy.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_its_own_name_and_says_all_of_itself() {
        let mut names = BTreeSet::new();
        for check in Check::all() {
            assert!(names.insert(check.id), "{} stands twice", check.id);
            for text in [check.looks_at, check.remedy, check.damage] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text:?}", check.id);
            }
            assert_eq!(Check::find(check.id), Some(check));
        }
        assert_eq!(Check::find("no.such"), None);
    }
}
