//! What `annals.toml` says of health, groups of tables and limits of time.

use std::collections::BTreeMap;

use annals_migrations::parse_duration_ms;
use annals_projections::Measure;
use serde::Deserialize;

use crate::config::{ConfigError, check_name, value_error};

/// The word that stands for the default target in addresses.
pub(crate) const DEFAULT_TARGET_WORD: &str = "supabase";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct HealthTable {
    cache: Option<String>,
    timeout: Option<String>,
    long_query: Option<String>,
    max_backup_age: Option<String>,
    max_integrity_age: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct BudgetTable {
    migration: Option<String>,
    rollback: Option<String>,
    backup: Option<String>,
    verification: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(crate) struct GroupTable {
    tables: Vec<String>,
    target: Option<String>,
}

/// Tables that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Schema and name of each.
    pub tables: Vec<(String, String)>,
    /// Where they are. Default the default target.
    pub target: Option<String>,
}

/// How long each thing may take, in milliseconds; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// A run that applies. Default 30 s.
    pub migration_ms: u64,
    /// A run that rolls back. Default 10 s.
    pub rollback_ms: u64,
    /// A backup. Default 60 s.
    pub backup_ms: u64,
    /// A verification. Default 30 s.
    pub verification_ms: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            migration_ms: 30_000,
            rollback_ms: 10_000,
            backup_ms: 60_000,
            verification_ms: 30_000,
        }
    }
}

impl Budgets {
    /// The limit of one of them, in milliseconds; none where there is none.
    pub fn of(&self, measure: Measure) -> Option<u64> {
        let ms = match measure {
            Measure::Migration => self.migration_ms,
            Measure::Rollback => self.rollback_ms,
            Measure::Backup => self.backup_ms,
            Measure::Verification => self.verification_ms,
        };
        (ms > 0).then_some(ms)
    }
}

/// How health is looked at and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// How long an answer is given again, in milliseconds. Default 5 s.
    pub cache_ms: u64,
    /// How long a target is waited for, in milliseconds. Default 2 s.
    pub timeout_ms: u64,
    /// From which age on a query or a transaction is long, in milliseconds. Default 1 min.
    pub long_query_ms: u64,
    /// The age of the last usable backup that is too old, in milliseconds; 0 for never. Default 0.
    pub max_backup_age_ms: u64,
    /// The age of the last verification that is too old, in milliseconds; 0 for never. Default 0.
    pub max_integrity_age_ms: u64,
    /// How long things may take.
    pub budgets: Budgets,
    /// Groups of tables, by name.
    pub groups: BTreeMap<String, GroupConfig>,
}

/// The tables of the file this is made of.
pub(crate) type Tables = (HealthTable, BudgetTable, BTreeMap<String, GroupTable>);

impl Monitoring {
    /// Reads it. `is_target` says whether there is a target of that name.
    pub(crate) fn read(
        (health, budgets, groups): Tables,
        is_target: impl Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let duration = |key: &str, text: Option<String>, default: u64| match text {
            None => Ok(default),
            Some(text) => parse_duration_ms(&text).ok_or_else(|| {
                let reason = format!("{text:?} is not a duration like 500ms, 2s, 5min, 1h or 0");
                value_error(key, reason)
            }),
        };
        let at_least = |key: &str, ms: u64, least: u64| match ms >= least {
            true => Ok(ms),
            false => Err(value_error(key, format!("is too short: {least}ms is the least"))),
        };
        let usual = Budgets::default();
        let budgets = Budgets {
            migration_ms: duration("budgets.migration", budgets.migration, usual.migration_ms)?,
            rollback_ms: duration("budgets.rollback", budgets.rollback, usual.rollback_ms)?,
            backup_ms: duration("budgets.backup", budgets.backup, usual.backup_ms)?,
            verification_ms: duration(
                "budgets.verification",
                budgets.verification,
                usual.verification_ms,
            )?,
        };
        let mut read = BTreeMap::new();
        for (name, table) in groups {
            let group = read_group(&name, table, &is_target)?;
            read.insert(name, group);
        }
        let cache = duration("health.cache", health.cache, 5_000)?;
        let timeout = duration("health.timeout", health.timeout, 2_000)?;
        Ok(Self {
            cache_ms: at_least("health.cache", cache, 100)?,
            timeout_ms: at_least("health.timeout", timeout, 100)?,
            long_query_ms: duration("health.long_query", health.long_query, 60_000)?,
            max_backup_age_ms: duration("health.max_backup_age", health.max_backup_age, 0)?,
            max_integrity_age_ms: duration(
                "health.max_integrity_age",
                health.max_integrity_age,
                0,
            )?,
            budgets,
            groups: read,
        })
    }
}

fn read_group(
    name: &str,
    table: GroupTable,
    is_target: impl Fn(&str) -> bool,
) -> Result<GroupConfig, ConfigError> {
    let key = format!("groups.{name}");
    check_name(&key, name)?;
    if is_target(name) || name == DEFAULT_TARGET_WORD {
        let reason = "is the name of a target too: /health/<name> would have two meanings";
        return Err(value_error(key, reason));
    }
    if let Some(target) = table.target.as_deref().filter(|target| !is_target(target)) {
        return Err(value_error(format!("{key}.target"), format!("there is no target {target:?}")));
    }
    if table.tables.is_empty() {
        return Err(value_error(format!("{key}.tables"), "names no table"));
    }
    let mut tables = Vec::new();
    for text in table.tables {
        let (schema, table) = text.split_once('.').unwrap_or(("public", &text));
        if schema.is_empty() || table.is_empty() || table.contains('.') {
            let reason = format!("{text:?} is not schema.table, as the catalog spells them");
            return Err(value_error(format!("{key}.tables"), reason));
        }
        let named = (schema.to_owned(), table.to_owned());
        if tables.contains(&named) {
            return Err(value_error(
                format!("{key}.tables"),
                format!("{text:?} stands there twice"),
            ));
        }
        tables.push(named);
    }
    Ok(GroupConfig { tables, target: table.target })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn parse(more: &str) -> Result<super::Monitoring, String> {
        let text = format!("workspace = \"d\"\n[targets.p]\nurl = \"a\"\n{more}");
        Config::parse(&text, Path::new("annals.toml"))
            .map(|config| config.monitoring)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn limits_of_time_have_defaults_and_zero_is_none() {
        use annals_projections::Measure::{Backup, Migration, Rollback, Verification};
        let usual = parse("").unwrap();
        let limits = [Migration, Rollback, Backup, Verification].map(|m| usual.budgets.of(m));
        assert_eq!(limits, [Some(30_000), Some(10_000), Some(60_000), Some(30_000)]);
        assert_eq!((usual.cache_ms, usual.timeout_ms), (5_000, 2_000));
        let other = parse("[budgets]\nmigration = \"5min\"\nbackup = \"0\"").unwrap();
        assert_eq!(other.budgets.of(Migration), Some(300_000));
        assert_eq!(other.budgets.of(Backup), None);
    }

    #[test]
    fn a_group_names_tables_and_is_no_target() {
        let group = "[groups.agents]\ntables = [\"public.agents\", \"tasks\"]\ntarget = \"p\"";
        let read = parse(group).unwrap().groups["agents"].clone();
        let names = [("public", "agents"), ("public", "tasks")];
        assert_eq!(read.tables, names.map(|(s, t)| (s.to_owned(), t.to_owned())));
        let refused = [
            ("[groups.p]\ntables = [\"a\"]", "two meanings"),
            ("[groups.supabase]\ntables = [\"a\"]", "two meanings"),
            ("[groups.sandbox]\ntables = [\"a\"]", "two meanings"),
            ("[groups.g]\ntables = []", "names no table"),
            ("[groups.g]\ntables = [\"a.b.c\"]", "schema.table"),
            ("[groups.g]\ntables = [\"a\", \"public.a\"]", "twice"),
            ("[groups.g]\ntables = [\"a\"]\ntarget = \"q\"", "there is no target"),
            ("[health]\ncache = \"1ms\"", "health.cache"),
            ("[health]\ntimeout = \"0\"", "health.timeout"),
            ("[budgets]\nrestore = \"1s\"", "restore"),
        ];
        for (text, expected) in refused {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
