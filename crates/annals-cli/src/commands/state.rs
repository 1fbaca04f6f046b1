//! `annals state`.

use std::path::{Path, PathBuf};

use annals_api::{ExitCode, StateDocument};
use annals_operations::{Environment, Failure, Moment, parse_moment, state};

use super::render;
use super::source::SourceArguments;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, NOTE, STRONG};

/// Replay the log to a moment: what was applied, pending, running, in doubt, verified then
///
/// Needs the log alone; the database may be gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    #[command(flatten)]
    moment: MomentArguments,
}

/// The moment to look at; now if none is given.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(crate) struct MomentArguments {
    /// After everything recorded at or before this time: 2026-01-31T16:30:00Z, or
    /// "2026-01-31 16:30" for UTC
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// After this event
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,

    /// After the events that this signed checkpoint, kept elsewhere, vouches for; the log must
    /// begin with exactly these
    #[arg(long, value_name = "FILE")]
    at_checkpoint: Option<PathBuf>,
}

impl MomentArguments {
    /// As an operation takes it.
    pub(crate) fn moment(&self) -> Result<Moment, Failure> {
        chosen(self.at.as_deref(), self.at_seq, self.at_checkpoint.as_deref())
    }
}

/// The moment one of three arguments names; now if none is given.
pub(crate) fn chosen(
    at: Option<&str>,
    seq: Option<u64>,
    checkpoint: Option<&Path>,
) -> Result<Moment, Failure> {
    match (at, seq, checkpoint) {
        (Some(text), ..) => parse_moment(text),
        (None, Some(seq), _) => Ok(Moment::Seq(seq)),
        (None, None, Some(path)) => Ok(Moment::Checkpoint(path.to_owned())),
        (None, None, None) => Ok(Moment::Now),
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let view = state(environment, &arguments.source.source(), &arguments.moment.moment()?).await?;
    let document = StateDocument::from(&view);
    output.show(&document, human);
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

fn place(document: &StateDocument) -> String {
    let Some(as_of) = &document.as_of else {
        return "before the first event: nothing was known yet\n".to_owned();
    };
    let next = match &document.next {
        Some(next) => format!("event {} followed at {}", next.seq, next.recorded_at),
        None => "nothing has followed".to_owned(),
    };
    format!(
        "{STRONG}{}{STRONG:#} after event {} of {}, recorded at {}; {next}\n",
        document.origin, as_of.seq, document.log_size, as_of.recorded_at
    )
}

/// Lines with a name in front.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("  {FAINT}{name:<17}{FAINT:#} {value}\n"));
    }
}

fn human(document: &StateDocument) -> String {
    let mut lines = Lines(place(document));
    if document.as_of.is_none() {
        return lines.0;
    }
    lines.add("times", &style::safe(&document.time_bounds.says));
    lines.add("trust", &document.trust);
    if document.not_understood > 0 {
        let n = document.not_understood;
        lines.add("", &format!("{NOTE}{n} events are from a newer annals: not understood{NOTE:#}"));
    }
    if let Some(target) = &document.target {
        let system = &target.system_identifier;
        lines.add("database", &format!("{} of system {system}", style::safe(&target.database)));
    }
    migrations(document, &mut lines);
    runs(document, &mut lines);
    verified(document, &mut lines);
    around(document, &mut lines);
    lines.0
}

fn migrations(document: &StateDocument, lines: &mut Lines) {
    lines.add("applied", &style::count(document.applied.len(), "migration"));
    for migration in &document.applied {
        let id = format!("{}_{}", migration.version, migration.name);
        let (at, by) = (style::time(&migration.at), style::safe(&migration.by));
        lines.add("", &format!("{GOOD}{id}{GOOD:#}  {FAINT}{at}  {by}{FAINT:#}"));
    }
    if let Some(pending) = &document.pending {
        lines.add("pending", &style::count(pending.len(), "migration"));
        for migration in pending {
            lines.add("", &style::safe(&migration.file));
        }
    }
    if let Some(reason) = &document.pending_unknown {
        lines.add("pending", &format!("{NOTE}not known{NOTE:#}: {}", style::safe(reason)));
    }
}

fn runs(document: &StateDocument, lines: &mut Lines) {
    if let Some(run) = &document.open_run {
        let since = style::time(&run.started_at);
        lines.add("run under way", &format!("{} {} since {since}", run.direction, run.run));
    }
    if let Some(holder) = &document.lock_holder {
        let who = format!("{} on {}", style::safe(&holder.by), style::safe(&holder.host));
        lines.add("held by", &format!("{who}, as far as the log knows"));
    }
    for step in &document.steps_in_doubt {
        let (id, since) = (&step.migration, style::time(&step.since));
        lines.add("in doubt", &format!("{NOTE}{id}{NOTE:#} {} since {since}", step.direction));
    }
    for step in &document.steps_half_done {
        let done = format!("{} of {} statements", step.statements_done, step.statements);
        lines.add("half done", &format!("{NOTE}{}{NOTE:#} {done}", step.migration));
    }
    if let Some(run) = &document.last_run {
        let outcome = run.outcome.unwrap_or_default();
        let look = if outcome == "succeeded" { GOOD } else { BAD };
        let reason = run.reason.as_deref().map(|reason| format!(": {}", style::safe(reason)));
        let when = run.finished_at.as_deref().map(style::time).unwrap_or_default();
        let reason = reason.unwrap_or_default();
        let by = style::safe(&run.by);
        let text = format!("{look}{outcome}{look:#} {} at {when} by {by}{reason}", run.direction);
        lines.add("last run", &text);
    }
    if let Some(emergency) = &document.last_emergency {
        let to = emergency.to_version.as_deref().unwrap_or("nothing applied");
        let outcome = emergency.outcome.unwrap_or("not ended yet");
        let (at, by) = (style::time(&emergency.at), style::safe(&emergency.by));
        let reason = style::safe(&emergency.reason);
        lines.add("last emergency", &format!("back to {to} at {at} by {by}, {outcome}: {reason}"));
    }
}

fn verified(document: &StateDocument, lines: &mut Lines) {
    if let Some(checked) = &document.last_integrity {
        let look = if checked.result == "passed" { GOOD } else { BAD };
        let at = style::time(&checked.at);
        lines.add("last verification", &format!("{look}{}{look:#} at {at}", checked.result));
    }
    if let Some(version) = &document.last_known_good {
        lines.add("last known good", version);
    }
    if let Some(fingerprint) = &document.schema_fingerprint {
        lines.add("schema", &format!("{}…", &fingerprint[..16]));
    }
}

fn around(document: &StateDocument, lines: &mut Lines) {
    for approval in &document.approvals {
        let until = approval.expires_at.as_deref().map(|at| format!(" until {}", style::time(at)));
        let (who, until) = (style::safe(&approval.approver), until.unwrap_or_default());
        let plan = &approval.plan[..12];
        lines.add("approval", &format!("{GOOD}plan {plan}…{GOOD:#} by {who}{until}"));
    }
    for backup in &document.usable_backups {
        let verified = backup.verified.zip(backup.verified_at.as_deref());
        let verified = verified.map(|(how, at)| format!("verified ({how}) at {}", style::time(at)));
        let verified = verified.unwrap_or_else(|| format!("{NOTE}not verified{NOTE:#}"));
        let (kind, at) = (style::safe(&backup.kind), style::time(&backup.at));
        lines.add("usable backup", &format!("{} {kind} of {at}, {verified}", backup.backup));
    }
    for backup in &document.failed_backups {
        let at = style::time(&backup.at);
        let text = format!("{} of {at}: {BAD}its verification failed{BAD:#}", backup.backup);
        lines.add("backup", &text);
    }
    for key in &document.keys {
        let name = style::safe(&key.key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+"));
        let standing = match (key.retired_seq, key.counts_up_to) {
            (None, _) => "in force".to_owned(),
            (Some(seq), None) => format!("retired by event {seq}"),
            (Some(seq), Some(size)) => {
                format!("retired by event {seq}, counts up to {size} events")
            }
        };
        lines.add(&format!("{} key", key.purpose), &format!("{name} {standing}"));
    }
    for anchor in &document.anchors {
        let (name, kind) = (style::safe(&anchor.anchor), style::safe(&anchor.kind));
        let text = format!("{name} ({kind}) holds {} events, says the log", anchor.size);
        lines.add("anchor", &text);
    }
    if let Some(home) = &document.home {
        let to = style::safe(&home.to);
        lines.add("home of the log", &format!("{to} since event {}", home.seq));
    }
}
