//! `annals-verify`: the offline verifier as a program of its own.
//!
//! Nothing here or below it knows a database, a network or a clock.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annals_approvals::Approvers;
use annals_event_store::{Layout, LogFiles};
use annals_keys::{KeyRing, load_ring};
use annals_verify::{
    ApprovalAudit, Evidence, KeptNote, MAX_EVIDENCE_BYTES, Report, Tone, Trust, is_own_head,
    kept_note, verify_path, verify_stream,
};
use clap::Parser;

/// Verify an annals event log offline
///
/// Checks content, links, order, tail, signature, tiles, blobs, and the heads that were kept
/// elsewhere. Keys and kept heads must come from elsewhere than the log itself.
///
/// Exit codes: 0 intact, 2 usage, 20 content, 21 link, 22 order or gap, 23 cut tail, 24 older copy,
/// 25 fork, 26 signature, 27 unknown key, 28 not enough anchors, 29 unreadable, 30 nothing to
/// check, 31 not what was signed.
#[derive(Debug, Parser)]
#[command(name = "annals-verify", version, max_term_width = 100)]
struct Arguments {
    /// The folder of a log or of a copy of one, an export file, or - for standard input
    #[arg(required_unless_present = "evidence")]
    log: Option<PathBuf>,

    /// The public keys (log.pub)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The checkpoint of a file of bare lines
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,

    /// A signed head that was kept elsewhere: a note, or the folder of a copy of the log; repeatable
    #[arg(long, value_name = "PATH")]
    known: Vec<PathBuf>,

    /// How many of them must fit
    #[arg(long, value_name = "N", default_value_t = 0)]
    require_known: usize,

    /// The pinned list of approvers (approvers.toml): every approval is checked against it
    #[arg(long, value_name = "FILE")]
    approvers: Option<PathBuf>,

    /// Where the evidence of a fork is written
    #[arg(long, value_name = "FILE", default_value = "fork-evidence.txt")]
    evidence_out: PathBuf,

    /// Check the evidence of a fork instead of a log
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    evidence: Option<PathBuf>,

    /// Print a JSON document instead of text
    #[arg(long)]
    json: bool,
}

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match run(&arguments) {
        Ok(code) => code,
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            USAGE
        }
    };
    ExitCode::from(code)
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    let ring = load_ring(&arguments.key).map_err(|error| describe(&error))?;
    if let Some(path) = &arguments.evidence {
        return check_evidence(path, &ring);
    }
    let read =
        |path: &Path| kept_note(path).map_err(|error| format!("{}: {error}", path.display()));
    let note = arguments.checkpoint.as_deref().map(read).transpose()?.map(|kept| kept.note);
    let log = arguments.log.as_deref().unwrap_or(Path::new("-"));
    if let Some(own) = arguments.known.iter().find(|kept| is_own_head(log, kept)) {
        return Err(format!(
            "{} is the head of the log itself: a head kept elsewhere is wanted",
            own.display()
        ));
    }
    let kept: Result<Vec<KeptNote>, String> =
        arguments.known.iter().map(|path| read(path)).collect();
    let trust = Trust { ring, kept: kept?, required: arguments.require_known };
    let (mut report, evidence) = if log == Path::new("-") {
        verify_stream("standard input", io::stdin().lock(), note.as_deref(), &trust)
    } else {
        verify_path(log, note.as_deref(), &trust)
    };
    if let Some(path) = &arguments.approvers {
        check_approvals(path, log, &mut report)?;
    }
    if let Some(text) = evidence {
        let path = &arguments.evidence_out;
        report.note_evidence(path, std::fs::write(path, text));
    }
    let text = if arguments.json { to_json(&report) } else { human(&report) };
    // Nobody is left to tell when the reader of the pipe has gone.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(report.exit_code)
}

/// Checks the approvals of a log in a folder: only there are the lists that counted.
fn check_approvals(path: &Path, log: &Path, report: &mut Report) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let pinned = Approvers::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let layout = Layout::new(log);
    let files = LogFiles::find(&layout).map_err(|error| {
        format!("--approvers needs the folder of a log with its lines: {}", describe(&error))
    })?;
    let mut audit = ApprovalAudit::new(&layout, &pinned);
    let scanned = files.scan(&[], &mut |recorded, _| audit.watch(recorded));
    scanned.map_err(|error| describe(&error))?;
    let (counts, wrong) = audit.finish();
    report.add_approvals(counts, wrong);
    Ok(())
}

fn check_evidence(path: &Path, ring: &KeyRing) -> Result<u8, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let limit = MAX_EVIDENCE_BYTES as u64 + 1;
    io::Read::read_to_end(&mut io::Read::take(file, limit), &mut text)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match Evidence::parse(&text).and_then(|evidence| evidence.check(ring)) {
        Ok((old, new)) => {
            let text = format!(
                "✗ the log {} was shown with two histories: its signed heads of {} and of {} events \
                 contradict each other\n",
                new.origin, old.size, new.size
            );
            let _ = io::stdout().write_all(text.as_bytes());
            Ok(annals_verify::DamageClass::Fork.exit_code())
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) if !error.to_string().contains(&cause.to_string()) => {
            format!("{error}: {cause}")
        }
        _ => error.to_string(),
    }
}

fn to_json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("documents have string keys only");
    text.push('\n');
    text
}

fn human(report: &Report) -> String {
    let line = |(tone, label, text): (Tone, &str, String)| match tone {
        Tone::Good | Tone::Bad => format!("{label} {}\n", safe(&text)),
        Tone::Next => format!("  {label}: {}\n", safe(&text)),
        Tone::Note | Tone::Plain => format!("  {label:<11} {}\n", safe(&text)),
    };
    report.lines().into_iter().map(line).collect()
}

/// `text` without characters that could steer a terminal.
fn safe(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let shown = |c: char| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}
