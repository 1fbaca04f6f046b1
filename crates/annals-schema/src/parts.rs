//! What comes and goes with an object: a person is told of a new table, not of each of its columns.

use std::collections::{BTreeMap, HashMap};

use crate::kind::ObjectKind;

/// Of objects that have all appeared, or are all gone: the place of the one that each is a part of;
/// none for those that stand for themselves.
///
/// Parts are columns, constraints, triggers, rules, policies and row security of a relation, the index
/// that a constraint among them makes, and grants.
pub fn wholes(objects: &[(ObjectKind, &str)]) -> Vec<Option<usize>> {
    let of_kind = |is_whole: fn(ObjectKind) -> bool| -> HashMap<&str, usize> {
        let chosen = objects.iter().enumerate().filter(|(_, (kind, _))| is_whole(*kind));
        chosen.map(|(at, (_, name))| (*name, at)).collect()
    };
    let relations = of_kind(|kind| matches!(kind, ObjectKind::Table | ObjectKind::View));
    let grantable = of_kind(|kind| {
        !matches!(kind, ObjectKind::Grant | ObjectKind::Column | ObjectKind::RowSecurity)
    });
    // A constraint is named behind its table, its index beside it.
    let made_by: HashMap<String, usize> = objects
        .iter()
        .filter(|(kind, _)| *kind == ObjectKind::Constraint)
        .filter_map(|(_, name)| {
            let (table, at) = above(name, &relations)?;
            let schema = table.rfind('.').map_or("", |dot| &table[..=dot]);
            Some((format!("{schema}{}", &name[table.len() + 1..]), at))
        })
        .collect();
    let whole = |(kind, name): &(ObjectKind, &str)| match kind {
        ObjectKind::Column
        | ObjectKind::Constraint
        | ObjectKind::Trigger
        | ObjectKind::Rule
        | ObjectKind::Policy => above(name, &relations).map(|(_, at)| at),
        ObjectKind::RowSecurity => relations.get(name).copied(),
        ObjectKind::Index => made_by.get(*name).copied(),
        ObjectKind::Grant => {
            let (on, _role) = name.rsplit_once(" to ")?;
            let (_class, object) = on.split_once(' ')?;
            let of_a_column = || above(object, &relations).map(|(_, at)| at);
            grantable.get(object).copied().or_else(of_a_column)
        }
        _ => None,
    };
    objects.iter().map(whole).collect()
}

/// The relation that a dotted name begins with; quoted names may have dots of their own.
fn above<'n>(name: &'n str, relations: &HashMap<&str, usize>) -> Option<(&'n str, usize)> {
    let dots = name.rmatch_indices('.').map(|(dot, _)| &name[..dot]);
    dots.filter_map(|table| relations.get(table).map(|at| (table, *at))).next()
}

/// Parts in words, such as `2 columns, 1 index`; nothing for none.
pub fn parts_in_words(parts: impl IntoIterator<Item = ObjectKind>) -> String {
    let mut counts: BTreeMap<ObjectKind, usize> = BTreeMap::new();
    for kind in parts {
        *counts.entry(kind).or_default() += 1;
    }
    let words = counts.into_iter().map(|(kind, count)| {
        let word = kind.as_str().replace('_', " ");
        match (kind, count) {
            (ObjectKind::RowSecurity, _) => word,
            (_, 1) => format!("1 {word}"),
            (ObjectKind::Index, _) => format!("{count} {word}es"),
            (ObjectKind::Policy, _) => format!("{count} policies"),
            _ => format!("{count} {word}s"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::ObjectKind::*;
    use super::*;

    #[test]
    fn what_comes_with_a_table_is_its_part_and_nothing_else_is() {
        let objects = [
            (Schema, "public"),
            (Table, "public.t2"),
            (Column, "public.t2.a"),
            (Column, "public.users.note"),
            (Constraint, "public.t2.t2_pkey"),
            (Index, "public.t2_pkey"),
            (Index, "public.t2_b_idx"),
            (RowSecurity, "public.t2"),
            (RowSecurity, "public.t22"),
            (Policy, "public.t2.\"to. all\""),
            (Grant, "table public.t2 to postgres"),
            (Grant, "column public.t2.a to \"go to it\""),
            (Grant, "table public.t22 to postgres"),
            (Grant, "schema public to postgres"),
        ];
        let found = wholes(&objects);
        let table = Some(1);
        assert_eq!(
            found,
            [
                None,
                None,
                table,
                None,
                table,
                table,
                None,
                table,
                None,
                table,
                table,
                table,
                None,
                Some(0)
            ]
        );
        let parts = objects.iter().zip(&found).filter(|(_, whole)| **whole == table);
        assert_eq!(
            parts_in_words(parts.map(|((kind, _), _)| *kind)),
            "1 column, 1 constraint, 1 index, row security, 1 policy, 2 grants"
        );
        assert_eq!(parts_in_words([Policy, Policy, Index, Index]), "2 indexes, 2 policies");
        assert_eq!(parts_in_words([]), "");
    }

    #[test]
    fn a_dot_in_a_quoted_name_leads_to_no_other_table() {
        let objects = [(Table, "a.\"b.c\""), (Column, "a.\"b.c\".d"), (Column, "a.b.c")];
        assert_eq!(wholes(&objects), [None, Some(0), None]);
    }
}
