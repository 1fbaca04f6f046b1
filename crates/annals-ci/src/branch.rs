//! Files against those that others rely on: of the branch a change goes to, or applied somewhere.

use std::collections::BTreeMap;

use annals_events::{Digest, Version};

use crate::report::{Finding, Place};
use crate::rules::{FILE_EDITED, FILE_REFORMATTED, FILE_REMOVED, VERSION_BEHIND, VERSION_TAKEN};

/// A file that others rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The file, relative to the workspace.
    pub path: String,
    /// The version of a migration; none for a rollback.
    pub version: Option<Version>,
    /// Digest of its bytes; none where only the other one is known.
    pub raw: Option<Digest>,
    /// Digest of its statements alone; none where it cannot be read.
    pub canonical: Option<Digest>,
}

/// How files deviate from those that others rely on.
pub struct Deviation<'a> {
    /// The files there are, in the order in which they would be applied.
    pub ours: &'a [Known],
    /// The files that others rely on.
    pub theirs: &'a [Known],
    /// Who relies on them, such as `main` or `applied to production`.
    pub whose: &'a str,
    /// Whether they are all there are, so that what is not among them is new.
    pub all: bool,
}

/// Every deviation.
pub fn deviations(of: &Deviation<'_>) -> Vec<Finding> {
    let Deviation { ours, theirs, whose, all } = *of;
    let here: BTreeMap<&str, (usize, &Known)> =
        ours.iter().enumerate().map(|(at, file)| (&*file.path, (at, file))).collect();
    let mut findings = Vec::new();
    for file in theirs {
        let Some((_, own)) = here.get(&*file.path) else {
            let taken =
                ours.iter().find(|own| own.version.is_some() && own.version == file.version);
            findings.push(match taken {
                Some(own) => {
                    let what = format!("has the version of {} ({whose})", file.path);
                    Finding::of(&VERSION_TAKEN, Place::file(&*own.path), what)
                }
                None => Finding::of(
                    &FILE_REMOVED,
                    Place::file(&*file.path),
                    format!("is gone ({whose})"),
                ),
            });
            continue;
        };
        if file.raw.is_some() && file.raw == own.raw {
            continue;
        }
        let place = Place::file(&*file.path);
        match (&file.canonical, &own.canonical) {
            (Some(theirs), Some(ours)) if theirs == ours => {
                // Of an applied file the log may have no more than this.
                if file.raw.is_some() {
                    let what = format!("other comments or white space ({whose})");
                    findings.push(Finding::of(&FILE_REFORMATTED, place, what));
                }
            }
            _ => findings.push(Finding::of(&FILE_EDITED, place, format!("other SQL ({whose})"))),
        }
    }
    if !all {
        return findings;
    }
    let known: BTreeMap<&str, ()> = theirs.iter().map(|file| (&*file.path, ())).collect();
    let is_known = |file: &Known| known.contains_key(&*file.path);
    let last = ours.iter().rposition(|file| file.version.is_some() && is_known(file));
    if let Some(last) = last {
        for new in ours[..last].iter().filter(|file| file.version.is_some() && !is_known(file)) {
            // A version that is taken is said once.
            if findings.iter().any(|f| f.place.file.as_ref() == Some(&new.path)) {
                continue;
            }
            let what = format!("sorts before {} ({whose})", ours[last].path);
            findings.push(Finding::of(&VERSION_BEHIND, Place::file(&*new.path), what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, raw: &str, canonical: &str) -> Known {
        let version = path.strip_prefix("migrations/").map(|name| name[..1].parse().unwrap());
        let digest = |text: &str| Some(Digest::of(text.as_bytes()));
        Known { path: path.into(), version, raw: digest(raw), canonical: digest(canonical) }
    }

    fn found(ours: &[Known], theirs: &[Known]) -> Vec<(String, String)> {
        let of = Deviation { ours, theirs, whose: "main", all: true };
        let all = deviations(&of).into_iter();
        all.map(|f| (f.rule, f.place.file.unwrap())).collect()
    }

    #[test]
    fn each_deviation_is_found_and_only_it() {
        let base = [
            file("migrations/1_a.sql", "a", "a"),
            file("migrations/3_c.sql", "c", "c"),
            file("rollbacks/1_a_rollback.sql", "ra", "ra"),
        ];
        let with = |more: &[Known]| {
            let mut all = [&base[..], more].concat();
            all.sort_by(|a, b| a.path.cmp(&b.path));
            all
        };
        assert_eq!(found(&base, &base), []);
        assert_eq!(found(&with(&[file("migrations/4_d.sql", "d", "d")]), &base), []);
        let one = |rule: &str, path: &str| vec![(rule.to_owned(), path.to_owned())];
        let behind = with(&[file("migrations/2_b.sql", "b", "b")]);
        assert_eq!(found(&behind, &base), one("version-behind", "migrations/2_b.sql"));
        let mut edited = base.clone();
        edited[0] = file("migrations/1_a.sql", "x", "x");
        assert_eq!(found(&edited, &base), one("file-edited", "migrations/1_a.sql"));
        edited[0] = file("migrations/1_a.sql", "a ", "a");
        assert_eq!(found(&edited, &base), one("file-reformatted", "migrations/1_a.sql"));
        edited[0] = base[0].clone();
        edited[2] = file("rollbacks/1_a_rollback.sql", "x", "x");
        assert_eq!(found(&edited, &base), one("file-edited", "rollbacks/1_a_rollback.sql"));
        assert_eq!(found(&base[1..], &base), one("file-removed", "migrations/1_a.sql"));
        let taken = [
            file("migrations/1_a.sql", "a", "a"),
            file("migrations/3_d.sql", "d", "d"),
            base[2].clone(),
        ];
        assert_eq!(found(&taken, &base), one("version-taken", "migrations/3_d.sql"));
    }

    #[test]
    fn of_applied_files_nothing_is_said_to_be_new() {
        let ours = [file("migrations/1_a.sql", "a", "a"), file("migrations/2_b.sql", "b", "b")];
        let of = Deviation { ours: &ours, theirs: &ours[1..], whose: "applied", all: false };
        assert_eq!(deviations(&of), []);
    }
}
