//! What runs around a target's database.

/// The kind of PostgreSQL a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Platform {
    /// PostgreSQL as it comes.
    #[default]
    Plain,
    /// Supabase: some schemas and roles belong to the platform.
    Supabase,
}

impl Platform {
    /// The word in configuration and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Supabase => "supabase",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "plain" => Some(Self::Plain),
            "supabase" => Some(Self::Supabase),
            _ => None,
        }
    }

    /// The role a sandbox of this platform has as its superuser. Migrations run as `postgres`, which
    /// on a managed platform is none.
    pub(crate) const fn superuser(self) -> &'static str {
        match self {
            Self::Plain => "postgres",
            Self::Supabase => "supabase_admin",
        }
    }

    /// SQL that gives a new database in a sandbox what this platform has from the beginning; sent by
    /// the superuser, may be repeated.
    pub(crate) const fn preparation(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Supabase => crate::sandbox::SUPABASE_SQL,
        }
    }

    /// The part of the preparation that makes the schemas the platform manages. A role that is no
    /// superuser may send it, statement by statement, to a database of its own, on a server of this
    /// platform, and leave out what the server refuses.
    pub const fn schemas_sql(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Supabase => crate::sandbox::SUPABASE_SCHEMAS_SQL,
        }
    }

    /// Schemas the platform manages: not part of a project's own schema.
    ///
    /// Supabase's list follows the schemas its own dump leaves out
    /// (`supabase/cli`, `dump_schema.sh`).
    pub const fn managed_schemas(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Supabase => &[
                "_analytics",
                "_realtime",
                "_supavisor",
                "auth",
                "cron",
                "dbdev",
                "etl",
                "extensions",
                "graphql",
                "graphql_public",
                "net",
                "pgbouncer",
                "pgmq",
                "pgsodium",
                "pgsodium_masks",
                "pgtle",
                "realtime",
                "repack",
                "storage",
                "supabase_functions",
                "supabase_migrations",
                "tiger",
                "tiger_data",
                "topology",
                "vault",
            ],
        }
    }
}
