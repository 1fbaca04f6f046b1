//! What differs between two pictures, attribute by attribute.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kind::ObjectKind;
use crate::snapshot::{ObjectKey, Snapshot};

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

/// How alike two pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sameness {
    /// Nothing differs.
    Equal,
    /// The same columns stand in another order; nothing else differs.
    ColumnOrder,
    /// Something else differs.
    Differs,
}

/// How alike the two pictures of `differences` are.
pub fn sameness(differences: &[Difference]) -> Sameness {
    let order_only = |difference: &Difference| match difference {
        Difference::Added(_) | Difference::Removed(_) => false,
        Difference::Changed(key, changes) => {
            key.kind == ObjectKind::Column
                && changes.iter().all(|change| change.attribute == "position")
        }
    };
    match differences {
        [] => Sameness::Equal,
        _ if differences.iter().all(order_only) => Sameness::ColumnOrder,
        _ => Sameness::Differs,
    }
}

/// Compares two pictures; the result is in the order of the objects.
///
/// A kind that could not be read for one of them is not compared. Pictures of two major versions
/// are no subject: see [`Snapshot::comparable_with`].
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut differences: Vec<Difference> = Vec::new();
    let mut unread: Vec<ObjectKind> = before.unreadable().chain(after.unreadable()).collect();
    unread.push(ObjectKind::Unreadable);
    let (mut old, mut new) = (before.entries().iter(), after.entries().iter());
    let (mut old_entry, mut new_entry) = (old.next(), new.next());
    loop {
        let order = match (old_entry, new_entry) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
            (Some(a), Some(b)) => a.key.cmp(&b.key),
        };
        let (mut a, mut b) = (None, None);
        if order != Ordering::Greater {
            a = std::mem::replace(&mut old_entry, old.next());
        }
        if order != Ordering::Less {
            b = std::mem::replace(&mut new_entry, new.next());
        }
        let difference = match (a, b) {
            (Some(a), Some(b)) if a.digest == b.digest => continue,
            (Some(a), Some(b)) => {
                Difference::Changed(a.key.clone(), changes(&a.attributes, &b.attributes))
            }
            (Some(a), None) => Difference::Removed(a.key.clone()),
            (None, Some(b)) => Difference::Added(b.key.clone()),
            (None, None) => unreachable!("one of them was taken"),
        };
        if !unread.contains(&difference.key().kind) {
            differences.push(difference);
        }
    }
    differences
}

/// What is expected after a run, given what was expected `before` it, how the schema was `found`
/// then, and how it was `left`.
///
/// The run answers for what it changed. What differed from the expectation before it, and was not
/// touched by it, goes on differing: a run does not make somebody else's change its own.
pub fn carry_forward(expected: &Snapshot, found: &Snapshot, left: &Snapshot) -> Snapshot {
    let mut entries: BTreeMap<&ObjectKey, _> =
        left.entries().iter().map(|entry| (&entry.key, entry)).collect();
    let differences = diff(expected, found);
    for difference in &differences {
        let key = difference.key();
        if left.object_digest(key) != found.object_digest(key) {
            continue;
        }
        let at = expected.entries().binary_search_by(|entry| entry.key.cmp(key));
        match at {
            Ok(at) => entries.insert(&expected.entries()[at].key, &expected.entries()[at]),
            Err(_) => entries.remove(key),
        };
    }
    let entries = entries.into_values().cloned().collect();
    Snapshot::of_entries(left.server_major(), entries)
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
    use crate::snapshot::Object;

    fn picture(objects: &[(&str, &[(&str, &str)])]) -> Snapshot {
        Snapshot::new(
            15,
            objects.iter().map(|(name, attributes)| Object {
                attributes: attributes
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect(),
                kind: ObjectKind::Table,
                name: name.to_string(),
            }),
        )
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

    fn column(name: &str, attributes: &[(&str, &str)]) -> Object {
        Object {
            attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            kind: ObjectKind::Column,
            name: name.to_owned(),
        }
    }

    #[test]
    fn column_order_is_a_class_of_its_own() {
        let of = |a: &str, b: &str, kind: &str| {
            let columns = [("t.a", a), ("t.b", b)];
            let columns =
                columns.map(|(name, at)| column(name, &[("position", at), ("type", kind)]));
            Snapshot::new(15, columns)
        };
        let same = |before: &Snapshot, after: &Snapshot| sameness(&diff(before, after));
        let first = of("1", "2", "text");
        assert_eq!(same(&first, &first), Sameness::Equal);
        assert_eq!(same(&first, &of("2", "1", "text")), Sameness::ColumnOrder);
        assert_eq!(same(&first, &of("2", "1", "integer")), Sameness::Differs);
        let one = Snapshot::new(15, [column("t.a", &[("position", "1"), ("type", "text")])]);
        assert_eq!(same(&first, &one), Sameness::Differs);
        let table = |at| picture(&[("t", &[("position", at)])]);
        assert_eq!(same(&table("1"), &table("2")), Sameness::Differs);
    }

    #[test]
    fn what_one_side_could_not_read_is_not_compared() {
        let object =
            |kind, name: &str| Object { attributes: BTreeMap::new(), kind, name: name.to_owned() };
        let seen = Snapshot::new(15, [object(ObjectKind::Subscription, "s")]);
        let blind = Snapshot::new(15, [object(ObjectKind::Unreadable, "subscription")]);
        let other = Snapshot::new(15, [object(ObjectKind::Unreadable, "user_mapping")]);
        assert_eq!(diff(&seen, &blind), []);
        assert_eq!(diff(&blind, &seen), []);
        let key = ObjectKey { kind: ObjectKind::Subscription, name: "s".into() };
        assert_eq!(diff(&seen, &other), [Difference::Removed(key)]);
    }
}
