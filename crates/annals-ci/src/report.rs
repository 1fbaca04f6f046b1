//! What a command of the pipeline found.

use serde::{Deserialize, Serialize};

use crate::rules::{Rule, rule};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Somebody should look; fails the command with `--strict`.
    Warning,
    /// Must not be merged; fails the command.
    Error,
}

impl Severity {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the workspace, with `/` between its parts.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Character of the line, from 1.
    pub column: Option<u32>,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: impl Into<String>) -> Self {
        Self { file: Some(file.into()), line: None, column: None }
    }

    /// A line of a file; `None` is the file as a whole.
    pub fn line(file: impl Into<String>, line: Option<u32>) -> Self {
        Self { file: Some(file.into()), line, column: None }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule, see [`crate::RULES`].
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What was seen. Never holds a secret.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Why it is allowed to be so, where the configuration allows it.
    pub allowed: Option<String>,
}

impl Finding {
    /// A finding of a rule, as bad as the rule says.
    pub fn of(rule: &'static Rule, place: Place, message: impl Into<String>) -> Self {
        Self {
            rule: rule.id.to_owned(),
            severity: rule.severity,
            place,
            message: message.into(),
            remedy: rule.remedy.to_owned(),
            allowed: None,
        }
    }

    /// The same, not as bad.
    #[must_use]
    pub fn as_note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// The rule, where it is one of ours.
    pub fn rule(&self) -> Option<&'static Rule> {
        rule(&self.rule)
    }
}

/// What the configuration allows: findings of one rule in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// The rule.
    pub rule: String,
    /// The name of the file, without its folder.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// A migration that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// `<version>_<name>`.
    pub id: String,
    /// The verdict of its rehearsal, such as `exact`.
    pub verdict: String,
    /// Whether the target accepts it.
    pub accepted: bool,
    /// The strongest lock on what was there before, such as `ACCESS EXCLUSIVE`.
    pub lock: Option<String>,
    /// On which relation.
    pub locked: Option<String>,
    /// Tables that were written anew.
    pub rewrites: Vec<String>,
    /// How long the migration took, in microseconds.
    pub up_us: u64,
    /// How long the rollback took, in microseconds.
    pub down_us: u64,
    /// How long the migration took when the same files were last recorded, in microseconds.
    pub earlier_up_us: Option<u64>,
    /// How long the rollback took then, in microseconds.
    pub earlier_down_us: Option<u64>,
    /// Sample rows that were there before and are not behind the rollback.
    pub lost_rows: u64,
    /// On as many rows as its file asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_rows: Option<TestRows>,
}

/// A migration that was tried on many rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRows {
    /// Rows its file asks for in each table.
    pub asked: u64,
    /// Tables and the rows that were really made in them.
    pub tables: Vec<(String, u64)>,
    /// Tables without rows, and why.
    pub skipped: Vec<(String, String)>,
    /// The migration.
    pub up: TestWay,
    /// The rollback, where it came to it.
    pub down: Option<TestWay>,
    /// What one of both failed with.
    pub failure: Option<String>,
}

/// One way on these rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestWay {
    /// How long it took, in microseconds.
    pub us: u64,
    /// The strongest lock on each relation that was there before, longest first.
    pub locks: Vec<TestLock>,
    /// Statements whose locks cannot be seen.
    pub unseen: u64,
}

/// A lock, and how long it was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestLock {
    /// Such as `ACCESS EXCLUSIVE`.
    pub mode: String,
    /// On what.
    pub relation: String,
    /// From the statement that took it to the end of its transaction, in microseconds.
    pub us: u64,
}

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// `annals ci validate`.
    Validate,
    /// `annals ci test`.
    Test,
}

impl Verb {
    /// As it is typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Test => "test",
        }
    }
}

/// How many findings there are; allowed ones are notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Errors.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Notes.
    pub notes: u64,
}

/// All that a command found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The command.
    pub verb: Verb,
    /// The workspace.
    pub workspace: String,
    /// The target that was meant.
    pub target: Option<String>,
    /// The commit the files were compared with.
    pub against: Option<String>,
    /// The version of the server the migrations were tried on.
    pub server_version: Option<String>,
    /// The files that were read, relative to the workspace.
    pub files: Vec<String>,
    /// The migrations that were tried, in order.
    pub migrations: Vec<Tried>,
    /// What was found: the worst first, then by place.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why; what else should be known.
    pub notes: Vec<String>,
    /// How long it took, in microseconds.
    pub us: u64,
}

impl Report {
    /// The same, with files named from the top of the repository the workspace lies in: `folder` is
    /// empty, or ends with a slash. Who shows a finding beside its line looks for the file from there.
    #[must_use]
    pub fn seen_from_the_top(mut self, folder: &str) -> Self {
        let places = self.findings.iter_mut().filter_map(|finding| finding.place.file.as_mut());
        for file in self.files.iter_mut().chain(places) {
            file.insert_str(0, folder);
        }
        self
    }

    /// Puts the findings in order, and lowers those the configuration allows. Returns allowances
    /// that allowed nothing.
    pub fn settle<'a>(&mut self, allowances: &'a [Allowance]) -> Vec<&'a Allowance> {
        let mut used = vec![false; allowances.len()];
        for finding in &mut self.findings {
            let name = finding.place.file.as_deref().map(name_of);
            let fits = |allowance: &Allowance| {
                let of = finding.rule == allowance.rule
                    || finding.rule.split('/').next() == Some(&*allowance.rule);
                of && Some(&*allowance.file) == name
            };
            if let Some(at) = allowances.iter().position(fits) {
                used[at] = true;
                finding.severity = Severity::Note;
                finding.allowed = Some(allowances[at].reason.clone());
            }
        }
        self.findings.sort_by(|a, b| {
            let order = |f: &Finding| (std::cmp::Reverse(f.severity), f.place.clone());
            order(a).cmp(&order(b)).then_with(|| a.rule.cmp(&b.rule))
        });
        let unused = allowances.iter().zip(used).filter(|(_, used)| !used);
        unused.map(|(allowance, _)| allowance).collect()
    }

    /// How many findings of each kind there are.
    pub fn counts(&self) -> Counts {
        let of = |severity| {
            self.findings.iter().filter(|finding| finding.severity == severity).count() as u64
        };
        Counts {
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            notes: of(Severity::Note),
        }
    }

    /// Whether it may be merged; `strict` lets warnings count.
    pub fn passed(&self, strict: bool) -> bool {
        let counts = self.counts();
        counts.errors == 0 && (!strict || counts.warnings == 0)
    }
}

/// The last part of a path.
pub(crate) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
