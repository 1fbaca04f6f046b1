//! What a schema consists of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A family of checks, as reports group them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Tables, columns, types, views, functions, triggers, sequences and what surrounds them.
    TableStructure,
    /// Constraints.
    Constraints,
    /// Indexes and extended statistics.
    Indexes,
    /// Policies, row level security, grants and security labels.
    Permissions,
}

macro_rules! object_kinds {
    ($( $(#[$doc:meta])* $variant:ident = $word:literal in $family:ident, )*) => {
        /// What an object is.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum ObjectKind {
            $( $(#[$doc])* #[serde(rename = $word)] $variant, )*
        }

        impl ObjectKind {
            /// All of them, in the order of objects in a snapshot.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The stored word.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The family it is checked in.
            pub const fn family(self) -> Family {
                match self { $( Self::$variant => Family::$family, )* }
            }

            /// Reads the stored word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $( $word => Some(Self::$variant), )*
                    _ => None,
                }
            }
        }
    };
}

object_kinds! {
    /// The database itself, under the name `current`.
    Database = "database" in TableStructure,
    /// A setting of the database, of a role, or of a role in the database.
    Setting = "setting" in TableStructure,
    /// A schema.
    Schema = "schema" in TableStructure,
    /// An extension; what belongs to it is not listed.
    Extension = "extension" in TableStructure,
    /// An object that is dropped with an extension it is no member of.
    ExtensionDependency = "extension_dependency" in TableStructure,
    /// A procedural language.
    Language = "language" in TableStructure,
    /// A table or index access method.
    AccessMethod = "access_method" in TableStructure,
    /// A collation.
    Collation = "collation" in TableStructure,
    /// A conversion between encodings.
    Conversion = "conversion" in TableStructure,
    /// An enum, domain, composite, range or base type.
    Type = "type" in TableStructure,
    /// A foreign-data wrapper.
    ForeignDataWrapper = "foreign_data_wrapper" in TableStructure,
    /// A foreign server.
    ForeignServer = "foreign_server" in TableStructure,
    /// That a role is mapped to a user of a foreign server; as whom is a secret.
    UserMapping = "user_mapping" in TableStructure,
    /// A table: ordinary, partitioned or foreign.
    Table = "table" in TableStructure,
    /// A column of a table or view, or a field of a composite type.
    Column = "column" in TableStructure,
    /// A sequence.
    Sequence = "sequence" in TableStructure,
    /// A view or materialized view.
    View = "view" in TableStructure,
    /// A function, procedure or aggregate.
    Function = "function" in TableStructure,
    /// An operator.
    Operator = "operator" in TableStructure,
    /// An operator family with its operators and functions.
    OperatorFamily = "operator_family" in TableStructure,
    /// An operator class.
    OperatorClass = "operator_class" in TableStructure,
    /// A cast.
    Cast = "cast" in TableStructure,
    /// A transform.
    Transform = "transform" in TableStructure,
    /// A text search parser.
    TextSearchParser = "text_search_parser" in TableStructure,
    /// A text search template.
    TextSearchTemplate = "text_search_template" in TableStructure,
    /// A text search dictionary.
    TextSearchDictionary = "text_search_dictionary" in TableStructure,
    /// A text search configuration.
    TextSearchConfiguration = "text_search_configuration" in TableStructure,
    /// A trigger that is not part of a constraint.
    Trigger = "trigger" in TableStructure,
    /// A rewrite rule that is not what makes a view.
    Rule = "rule" in TableStructure,
    /// An event trigger.
    EventTrigger = "event_trigger" in TableStructure,
    /// A publication.
    Publication = "publication" in TableStructure,
    /// A table in a publication.
    PublicationTable = "publication_table" in TableStructure,
    /// A schema in a publication.
    PublicationSchema = "publication_schema" in TableStructure,
    /// A subscription, without its connection.
    Subscription = "subscription" in TableStructure,
    /// A primary key, unique, check, foreign key or exclusion constraint.
    Constraint = "constraint" in Constraints,
    /// An index.
    Index = "index" in Indexes,
    /// Extended statistics.
    Statistics = "statistics" in Indexes,
    /// Whether row level security is on for a table.
    RowSecurity = "row_security" in Permissions,
    /// A row level security policy.
    Policy = "policy" in Permissions,
    /// What one role may do with one object.
    Grant = "grant" in Permissions,
    /// What is granted on objects yet to be made.
    DefaultPrivileges = "default_privileges" in Permissions,
    /// A security label.
    SecurityLabel = "security_label" in Permissions,
    /// A kind the role was not allowed to read; its objects are neither there nor missing.
    Unreadable = "unreadable" in TableStructure,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}
