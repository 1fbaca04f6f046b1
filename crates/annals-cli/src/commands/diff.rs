//! `annals diff`.

use std::path::PathBuf;

use annals_api::{DiffDocument, ExitCode, ShiftDocument, VantageDocument};
use annals_operations::{Environment, Failure, Moment, diff};

use super::render;
use super::source::SourceArguments;
use super::state::chosen;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, NOTE, STRONG};

/// Compare two moments of the log: what was applied, rolled back, run, verified, approved between
///
/// Needs the log alone; the database may be gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,

    #[command(flatten)]
    from: FromArguments,

    #[command(flatten)]
    to: ToArguments,
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct FromArguments {
    /// The earlier moment: 2026-01-31T16:30:00Z, or "2026-01-31 16:30" for UTC
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// The earlier moment: after this event
    #[arg(long, value_name = "N")]
    from_seq: Option<u64>,

    /// The earlier moment: the events this signed checkpoint, kept elsewhere, vouches for
    #[arg(long, value_name = "FILE")]
    from_checkpoint: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
struct ToArguments {
    /// The later moment; now if none is given
    #[arg(long, value_name = "TIME")]
    to: Option<String>,

    /// The later moment: after this event
    #[arg(long, value_name = "N")]
    to_seq: Option<u64>,

    /// The later moment: the events this signed checkpoint, kept elsewhere, vouches for
    #[arg(long, value_name = "FILE")]
    to_checkpoint: Option<PathBuf>,
}

impl Arguments {
    fn moments(&self) -> Result<(Moment, Moment), Failure> {
        let (from, to) = (&self.from, &self.to);
        Ok((
            chosen(from.from.as_deref(), from.from_seq, from.from_checkpoint.as_deref())?,
            chosen(to.to.as_deref(), to.to_seq, to.to_checkpoint.as_deref())?,
        ))
    }
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let (from, to) = arguments.moments()?;
    let view = diff(environment, &arguments.source.source(), &from, &to).await?;
    let document = DiffDocument::from(&view);
    output.show(&document, human);
    if !document.verified {
        output.say(render::UNVERIFIED);
    }
    Ok(ExitCode::Success)
}

fn place(vantage: &VantageDocument) -> String {
    match &vantage.as_of {
        Some(as_of) => format!("event {} ({})", as_of.seq, style::time(&as_of.recorded_at)),
        None => "before the first event".to_owned(),
    }
}

/// Lines with a name in front.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("  {FAINT}{name:<17}{FAINT:#} {value}\n"));
    }

    fn shift<T>(
        &mut self,
        name: &str,
        shift: Option<&ShiftDocument<T>>,
        show: impl Fn(&T) -> String,
    ) {
        let Some(shift) = shift else { return };
        let side = |value: Option<&T>| value.map(&show).unwrap_or_else(|| "–".to_owned());
        let (before, after) = (side(shift.before.as_ref()), side(shift.after.as_ref()));
        self.add(name, &format!("{} → {}", style::safe(&before), style::safe(&after)));
    }
}

fn human(document: &DiffDocument) -> String {
    let mut lines = Lines(format!(
        "{STRONG}{}{STRONG:#} from {} to {}: {}\n",
        document.origin,
        place(&document.from),
        place(&document.to),
        style::count(usize::try_from(document.between.events).unwrap_or(usize::MAX), "event")
    ));
    lines.add("trust", &document.trust);
    for (name, side) in [("times, from", &document.from), ("times, to", &document.to)] {
        lines.add(name, &style::safe(&side.time_bounds.says));
    }
    between(document, &mut lines);
    shifts(document, &mut lines);
    around(document, &mut lines);
    lines.0
}

fn between(document: &DiffDocument, lines: &mut Lines) {
    for migration in &document.migrations {
        let look = if migration.what.ends_with("rolled back") { NOTE } else { GOOD };
        let id = format!("{}_{}", migration.version, migration.name);
        let (at, by) = (style::time(&migration.at), style::safe(&migration.by));
        let what = migration.what;
        lines.add("migration", &format!("{look}{id}{look:#} {what}  {FAINT}{at}  {by}{FAINT:#}"));
    }
    let counts = &document.between;
    let runs = [
        (counts.runs_succeeded, "succeeded"),
        (counts.runs_failed, "failed"),
        (counts.runs_interrupted, "interrupted"),
    ];
    let verifications =
        [(counts.verifications_passed, "passed"), (counts.verifications_failed, "failed")];
    for (name, counted) in [("runs", &runs[..]), ("verifications", &verifications[..])] {
        let said: Vec<String> =
            counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !said.is_empty() {
            lines.add(name, &said.join(", "));
        }
    }
    if counts.tails_repaired > 0 {
        lines.add("tails repaired", &counts.tails_repaired.to_string());
    }
    if counts.not_understood > 0 {
        let n = counts.not_understood;
        lines.add("", &format!("{NOTE}{n} events are from a newer annals: not understood{NOTE:#}"));
    }
}

fn shifts(document: &DiffDocument, lines: &mut Lines) {
    let text = String::clone;
    let digest = |digest: &String| format!("{}…", &digest[..16]);
    lines.shift("run under way", document.open_run.as_ref(), text);
    lines.shift("in doubt", document.in_doubt.as_ref(), |ids| ids.join(", "));
    lines.shift("half done", document.half_done.as_ref(), |ids| ids.join(", "));
    lines.shift("last run", document.last_run.as_ref(), |run| {
        let id = run.run.get(28..).unwrap_or(&run.run);
        format!("{id} {}", run.outcome.unwrap_or("not ended yet"))
    });
    lines.shift("last emergency", document.last_emergency.as_ref(), |run| {
        let id = run.run.get(28..).unwrap_or(&run.run);
        format!("{id} {}", run.outcome.unwrap_or("not ended yet"))
    });
    lines.shift("last verification", document.last_integrity.as_ref(), |checked| {
        format!("{} at {}", checked.result, style::time(&checked.at))
    });
    lines.shift("last known good", document.last_known_good.as_ref(), text);
    lines.shift("schema", document.schema_fingerprint.as_ref(), digest);
    lines.shift("migrations seen", document.migrations_seen.as_ref(), digest);
    lines.shift("home of the log", document.home.as_ref(), text);
}

fn around(document: &DiffDocument, lines: &mut Lines) {
    for turned in &document.approvals {
        let plan = &turned.approval.plan[..12];
        let who = style::safe(&turned.approval.approver);
        lines.add("approval", &format!("{}: plan {plan}… by {who}", turned.what));
    }
    for turned in &document.backups {
        let look = if turned.backup.condition == "failed" { BAD } else { FAINT };
        let before = turned.before.unwrap_or("not taken yet");
        let now = turned.backup.condition;
        let id = &turned.backup.backup;
        lines.add("backup", &format!("{id}: {before} → {look}{now}{look:#}"));
    }
    for turned in &document.keys {
        let name = turned.key.key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
        let purpose = turned.key.purpose;
        lines.add(&format!("{purpose} key"), &format!("{} {}", style::safe(&name), turned.what));
    }
    for anchor in &document.anchors {
        let name = style::safe(&anchor.anchor);
        let text = format!("{name}: {} → {} events, says the log", anchor.before, anchor.after);
        lines.add("anchor", &text);
    }
}
