//! `log show` and `log verify`: the log itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annals_event_store::{Layout, LogFiles};
use annals_events::{Event, Recorded, Seq};
use annals_integrity::{DamageClass, LogDamage, Trust};
use annals_verify::{
    ApprovalAudit, ApprovalCounts, BlobCounts, Report, fork_evidence, is_own_head, kept_note,
    verify_path, verify_stream,
};

use crate::anchors::kept_heads;
use crate::approvals::pinned;
use crate::cache::CacheAudit;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::LogHome;
use crate::logs::{LogSource, ReadLog, bad_blobs};
use crate::targets::Target;
use crate::workspace::Workspace;

/// Events, and the log they are from.
#[derive(Debug)]
pub struct LogView {
    /// The log's name.
    pub origin: String,
    /// The events asked for.
    pub events: Vec<Recorded>,
    /// Events in the whole log.
    pub log_size: u64,
}

/// Events from place `from` on, at most `limit` of them.
///
/// # Errors
///
/// When there is no log, or it is damaged.
pub async fn log_show(
    environment: &Environment,
    source: &LogSource,
    from: u64,
    limit: usize,
    kind: Option<&str>,
) -> Result<LogView, Failure> {
    if let Some(kind) = kind.filter(|kind| !Event::KINDS.contains(kind)) {
        let subject = format!("event kind {kind:?}");
        return Err(Failure::Argument {
            subject,
            reason: format!("there are {}", Event::KINDS.join(", ")),
        });
    }
    let log = ReadLog::from_source(environment, source)?;
    let (mut events, mut origin) = (Vec::new(), String::new());
    let mut visit = |recorded: &Recorded, _: &[u8]| {
        if recorded.seq == Seq(0) {
            origin = recorded.origin.to_string();
        }
        let wanted = kind.is_none_or(|kind| recorded.event.kind() == kind);
        if recorded.seq.0 >= from && wanted && events.len() < limit {
            events.push(recorded.clone());
        }
    };
    let read = log.read(&mut visit).await?;
    read.check()?;
    read.unfinished.say();
    Ok(LogView { origin, events, log_size: read.scanned.chain.size() })
}

/// What `log verify` relies on besides the keys.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Heads kept elsewhere: notes, or folders of copies.
    pub known: Vec<PathBuf>,
    /// How many of them must fit.
    pub required: usize,
    /// The checkpoint of a file of bare lines.
    pub checkpoint: Option<PathBuf>,
    /// Where the evidence of a fork is written.
    pub evidence: PathBuf,
}

/// Verifies a log against its checkpoint, the public keys and the heads kept elsewhere.
///
/// # Errors
///
/// When there is no key, or a kept head cannot be read. What is wrong with the log is in the
/// report.
pub async fn log_verify(
    environment: &Environment,
    source: &LogSource,
    options: &VerifyOptions,
) -> Result<Report, Failure> {
    let log = ReadLog::from_source(environment, source)?;
    let (anchored, silent) = match source {
        LogSource::Target(name) => {
            let workspace = Workspace::find(&environment.folder)?;
            let target = Target::resolve(environment, &workspace, name.as_deref())?;
            kept_heads(environment, &workspace, &target).await
        }
        LogSource::Folder { .. } => Default::default(),
    };
    let mut trust = log.trust().ok_or_else(|| LogFailure::NoPublicKey("log.pub".into()))?;
    let read = |path: &PathBuf| {
        kept_note(path).map_err(|error| Failure::Argument {
            subject: path.display().to_string(),
            reason: format!("cannot be read: {error}"),
        })
    };
    let own = match &log.home {
        LogHome::Folder(layout) => layout.root().to_owned(),
        LogHome::Export(path) => path.clone(),
        LogHome::Postgres(_) => PathBuf::new(),
    };
    if let Some(path) = options.known.iter().find(|kept| is_own_head(&own, kept)) {
        return Err(Failure::Argument {
            subject: path.display().to_string(),
            reason: "is the head of the log itself: a head kept elsewhere is wanted".to_owned(),
        });
    }
    trust.kept = options.known.iter().map(read).collect::<Result<_, _>>()?;
    trust.kept.extend(anchored);
    trust.required = options.required;
    let note = options.checkpoint.as_ref().map(read).transpose()?.map(|kept| kept.note);
    let (mut report, evidence) = match &log.home {
        LogHome::Folder(layout) if layout.root() == Path::new("-") => {
            verify_stream("standard input", std::io::stdin().lock(), note.as_deref(), &trust)
        }
        LogHome::Folder(layout) => verify_path(layout.root(), note.as_deref(), &trust),
        LogHome::Export(path) => verify_path(path, note.as_deref(), &trust),
        LogHome::Postgres(_) => verify_database(&log, &trust).await?,
    };
    report.not_asked = silent;
    if let LogHome::Folder(layout) = &log.home
        && let Some(audit) = CacheAudit::of(layout)
    {
        audit_caches(audit, layout, &mut report)?;
    }
    if let LogSource::Target(_) = source {
        audit_approvals(environment, &log, &mut report).await?;
    }
    if let Some(text) = evidence {
        let path = options.evidence.clone();
        report.note_evidence(&path, std::fs::write(&path, text));
    }
    Ok(report)
}

/// Folds every stored state anew: one that is not what the log says would mislead whoever asks for it.
fn audit_caches(
    mut audit: CacheAudit,
    layout: &Layout,
    report: &mut Report,
) -> Result<(), Failure> {
    let files = LogFiles::find(layout).map_err(LogFailure::from)?;
    files.scan(&[], &mut |recorded, _| audit.watch(recorded)).map_err(LogFailure::from)?;
    let (checked, wrong) = audit.finish();
    let wrong = wrong.into_iter().map(|(at, path)| LogDamage {
        class: DamageClass::Content,
        at: Some(at),
        reason: format!("the stored state {path} is not what the log says; remove it"),
    });
    report.add_caches(checked, wrong.collect());
    Ok(())
}

/// Checks every approval against the workspace's list, where there is one.
async fn audit_approvals(
    environment: &Environment,
    log: &ReadLog,
    report: &mut Report,
) -> Result<(), Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let Some((pinned, _)) = pinned(&workspace)? else { return Ok(()) };
    let copy = match log.home.folder().await {
        Ok(copy) => copy,
        // A log that cannot be read is told by the verification itself.
        Err(_) => return Ok(()),
    };
    let mut audit = ApprovalAudit::new(&copy.layout, &pinned);
    let scanned = LogFiles::find(&copy.layout)
        .and_then(|files| files.scan(&[], &mut |recorded, _| audit.watch(recorded)));
    let (counts, wrong) = audit.finish();
    // What no list was ever admitted to has no approvals to check.
    if scanned.is_ok() && counts != ApprovalCounts::default() {
        report.add_approvals(counts, wrong);
    }
    Ok(())
}

/// Verifies a log in a database: its lines, its signature, the content it names.
async fn verify_database(
    log: &ReadLog,
    trust: &Trust,
) -> Result<(Report, Option<String>), Failure> {
    let (mut leaves, mut named) = (Vec::new(), Vec::new());
    let mut watch = |recorded: &Recorded, _: &[u8]| {
        leaves.push(recorded.leaf);
        let kind = Event::KINDS.iter().find(|kind| **kind == recorded.event.kind());
        named.extend(
            recorded.event.blob().map(|blob| (recorded.seq, kind.copied().unwrap_or(""), blob)),
        );
    };
    let read = log.read_trusting(Some(trust), &mut watch).await?;
    let verification = read.verification.expect("invariant: there is somebody to trust");
    let bad = bad_blobs(&log.home, &named).await?;
    let distinct: BTreeMap<_, _> =
        named.iter().map(|(.., blob)| (blob.digest, blob.size)).collect();
    let blobs = BlobCounts {
        checked: (distinct.len() - bad.len()) as u64,
        bytes: distinct.values().sum(),
        not_checked: 0,
    };
    let extra = bad.into_iter().map(|(at, reason)| LogDamage {
        class: DamageClass::Content,
        at: Some(at),
        reason,
    });
    let evidence = fork_evidence(&verification, &leaves);
    let place = log.home.place();
    let report = Report::without_tiles(place, &verification, extra.collect(), blobs);
    Ok((report, evidence))
}
