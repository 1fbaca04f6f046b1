//! `annals completions`.

use annals_api::ExitCode;
use annals_operations::Failure;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut command = crate::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "annals", &mut std::io::stdout());
    Ok(ExitCode::Success)
}
