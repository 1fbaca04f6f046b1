//! `adopt`.

use annals_events::FileStanding;
use annals_operations::{Adoption, AdoptionEntry, Upgrade};
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::exit::ExitCode;

/// One change that is adopted, or could be.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptedChange {
    /// The version.
    pub version: String,
    /// The migration's name.
    pub name: String,
    /// `up` or `down`.
    pub direction: &'static str,
    /// Which change of this version, from 1.
    pub ordinal: u64,
    /// How the file here stands to it: `identical`, `differs`, `missing` or `not_compared`.
    pub file: &'static str,
    /// Whether it is in effect in the target.
    pub holds: bool,
    /// What was looked at.
    pub found: String,
}

/// The log that is left behind, as far as the target knows it.
#[derive(Debug, Clone, Serialize)]
pub struct ParentHead {
    /// Its name.
    pub origin: String,
    /// Events.
    pub size: u64,
    /// Leaf hash of the last of them.
    pub leaf: String,
}

/// `annals adopt`.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptDocument {
    /// `annals.adopt/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `ledger`, `lost`, `declared` or `supabase`.
    pub basis: &'static str,
    /// The list.
    pub changes: Vec<AdoptedChange>,
    /// What stands in the way.
    pub refusals: Vec<String>,
    /// Names the list: what `--confirm` takes.
    pub fingerprint: String,
    /// The log it is, or would be, recorded in.
    pub origin: String,
    /// The log that is left behind.
    pub parent: Option<ParentHead>,
    /// The run that recorded it.
    pub recorded: Option<String>,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&AdoptionEntry> for AdoptedChange {
    fn from(entry: &AdoptionEntry) -> Self {
        Self {
            version: entry.version.to_string(),
            name: entry.name.clone(),
            direction: entry.direction.as_str(),
            ordinal: entry.ordinal,
            file: match entry.file {
                FileStanding::Identical => "identical",
                FileStanding::Differs => "differs",
                FileStanding::Missing => "missing",
                FileStanding::NotCompared => "not_compared",
            },
            holds: entry.holds,
            found: entry.found.clone(),
        }
    }
}

impl From<&Adoption> for AdoptDocument {
    fn from(adoption: &Adoption) -> Self {
        let code = match adoption.recorded.is_some() || adoption.dry_run {
            true => ExitCode::Success,
            // Somebody has to confirm it first.
            false => ExitCode::Refused,
        };
        let parent = adoption.parent.as_ref().map(|parent| ParentHead {
            origin: parent.origin.clone(),
            size: parent.size,
            leaf: parent.leaf.to_string(),
        });
        Self {
            format: "annals.adopt/1",
            target: adoption.target.clone(),
            basis: adoption.basis.as_str(),
            changes: adoption.entries.iter().map(AdoptedChange::from).collect(),
            refusals: adoption.refusals.clone(),
            fingerprint: adoption.fingerprint.clone(),
            origin: adoption.origin.clone(),
            parent,
            recorded: adoption.recorded.map(|run| run.to_string()),
            recovered: adoption.recovered.iter().map(RecoveredRun::from).collect(),
            exit_code: code.code(),
        }
    }
}

/// `annals adopt --upgraded`.
#[derive(Debug, Clone, Serialize)]
pub struct UpgradeDocument {
    /// `annals.upgrade/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// The database the log speaks of.
    pub expected: String,
    /// The one that answers.
    pub found: String,
    /// Major version of the server the schema was last recorded on.
    pub expected_major: Option<u32>,
    /// That of the server that answers.
    pub found_major: u32,
    /// Changes that the ledger there and the log both have.
    pub changes: usize,
    /// Events those changes vouch for.
    pub vouched: u64,
    /// Events in the log.
    pub log_size: u64,
    /// What stands in the way.
    pub refusals: Vec<String>,
    /// Names what was shown: what `--confirm` takes.
    pub fingerprint: String,
    /// The log's name.
    pub origin: String,
    /// Whether it was recorded.
    pub recorded: bool,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl From<&Upgrade> for UpgradeDocument {
    fn from(upgrade: &Upgrade) -> Self {
        let code = match upgrade.recorded || upgrade.dry_run {
            true => ExitCode::Success,
            // Somebody has to confirm it first.
            false => ExitCode::Refused,
        };
        Self {
            format: "annals.upgrade/1",
            target: upgrade.target.clone(),
            expected: upgrade.expected.clone(),
            found: upgrade.found.clone(),
            expected_major: upgrade.expected_major,
            found_major: upgrade.found_major,
            changes: upgrade.changes,
            vouched: upgrade.vouched,
            log_size: upgrade.log_size,
            refusals: upgrade.refusals.clone(),
            fingerprint: upgrade.fingerprint.clone(),
            origin: upgrade.origin.clone(),
            recorded: upgrade.recorded,
            recovered: upgrade.recovered.iter().map(RecoveredRun::from).collect(),
            exit_code: code.code(),
        }
    }
}
