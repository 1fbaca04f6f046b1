//! Rows of the catalog's queries as objects.

use std::collections::BTreeMap;

use annals_schema::{Object, ObjectKind};
use sqlx::postgres::PgRow;
use sqlx::{Column, Row, ValueRef};

use super::queries::Group;
use crate::fault::Fault;

/// The columns before the attributes: kind, unit, name, acl, owner.
const FIXED: usize = 5;

/// An object with the unit it is read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) group: Group,
    pub(super) unit: u32,
    pub(super) object: Object,
}

/// The objects of a row: what it describes, and what is granted on that.
pub(super) fn read_row(row: &PgRow, read: &mut Vec<Read>) -> Result<(), Fault> {
    let text = |at: usize| -> Result<Option<&str>, Fault> {
        let value = row.try_get_raw(at)?;
        if value.is_null() {
            return Ok(None);
        }
        value.as_str().map(Some).map_err(|error| Fault::Protocol(format!("a catalog row: {error}")))
    };
    let needed = |at: usize| {
        text(at)?.ok_or_else(|| Fault::Protocol(format!("a catalog row without column {at}")))
    };
    let word = needed(0)?;
    let kind = ObjectKind::parse(word)
        .ok_or_else(|| Fault::Protocol(format!("catalog object kind {word:?}")))?;
    let unit: i64 = needed(1)?.parse().map_err(|_| Fault::Protocol("a catalog unit".to_owned()))?;
    let group = match unit {
        0 => Group::Surroundings,
        1.. => Group::Relations,
        _ => Group::Routines,
    };
    let unit = u32::try_from(unit.unsigned_abs()).unwrap_or_default();
    let name = needed(2)?;
    let (acl, owner) = (text(3)?, text(4)?);
    let mut attributes = BTreeMap::new();
    for (at, column) in row.columns().iter().enumerate().skip(FIXED) {
        if let Some(value) = text(at)? {
            attributes.insert(column.name().to_owned(), value.to_owned());
        }
    }
    match kind {
        ObjectKind::Column | ObjectKind::Grant => {}
        _ => {
            attributes.extend(owner.map(|owner| ("owner".to_owned(), owner.to_owned())));
        }
    }
    if kind == ObjectKind::Constraint {
        strip_state(&mut attributes);
    }
    let acl = acl.map(parse_acl).unwrap_or_default();
    if kind == ObjectKind::DefaultPrivileges {
        let entries = acl.iter().map(|item| format!("{}: {}", item.grantee, item.privileges));
        let mut entries: Vec<String> = entries.collect();
        entries.sort();
        attributes.insert("privileges".to_owned(), entries.join("; "));
    } else {
        let what =
            if kind == ObjectKind::Grant { name.to_owned() } else { format!("{kind} {name}") };
        read.extend(acl.into_iter().map(|item| Read {
            group,
            unit,
            object: grant(&what, owner, item),
        }));
    }
    if kind != ObjectKind::Grant {
        read.push(Read { group, unit, object: Object { attributes, kind, name: name.to_owned() } });
    }
    Ok(())
}

/// What a definition says at its end is an attribute by itself; what a constraint demands stays.
fn strip_state(attributes: &mut BTreeMap<String, String>) {
    let states = [
        ("validated", " NOT VALID"),
        ("enforced", " NOT ENFORCED"),
        ("deferred", " INITIALLY DEFERRED"),
        ("deferrable", " DEFERRABLE"),
    ];
    let given: Vec<&str> = states
        .iter()
        .filter(|(attribute, _)| attributes.contains_key(*attribute))
        .map(|(_, words)| *words)
        .collect();
    if let Some(definition) = attributes.get_mut("definition") {
        for words in given {
            if let Some(rest) = definition.strip_suffix(words) {
                definition.truncate(rest.len());
            }
        }
    }
}

/// One entry of an access control list.
#[derive(Debug, PartialEq, Eq)]
struct AclItem {
    grantee: String,
    grantor: String,
    /// Such as `INSERT, SELECT*`; the star is the grant option.
    privileges: String,
}

fn grant(what: &str, owner: Option<&str>, item: AclItem) -> Object {
    let AclItem { grantee, grantor, privileges } = item;
    // Two roles may have granted to a third.
    let by = match owner {
        Some(owner) if owner != grantor => format!(" by {grantor}"),
        _ => String::new(),
    };
    Object {
        name: format!("{what} to {grantee}{by}"),
        attributes: BTreeMap::from([
            ("grantor".to_owned(), grantor),
            ("privileges".to_owned(), privileges),
        ]),
        kind: ObjectKind::Grant,
    }
}

/// Reads `aclitem`s, one a line: `grantee=letters/grantor`, where a name with other characters than
/// letters, digits and `_` stands in double quotes.
fn parse_acl(text: &str) -> Vec<AclItem> {
    let mut rest = text;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let grantee = role(&mut rest);
        rest = rest.strip_prefix('=').unwrap_or(rest);
        let end = rest.find('/').unwrap_or(rest.len());
        let (letters, behind) = rest.split_at(end);
        rest = behind.strip_prefix('/').unwrap_or(behind);
        let grantor = role(&mut rest);
        rest = rest.strip_prefix('\n').unwrap_or("");
        let grantee =
            if grantee.is_empty() { "PUBLIC".to_owned() } else { quote_identifier(&grantee) };
        let grantor = quote_identifier(&grantor);
        items.push(AclItem { grantee, grantor, privileges: privileges(letters) });
    }
    items
}

/// Takes a role's name from the front.
fn role(rest: &mut &str) -> String {
    let mut name = String::new();
    let mut quoted = false;
    let mut characters = rest.char_indices().peekable();
    let mut end = rest.len();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            '=' | '/' | '\n' if !quoted => {
                end = at;
                break;
            }
            other => name.push(other),
        }
    }
    *rest = &rest[end..];
    name
}

fn privileges(letters: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for letter in letters.chars() {
        let word = match letter {
            '*' => {
                words.iter_mut().last().into_iter().for_each(|word| word.push('*'));
                continue;
            }
            'r' => "SELECT",
            'w' => "UPDATE",
            'a' => "INSERT",
            'd' => "DELETE",
            'D' => "TRUNCATE",
            'x' => "REFERENCES",
            't' => "TRIGGER",
            'm' => "MAINTAIN",
            'X' => "EXECUTE",
            'U' => "USAGE",
            'C' => "CREATE",
            'c' => "CONNECT",
            'T' => "TEMPORARY",
            's' => "SET",
            'A' => "ALTER SYSTEM",
            other => &format!("privilege {other}"),
        };
        words.push(word.to_owned());
    }
    words.sort();
    words.join(", ")
}

/// As the server's `quote_ident` for names that are no keywords.
fn quote_identifier(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    match first && name.bytes().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_lists_are_read_as_the_server_writes_them() {
        let item = |grantee: &str, privileges: &str, grantor: &str| AclItem {
            grantee: grantee.into(),
            grantor: grantor.into(),
            privileges: privileges.into(),
        };
        let text = "alice=arwdDxt/alice\n=r/alice\n\"a \"\"b\"\"/=\n\"=r*w/alice\nbob=/Bob";
        assert_eq!(
            parse_acl(text),
            [
                item(
                    "alice",
                    "DELETE, INSERT, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE",
                    "alice"
                ),
                item("PUBLIC", "SELECT", "alice"),
                item("\"a \"\"b\"\"/=\n\"", "SELECT*, UPDATE", "alice"),
                item("bob", "", "\"Bob\""),
            ]
        );
        assert_eq!(parse_acl(""), []);
    }

    #[test]
    fn the_state_of_a_constraint_is_not_part_of_its_definition() {
        let of = |definition: &str, states: &[&str]| {
            let states = states.iter().map(|state| (state.to_string(), String::new()));
            let mut attributes: BTreeMap<String, String> = states.collect();
            attributes.insert("definition".into(), definition.into());
            strip_state(&mut attributes);
            attributes.remove("definition").unwrap()
        };
        let text = "FOREIGN KEY (a) REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED NOT VALID";
        let bare = "FOREIGN KEY (a) REFERENCES t(a)";
        assert_eq!(of(text, &["validated", "deferrable", "deferred"]), bare);
        let text = "CHECK ((a > 0)) NOT ENFORCED";
        assert_eq!(of(text, &["validated", "enforced"]), "CHECK ((a > 0))");
        assert_eq!(of(text, &["validated"]), text);
    }
}
