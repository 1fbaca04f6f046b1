//! `[ci]`.

use annals_ci::{Allowance, rule};
use annals_migrations::parse_duration_ms;
use serde::Deserialize;

use super::{ConfigError, value_error};

/// What the pipeline is told, as the file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct CiTable {
    slower_factor: f64,
    slower_by: String,
    allow: Vec<AllowTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct AllowTable {
    rule: String,
    file: String,
    reason: String,
}

impl Default for CiTable {
    fn default() -> Self {
        Self { slower_factor: 3.0, slower_by: "250ms".into(), allow: Vec::new() }
    }
}

/// What the pipeline is told.
#[derive(Debug, Clone, PartialEq)]
pub struct CiConfig {
    /// How many times as long as before is much longer. Default 3.
    pub slower_factor: f64,
    /// A difference below this is none, in milliseconds. Default 250.
    pub slower_by_ms: u64,
    /// Findings that are allowed, with the reason.
    pub allow: Vec<Allowance>,
}

pub(super) fn read_ci(table: CiTable) -> Result<CiConfig, ConfigError> {
    if !(table.slower_factor.is_finite() && table.slower_factor >= 1.0) {
        return Err(value_error("ci.slower_factor", "is a number from 1 on"));
    }
    let slower_by_ms = parse_duration_ms(&table.slower_by).ok_or_else(|| {
        value_error(
            "ci.slower_by",
            format!("{:?} is not a duration like 250ms or 2s", table.slower_by),
        )
    })?;
    let mut allow = Vec::new();
    for allowed in table.allow {
        if rule(&allowed.rule).is_none() {
            let reason = format!(
                "no rule is named {:?}; docs/reference/ci-rules.md has them all",
                allowed.rule
            );
            return Err(value_error("ci.allow", reason));
        }
        if allowed.reason.trim().is_empty() {
            return Err(value_error(
                "ci.allow",
                format!("say why {} is allowed in {}", allowed.rule, allowed.file),
            ));
        }
        allow.push(Allowance { rule: allowed.rule, file: allowed.file, reason: allowed.reason });
    }
    Ok(CiConfig { slower_factor: table.slower_factor, slower_by_ms, allow })
}
