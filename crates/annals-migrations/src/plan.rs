//! A plan: everything a run will do, decided. Execution has nothing left to choose.

use annals_events::{Digest, Direction, FileRef, LeafHash, StepMode, Version, canonical_json};
use serde::{Deserialize, Serialize};

use crate::class::StatementClass;
use crate::terms::Terms;

/// Version of the plan document.
pub const PLAN_FORMAT: u32 = 2;

/// What a large file is hashed in.
pub const BLOCK_BYTES: usize = 1 << 20;

/// What must hold for the plan to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precondition {
    /// Events in the log when the plan was made.
    pub log_size: u64,
    /// Leaf hash of the last of them.
    pub log_head: LeafHash,
    /// The server: `system_identifier`, in decimal.
    pub system_identifier: String,
    /// The database.
    pub database: String,
}

/// The limits a step runs under, in milliseconds; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Longest wait for a lock.
    pub lock_ms: u64,
    /// Longest wait for a lock of a statement that cannot run in a transaction.
    pub lock_outside_ms: u64,
    /// Longest run of one statement.
    pub statement_ms: u64,
}

/// One statement, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStatement {
    /// How it meets the transaction boundary.
    pub class: StatementClass,
    /// Line of the file it starts at, from 1.
    pub line: u32,
    /// Its text.
    pub sql: String,
    /// The lines sent behind a `COPY … FROM stdin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// A file too large to stand in a plan: it is read again, piece by piece, while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamedFile {
    /// SHA-256 of each [`BLOCK_BYTES`] of it, in order; of the last one, what is left. No byte
    /// reaches the server whose block is another one.
    pub blocks: Vec<Digest>,
    /// Its size.
    pub bytes: u64,
    /// Of its statements, those with data behind them.
    pub copies: u64,
    /// Where it lies in the workspace.
    pub path: String,
    /// Its statements. All of them can run in a transaction.
    pub statements: u64,
}

/// One migration or rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// Which way.
    pub direction: Direction,
    /// The file its statements come from.
    pub file: FileRef,
    /// How it meets the transaction boundary.
    pub mode: StepMode,
    /// The migration's name.
    pub name: String,
    /// Which change of this version it is, from 1.
    pub ordinal: u64,
    /// Going up: the file that would undo it.
    pub rollback: Option<FileRef>,
    /// What is sent, in order; nothing of a file that is streamed.
    pub statements: Vec<PlannedStatement>,
    /// What is sent instead, if it does not fit into a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed: Option<StreamedFile>,
    /// Under which limits.
    pub timeouts: Timeouts,
    /// The migration's version.
    pub version: Version,
}

impl PlannedStep {
    /// `<version>_<name>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.version, self.name)
    }

    /// How many statements it has.
    pub fn statement_count(&self) -> u64 {
        self.streamed.as_ref().map_or(self.statements.len() as u64, |file| file.statements)
    }
}

/// An immutable, hashed list of steps with the SQL itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// The workspace.
    pub workspace: String,
    /// The target's name in it.
    pub target: String,
    /// Which way all steps go.
    pub direction: Direction,
    /// What must hold.
    pub precondition: Precondition,
    /// Versions that may be applied although newer ones are.
    pub out_of_order: Vec<Version>,
    /// All steps take effect in one transaction, or none does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_transaction: bool,
    /// What is done, in order.
    pub steps: Vec<PlannedStep>,
    /// What else it was made under, in a plan that is written down to be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
}

impl Plan {
    /// The plan's stored bytes: canonical JSON.
    pub fn to_canonical_json(&self) -> String {
        let value = serde_json::to_value(self).expect("a plan has string keys only");
        canonical_json(&value).expect("invariant: a plan holds no floats and no large integers")
    }

    /// SHA-256 over [`Self::to_canonical_json`]: covers every statement, limit and precondition.
    pub fn hash(&self) -> Digest {
        Digest::of(self.to_canonical_json().as_bytes())
    }
}
