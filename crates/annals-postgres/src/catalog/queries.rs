//! The queries of the catalog, for one server major version and one choice of schemas.

use std::fmt::Write as _;

use super::SchemaScope;

const RELATIONS: &str = include_str!("relations.sql");
const ROUTINES: &str = include_str!("routines.sql");
const SURROUNDINGS: &str = include_str!("surroundings.sql");

/// Options and settings of such names hold secrets: their values are not read.
const SECRET: &str =
    "(pass|secret|token|credential|jwt|api_?key|access_?key|private_?key|service_?key|conninfo)";

/// Schemas the server brings along are never read; `@excluded` are left out besides.
const NS: &str = "ns AS MATERIALIZED (SELECT n.oid, quote_ident(n.nspname) AS name FROM pg_namespace n \
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     AND n.nspname::text <> ALL (@excluded) AND @own(pg_namespace, n.oid))";

const ATTACHABLE: &str = "attachable AS MATERIALIZED (SELECT n.oid FROM pg_namespace n \
     WHERE n.nspname::text = ANY (@attachables))";

const CONSTRAINT: &str = "
       CASE k.contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key' WHEN 'p' THEN 'primary key'
                      WHEN 'u' THEN 'unique' WHEN 'x' THEN 'exclusion' END AS \"is\",
       pg_get_constraintdef(k.oid) AS definition,
       CASE WHEN NOT k.convalidated THEN 'false' END AS validated,
       CASE WHEN k.condeferrable THEN 'true' END AS deferrable,
       CASE WHEN k.condeferred THEN 'true' END AS deferred,
       --[18+] CASE WHEN NOT k.conenforced THEN 'false' END AS enforced,
       --[18+] CASE WHEN k.conperiod THEN 'true' END AS period,
       CASE WHEN k.connoinherit AND k.contype = 'c' THEN 'true' END AS no_inherit,
       CASE WHEN k.coninhcount > 0 OR k.conparentid <> 0 THEN 'true' END AS inherited,
       CASE WHEN k.coninhcount > 0 AND k.conislocal THEN 'true' END AS local";

/// Values that look like secrets are hidden in options of other names too: a password in a URL or
/// in a connection string.
const OPTIONS: &str = "(SELECT string_agg(quote_ident(o.option_name) || ' ' || quote_literal(\
     CASE WHEN o.option_name ~* '@secret' THEN '(hidden)' \
     ELSE regexp_replace(regexp_replace(o.option_value, '(//[^/@[:space:]:]*):[^/@[:space:]]*@', '\\1:(hidden)@'), \
     '(pass(?:word|wd|phrase)?[[:space:]]*=[[:space:]]*)(?:''[^'']*''|[^[:space:]]+)', '\\1(hidden)', 'gi') END), \
     ', ' ORDER BY o.option_name COLLATE \"C\") FROM pg_options_to_table(@1) o)";

/// `pg_attver` is a mark the server itself puts on columns (15.20 does): another one with each type
/// that changes in the table, the same after a rename. A dump leaves it out as well.
const RELOPTIONS: &str = "CASE WHEN @1 IS NOT NULL THEN \
     (SELECT string_agg(o, ', ' ORDER BY o COLLATE \"C\") FROM unnest(@1) o WHERE o !~ '^pg_attver=') END";

const SETTINGS: &str = "CASE WHEN @1 IS NOT NULL THEN (SELECT string_agg(\
     CASE WHEN split_part(o, '=', 1) ~* '@secret' THEN split_part(o, '=', 1) || '=(hidden)' ELSE o END, \
     E'\\n' ORDER BY o COLLATE \"C\") FROM unnest(@1) o) END";

const ACL: &str = "array_to_string(coalesce(@1, acldefault(@2, @3)), E'\\n')";

const COMMENT: &str = "LEFT JOIN pg_description d ON d.classoid = '@1'::regclass AND d.objoid = @2 AND d.objsubid = 0";

/// By way of the index on what is depended on: members of extensions are few.
const OWN: &str = "@2 NOT IN (SELECT m.objid FROM pg_depend m WHERE m.refclassid = 'pg_extension'::regclass \
     AND m.classid = '@1'::regclass AND m.deptype = 'e')";

/// Which units are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Only<'a> {
    /// All.
    All,
    /// These, by OID.
    Units(&'a [u32]),
    /// Those a parameter gives.
    Given,
}

/// What a query stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// What hangs on a relation.
    Relations,
    /// Functions and types.
    Routines,
    /// The rest.
    Surroundings,
}

/// The catalog of one server as one project sees it.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    major: u32,
    excluded: String,
    attachables: String,
}

impl Catalog {
    pub(super) fn new(major: u32, scope: &SchemaScope) -> Self {
        let attachable: Vec<String> = scope.attachable();
        Self { major, excluded: array(&scope.excluded()), attachables: array(&attachable) }
    }

    /// The queries of a group, one behind the other. Of `skipped` kinds there is none.
    pub(super) fn queries(&self, group: Group, only: Only<'_>, skipped: &[&str]) -> String {
        let mut all = String::new();
        for (_, query) in self.each(group, only, skipped) {
            all.push_str(&query);
            all.push_str(";\n");
        }
        all
    }

    /// The queries of a group, each with its name. Of `skipped` kinds there is none.
    pub(super) fn each(
        &self,
        group: Group,
        only: Only<'_>,
        skipped: &[&str],
    ) -> Vec<(&'static str, String)> {
        let text = match group {
            Group::Relations => RELATIONS,
            Group::Routines => ROUTINES,
            Group::Surroundings => SURROUNDINGS,
        };
        let mut all = Vec::new();
        for query in text.split("-- query ").skip(1) {
            let (name, query) = query.split_once('\n').unwrap_or((query, ""));
            if skipped.contains(&name) {
                continue;
            }
            let query = self.expand(query, only);
            if !query.trim().is_empty() {
                all.push((name, query.trim_end().to_owned()));
            }
        }
        all
    }

    /// Writes out what stands behind each `@`, and keeps the lines of this major version.
    pub(super) fn expand(&self, text: &str, only: Only<'_>) -> String {
        let mut words = text.to_owned();
        while let Some((start, word, arguments, end)) = next_word(&words) {
            let expansion = match word {
                "ns" => NS.to_owned(),
                "attachable" => ATTACHABLE.to_owned(),
                "attachables" => self.attachables.clone(),
                "excluded" => self.excluded.clone(),
                "secret" => SECRET.to_owned(),
                "constraint" => CONSTRAINT.to_owned(),
                "options" => fill(OPTIONS, &arguments),
                "reloptions" => fill(RELOPTIONS, &arguments),
                "settings" => fill(SETTINGS, &arguments),
                "acl" => fill(ACL, &arguments),
                "comment" => fill(COMMENT, &arguments),
                "own" => fill(OWN, &arguments),
                "only" => match only {
                    Only::All => "true".to_owned(),
                    Only::Units(units) => format!("{} = ANY ({})", arguments[0], oids(units)),
                    Only::Given => format!("{} = ANY ($1)", arguments[0]),
                },
                other => unreachable!("invariant: no query says @{other}"),
            };
            words.replace_range(start..end, &expansion);
        }
        let mut kept = String::with_capacity(words.len());
        for line in words.lines() {
            let trimmed = line.trim_start();
            let line = match trimmed.strip_prefix("--[").and_then(|rest| rest.split_once(']')) {
                Some((versions, line)) if includes(versions, self.major) => line,
                None if !trimmed.starts_with("--") => line,
                _ => continue,
            };
            kept.push_str(line);
            kept.push('\n');
        }
        kept
    }
}

/// An array of OIDs.
pub(super) fn oids(units: &[u32]) -> String {
    let mut text = String::from("'{");
    for (at, unit) in units.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{unit}");
    }
    text + "}'::oid[]"
}

/// An array of names. `standard_conforming_strings` is on in every session of annals.
fn array(names: &[String]) -> String {
    let names: Vec<String> =
        names.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    format!("ARRAY[{}]::text[]", names.join(", "))
}

fn fill(text: &str, arguments: &[String]) -> String {
    let mut filled = text.to_owned();
    for (at, argument) in arguments.iter().enumerate() {
        filled = filled.replace(&format!("@{}", at + 1), argument);
    }
    filled
}

/// The first `@word` or `@word(a, b)`: where it begins, word, arguments, where it ends.
fn next_word(text: &str) -> Option<(usize, &str, Vec<String>, usize)> {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase();
    let bytes = text.as_bytes();
    let start = (0..bytes.len().saturating_sub(1))
        .find(|at| bytes[*at] == b'@' && is_letter(&bytes[at + 1]))?;
    let length = bytes[start + 1..].iter().take_while(|byte| is_letter(byte)).count();
    let mut end = start + 1 + length;
    let word = &text[start + 1..end];
    let mut arguments = Vec::new();
    if bytes.get(end) == Some(&b'(') {
        let (mut depth, mut from) = (0, end + 1);
        for at in end..bytes.len() {
            match bytes[at] {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && bytes[at] == b',') {
                arguments.push(text[from..at].trim().to_owned());
                from = at + 1;
            }
            if depth == 0 {
                end = at + 1;
                break;
            }
        }
    }
    Some((start, word, arguments, end))
}

/// Whether `14+`, `-13` or `15-16` includes a major version.
fn includes(versions: &str, major: u32) -> bool {
    let number = |text: &str| text.parse::<u32>().expect("invariant: a major version");
    match versions.split_once('-') {
        Some(("", last)) => major <= number(last),
        Some((first, last)) => (number(first)..=number(last)).contains(&major),
        None => major >= number(versions.trim_end_matches('+')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    #[test]
    fn words_and_versions_are_written_out() {
        let scope = SchemaScope { managed: vec!["o'hare".into()], ..SchemaScope::default() };
        let of = |major, text| Catalog::new(major, &scope).expand(text, Only::Units(&[7, 8]));
        assert_eq!(of(15, "a\n--[14+] b\n--[-14] c\n-- d\n--[15-16] e"), "a\n b\n e\n");
        assert_eq!(of(13, "--[14+] b\n--[-14] c\n--[15-16] e"), " c\n");
        assert_eq!(of(15, "@only(x.y)"), "x.y = ANY ('{7,8}'::oid[])\n");
        assert_eq!(of(15, "@excluded"), "ARRAY['annals', 'o''hare']::text[]\n");
        assert_eq!(
            of(15, "@acl(f(a, b), 'r', o) AS acl"),
            "array_to_string(coalesce(f(a, b), acldefault('r', o)), E'\\n') AS acl\n"
        );
    }

    #[test]
    fn every_query_is_written_out_whole() {
        for major in 13..=18 {
            for platform in [Platform::Plain, Platform::Supabase] {
                let catalog = Catalog::new(major, &SchemaScope::of(platform));
                for group in [Group::Relations, Group::Routines, Group::Surroundings] {
                    let text = catalog.queries(group, Only::All, &[]);
                    assert!(!text.contains("--"), "{text}");
                    assert!(next_word(&text).is_none(), "{text}");
                }
            }
        }
    }
}
