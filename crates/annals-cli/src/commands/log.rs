//! `annals log`.

use std::path::PathBuf;

use annals_api::{
    AnchorsDocument, ExitCode, ExportDocument, LogShowDocument, LogVerifyDocument, MovedDocument,
    ProofDocument,
};
use annals_operations::{
    Environment, ExportTo, Failure, MoveTo, Tone, VerifyOptions, log_anchor, log_check_proof,
    log_export, log_migrate, log_prove, log_show, log_verify,
};

use super::render;
use super::source::SourceArguments;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Look at the event log itself
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Verify content, links, order, tail, signature, blobs and kept heads of the whole log
    ///
    /// Exit codes: 0 intact, 20 content, 21 link, 22 order or gap, 23 cut tail, 24 older copy,
    /// 25 fork, 26 signature, 27 unknown key, 28 not enough anchors, 29 unreadable, 30 nothing to
    /// check, 31 not what was signed.
    Verify(VerifyArguments),
    /// Show events, oldest first
    Show(ShowArguments),
    /// Copy the log, verified, up to its signed head
    ///
    /// A folder gets lines, tiles, entry bundles, blobs and checkpoint, and is brought up to date if
    /// it holds an older copy. A file gets the checkpoint, an empty line and the lines.
    Export(ExportArguments),
    /// Let the log go on in another home, byte for byte
    ///
    /// The log says that it moves, everything is copied and compared, and the old home takes nothing
    /// more. Then say in annals.toml where it lives: event_store of the target.
    Migrate {
        #[command(flatten)]
        target: TargetArguments,

        /// file, postgres (the target itself), or the URL of another database
        #[arg(long, value_name = "HOME")]
        to: String,
    },
    /// Publish the signed head to the target's anchors now
    Anchor {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Write the proof of one event: a file for whoever has the public keys and nothing else
    Prove(ProveArguments),
    /// Check the proof of one event with the public keys alone
    CheckProof(CheckProofArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    source: SourceArguments,

    /// The folder of the copy
    #[arg(long, value_name = "FOLDER", required_unless_present = "file")]
    to: Option<PathBuf>,

    /// One file instead of a folder
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ProveArguments {
    #[command(flatten)]
    source: SourceArguments,

    /// The event
    seq: u64,

    /// Where the proof goes; by default event-<seq>.tlog-proof
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckProofArguments {
    /// The proof
    proof: PathBuf,

    /// The public keys of its log (log.pub)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    source: SourceArguments,

    /// A signed head that was kept elsewhere: a note, or the folder of a copy of the log; repeatable
    #[arg(long, value_name = "PATH")]
    known: Vec<PathBuf>,

    /// How many of them must fit
    #[arg(long, value_name = "N", default_value_t = 0)]
    require_known: usize,

    /// The checkpoint of a file of bare lines
    #[arg(long, value_name = "FILE", requires = "log")]
    checkpoint: Option<PathBuf>,

    /// Where the evidence of a fork is written
    #[arg(long, value_name = "FILE", default_value = "fork-evidence.txt")]
    evidence_out: PathBuf,
}

impl VerifyArguments {
    fn options(&self) -> VerifyOptions {
        VerifyOptions {
            known: self.known.clone(),
            required: self.require_known,
            checkpoint: self.checkpoint.clone(),
            evidence: self.evidence_out.clone(),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    source: SourceArguments,

    /// The first event to show
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,

    /// The most events to show
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,

    /// Only events of this kind, such as step_succeeded
    #[arg(long)]
    kind: Option<String>,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Verify(arguments) => {
            let source = arguments.source.source();
            let document = log_verify(environment, &source, &arguments.options()).await?;
            output.show(&document, verified);
            Ok(ExitCode::of_log_report(&document))
        }
        Command::Show(arguments) => {
            let (from, limit) = (arguments.from, arguments.limit);
            let kind = arguments.kind.as_deref();
            let view = log_show(environment, &arguments.source.source(), from, limit, kind).await?;
            output.show(&LogShowDocument::from(&view), shown);
            Ok(ExitCode::Success)
        }
        Command::Export(arguments) => {
            let to = match (&arguments.to, &arguments.file) {
                (Some(folder), _) => ExportTo::Folder(folder.clone()),
                (None, Some(file)) => ExportTo::File(file.clone()),
                (None, None) => unreachable!("clap asks for one of them"),
            };
            let exported = log_export(environment, &arguments.source.source(), &to).await?;
            output.show(&ExportDocument::from(&exported), copied);
            Ok(ExitCode::Success)
        }
        Command::Migrate { target, to } => {
            let to = match to.as_str() {
                "file" => MoveTo::File,
                "postgres" => MoveTo::Target,
                url => MoveTo::Url(url.to_owned()),
            };
            let listen = &mut signals::listen();
            let moved = log_migrate(environment, target.name(), &to, listen).await?;
            output.show(&MovedDocument::from(&moved), went);
            Ok(ExitCode::Success)
        }
        Command::Anchor { target } => {
            let listen = &mut signals::listen();
            let anchored = log_anchor(environment, target.name(), listen).await?;
            output.show(&AnchorsDocument::from(anchored.as_slice()), anchors);
            let all_hold = anchored.iter().all(|anchor| anchor.size.is_some());
            Ok(if all_hold { ExitCode::Success } else { ExitCode::Unanchored })
        }
        Command::Prove(arguments) => {
            let file = format!("event-{}.tlog-proof", arguments.seq);
            let out = arguments.out.clone().unwrap_or_else(|| file.into());
            let source = arguments.source.source();
            let proven = log_prove(environment, &source, arguments.seq, &out).await?;
            let document = ProofDocument::from(&Ok(proven));
            let document = ProofDocument { file: Some(out.display().to_string()), ..document };
            output.show(&document, proof);
            Ok(ExitCode::Success)
        }
        Command::CheckProof(arguments) => {
            let checked = log_check_proof(environment, &arguments.proof, &arguments.key)?;
            let document = ProofDocument::from(&checked);
            output.show(&document, proof);
            Ok(ExitCode::of_number(document.exit_code))
        }
    }
}

fn copied(document: &ExportDocument) -> String {
    let done = match document.files_written {
        0 => "is up to date".to_owned(),
        n => format!("{n} files, {} bytes written", document.bytes_written),
    };
    format!(
        "{GOOD}✓{GOOD:#} {} holds the first {} events of {}: {done}\n  {FAINT}root{FAINT:#}  {}\n",
        style::safe(&document.place),
        document.events,
        document.origin,
        document.root
    )
}

fn went(document: &MovedDocument) -> String {
    let mut text = format!(
        "{GOOD}✓{GOOD:#} {} events of {} went from {} to {}\n  {FAINT}root{FAINT:#}  {}\n",
        document.events,
        document.origin,
        style::safe(&document.from),
        style::safe(&document.to),
        document.root
    );
    if let Some(path) = &document.moved_aside {
        text.push_str(&format!("  {FAINT}kept{FAINT:#}  the older copy: {}\n", style::safe(path)));
    }
    text.push_str(&format!(
        "{HINT}next{HINT:#}: in annals.toml, [targets.{}] event_store = \"{}\"\n",
        document.target, document.event_store
    ));
    text
}

fn anchors(document: &AnchorsDocument) -> String {
    document.anchors.iter().map(render::anchor).collect()
}

fn proof(document: &ProofDocument) -> String {
    let Some(origin) = &document.origin else {
        let reason = document.reason.as_deref().unwrap_or_default();
        let class = document.class.unwrap_or_default();
        return format!("{BAD}✗{BAD:#} this proves nothing: {} ({class})\n", style::safe(reason));
    };
    let text = |value: &Option<String>| style::safe(value.as_deref().unwrap_or_default());
    let mut shown = format!(
        "{GOOD}✓{GOOD:#} event {} of {origin} is in the log of {} events that was signed\n  \
         {FAINT}recorded{FAINT:#}  {}\n  {FAINT}what{FAINT:#}      {}: {}\n  {FAINT}leaf{FAINT:#}      \
         {}\n",
        document.seq.unwrap_or_default(),
        document.signed.unwrap_or_default(),
        text(&document.recorded_at),
        text(&document.kind),
        text(&document.summary),
        text(&document.leaf),
    );
    if let Some(file) = &document.file {
        shown.push_str(&format!("  {FAINT}proof{FAINT:#}     {}\n", style::safe(file)));
    }
    shown
}

fn verified(document: &LogVerifyDocument) -> String {
    let line = |(tone, label, text): (Tone, &str, String)| {
        let text = style::safe(&text);
        match tone {
            Tone::Good => format!("{GOOD}{label}{GOOD:#} {text}\n"),
            Tone::Bad => format!("{BAD}{label}{BAD:#} {text}\n"),
            Tone::Note => format!("  {NOTE}{label:<11}{NOTE:#} {text}\n"),
            Tone::Plain => format!("  {FAINT}{label:<11}{FAINT:#} {text}\n"),
            Tone::Next => format!("  {HINT}{label}{HINT:#}: {text}\n"),
        }
    };
    document.lines().into_iter().map(line).collect()
}

fn shown(document: &LogShowDocument) -> String {
    let mut text = String::new();
    for event in &document.events {
        text.push_str(&format!(
            "{FAINT}{:>5}  {}  {}{FAINT:#}  {STRONG}{:<19}{STRONG:#} {}\n",
            event.seq,
            event.recorded_at,
            &event.leaf[..8],
            event.kind,
            style::safe(&event.summary)
        ));
    }
    text.push_str(&format!(
        "{} of {} events of {}\n",
        document.events.len(),
        document.log_size,
        document.origin
    ));
    text
}
