//! `[targets.<name>.approvals]`.

use std::collections::BTreeMap;

use annals_approvals::Policy;
use annals_migrations::{RiskLevel, parse_duration_ms};
use serde::Deserialize;

use super::{ConfigError, value_error};

/// What a target asks of approvals, as the file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct ApprovalsTable {
    required: u64,
    by_risk: BTreeMap<RiskLevel, u64>,
    of: Vec<String>,
    roles: Vec<String>,
    rollback_required: u64,
    rollback_roles: Vec<String>,
    author_may_approve: bool,
    expires_after: String,
    hidden_text: Vec<String>,
    break_glass: bool,
}

impl Default for ApprovalsTable {
    fn default() -> Self {
        let usual = Policy::default();
        Self {
            required: usual.required,
            by_risk: usual.by_risk,
            of: usual.of,
            roles: usual.roles,
            rollback_required: usual.rollback_required,
            rollback_roles: usual.rollback_roles,
            author_may_approve: usual.author_may_approve,
            expires_after: "24h".into(),
            hidden_text: usual.hidden_text,
            break_glass: usual.break_glass,
        }
    }
}

/// The most people a policy may ask for.
const MAX_APPROVALS: u64 = 100;

pub(super) fn read_approvals(key: &str, table: ApprovalsTable) -> Result<Policy, ConfigError> {
    let key = format!("{key}.approvals");
    let text = &table.expires_after;
    let expires_after_ms = parse_duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| {
        let reason = format!("{text:?} is not a duration like 30min, 4h or 24h");
        value_error(format!("{key}.expires_after"), reason)
    })?;
    let asked = table.by_risk.values().chain([&table.required, &table.rollback_required]);
    if asked.into_iter().any(|people| *people > MAX_APPROVALS) {
        return Err(value_error(key, format!("asks for more than {MAX_APPROVALS} people")));
    }
    let policy = Policy {
        author_may_approve: table.author_may_approve,
        break_glass: table.break_glass,
        by_risk: table.by_risk,
        expires_after_ms,
        hidden_text: table.hidden_text,
        of: table.of,
        required: table.required,
        roles: table.roles,
        rollback_required: table.rollback_required,
        rollback_roles: table.rollback_roles,
    };
    match policy.falls_at() {
        None => Ok(policy),
        Some(level) => {
            let reason = "asks for fewer people than a lower risk does";
            Err(value_error(format!("{key}.by_risk.{}", level.as_str()), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(more: &str) -> Result<Option<Policy>, String> {
        let head = "workspace = \"d\"\n[targets.p]\nurl = \"a\"\n";
        let config = Config::parse(&format!("{head}{more}"), Path::new("annals.toml"));
        config.map(|config| config.targets["p"].approvals.clone()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_policy_says_who_and_how_many_and_what_makes_no_sense_is_named() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("[targets.p.approvals]").unwrap(), Some(Policy::default()));
        let by_risk = "[targets.p.approvals]\nrequired = 2\nby_risk = { low = 0, critical = 3 }\n\
                       rollback_required = 3";
        let policy = parse(by_risk).unwrap().unwrap();
        let people = |level, way| policy.requirement(level, way).people;
        let (up, down) = (annals_events::Direction::Up, annals_events::Direction::Down);
        assert_eq!(people(RiskLevel::Low, up), 0);
        assert_eq!(people(RiskLevel::High, up), 2);
        assert_eq!(people(RiskLevel::Critical, up), 3);
        assert_eq!(people(RiskLevel::Low, down), 3);
        for (text, expected) in [
            ("required = 101", "more than 100"),
            ("expires_after = \"0\"", "approvals.expires_after"),
            ("expires_after = \"soon\"", "approvals.expires_after"),
            ("by_risk = { critical = 0 }", "by_risk.critical"),
            ("by_risk = { huge = 1 }", "huge"),
            ("quorum = 1", "quorum"),
        ] {
            let error = parse(&format!("[targets.p.approvals]\n{text}")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
