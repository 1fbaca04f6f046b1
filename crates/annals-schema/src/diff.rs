//! What differs between two pictures, attribute by attribute.

use std::collections::BTreeMap;

use crate::snapshot::{Object, ObjectKey, Snapshot};

/// How one attribute differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The attribute.
    pub attribute: String,
    /// Its value in the first picture.
    pub before: Option<String>,
    /// Its value in the second.
    pub after: Option<String>,
}

/// How one object differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only in the second picture.
    Added(ObjectKey),
    /// Only in the first.
    Removed(ObjectKey),
    /// In both, unlike.
    Changed(ObjectKey, Vec<Change>),
}

impl Difference {
    /// The object.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Added(key) | Self::Removed(key) | Self::Changed(key, _) => key,
        }
    }
}

/// Compares two pictures; the result is in the order of the objects.
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut differences: Vec<Difference> = Vec::new();
    for (key, old) in before.iter() {
        match after.get(key) {
            None => differences.push(Difference::Removed(key.clone())),
            Some(new) if new == old => {}
            Some(new) => differences.push(Difference::Changed(key.clone(), changes(old, new))),
        }
    }
    let added = after.iter().filter(|(key, _)| before.get(key).is_none());
    differences.extend(added.map(|(key, _)| Difference::Added(key.clone())));
    differences.sort_by(|a, b| a.key().cmp(b.key()));
    differences
}

/// What is expected after a run, given what was expected `before` it, how the schema was `found`
/// then, and how it was `left`.
///
/// The run answers for what it changed. What differed from the expectation before it, and was not
/// touched by it, goes on differing: a run does not make somebody else's change its own.
pub fn carry_forward(expected: &Snapshot, found: &Snapshot, left: &Snapshot) -> Snapshot {
    let mut objects: BTreeMap<&ObjectKey, &BTreeMap<String, String>> = left.iter().collect();
    for difference in diff(expected, found) {
        let key = difference.key();
        if left.get(key) != found.get(key) {
            continue;
        }
        match expected.iter().find(|(expected, _)| *expected == key) {
            Some((key, attributes)) => objects.insert(key, attributes),
            None => objects.remove(key),
        };
    }
    Snapshot::new(objects.into_iter().map(|(key, attributes)| Object {
        attributes: attributes.clone(),
        kind: key.kind,
        name: key.name.clone(),
    }))
}

fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Change> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| Change {
            attribute: name.clone(),
            before: old.get(name).cloned(),
            after: new.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectKind;

    fn picture(objects: &[(&str, &[(&str, &str)])]) -> Snapshot {
        Snapshot::new(objects.iter().map(|(name, attributes)| Object {
            attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            kind: ObjectKind::Table,
            name: name.to_string(),
        }))
    }

    #[test]
    fn what_differed_before_a_run_and_was_not_touched_by_it_goes_on_differing() {
        let expected = picture(&[("dropped", &[]), ("changed", &[("x", "1")]), ("kept", &[])]);
        let found = picture(&[("changed", &[("x", "2")]), ("kept", &[]), ("added", &[])]);
        let left = picture(&[("changed", &[("x", "2")]), ("added", &[]), ("new", &[])]);
        let after = carry_forward(&expected, &found, &left);
        let wanted = picture(&[("dropped", &[]), ("changed", &[("x", "1")]), ("new", &[])]);
        assert_eq!(after, wanted);
        let repaired = picture(&[("dropped", &[("y", "1")]), ("changed", &[("x", "3")])]);
        assert_eq!(carry_forward(&expected, &found, &repaired), repaired);
    }

    #[test]
    fn differences_name_object_and_attribute() {
        let before = picture(&[("a", &[("x", "1")]), ("b", &[("x", "1"), ("y", "2")]), ("d", &[])]);
        let after = picture(&[("b", &[("x", "1"), ("z", "3")]), ("c", &[]), ("d", &[])]);
        let key = |name: &str| ObjectKey { kind: ObjectKind::Table, name: name.into() };
        let change = |attribute: &str, before: Option<&str>, after: Option<&str>| Change {
            attribute: attribute.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        assert_eq!(
            diff(&before, &after),
            [
                Difference::Removed(key("a")),
                Difference::Changed(
                    key("b"),
                    vec![change("y", Some("2"), None), change("z", None, Some("3"))]
                ),
                Difference::Added(key("c")),
            ]
        );
        assert!(diff(&after, &after).is_empty());
    }
}
