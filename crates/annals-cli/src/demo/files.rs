//! What the tour's workspace is made of.

macro_rules! example {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../", $name)))
    };
}

/// The example workspace of this repository, as built into the program.
pub(super) const EXAMPLE: &[(&str, &str)] = &[
    example!("migrations/001_create_agent_system_tables.sql"),
    example!("migrations/002_add_performance_indexes.sql"),
    example!("migrations/003_add_rls_policies.sql"),
    example!("migrations/20250921_171500_add_agent_metrics_table.sql"),
    example!("rollbacks/001_create_agent_system_tables_rollback.sql"),
    example!("rollbacks/002_add_performance_indexes_rollback.sql"),
    example!("rollbacks/003_add_rls_policies_rollback.sql"),
    example!("rollbacks/20250921_171500_add_agent_metrics_table_rollback.sql"),
];

/// Configuration with the private server as its one target.
pub(super) const CONFIG: &str = "\
# Made by `annals demo`. Its server is gone; the event log is not.
workspace = \"agent-platform\"
default_target = \"demo\"

# A fresh private PostgreSQL for your own tries: annals migrate --sandbox
[sandbox]
platform = \"supabase\"

[targets.demo]
url_env = \"ANNALS_DEMO_URL\"
platform = \"supabase\"
";

pub(super) const NOTES_UP: &str = "\
CREATE TABLE agent_notes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id UUID NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    note TEXT NOT NULL
);
ALTER TABLE agent_notes ENABLE ROW LEVEL SECURITY;
";

pub(super) const NOTES_DOWN: &str = "DROP TABLE agent_notes;\n";

pub(super) const WRONG_UP: &str = "\
CREATE TABLE tags (name TEXT PRIMARY KEY);
ALTER TABLE agent ADD COLUMN tag TEXT REFERENCES tags (name);
";

pub(super) const SLOW_UP: &str = "\
CREATE TABLE tags (name TEXT PRIMARY KEY);
ALTER TABLE agents ADD COLUMN tag TEXT REFERENCES tags (name);
SELECT pg_sleep(2);
";

pub(super) const TAGS_DOWN: &str = "\
ALTER TABLE agents DROP COLUMN tag;
DROP TABLE tags;
";
