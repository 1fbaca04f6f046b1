//! Every kind of change of a schema: what it is, SQL that makes it, and what shows it.
//!
//! Each change stands alone on the database of `base.sql`. The table of `docs/reference` is written
//! from this one.

mod access;
mod code;
mod relations;

/// One change.
pub(crate) struct Change {
    /// The kind of object it is about: a heading of the table.
    pub(crate) about: &'static str,
    /// What is done to it.
    pub(crate) what: &'static str,
    /// One statement, or a few that belong together.
    pub(crate) sql: &'static str,
    /// The kind of the object that differs; with `|`, one of these.
    pub(crate) shows: &'static str,
    /// The first major version that has it.
    pub(crate) since: u32,
    /// What must be there before, besides `base.sql`.
    pub(crate) before: &'static str,
}

const fn c(
    about: &'static str,
    what: &'static str,
    sql: &'static str,
    shows: &'static str,
) -> Change {
    Change { about, what, sql, shows, since: 13, before: "" }
}

impl Change {
    const fn since(self, since: u32) -> Self {
        Self { since, ..self }
    }

    const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }
}

pub(crate) const CHANGES: &[&[Change]] = &[
    relations::SCHEMAS,
    relations::TABLES,
    relations::COLUMNS,
    relations::PARTITIONS,
    relations::CONSTRAINTS,
    relations::INDEXES,
    relations::SEQUENCES,
    relations::VIEWS,
    relations::STATISTICS,
    code::FUNCTIONS,
    code::TRIGGERS,
    code::TYPES,
    code::OPERATORS,
    code::TEXT_SEARCH,
    code::EXTENSIONS,
    code::FOREIGN,
    code::REPLICATION,
    access::SECURITY,
    access::LABELS,
    access::GRANTS,
    access::DEFAULTS,
    access::OWNERS,
    access::COMMENTS,
    access::SETTINGS,
];
