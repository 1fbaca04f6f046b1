//! `annals export`.

use std::path::PathBuf;

use annals_api::ExitCode;
use annals_operations::{Environment, Export, ExportKind, Failure, export, write_export};
use clap::ValueEnum;

use super::render;
use super::source::SourceArguments;
use super::state::MomentArguments;
use crate::output::{self, Output};

/// Write what other tools read: migration_history.json or recovery_log.json
///
/// Folded from the log alone; the database may be gone. The members and their order are fixed; what
/// has not happened is null. Goes to standard output unless --out names a place.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which file
    #[arg(value_enum)]
    kind: Kind,

    /// Write it to this file, or under its usual name into this folder
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,

    #[command(flatten)]
    source: SourceArguments,

    #[command(flatten)]
    moment: MomentArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// migration_history.json: what is applied, what ran last
    History,
    /// recovery_log.json: the last known good version, the last emergency, every verification
    Recovery,
}

impl From<Kind> for ExportKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::History => Self::History,
            Kind::Recovery => Self::Recovery,
        }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let kind = arguments.kind.into();
    let (source, moment) = (arguments.source.source(), arguments.moment.moment()?);
    let (vantage, export) = export(environment, &source, kind, &moment).await?;
    let text = match &export {
        Export::History(content) => output::to_json(content),
        Export::Recovery(content) => output::to_json(content),
    };
    match &arguments.out {
        None => output.content(&text),
        Some(path) => {
            let path = write_export(path, kind, &text)?;
            output.say(&format!("written: {}", path.display()));
        }
    }
    if !vantage.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}
