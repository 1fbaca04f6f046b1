//! What a backup says of itself: everything in it, counted, and what is not in it.

use annals_backup::Receipt;
use annals_postgres::sandbox::{Likeness, LocaleProvider, RoleSetting};
use serde::{Deserialize, Serialize};

use crate::catalog::{literal, quoted};
use crate::kept_log::is_of_log;

/// The newest version of the manifest that is read. A full backup, and one of the schema, is written in the first
/// one, which every annals reads.
pub(crate) const MANIFEST_FORMAT: u32 = 2;

/// How much of a database a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Schema and rows.
    Full,
    /// The schema, and where its sequences stand.
    Schema,
    /// Rows, and the tables they stand in: nothing of what comes behind rows.
    Data,
    /// The schema, and the rows of some tables.
    Tables,
}

impl Kind {
    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Schema => "schema",
            Self::Data => "data",
            Self::Tables => "tables",
        }
    }

    /// Whether it holds rows, and not everything: then the database it is of cannot be made of it.
    pub const fn is_of_rows(self) -> bool {
        matches!(self, Self::Data | Self::Tables)
    }

    /// The version of the manifest that says it.
    pub(crate) const fn manifest_format(self) -> u32 {
        match self {
            Self::Full | Self::Schema => 1,
            Self::Data | Self::Tables => 2,
        }
    }
}

/// Everything a backup holds. It is sealed in the backup; what of it is for everybody says
/// [`Manifest::public`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form.
    pub format: u32,
    /// The backup's name.
    pub backup: String,
    /// How much it holds.
    pub kind: Kind,
    /// When it was begun, RFC 3339.
    pub taken_at: String,
    /// Who took it, such as `annals 0.1.0`.
    pub tool: String,
    /// The version of `pg_dump` that wrote the schema.
    pub pg_dump: String,
    /// Where it was taken.
    pub server: ServerState,
    /// The log's head at that moment, where there was a log.
    pub log: Option<LogHead>,
    /// The schema's fingerprint, such as `pg15:…`.
    pub schema_fingerprint: String,
    /// Number of objects in the schema.
    pub schema_objects: u64,
    /// Of a backup of some tables: those that were named, as SQL spells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// The schemas that were left out.
    pub excluded_schemas: Vec<String>,
    /// Tables, with what each holds.
    pub tables: Vec<TableEntry>,
    /// Sequences, and where each stands.
    pub sequences: Vec<SequenceState>,
    /// Large objects, if there are any.
    pub large_objects: Option<LargeObjects>,
    /// What is not in it, and why.
    pub not_included: Vec<NotIncluded>,
    /// The roles of the server; their rights are the server's, not the database's.
    pub roles: Vec<String>,
    /// What the database is set to.
    pub database: DatabaseForm,
}

/// Where a backup was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerState {
    /// Major version.
    pub major: u32,
    /// As the server spells it.
    pub version: String,
    /// The cluster.
    pub system_identifier: String,
    /// The database.
    pub database: String,
    /// The timeline.
    pub timeline: u32,
    /// The place in the WAL the snapshot was taken at or behind.
    pub lsn: String,
    /// The snapshot, `xmin:xmax:xip`.
    pub snapshot: String,
}

/// The log's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    /// Which log.
    pub origin: String,
    /// Its number of events.
    pub size: u64,
    /// The hash of the last of them.
    pub leaf: String,
}

/// What rows are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Number of rows.
    pub rows: u64,
    /// Bytes in the text format of `COPY`.
    pub bytes: u64,
    /// The sum, modulo 2^128, of the 128-bit XXH3 of each line; 32 hexadecimal digits.
    pub digest: String,
}

impl Default for Content {
    /// No rows.
    fn default() -> Self {
        Self { rows: 0, bytes: 0, digest: format!("{:032x}", 0) }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableEntry {
    /// Its name, as SQL spells it.
    pub name: String,
    /// The columns that are stored, in their order, as SQL spells them.
    pub columns: Vec<String>,
    /// Which of its rows an extension leaves to the database: `WHERE …`.
    pub condition: Option<String>,
    /// What it holds.
    pub content: Content,
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceState {
    /// Its name, as SQL spells it.
    pub name: String,
    /// The last value.
    pub last_value: i64,
    /// Whether that value was given out.
    pub is_called: bool,
}

/// Large objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeObjects {
    /// A row for each: number, and the SQL of its owner, rights and comment.
    pub owners: Content,
    /// Their bytes, in rows of at most 256 KiB.
    pub pages: Content,
}

/// Something that is not in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotIncluded {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a database is set to. Settings may hold secrets: this is never part of what is public.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseForm {
    encoding: String,
    collate: String,
    ctype: String,
    provider: String,
    locale: Option<String>,
    icu_rules: Option<String>,
    server_settings: Vec<(String, String)>,
    settings: Vec<(String, String)>,
    role_settings: Vec<(String, String, String)>,
    owner: String,
    comment: Option<String>,
    /// Rights somebody has given or taken: to whom (none is everybody), what, and whether it may be
    /// passed on.
    grants: Option<Vec<(Option<String>, String, bool)>>,
}

/// What the database is besides what it is set to, as one JSON document.
pub(crate) const DATABASE: &str = "SELECT pg_catalog.jsonb_build_object(
    'owner', pg_catalog.pg_get_userbyid(d.datdba),
    'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
    'grants', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
            CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
            a.privilege_type, a.is_grantable) ORDER BY a.grantee, a.privilege_type)
        FROM pg_catalog.aclexplode(d.datacl) a))::text
  FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// What [`DATABASE`] answers.
#[derive(Deserialize)]
pub(crate) struct DatabaseOwner {
    owner: String,
    comment: Option<String>,
    grants: Option<Vec<(Option<String>, String, bool)>>,
}

impl std::fmt::Debug for DatabaseForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseForm").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl DatabaseForm {
    pub(crate) fn of(likeness: Likeness, owner: DatabaseOwner) -> Self {
        let provider = match likeness.provider {
            LocaleProvider::Libc => "libc",
            LocaleProvider::Icu => "icu",
            LocaleProvider::Builtin => "builtin",
        };
        let of_role = |setting: RoleSetting| (setting.role, setting.name, setting.value);
        Self {
            encoding: likeness.encoding,
            collate: likeness.collate,
            ctype: likeness.ctype,
            provider: provider.to_owned(),
            locale: likeness.locale,
            icu_rules: likeness.icu_rules,
            server_settings: likeness.server_settings,
            settings: likeness.settings,
            role_settings: likeness.role_settings.into_iter().map(of_role).collect(),
            owner: owner.owner,
            comment: owner.comment,
            grants: owner.grants,
        }
    }
}

impl Manifest {
    /// What the database the backup was taken of is set to.
    pub fn likeness(&self) -> Likeness {
        let form = self.database.clone();
        let of_role = |(role, name, value)| RoleSetting { role, name, value };
        Likeness {
            server_major: self.server.major,
            encoding: form.encoding,
            collate: form.collate,
            ctype: form.ctype,
            provider: match form.provider.as_str() {
                "icu" => LocaleProvider::Icu,
                "builtin" => LocaleProvider::Builtin,
                _ => LocaleProvider::Libc,
            },
            locale: form.locale,
            icu_rules: form.icu_rules,
            server_settings: form.server_settings,
            settings: form.settings,
            role_settings: form.role_settings.into_iter().map(of_role).collect(),
        }
    }

    /// SQL that makes an empty database like the one the backup was taken of, on a server that has its
    /// locale and roles.
    pub fn create_sql(&self, name: &str) -> Vec<String> {
        let (create, settings) = self.likeness().create_sql(name);
        std::iter::once(create).chain(settings).chain(self.owner_sql(name)).collect()
    }

    /// SQL that gives a database the owner, the rights and the comment of that one.
    pub fn owner_sql(&self, name: &str) -> Vec<String> {
        let (form, form_name, name) = (&self.database, name, quoted(name));
        let mut all = vec![format!("ALTER DATABASE {name} OWNER TO {}", quoted(&form.owner))];
        if let Some(grants) = &form.grants {
            all.push(format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
            all.push(format!("REVOKE ALL ON DATABASE {name} FROM {}", quoted(&form.owner)));
            all.extend(grants.iter().map(|(role, what, passes_on)| {
                let role = role.as_deref().map_or_else(|| "PUBLIC".to_owned(), quoted);
                let option = if *passes_on { " WITH GRANT OPTION" } else { "" };
                format!("GRANT {what} ON DATABASE {name} TO {role}{option}")
            }));
        }
        if form.comment.is_some() {
            all.push(self.comment_sql(form_name));
        }
        all
    }

    /// SQL that gives a database the comment of that one, or none if it had none.
    pub fn comment_sql(&self, name: &str) -> String {
        let comment = self.database.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
        format!("COMMENT ON DATABASE {} IS {comment}", quoted(name))
    }

    /// Whether the rows of that table, or partition, are in it.
    pub fn has_rows_of(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name == name)
    }

    /// Tables but those of an event log that lives in the database, each with its place.
    pub fn tables_without_log(&self) -> impl Iterator<Item = (u32, &TableEntry)> {
        (0..).zip(&self.tables).filter(|(_, table)| !is_of_log(&table.name))
    }

    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.content.rows).sum()
    }

    /// Bytes of all rows and large objects, before compression.
    pub fn bytes(&self) -> u64 {
        let large = self.large_objects.as_ref();
        let large = large.map_or(0, |large| large.pages.bytes + large.owners.bytes);
        self.tables.iter().map(|table| table.content.bytes).sum::<u64>() + large
    }

    /// What everybody may know of the backup whose container is `receipt`: enough to check that it is
    /// there, whole, and the one that was taken, and what it is good for. Settings and the database's
    /// roles are not among it.
    pub fn public(&self, receipt: &Receipt, key_ids: &[String]) -> serde_json::Value {
        let mut public = serde_json::json!({
            "backup": self.backup,
            "container": {
                "bytes": receipt.sealed_bytes,
                "key_ids": key_ids,
                "sha256": receipt.sha256.to_string(),
            },
            "excluded_schemas": self.excluded_schemas,
            "format": self.format,
            "kind": self.kind,
            "large_objects": self.large_objects,
            "log": self.log,
            "not_included": self.not_included,
            "pg_dump": self.pg_dump,
            "schema_fingerprint": self.schema_fingerprint,
            "schema_objects": self.schema_objects,
            "scope": self.scope,
            "sequences": self.sequences.len(),
            "server": self.server,
            "tables": self.tables.iter().map(|table| serde_json::json!({
                "content": table.content,
                "name": table.name,
            })).collect::<Vec<_>>(),
            "taken_at": self.taken_at,
            "tool": self.tool,
        });
        // As it always was, where there is none.
        if let Some(members) = public.as_object_mut().filter(|_| self.scope.is_empty()) {
            members.remove("scope");
        }
        public
    }
}
