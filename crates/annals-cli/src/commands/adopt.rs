//! `annals adopt`.

use annals_api::{AdoptDocument, AdoptedChange, ExitCode, UpgradeDocument};
use annals_events::Version;
use annals_operations::{
    AdoptFrom, AdoptOptions, Environment, Failure, UpgradeOptions, adopt, adopt_upgraded,
};

use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Take over what a target says of its migrations: a lost log, a failover, an upgrade, another tool
///
/// Without a flag: the target was migrated with a log that is lost, or kept where nobody can fetch
/// it. A new log begins, names the old one as its parent, and the old one can append no more.
///
/// It shows a list and a fingerprint and records nothing. To record what was shown, run it again with
/// --confirm FINGERPRINT; if anything has changed in between, it refuses. Nothing of yours in the
/// database is touched.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,

    #[command(flatten)]
    from: FromArguments,

    /// Why; becomes part of the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Record the list that was shown under this fingerprint
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "dry_run")]
    confirm: Option<String>,

    /// Take the file of this version as it is, although another one ran; may be repeated
    #[arg(long, value_name = "VERSION")]
    accept: Vec<Version>,

    /// Take every file as it is, whatever ran
    #[arg(long, requires = "from_supabase")]
    accept_differing: bool,

    /// Show the list and its fingerprint; succeed whatever is to be confirmed
    #[arg(long)]
    dry_run: bool,
}

/// What is adopted.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
struct FromArguments {
    /// The target has lost changes this log says took effect (failover, restore): record the loss,
    /// so that they are pending again
    #[arg(long)]
    lost: bool,

    /// It is the same database on another server (pg_upgrade, or a restored dump): go on with that
    /// one. Its ledger must have exactly the changes of the log
    #[arg(long)]
    upgraded: bool,

    /// Migrations up to this version were applied by hand or by another tool
    #[arg(long, value_name = "VERSION")]
    baseline: Option<Version>,

    /// What supabase_migrations.schema_migrations says was applied; nothing is changed there
    #[arg(long)]
    from_supabase: bool,
}

impl FromArguments {
    fn from(self) -> AdoptFrom {
        match self {
            Self { lost: true, .. } => AdoptFrom::Lost,
            Self { from_supabase: true, .. } => AdoptFrom::Supabase,
            Self { baseline: Some(version), .. } => AdoptFrom::Baseline(version),
            Self { .. } => AdoptFrom::Ledger,
        }
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    if arguments.from.upgraded {
        return take_upgraded(environment, output, arguments).await;
    }
    let options = AdoptOptions {
        target: arguments.target.name().map(str::to_owned),
        from: arguments.from.from(),
        reason: arguments.reason,
        confirm: arguments.confirm,
        accept: arguments.accept,
        accept_differing: arguments.accept_differing,
        dry_run: arguments.dry_run,
    };
    let mut interrupt = signals::listen();
    let adoption = adopt(environment, &options, &mut interrupt).await?;
    let document = AdoptDocument::from(&adoption);
    output.recovered(&document.recovered);
    output.show(&document, human);
    Ok(ExitCode::of_number(document.exit_code))
}

async fn take_upgraded(
    environment: &Environment,
    output: &Output,
    arguments: Arguments,
) -> Result<ExitCode, Failure> {
    let options = UpgradeOptions {
        target: arguments.target.name().map(str::to_owned),
        reason: arguments.reason,
        confirm: arguments.confirm,
        dry_run: arguments.dry_run,
    };
    let mut interrupt = signals::listen();
    let document =
        UpgradeDocument::from(&adopt_upgraded(environment, &options, &mut interrupt).await?);
    output.recovered(&document.recovered);
    output.show(&document, upgraded);
    Ok(ExitCode::of_number(document.exit_code))
}

fn upgraded(document: &UpgradeDocument) -> String {
    let mut text = format!(
        "{STRONG}{}{STRONG:#}  the same database on another server:\n\n  \
         the log     speaks of {}\n  the target  is {}, PostgreSQL {}\n  \
         ledger      {}, as in the log: the newest was announced by event {} of {}\n\n",
        document.target,
        style::safe(&document.expected),
        style::safe(&document.found),
        document.found_major,
        style::count(document.changes, "change"),
        document.vouched.saturating_sub(1),
        document.log_size,
    );
    for refusal in &document.refusals {
        text.push_str(&format!("{BAD}refused{BAD:#} {}\n", style::safe(refusal)));
    }
    let accept = match document.expected_major {
        Some(major) if major != document.found_major => format!(
            "{HINT}next{HINT:#}: the schema was recorded on PostgreSQL {major}; take it as it is now: \
             annals drift accept --reason '…'\n"
        ),
        _ => String::new(),
    };
    match (document.recorded, document.refusals.is_empty()) {
        (true, _) => text.push_str(&format!(
            "{GOOD}✓{GOOD:#} this server is the target's from now on, the one before is refused \
             {FAINT}· log {}{FAINT:#}\n{accept}",
            document.origin
        )),
        (false, true) => text.push_str(&format!(
            "nothing recorded yet. A copy that was made to be one looks the same: be sure that this is \
             the one that goes on.\n\
             {HINT}next{HINT:#}: to record exactly this: --reason '…' --confirm {}\n",
            document.fingerprint
        )),
        (false, false) => {}
    }
    text
}

fn change(change: &AdoptedChange) -> String {
    let id = style::safe(&format!("{}_{}", change.version, change.name));
    let (look, word) = match (change.holds, change.file) {
        (false, _) => (BAD, "lost".to_owned()),
        (true, "identical") => (GOOD, "identical".to_owned()),
        (true, "not_compared") => (NOTE, "not compared".to_owned()),
        (true, file) => (BAD, format!("file {file}")),
    };
    format!(
        "  {look}{word:<13}{look:#} {STRONG}{id}{STRONG:#} {}, change {}\n      {FAINT}{}{FAINT:#}\n",
        change.direction,
        change.ordinal,
        style::safe(&change.found)
    )
}

fn human(document: &AdoptDocument) -> String {
    let what = match document.basis {
        "lost" => "lost by the target, although the log says they took effect",
        "declared" => "to be taken as applied, without running them",
        "supabase" => "applied, says supabase_migrations.schema_migrations",
        _ => "in effect, says the ledger another log has left",
    };
    let mut text = format!("{STRONG}{}{STRONG:#}  {what}:\n\n", document.target);
    text.extend(document.changes.iter().map(change));
    text.push('\n');
    if let Some(parent) = &document.parent {
        text.push_str(&format!(
            "the log {} ({} events, {}… the last of them) is left behind; {} takes over\n",
            parent.origin,
            parent.size,
            &parent.leaf[..12],
            document.origin
        ));
    }
    for refusal in &document.refusals {
        text.push_str(&format!("{BAD}refused{BAD:#} {}\n", style::safe(refusal)));
    }
    let count = style::count(document.changes.len(), "change");
    match &document.recorded {
        Some(run) => text.push_str(&format!(
            "{GOOD}✓{GOOD:#} {count} recorded in run {} {FAINT}· log {}{FAINT:#}\n",
            &run[run.len() - 8..],
            document.origin
        )),
        None => text.push_str(&format!(
            "{count}, nothing recorded yet. Fingerprint {STRONG}{}{STRONG:#}\n\
             {HINT}next{HINT:#}: to record exactly this, run the same command with --confirm {}\n",
            document.fingerprint, document.fingerprint
        )),
    }
    text
}
