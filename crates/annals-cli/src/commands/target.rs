//! Which database.

use annals_operations::{ChangeOptions, SANDBOX_TARGET};

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
}

impl ChangeArguments {
    /// As options of an operation.
    pub(crate) fn options(&self) -> ChangeOptions {
        ChangeOptions {
            target: self.target.name().map(str::to_owned),
            single_transaction: self.single_transaction,
            allow_drift: self.allow_drift,
        }
    }
}
