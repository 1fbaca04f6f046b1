//! `adopt --upgraded`: the same database on another server, after `pg_upgrade` or a restored dump.
//!
//! The server's own name for itself is another one then. What shows that it is the same database is its
//! ledger: each change the log knows, announced by the very event of this log, and no other. A copy
//! that was made to be one has the same, so a person has to say which of the two goes on.

use annals_events::{Digest, TargetIdentity, TargetRegistered};
use annals_executor::Interrupt;
use annals_postgres::read_schema;
use annals_projections::LedgerRow;

use crate::book::Book;
use crate::environment::Environment;
use crate::error::Failure;
use crate::open::{self, Opened, Purpose, Recovered, Unsettled, show_identity};
use crate::targets::Target;
use crate::workspace::Workspace;

/// How another server is taken.
#[derive(Debug, Clone)]
pub struct UpgradeOptions {
    /// The target; the default one if none.
    pub target: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The fingerprint of what was shown.
    pub confirm: Option<String>,
    /// Show, and record nothing.
    pub dry_run: bool,
}

/// What was shown, and whether it is recorded.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The target.
    pub target: String,
    /// The database the log speaks of.
    pub expected: String,
    /// The one that answers.
    pub found: String,
    /// Major version of the server the schema was last recorded on.
    pub expected_major: Option<u32>,
    /// That of the server that answers.
    pub found_major: u32,
    /// Changes that ledger and log both have, each announced by the same event.
    pub changes: usize,
    /// Events the newest of them vouches for, and that the log has.
    pub vouched: u64,
    /// Events in the log.
    pub log_size: u64,
    /// What stands in the way.
    pub refusals: Vec<String>,
    /// Names what was shown.
    pub fingerprint: String,
    /// The log's name.
    pub origin: String,
    /// Whether it was recorded.
    pub recorded: bool,
    /// Whether it is only to be shown.
    pub dry_run: bool,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<Recovered>,
}

fn refused(reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: "annals adopt --upgraded".to_owned(), reason: reason.into() }
}

/// Shows how another server stands to the log, and makes it the target's where that is confirmed.
///
/// # Errors
///
/// When it is the server the log speaks of, its ledger is not the log's, or what was confirmed is not
/// what is there: then nothing was recorded.
pub async fn adopt_upgraded(
    environment: &Environment,
    options: &UpgradeOptions,
    interrupt: &mut Interrupt,
) -> Result<Upgrade, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, options.target.as_deref())?;
    let shown = show(environment, &workspace, &target, options).await?;
    if options.dry_run {
        return Ok(shown);
    }
    if let Some(refusal) = shown.refusals.first() {
        return Err(refused(refusal));
    }
    let Some(confirm) = &options.confirm else { return Ok(shown) };
    let reason = options.reason.as_deref().unwrap_or_default().trim();
    if reason.is_empty() {
        return Err(refused("say why, with --reason: it becomes part of the log"));
    }
    check_confirmed(confirm, &shown)?;
    let application = format!("annals/{}", environment.ids.run());
    let (purpose, on) = (Purpose::Upgrade, (environment, &workspace, &target));
    let unsettled = open::open_unsettled(purpose, on, &application, interrupt, || ());
    let Unsettled { mut opened, identity, store, journal } = unsettled.await?;
    if let Some((journal, ..)) = journal {
        opened.close().await;
        return Err(refused(format!(
            "the emergency in {} is not part of the log yet: run annals status while the server it was \
             carried out on answers",
            journal.layout.root().display()
        )));
    }
    // Under the lock everything is looked at again: only what was confirmed is recorded.
    let upgrade = match look_again(&mut opened, &target, &identity, options, confirm).await {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            opened.close().await;
            return Err(refused);
        }
    };
    let registered = TargetRegistered {
        platform: opened.platform.as_str().to_owned(),
        reason: Some(reason.to_owned()),
        server_version: opened.session.facts().short_version().to_owned(),
    };
    let events = std::iter::once(registered.into()).chain(store).collect();
    opened.record(events).await?;
    // What is in doubt is settled from the ledger that is the target's now.
    opened.settle(&workspace, &target, (None, identity.timeline)).await?;
    opened.publish().await?;
    opened.anchor(environment, &workspace, &target).await?;
    let (recovered, log_size) = (std::mem::take(&mut opened.recovered), opened.recorder.book.size);
    opened.close().await;
    Ok(Upgrade { recorded: true, recovered, log_size, ..upgrade })
}

fn check_confirmed(confirm: &str, shown: &Upgrade) -> Result<(), Failure> {
    if let Some(refusal) = shown.refusals.first() {
        return Err(refused(refusal));
    }
    if confirm == shown.fingerprint {
        return Ok(());
    }
    Err(refused(format!(
        "{confirm:?} does not confirm what is there now ({}): server, ledger or schema have changed \
         since it was shown, or it was mistyped; look at it again with --dry-run",
        shown.fingerprint
    )))
}

/// What there is, without the lock.
async fn show(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
    options: &UpgradeOptions,
) -> Result<Upgrade, Failure> {
    let book = open::read_book(target).await?;
    let mut session = open::reach(environment, workspace, target, "annals/adopt").await?.session;
    let ledger = open::read_ledger(&mut session, workspace).await?;
    open::check_log_is_here(target, &ledger).await?;
    open::check_log_is_whole(target, &ledger, &book)?;
    let schema = read_schema(&mut session, &target.scope).await.map_err(open::fault(target))?;
    let (found, major) = (session.facts().identity.clone(), session.facts().major());
    session.close().await;
    let schema = schema.fingerprint().digest;
    compare(target, &book, &ledger, (&found, major), schema, options)
}

async fn look_again(
    opened: &mut Opened<'_>,
    target: &Target,
    identity: &TargetIdentity,
    options: &UpgradeOptions,
    confirm: &str,
) -> Result<Upgrade, Failure> {
    let schema = read_schema(&mut opened.session, &target.scope).await;
    let schema = schema.map_err(open::fault(target))?.fingerprint().digest;
    let major = opened.session.facts().major();
    let found = (identity, major);
    let again = compare(target, &opened.recorder.book, &opened.ledger, found, schema, options)?;
    check_confirmed(confirm, &again)?;
    Ok(again)
}

fn compare(
    target: &Target,
    book: &Book,
    ledger: &[LedgerRow],
    (found, found_major): (&TargetIdentity, u32),
    schema: Digest,
    options: &UpgradeOptions,
) -> Result<Upgrade, Failure> {
    let Some(expected) = &book.recovery.target else {
        return Err(refused("the log speaks of no database yet: there is nothing to go on with"));
    };
    if found.is_same_database(expected) {
        return Err(refused(format!(
            "{} is the one the log speaks of: there is nothing to adopt",
            show_identity(found)
        )));
    }
    let mut refusals = Vec::new();
    let mismatches = book.mismatches(ledger);
    if ledger.is_empty() {
        refusals.push(
            "the ledger there has no rows of this workspace: nothing shows that it is the same \
             database"
                .to_owned(),
        );
    }
    if !mismatches.is_empty() {
        let one = mismatches.first().map(|mismatch| mismatch.finding());
        let one = one.map(|finding| format!("{}: {}", finding.subject, finding.evidence));
        refusals.push(format!(
            "the ledger there and the log differ in {} changes ({}): it is an older copy, or another \
             database",
            mismatches.len(),
            one.unwrap_or_default()
        ));
    }
    let fingerprint = fingerprint(expected, found, ledger, schema);
    Ok(Upgrade {
        target: target.name.clone(),
        expected: show_identity(expected),
        found: show_identity(found),
        expected_major: book.recovery.schema.as_ref().map(|picture| picture.server_major),
        found_major,
        changes: ledger.len(),
        vouched: ledger.iter().map(|row| row.intent_seq + 1).max().unwrap_or_default(),
        log_size: book.size,
        refusals,
        fingerprint,
        origin: target.origin.to_string(),
        recorded: false,
        dry_run: options.dry_run,
        recovered: Vec::new(),
    })
}

/// Eight hexadecimal digits over both servers, the ledger and the live schema: what a person confirms.
fn fingerprint(
    expected: &TargetIdentity,
    found: &TargetIdentity,
    ledger: &[LedgerRow],
    schema: Digest,
) -> String {
    let name =
        |identity: &TargetIdentity| format!("{}/{}", identity.system_identifier, identity.database);
    let rows = ledger.iter().map(|row| format!("{} {}\n", row.intent_seq, row.intent_hash));
    let rows: String = rows.collect();
    let all = format!("annals upgrade 1\n{}\n{}\n{schema}\n{rows}", name(expected), name(found));
    Digest::of(all.as_bytes()).short(8).to_string()
}
