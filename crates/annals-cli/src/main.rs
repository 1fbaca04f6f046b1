//! The annals command line: reads arguments and the environment, calls one operation, shows its
//! document.
//!
//! Nothing here decides anything, and nothing is shown that `annals-api` does not define.

mod ask;
mod commands;
mod demo;
mod output;
mod screen;
mod signals;
mod style;

use std::collections::HashMap;
use std::process::ExitCode as ProcessExit;
use std::sync::Arc;

use annals_api::ExitCode;
use annals_operations::Environment;
use clap::{Parser, Subcommand};

use output::Output;
use screen::{Notices, Screen, Warnings};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// PostgreSQL migrations with a history you can prove.
///
/// Every command works on the workspace the current folder lies in (the folder with annals.toml) and
/// on one target: --target NAME, --sandbox for a private PostgreSQL that annals starts itself, or the
/// workspace's default_target.
#[derive(Debug, Parser)]
#[command(name = "annals", version, max_term_width = 100)]
struct Arguments {
    /// Print a JSON document instead of text; errors become JSON too, on standard error
    #[arg(long, global = true)]
    json: bool,

    /// Say more about what is being done (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(commands::init::Arguments),
    Create(commands::create::Arguments),
    Status(commands::status::Arguments),
    Locks(commands::locks::Arguments),
    Plan(commands::plan::Arguments),
    Approve(commands::approve::Arguments),
    Migrate(commands::migrate::Arguments),
    Rollback(commands::rollback::Arguments),
    Proof(commands::proof::Arguments),
    #[command(subcommand)]
    Ci(commands::ci::Command),
    Verify(commands::verify::Arguments),
    Drift(commands::drift::Arguments),
    Backup(commands::backup::Arguments),
    Restore(commands::restore::Arguments),
    #[command(subcommand)]
    Schema(commands::schema::Command),
    Adopt(commands::adopt::Arguments),
    History(commands::history::Arguments),
    State(commands::state::Arguments),
    Diff(commands::diff::Arguments),
    Timeline(commands::timeline::Arguments),
    Explain(commands::explain::Arguments),
    Export(commands::export::Arguments),
    #[command(subcommand)]
    Log(commands::log::Command),
    #[command(subcommand)]
    Keys(commands::keys::Command),
    Serve(commands::serve::Arguments),
    #[command(subcommand)]
    Sandbox(commands::sandbox::Command),
    Demo(demo::Arguments),
    Completions(commands::completions::Arguments),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Create(_) => "create",
            Self::Status(_) => "status",
            Self::Locks(_) => "locks",
            Self::Plan(_) => "plan",
            Self::Approve(_) => "approve",
            Self::Migrate(_) => "migrate",
            Self::Rollback(_) => "rollback",
            Self::Proof(_) => "proof",
            Self::Ci(_) => "ci",
            Self::Verify(_) => "verify",
            Self::Drift(_) => "drift",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Schema(_) => "schema",
            Self::Adopt(_) => "adopt",
            Self::History(_) => "history",
            Self::State(_) => "state",
            Self::Diff(_) => "diff",
            Self::Timeline(_) => "timeline",
            Self::Explain(_) => "explain",
            Self::Export(_) => "export",
            Self::Log(_) => "log",
            Self::Keys(_) => "keys",
            Self::Serve(_) => "serve",
            Self::Sandbox(_) => "sandbox",
            Self::Demo(_) => "demo",
            Self::Completions(_) => "completions",
        }
    }
}

fn start_tracing(verbose: u8, screen: &Arc<Screen>) {
    let default = match verbose {
        // Warnings of annals are lines of their own. The driver quotes what it does not understand of
        // a URL, passwords too.
        0 => "warn,annals=off,sqlx=off,sqlx_core=off,sqlx_postgres=off",
        1 => {
            "annals=info,annals_operations=info,annals_executor=info,annals_event_store=info,annals_serve=info"
        }
        _ => "debug,sqlx_postgres::options=off",
    };
    let asked = tracing_subscriber::EnvFilter::try_from_env("ANNALS_LOG").ok();
    let warnings = (verbose == 0 && asked.is_none())
        .then(|| Warnings(Arc::clone(screen)).with_filter(Warnings::filter()));
    let filter = asked.unwrap_or_else(|| tracing_subscriber::EnvFilter::new(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    let notices = Notices(Arc::clone(screen)).with_filter(Notices::filter());
    tracing_subscriber::registry().with(lines).with(notices).with(warnings).init();
}

fn environment(command: &str) -> std::io::Result<Environment> {
    let variables: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let folder = std::env::current_dir()?;
    let mut environment = Environment::new(folder, variables, &format!("annals {command}"));
    environment.asks = Some(std::sync::Arc::new(ask::at_terminal));
    Ok(environment)
}

/// What reads SQL needs stack for each level it is nested; memory that is not touched costs nothing.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ProcessExit {
    match std::thread::Builder::new().stack_size(STACK_BYTES).spawn(start) {
        Ok(program) => match program.join() {
            Ok(code) => code,
            Err(panic) => std::panic::resume_unwind(panic),
        },
        // Where so much address space is not to be had, the usual stack does for usual files.
        Err(_) => start(),
    }
}

fn start() -> ProcessExit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return output::usage(&error).into(),
    };
    let screen = Screen::new(arguments.json);
    start_tracing(arguments.verbose, &screen);
    let output = Output::new(arguments.json, screen);
    let environment = match environment(arguments.command.name()) {
        Ok(environment) => environment,
        Err(error) => return output.unexpected("the current folder", &error).into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return output.unexpected("the runtime", &error).into(),
    };
    let code = runtime.block_on(run(arguments.command, &environment, &output));
    // A stopped run has said everything; threads of the driver have nothing left to do.
    runtime.shutdown_background();
    code.into()
}

async fn run(command: Command, environment: &Environment, output: &Output) -> ExitCodeOnly {
    let result = match command {
        Command::Init(arguments) => commands::init::run(environment, output, &arguments),
        Command::Create(arguments) => commands::create::run(environment, output, &arguments),
        Command::Status(arguments) => commands::status::run(environment, output, &arguments).await,
        Command::Locks(arguments) => commands::locks::run(environment, output, &arguments).await,
        Command::Plan(arguments) => commands::plan::run(environment, output, arguments).await,
        Command::Approve(arguments) => {
            commands::approve::run(environment, output, &arguments).await
        }
        Command::Migrate(arguments) => commands::migrate::run(environment, output, arguments).await,
        Command::Rollback(arguments) => {
            commands::rollback::run(environment, output, arguments).await
        }
        Command::Proof(arguments) => commands::proof::run(environment, output, arguments).await,
        Command::Ci(command) => commands::ci::run(environment, output, command).await,
        Command::Verify(arguments) => commands::verify::run(environment, output, &arguments).await,
        Command::Drift(arguments) => commands::drift::run(environment, output, &arguments).await,
        Command::Backup(arguments) => commands::backup::run(environment, output, &arguments).await,
        Command::Restore(arguments) => {
            commands::restore::run(environment, output, &arguments).await
        }
        Command::Schema(command) => commands::schema::run(environment, output, &command).await,
        Command::Adopt(arguments) => commands::adopt::run(environment, output, arguments).await,
        Command::History(arguments) => {
            commands::history::run(environment, output, &arguments).await
        }
        Command::State(arguments) => commands::state::run(environment, output, &arguments).await,
        Command::Diff(arguments) => commands::diff::run(environment, output, &arguments).await,
        Command::Timeline(arguments) => {
            commands::timeline::run(environment, output, &arguments).await
        }
        Command::Explain(arguments) => {
            commands::explain::run(environment, output, &arguments).await
        }
        Command::Export(arguments) => commands::export::run(environment, output, &arguments).await,
        Command::Log(command) => commands::log::run(environment, output, &command).await,
        Command::Keys(command) => commands::keys::run(environment, output, &command).await,
        Command::Serve(arguments) => commands::serve::run(environment, output, arguments).await,
        Command::Sandbox(command) => commands::sandbox::run(environment, output, &command).await,
        Command::Demo(arguments) => demo::run(environment, output, &arguments).await,
        Command::Completions(arguments) => commands::completions::run(&arguments),
    };
    ExitCodeOnly(result.unwrap_or_else(|failure| output.failure(&failure)))
}

/// A documented exit code as the process's end.
struct ExitCodeOnly(ExitCode);

impl From<ExitCodeOnly> for ProcessExit {
    fn from(code: ExitCodeOnly) -> Self {
        Self::from(code.0.code())
    }
}

impl From<ExitCode> for ExitCodeOnly {
    fn from(code: ExitCode) -> Self {
        Self(code)
    }
}
