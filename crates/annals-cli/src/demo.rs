//! placeholder
use crate::output::Output;
use annals_api::ExitCode;
use annals_operations::{Environment, Failure};
/// Demo
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) async fn run(_: &Environment, _: &Output, _: &Arguments) -> Result<ExitCode, Failure> {
    Ok(ExitCode::Success)
}
