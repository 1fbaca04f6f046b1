//! `annals verify`.

use annals_api::{ExitCode, VerifyDocument};
use annals_operations::{Environment, Failure, verify};

use super::render;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD};

/// Check that ledger, log and files agree and that the schema is what the last run left
///
/// The result is recorded. Families that are not checked are said to be not checked, never passed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    let view = verify(environment, arguments.target.name(), &mut interrupt).await?;
    let document = VerifyDocument::from(&view);
    output.recovered(&document.recovered);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

fn human(document: &VerifyDocument) -> String {
    let mut text = String::new();
    for (family, verdict) in &document.checks {
        let (look, mark) = match *verdict {
            "passed" => (GOOD, "✓"),
            "failed" => (BAD, "✗"),
            _ => (FAINT, "–"),
        };
        let words = (family.replace('_', " "), verdict.replace('_', " "));
        text.push_str(&format!("  {look}{mark} {:<18}{}{look:#}\n", words.0, words.1));
    }
    text.push('\n');
    text.push_str(&render::findings(&document.findings));
    let (look, mark) = if document.result == "failed" { (BAD, "✗") } else { (GOOD, "✓") };
    let events = usize::try_from(document.log_size).unwrap_or(usize::MAX);
    text.push_str(&format!(
        "{look}{mark} {}: {}{look:#} {FAINT}· {} applied, {} in the schema, {} in the log{FAINT:#}\n",
        document.target,
        document.result,
        style::count(document.applied, "migration"),
        style::count(document.objects, "object"),
        style::count(events, "event")
    ));
    text
}
