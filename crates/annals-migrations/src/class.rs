//! How a statement meets the transaction boundary.

use serde::{Deserialize, Serialize};

/// How a statement meets the transaction boundary, and what a crash in it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case", deny_unknown_fields)]
pub enum StatementClass {
    /// Runs in a transaction.
    Transactional,
    /// `CREATE INDEX CONCURRENTLY`: the catalog tells whether it is done.
    ConcurrentIndexBuild {
        /// The index, as spelled.
        index: String,
        /// Its table, as spelled.
        table: String,
        /// Whether it is content with another index of that name.
        if_not_exists: bool,
    },
    /// `DROP INDEX CONCURRENTLY`: the catalog tells whether it is done.
    ConcurrentIndexDrop {
        /// Whether it is content when there is none.
        if_exists: bool,
        /// The index, as spelled.
        index: String,
    },
    /// `REINDEX … CONCURRENTLY`: the catalog shows what an interrupted one left, and doing it again
    /// has the effect of once.
    ConcurrentReindex {
        /// What is rebuilt, as spelled; none for the whole database.
        name: Option<String>,
        /// What kind of thing that is.
        scope: ReindexScope,
    },
    /// `ALTER TABLE … DETACH PARTITION … CONCURRENTLY`: the catalog tells how far it is.
    ConcurrentDetach {
        /// The partition, as spelled.
        partition: String,
        /// The partitioned table, as spelled.
        table: String,
    },
    /// `CREATE DATABASE`, `TABLESPACE` or `SUBSCRIPTION`: it is there, or not.
    Creation {
        /// Its name, as spelled.
        name: String,
        /// What is made.
        object: OutsideObject,
    },
    /// `DROP DATABASE`, `TABLESPACE` or `SUBSCRIPTION`: it is there, or not.
    Removal {
        /// Whether it is content when there is none.
        if_exists: bool,
        /// Its name, as spelled.
        name: String,
        /// What is removed.
        object: OutsideObject,
    },
    /// Run for batch after batch of a key, each in a transaction of its own with its progress.
    Backfill {
        /// Keys of one batch.
        batch: u64,
        /// The key, as spelled.
        column: String,
        /// From one batch to the next, in milliseconds.
        pause_ms: u64,
        /// The table whose rows are walked through, as spelled.
        table: String,
    },
    /// Cannot run in a transaction, and running it twice has the effect of once.
    Repeatable,
}

/// What a `REINDEX` rebuilds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReindexScope {
    /// One index.
    Index,
    /// All indexes of a table.
    Table,
    /// All indexes of a schema.
    Schema,
    /// All indexes of the database.
    Database,
}

/// What is made and removed outside transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutsideObject {
    /// A database.
    Database,
    /// A tablespace.
    Tablespace,
    /// A subscription.
    Subscription,
}

impl OutsideObject {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Tablespace => "tablespace",
            Self::Subscription => "subscription",
        }
    }
}
