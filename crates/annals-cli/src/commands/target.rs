//! Which database.

use std::path::PathBuf;

use annals_operations::{Authority, ChangeOptions, ExternalBackup, SANDBOX_TARGET, TracesTo};

/// Chooses the target.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArguments {
    /// The target, as annals.toml names it
    #[arg(long, short, value_name = "NAME")]
    target: Option<String>,

    /// The workspace's private PostgreSQL; a command that reaches for it starts it
    #[arg(long, conflicts_with = "target")]
    sandbox: bool,
}

impl TargetArguments {
    /// The name, if one was given.
    pub(crate) fn name(&self) -> Option<&str> {
        if self.sandbox { Some(SANDBOX_TARGET) } else { self.target.as_deref() }
    }
}

/// Chooses the target of a change, and how its steps stand together.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChangeArguments {
    #[command(flatten)]
    target: TargetArguments,

    /// Run all steps in one transaction: each takes effect, or none does
    #[arg(long)]
    single_transaction: bool,

    /// Go on although the schema is not as expected; the log says so
    #[arg(long)]
    allow_drift: bool,

    /// The backup of somebody else's this run relies on, where targets.<name>.backup is "external": a restore
    /// point, the name of a base backup, the id of a snapshot; goes into the log
    #[arg(long, value_name = "NAME", requires = "backup_evidence")]
    external_backup: Option<String>,

    /// What shows that it is there; goes into the log
    #[arg(long, value_name = "TEXT", requires = "external_backup")]
    backup_evidence: Option<String>,

    /// Send the run as a trace to an OpenTelemetry collector over HTTP; without a URL to where
    /// OTEL_EXPORTER_OTLP_ENDPOINT says, else http://localhost:4318
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    otlp: Option<Option<String>>,
}

impl ChangeArguments {
    /// The target's name, if one is named.
    pub(crate) fn target(&self) -> Option<&str> {
        self.target.name()
    }

    /// Where the trace of the run goes.
    pub(crate) fn traces(&self) -> TracesTo {
        match &self.otlp {
            None => TracesTo::Variables,
            Some(None) => TracesTo::Usual,
            Some(Some(url)) => TracesTo::Url(url.clone()),
        }
    }

    /// As options of an operation.
    pub(crate) fn options(&self) -> ChangeOptions {
        ChangeOptions {
            target: self.target.name().map(str::to_owned),
            single_transaction: self.single_transaction,
            allow_drift: self.allow_drift,
            emergency: None,
            traces: self.traces(),
            authority: Authority::None,
            external: self
                .external_backup
                .clone()
                .zip(self.backup_evidence.clone())
                .map(|(name, evidence)| ExternalBackup { name, evidence }),
        }
    }
}

/// By which right a run is carried out.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AuthorityArguments {
    /// An approval in a file of its own, as annals approve --out wrote it (may be repeated)
    #[arg(long, value_name = "FILE", requires = "plan")]
    approval: Vec<PathBuf>,

    /// Run without the approvals the target asks for, where its policy allows that; the log says so
    /// until somebody else has looked at it
    #[arg(long, requires = "reason", conflicts_with = "plan", group = "why")]
    break_glass: bool,

    /// Why; goes into the log
    #[arg(long, value_name = "TEXT", requires = "why")]
    reason: Option<String>,
}

impl AuthorityArguments {
    /// Why.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// As an option of an operation.
    pub(crate) fn authority(&self, plan: Option<&PathBuf>) -> Authority {
        match (plan, self.break_glass) {
            (Some(plan), _) => {
                Authority::Plan { plan: plan.clone(), approvals: self.approval.clone() }
            }
            (None, true) => {
                Authority::BreakGlass { reason: self.reason.clone().unwrap_or_default() }
            }
            (None, false) => Authority::None,
        }
    }
}
