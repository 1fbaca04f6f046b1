//! What a target's ledger says of the log it was migrated with.

use annals_event_store::{KnownHead, OpenError};
use annals_events::{LeafHash, Origin};
use annals_postgres::Session;
use annals_projections::LedgerRow;

use crate::book::Book;
use crate::error::{Failure, TargetFailure};
use crate::journal::stands_for;
use crate::open;
use crate::targets::Target;
use crate::workspace::Workspace;

pub(crate) async fn read_ledger(
    session: &mut Session,
    workspace: &Workspace,
) -> Result<Vec<LedgerRow>, Failure> {
    if !session.has_ledger().await? {
        return Ok(Vec::new());
    }
    Ok(session.read_ledger(&workspace.config().workspace).await?)
}

/// A target that was migrated with a log that is not here gets no second one, and no other one.
pub(crate) async fn check_log_is_here(
    target: &Target,
    ledger: &[LedgerRow],
) -> Result<(), Failure> {
    let own = target.origin.as_str();
    let stood_for = target.stands_for.as_ref().map(Origin::as_str);
    let is_other = |row: &&LedgerRow| {
        row.log_origin != own && stood_for.is_none_or(|log| row.log_origin != log)
    };
    let other = ledger.iter().find(is_other);
    let exists = target.home().exists().await?;
    let missing = ledger.last().filter(|_| !exists && stood_for.is_none());
    let Some(row) = other.or(missing) else { return Ok(()) };
    let newest = ledger.iter().filter(|other| other.log_origin == row.log_origin);
    let newest = newest.max_by_key(|row| row.intent_seq).unwrap_or(row);
    let here = match exists {
        false => None,
        true => {
            let book = open::read_book(target).await?;
            let head = book.head.unwrap_or(LeafHash::ZERO);
            Some(format!("{own:?}, {} events, {}… the last of them", book.size, head.short(12)))
        }
    };
    Err(TargetFailure::LogElsewhere {
        target: target.name.clone(),
        origin: row.log_origin.clone(),
        rows: ledger.len(),
        size: newest.intent_seq + 1,
        leaf: newest.intent_hash,
        place: target.home().place(),
        here,
    }
    .into())
}

/// What is planned on an older copy of the log would be refused when it is carried out.
pub(crate) fn check_log_is_whole(
    target: &Target,
    ledger: &[LedgerRow],
    book: &Book,
) -> Result<(), Failure> {
    // A journal stands on the rows of another log.
    let own = ledger.iter().filter(|row| stands_for(&book.origin) != Some(&row.log_origin));
    let newest = known_heads(own).into_iter().max_by_key(|known| known.size);
    match newest.filter(|known| known.size > book.size) {
        None => Ok(()),
        Some(known) => {
            let (place, size) = (target.home().place(), book.size);
            let found = book.head.unwrap_or(LeafHash::ZERO);
            Err(OpenError::Older { place, size, found, known }.into())
        }
    }
}

/// Each row names the event that announced it, so the log has at least that one.
pub(crate) fn known_heads<'a>(ledger: impl Iterator<Item = &'a LedgerRow>) -> Vec<KnownHead> {
    let known = |row: &LedgerRow| KnownHead { size: row.intent_seq + 1, leaf: row.intent_hash };
    ledger.map(known).collect()
}
