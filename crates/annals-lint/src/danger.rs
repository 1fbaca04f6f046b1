//! How much a plan can break: a level for each statement, and the highest of them for the plan.
//!
//! It is read off the statements as the grammar sees them. No comment, directive or name in a file
//! takes part, so none can lower it. What is not known to be harmless is not taken for harmless.

use std::collections::BTreeSet;

use annals_events::{Direction, StepMode};
use annals_migrations::{Plan, RiskLevel, StatementClass};
use squawk_syntax::ast::AstNode;
use squawk_syntax::{SourceFile, SyntaxElement, SyntaxKind, SyntaxNode};

use crate::rule::relation_name;

/// From how many bytes on a relation counts as large: 1 GiB.
pub const LARGE_BYTES: u64 = 1 << 30;

macro_rules! dangers {
    ($( $(#[doc = $doc:literal])+ $name:ident = $id:literal, $level:ident; )*) => {
        /// A line of the table of risks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Danger {
            $( $(#[doc = $doc])+ $name, )*
        }

        impl Danger {
            /// Every line of the table.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// Its name.
            pub const fn id(self) -> &'static str {
                match self { $( Self::$name => $id, )* }
            }

            /// The level it gives a plan, at the least.
            pub const fn level(self) -> RiskLevel {
                match self { $( Self::$name => RiskLevel::$level, )* }
            }

            /// What it is.
            pub const fn what(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc),+).trim_ascii_start(), )* }
            }
        }
    };
}

dangers! {
    /// Makes something new, or something only this plan has made.
    New = "new", Low;
    /// Reads, or says something about an object.
    Reads = "reads", Low;
    /// Adds rows.
    RowsAdded = "rows-added", Medium;
    /// Sets a setting for what comes behind it.
    Setting = "setting", Medium;
    /// Changes a table in the catalog alone; nobody can use it for that moment.
    Catalog = "catalog", Medium;
    /// Works on a table while others use it: a concurrent index, a validation, a backfill.
    Beside = "beside", Medium;
    /// Replaces or removes code, a view or an index.
    Code = "code", Medium;
    /// Goes back: what was built on the migration since then may need it.
    Rollback = "rollback", Medium;
    /// Keeps others from writing or reading while it goes over all rows.
    Scan = "scan", High;
    /// Writes a whole table anew while nobody can use it.
    Rewrite = "rewrite", High;
    /// Changes or deletes rows a condition names.
    RowsChanged = "rows-changed", High;
    /// Changes a name or a shape others rely on.
    Shape = "shape", High;
    /// Changes who may do what, or what is checked.
    Rights = "rights", High;
    /// Runs code that is not read: DO, CALL, EXECUTE, a function, an extension, a streamed file.
    Unread = "unread", High;
    /// A statement whose effect is not known here.
    Unknown = "unknown", High;
    /// Its rehearsal is missing, or did not come out as the target accepts.
    Unproven = "unproven", High;
    /// Applied although a later migration is.
    OutOfOrder = "out-of-order", High;
    /// Rows, or the table, schema or column that holds them, are gone.
    DataLoss = "data-loss", Critical;
    /// Everything that depends on it goes too, unnamed.
    Cascade = "cascade", Critical;
    /// Reaches the server itself: its settings, files, programs or other databases.
    Server = "server", Critical;
    /// Scans or rewrites a relation of 1 GiB or more while others wait.
    Large = "large", Critical;
}

/// One thing a plan can break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hazard {
    /// What.
    pub danger: Danger,
    /// The file; of the plan as a whole, none.
    pub file: Option<String>,
    /// The line the statement starts at, from 1; 0 where there is none.
    pub line: u32,
    /// The relations it is about.
    pub relations: Vec<String>,
    /// The strongest lock it takes on them, as `LOCK TABLE` spells it.
    pub lock: Option<&'static str>,
}

/// How risky a plan is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskReport {
    /// The highest level.
    pub level: RiskLevel,
    /// Everything, statement by statement.
    pub hazards: Vec<Hazard>,
}

impl RiskReport {
    /// A line for each thing at the highest level.
    pub fn reasons(&self) -> Vec<String> {
        let highest = self.hazards.iter().filter(|hazard| hazard.danger.level() == self.level);
        let mut lines: Vec<String> = highest.map(Hazard::line_of_text).collect();
        lines.dedup();
        lines
    }

    /// What is gone afterwards.
    pub fn losses(&self) -> impl Iterator<Item = &Hazard> {
        use Danger::{Cascade, DataLoss};
        self.hazards.iter().filter(|hazard| matches!(hazard.danger, DataLoss | Cascade))
    }
}

impl Hazard {
    /// In one line.
    pub fn line_of_text(&self) -> String {
        let place = match &self.file {
            Some(file) if self.line > 0 => format!("{file}:{}: ", self.line),
            Some(file) => format!("{file}: "),
            None => String::new(),
        };
        let on = match self.relations.as_slice() {
            [] => String::new(),
            names => format!(" [{}]", names.join(", ")),
        };
        format!("{place}{}: {}{on}", self.danger.id(), self.danger.what())
    }
}

/// What is known besides the plan.
#[derive(Debug, Clone, Default)]
pub struct RiskFacts {
    /// Relations of [`LARGE_BYTES`] or more, as statements spell them.
    pub large: BTreeSet<String>,
    /// Steps without an accepted proof, as `<version>_<name>`.
    pub unproven: BTreeSet<String>,
}

const ACCESS_EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE: &str = "SHARE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const SHARE_UPDATE_EXCLUSIVE: &str = "SHARE UPDATE EXCLUSIVE";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";
const ACCESS_SHARE: &str = "ACCESS SHARE";

type Seen = (Danger, Option<&'static str>);

/// Computes how risky a plan is.
pub fn risk(plan: &Plan, facts: &RiskFacts) -> RiskReport {
    let mut hazards = Vec::new();
    let whole = |danger, file: Option<&str>| Hazard {
        danger,
        file: file.map(str::to_owned),
        line: 0,
        relations: Vec::new(),
        lock: None,
    };
    if plan.direction == Direction::Down && !plan.steps.is_empty() {
        hazards.push(whole(Danger::Rollback, None));
    }
    let mut world = World::of(plan);
    for step in &plan.steps {
        let file = Some(step.file.name.as_str());
        if step.streamed.is_some() {
            hazards.push(whole(Danger::Unread, file));
        }
        if plan.direction == Direction::Up && facts.unproven.contains(&step.id()) {
            hazards.push(whole(Danger::Unproven, file));
        }
        if plan.out_of_order.contains(&step.version) {
            hazards.push(whole(Danger::OutOfOrder, file));
        }
        if step.mode == StepMode::StatementByStatement {
            hazards.push(whole(Danger::Beside, file));
        }
        for statement in &step.statements {
            let node = read(&statement.sql);
            let relations = node.as_ref().map(relations_of).unwrap_or_default();
            let mut seen = match &node {
                Some(node) => world.judge(node),
                None => vec![(Danger::Unknown, None)],
            };
            if matches!(statement.class, StatementClass::Backfill { .. }) {
                seen.push((Danger::Beside, Some(ROW_EXCLUSIVE)));
            }
            let waits = |(danger, _): &Seen| matches!(danger, Danger::Scan | Danger::Rewrite);
            let is_large = |name: &String| facts.large.contains(name);
            if seen.iter().any(waits) && relations.iter().any(is_large) {
                seen.push((Danger::Large, None));
            }
            hazards.extend(seen.into_iter().map(|(danger, lock)| Hazard {
                danger,
                file: Some(step.file.name.clone()),
                line: statement.line,
                relations: relations.clone(),
                lock,
            }));
            if let Some(node) = &node {
                world.learn(node);
            }
        }
    }
    let level = hazards.iter().map(|hazard| hazard.danger.level()).max().unwrap_or_default();
    RiskReport { level, hazards }
}

/// The one statement of a text; none where the grammar sees anything else.
fn read(sql: &str) -> Option<SyntaxNode> {
    let parsed = SourceFile::parse(sql);
    if !parsed.errors().is_empty() {
        return None;
    }
    let mut nodes = parsed.tree().syntax().children();
    let first = nodes.next()?;
    nodes.next().is_none().then_some(first)
}

fn kind(node: &SyntaxNode) -> String {
    format!("{:?}", node.kind())
}

fn has(node: &SyntaxNode, wanted: SyntaxKind) -> bool {
    node.descendants().any(|child| child.kind() == wanted)
}

fn has_own_token(node: &SyntaxNode, words: &[&str]) -> bool {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    tokens.into_iter().any(|token| {
        let is_word = !matches!(token.kind(), SyntaxKind::COMMENT | SyntaxKind::STRING);
        is_word && words.iter().any(|word| token.text().eq_ignore_ascii_case(word))
    })
}

fn text_of(node: &SyntaxNode) -> String {
    let tokens = node.descendants_with_tokens().filter_map(SyntaxElement::into_token);
    let hidden = [SyntaxKind::COMMENT, SyntaxKind::WHITESPACE];
    let words = tokens.filter(|token| !hidden.contains(&token.kind()));
    words.map(|token| token.text().to_lowercase()).collect::<Vec<_>>().join(" ")
}

fn relations_of(node: &SyntaxNode) -> Vec<String> {
    let named = annals_migrations::relations(&node.text().to_string());
    let mut names: Vec<String> = named.iter().map(|name| relation_name::normalized(name)).collect();
    names.dedup();
    names
}

/// Functions that only compute, as long as nothing stands before `pg_catalog`.
const HARMLESS: &[&str] = &[
    "abs",
    "array_agg",
    "avg",
    "ceil",
    "coalesce",
    "concat",
    "count",
    "current_date",
    "current_timestamp",
    "date_trunc",
    "extract",
    "floor",
    "format",
    "gen_random_uuid",
    "generate_series",
    "greatest",
    "json_build_object",
    "jsonb_build_object",
    "least",
    "left",
    "length",
    "lower",
    "max",
    "md5",
    "min",
    "now",
    "nullif",
    "random",
    "repeat",
    "replace",
    "right",
    "round",
    "row_number",
    "substring",
    "sum",
    "to_char",
    "trim",
    "upper",
];

/// What the plan has done so far.
struct World {
    /// Tables the plan has made.
    created: BTreeSet<String>,
    /// Names mean what they say: nothing is renamed, moved, temporary, or found on another path.
    is_plain: bool,
}

impl World {
    fn of(plan: &Plan) -> Self {
        let statements = plan.steps.iter().flat_map(|step| &step.statements);
        let mut nodes = statements.filter_map(|statement| read(&statement.sql));
        let shifts = |node: SyntaxNode| {
            let of = kind(&node);
            of.starts_with("SET")
                || of == "RESET"
                || of == "DISCARD"
                || of == "DO"
                || of == "CALL"
                || node.descendants().any(|child| {
                    let of = kind(&child);
                    of.contains("RENAME")
                        || of == "SET_SCHEMA"
                        || of == "IF_NOT_EXISTS"
                        || of == "TEMP"
                })
                || has_own_token(&node, &["temp", "temporary", "set_config"])
        };
        Self { created: BTreeSet::new(), is_plain: !nodes.any(shifts) }
    }

    fn learn(&mut self, node: &SyntaxNode) {
        if self.is_plain {
            self.created.extend(relation_name::created(node));
        }
    }

    fn is_new(&self, table: &str) -> bool {
        self.created.contains(table)
    }

    /// What a statement can break; at least one thing.
    fn judge(&self, node: &SyntaxNode) -> Vec<Seen> {
        let mut seen = vec![self.itself(node)];
        let of = kind(node);
        let removes =
            of.starts_with("DROP") || matches!(of.as_str(), "TRUNCATE" | "ALTER_TABLE" | "REVOKE");
        if removes && has_own_token(node, &["cascade"]) {
            seen.push((Danger::Cascade, None));
        }
        // What stands inside counts too: in a common table expression, a rule, a body.
        for inner in node.descendants().skip(1) {
            seen.extend(rows(&inner));
        }
        if reads_rows(&of) && !self.calls_are_harmless(node) {
            seen.push((Danger::Unread, None));
        }
        let refers = has(node, SyntaxKind::REFERENCES_CONSTRAINT)
            || has(node, SyntaxKind::FOREIGN_KEY_CONSTRAINT);
        if of == "CREATE_TABLE" && refers {
            seen.push((Danger::Catalog, Some(SHARE_ROW_EXCLUSIVE)));
        }
        if of == "CREATE_TABLE" && has(node, SyntaxKind::PARTITION_OF) {
            seen.push((Danger::Catalog, Some(ACCESS_EXCLUSIVE)));
        }
        seen
    }

    fn calls_are_harmless(&self, node: &SyntaxNode) -> bool {
        let calls = node.descendants().filter(|child| child.kind() == SyntaxKind::CALL_EXPR);
        let mut names = calls.map(|call| {
            let text = text_of(&call);
            text.split('(').next().unwrap_or_default().trim().to_owned()
        });
        names.all(|name| self.is_plain && HARMLESS.contains(&name.as_str()))
    }

    fn itself(&self, node: &SyntaxNode) -> Seen {
        if let Some(seen) = rows(node) {
            return seen;
        }
        let of = kind(node);
        match of.as_str() {
            "CREATE_TABLE"
            | "CREATE_SEQUENCE"
            | "CREATE_SCHEMA"
            | "CREATE_TYPE"
            | "CREATE_DOMAIN"
            | "CREATE_TABLE_AS"
            | "CREATE_MATERIALIZED_VIEW"
            | "CREATE_STATISTICS"
            | "CREATE_COLLATION"
            | "SELECT_INTO" => (Danger::New, None),
            "CREATE_VIEW" | "CREATE_FUNCTION" | "CREATE_PROCEDURE" | "CREATE_AGGREGATE" => {
                let replaces = has(node, SyntaxKind::OR_REPLACE);
                // A new function is found before an old one of a wider type.
                let danger =
                    if replaces || of != "CREATE_VIEW" { Danger::Code } else { Danger::New };
                (danger, None)
            }
            "COMMENT_ON" | "ANALYZE" => (Danger::Reads, Some(SHARE_UPDATE_EXCLUSIVE)),
            "SELECT" | "COMPOUND_SELECT" | "PAREN_SELECT" | "VALUES" | "TABLE" | "SHOW" => {
                (Danger::Reads, Some(ACCESS_SHARE))
            }
            "INSERT" => (Danger::RowsAdded, Some(ROW_EXCLUSIVE)),
            "SET" | "RESET" | "SET_CONSTRAINTS" | "DISCARD" => (Danger::Setting, None),
            "ALTER_TABLE" => self.alter_table(node),
            "CREATE_INDEX" => self.create_index(node),
            "DROP_INDEX" => match has_own_token(node, &["concurrently"]) {
                true => (Danger::Code, Some(SHARE_UPDATE_EXCLUSIVE)),
                false => (Danger::Code, Some(ACCESS_EXCLUSIVE)),
            },
            "DROP_VIEW"
            | "DROP_FUNCTION"
            | "DROP_PROCEDURE"
            | "DROP_ROUTINE"
            | "DROP_AGGREGATE"
            | "DROP_TRIGGER"
            | "DROP_RULE"
            | "DROP_STATISTICS"
            | "DROP_MATERIALIZED_VIEW"
            | "DROP_COLLATION" => (Danger::Code, Some(ACCESS_EXCLUSIVE)),
            "CREATE_TRIGGER" | "CREATE_RULE" => (Danger::Code, Some(SHARE_ROW_EXCLUSIVE)),
            "ALTER_FUNCTION"
            | "ALTER_VIEW"
            | "ALTER_PROCEDURE"
            | "ALTER_ROUTINE"
            | "ALTER_TRIGGER"
            | "ALTER_RULE"
            | "ALTER_AGGREGATE"
            | "ALTER_SCHEMA"
            | "ALTER_TYPE"
            | "ALTER_DOMAIN"
            | "ALTER_SEQUENCE"
            | "ALTER_INDEX"
            | "ALTER_MATERIALIZED_VIEW"
            | "DROP_TYPE"
            | "DROP_DOMAIN"
            | "DROP_SEQUENCE" => (Danger::Shape, Some(ACCESS_EXCLUSIVE)),
            "REFRESH" => match has_own_token(node, &["concurrently"]) {
                true => (Danger::Beside, Some("EXCLUSIVE")),
                false => (Danger::Rewrite, Some(ACCESS_EXCLUSIVE)),
            },
            "REINDEX" => match has_own_token(node, &["concurrently"]) {
                true => (Danger::Beside, Some(SHARE_UPDATE_EXCLUSIVE)),
                false => (Danger::Scan, Some(ACCESS_EXCLUSIVE)),
            },
            "CLUSTER" | "REPACK" => (Danger::Rewrite, Some(ACCESS_EXCLUSIVE)),
            "VACUUM" => match has_own_token(node, &["full"]) {
                true => (Danger::Rewrite, Some(ACCESS_EXCLUSIVE)),
                false => (Danger::Beside, Some(SHARE_UPDATE_EXCLUSIVE)),
            },
            "LOCK" => (Danger::Scan, Some(ACCESS_EXCLUSIVE)),
            "GRANT"
            | "REVOKE"
            | "CREATE_POLICY"
            | "ALTER_POLICY"
            | "DROP_POLICY"
            | "CREATE_ROLE"
            | "ALTER_ROLE"
            | "DROP_ROLE"
            | "CREATE_USER"
            | "ALTER_USER"
            | "DROP_USER"
            | "CREATE_GROUP"
            | "ALTER_GROUP"
            | "DROP_GROUP"
            | "ALTER_DEFAULT_PRIVILEGES"
            | "SECURITY_LABEL"
            | "REASSIGN"
            | "SET_ROLE"
            | "SET_SESSION_AUTH"
            | "RESET_ROLE"
            | "CREATE_USER_MAPPING"
            | "ALTER_USER_MAPPING"
            | "DROP_USER_MAPPING"
            | "CREATE_PUBLICATION"
            | "ALTER_PUBLICATION"
            | "DROP_PUBLICATION" => (Danger::Rights, None),
            "DO"
            | "CALL"
            | "EXECUTE"
            | "PREPARE"
            | "CREATE_EXTENSION"
            | "ALTER_EXTENSION"
            | "CREATE_EVENT_TRIGGER"
            | "CREATE_LANGUAGE"
            | "CREATE_CAST"
            | "CREATE_OPERATOR" => (Danger::Unread, None),
            "COPY" => match has(node, SyntaxKind::COPY_PROGRAM)
                || has_own_token(node, &["program"])
                || !(has(node, SyntaxKind::COPY_STDIN) || has_own_token(node, &["stdin"]))
            {
                true => (Danger::Server, None),
                false => (Danger::RowsAdded, Some(ROW_EXCLUSIVE)),
            },
            "DROP_TABLE" | "DROP_SCHEMA" | "DROP_OWNED" | "DROP_EXTENSION"
            | "DROP_FOREIGN_TABLE" => (Danger::DataLoss, Some(ACCESS_EXCLUSIVE)),
            "DROP_DATABASE"
            | "CREATE_DATABASE"
            | "ALTER_DATABASE"
            | "ALTER_SYSTEM"
            | "LOAD"
            | "CREATE_TABLESPACE"
            | "ALTER_TABLESPACE"
            | "DROP_TABLESPACE"
            | "CHECKPOINT"
            | "CREATE_SUBSCRIPTION"
            | "ALTER_SUBSCRIPTION"
            | "DROP_SUBSCRIPTION"
            | "ALTER_LARGE_OBJECT" => (Danger::Server, None),
            _ => (Danger::Unknown, None),
        }
    }

    fn create_index(&self, node: &SyntaxNode) -> Seen {
        if has_own_token(node, &["concurrently"]) {
            return (Danger::Beside, Some(SHARE_UPDATE_EXCLUSIVE));
        }
        match self.is_new(&relation_name::table(node)) {
            true => (Danger::New, Some(SHARE)),
            false => (Danger::Scan, Some(SHARE)),
        }
    }

    fn alter_table(&self, node: &SyntaxNode) -> Seen {
        let actions: Vec<SyntaxNode> = node
            .children()
            .filter(|child| !kind(child).contains("TABLE_RELATION") && kind(child) != "IF_EXISTS")
            .collect();
        let seen = actions.iter().map(alter_action).max_by_key(|(danger, _)| danger.level());
        let seen = seen.unwrap_or((Danger::Unknown, Some(ACCESS_EXCLUSIVE)));
        let is_new = self.is_new(&relation_name::table(node));
        match seen {
            (danger, lock) if is_new && danger != Danger::DataLoss && danger != Danger::Rights => {
                (Danger::New, lock)
            }
            seen => seen,
        }
    }
}

fn reads_rows(kind: &str) -> bool {
    matches!(
        kind,
        "SELECT"
            | "COMPOUND_SELECT"
            | "PAREN_SELECT"
            | "VALUES"
            | "TABLE"
            | "INSERT"
            | "UPDATE"
            | "DELETE"
            | "MERGE"
            | "CREATE_TABLE_AS"
            | "SELECT_INTO"
            | "CREATE_MATERIALIZED_VIEW"
            | "COPY"
            | "EXPLAIN"
            | "REFRESH"
            | "SET"
            | "WITH"
    )
}

/// What a statement does to rows, wherever it stands.
fn rows(node: &SyntaxNode) -> Option<Seen> {
    match node.kind() {
        SyntaxKind::TRUNCATE => Some((Danger::DataLoss, Some(ACCESS_EXCLUSIVE))),
        SyntaxKind::MERGE => Some((Danger::RowsChanged, Some(ROW_EXCLUSIVE))),
        SyntaxKind::DELETE | SyntaxKind::UPDATE => {
            let condition = node.children().find(|child| child.kind() == SyntaxKind::WHERE_CLAUSE);
            // A condition that names nothing of the row holds for all rows, or for none.
            let names = |clause: &SyntaxNode| {
                clause.descendants().any(|child| kind(&child).ends_with("NAME_REF"))
            };
            let danger = match condition.is_some_and(|clause| names(&clause)) {
                true => Danger::RowsChanged,
                false => Danger::DataLoss,
            };
            Some((danger, Some(ROW_EXCLUSIVE)))
        }
        _ => None,
    }
}

fn alter_action(action: &SyntaxNode) -> Seen {
    let exclusive = Some(ACCESS_EXCLUSIVE);
    match kind(action).as_str() {
        "DROP_COLUMN" => (Danger::DataLoss, exclusive),
        "ADD_COLUMN" => match column_is_plain(action) {
            true => (Danger::Catalog, exclusive),
            false => (Danger::Rewrite, exclusive),
        },
        "ALTER_COLUMN" => {
            let inner: Vec<String> = action.children().map(|child| kind(&child)).collect();
            let is = |word: &str| inner.iter().any(|known| known == word);
            if is("SET_TYPE") {
                (Danger::Rewrite, exclusive)
            } else if is("SET_NOT_NULL") {
                (Danger::Scan, exclusive)
            } else if is("SET_DEFAULT") || is("DROP_DEFAULT") {
                (Danger::Catalog, exclusive)
            } else if is("SET_STATISTICS") || is("ALTER_SET_STATISTICS") {
                (Danger::Catalog, Some(SHARE_UPDATE_EXCLUSIVE))
            } else {
                (Danger::Shape, exclusive)
            }
        }
        "ADD_CONSTRAINT" => {
            let is_foreign = has(action, SyntaxKind::FOREIGN_KEY_CONSTRAINT);
            let lock = if is_foreign { Some(SHARE_ROW_EXCLUSIVE) } else { exclusive };
            // The word in a comment is no part of the tree.
            match has(action, SyntaxKind::NOT_VALID) {
                true => (Danger::Catalog, lock),
                false => (Danger::Scan, lock),
            }
        }
        "VALIDATE_CONSTRAINT" => (Danger::Beside, Some(SHARE_UPDATE_EXCLUSIVE)),
        "SET_LOGGED" | "SET_UNLOGGED" | "SET_TABLESPACE" | "SET_ACCESS_METHOD" => {
            (Danger::Rewrite, exclusive)
        }
        "ATTACH_PARTITION" => (Danger::Scan, Some(SHARE_UPDATE_EXCLUSIVE)),
        "SET_OPTIONS" | "RESET_OPTIONS" | "CLUSTER_ON" | "SET_WITHOUT_CLUSTER" => {
            (Danger::Catalog, Some(SHARE_UPDATE_EXCLUSIVE))
        }
        "OWNER_TO"
        | "ENABLE_RLS"
        | "DISABLE_RLS"
        | "FORCE_RLS"
        | "NO_FORCE_RLS"
        | "DISABLE_TRIGGER"
        | "ENABLE_TRIGGER"
        | "ENABLE_ALWAYS_TRIGGER"
        | "ENABLE_REPLICA_TRIGGER"
        | "DISABLE_RULE"
        | "ENABLE_RULE"
        | "DROP_CONSTRAINT" => (Danger::Rights, exclusive),
        _ => (Danger::Shape, exclusive),
    }
}

/// Whether a new column needs nothing but a line in the catalog.
fn column_is_plain(action: &SyntaxNode) -> bool {
    let constraints = action.descendants().filter(|child| kind(child).ends_with("_CONSTRAINT"));
    let is_serial = ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"];
    let all_plain = constraints.into_iter().all(|constraint| match kind(&constraint).as_str() {
        "NULL_CONSTRAINT" | "NOT_NULL_CONSTRAINT" => true,
        // A constant is kept in the catalog; what is computed is computed for each row.
        "DEFAULT_CONSTRAINT" => {
            !has(&constraint, SyntaxKind::CALL_EXPR)
                && !constraint.descendants().any(|child| {
                    kind(&child).ends_with("NAME_REF") && child.kind() != SyntaxKind::TYPE_NAME_REF
                })
        }
        _ => false,
    });
    all_plain && !has_own_token(action, &is_serial)
}
