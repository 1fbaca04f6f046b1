//! What is proven together: one migration, usually.

use std::path::Path;

use annals_events::Version;
use annals_migrations::Migration;
use annals_postgres::{Fault, HeldLock, Session};

use crate::errand::{Errand, Eyes};
use crate::place::RehearsalError;
use crate::relations::Relations;
use crate::report::{FileFailure, FileSeen};

/// How its files are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// In the transaction that is open.
    Inside,
    /// As a run would.
    Committing,
}

/// Migrations that go up in order, and down the other way round.
pub(crate) struct Group<'a> {
    pub(crate) members: Vec<&'a Migration>,
    ups: Vec<Errand<'a>>,
    /// Newest first; none where one of them has no way back.
    downs: Option<Vec<Errand<'a>>>,
    /// The first declaration that there is none.
    pub(crate) irreversible: Option<String>,
    /// The most rows one of them asks for.
    pub(crate) test_rows: Option<u64>,
}

/// Files that were sent one after the other.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// In the order of the members, those that began.
    pub(crate) seen: Vec<FileSeen>,
    pub(crate) locks: Vec<HeldLock>,
    pub(crate) failure: Option<FileFailure>,
}

/// Why a migration has no way back, if its files say so.
pub(crate) fn declared(migration: &Migration) -> Option<String> {
    let files = std::iter::once(&migration.up).chain(&migration.down);
    let scripts = files.filter_map(|file| file.script().ok());
    scripts.filter_map(|script| script.directives.irreversible.clone()).next()
}

impl<'a> Group<'a> {
    pub(crate) fn new(members: &[&'a Migration], folder: &'a Path) -> Result<Self, RehearsalError> {
        let ups: Result<Vec<_>, _> =
            members.iter().map(|member| Errand::new(&member.up, folder)).collect();
        let downs: Option<Vec<_>> =
            members.iter().rev().map(|member| member.down.as_ref()).collect();
        let downs: Option<Result<Vec<_>, _>> =
            downs.map(|files| files.into_iter().map(|file| Errand::new(file, folder)).collect());
        Ok(Self {
            members: members.to_vec(),
            ups: ups?,
            downs: downs.transpose()?,
            irreversible: members.iter().find_map(|member| declared(member)),
            test_rows: members.iter().filter_map(|member| crate::scale::asked(member)).max(),
        })
    }

    pub(crate) fn versions(&self) -> Vec<Version> {
        self.members.iter().map(|member| member.version.clone()).collect()
    }

    /// Whether there is a file for every way back.
    pub(crate) fn has_downs(&self) -> bool {
        self.downs.is_some()
    }

    /// Whether there is a way back, as far as the files say.
    pub(crate) fn leads_back(&self) -> bool {
        self.irreversible.is_none() && self.has_downs()
    }

    fn errands(&self) -> impl Iterator<Item = &Errand<'a>> {
        self.ups.iter().chain(self.downs.iter().flatten())
    }

    /// Whether up and down can be parts of one transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        self.errands().all(Errand::is_transactional)
    }

    /// Whether going up and down leaves rows alone, as far as the statements tell.
    pub(crate) fn leaves_rows_alone(&self) -> bool {
        self.errands().all(Errand::leaves_rows_alone)
    }

    /// What a commit of its last way back was refused with.
    ///
    /// # Panics
    ///
    /// Where there is no way back.
    pub(crate) fn refused(&self, fault: &Fault) -> FileFailure {
        let last = self.downs.as_ref().and_then(|downs| downs.last());
        last.expect("invariant: whoever goes back has asked for a way").failure(None, fault)
    }

    pub(crate) async fn up(
        &self,
        session: &mut Session,
        manner: Manner,
        eyes: Eyes,
        relations: &mut Relations,
    ) -> Result<Walk, Fault> {
        walk(session, &self.ups, manner, eyes, relations).await
    }

    /// # Panics
    ///
    /// Where there is no way back.
    pub(crate) async fn down(
        &self,
        session: &mut Session,
        manner: Manner,
        eyes: Eyes,
        relations: &mut Relations,
    ) -> Result<Walk, Fault> {
        let downs = self.downs.as_ref().expect("invariant: whoever goes back has asked for a way");
        let mut back = walk(session, downs, manner, eyes, relations).await?;
        back.seen.resize(downs.len(), FileSeen::default());
        back.seen.reverse();
        Ok(back)
    }
}

/// With eyes open, `relations` follow what is seen.
async fn walk(
    session: &mut Session,
    errands: &[Errand<'_>],
    manner: Manner,
    eyes: Eyes,
    relations: &mut Relations,
) -> Result<Walk, Fault> {
    let mut walk = Walk::default();
    for errand in errands {
        let sent = match manner {
            Manner::Inside => errand.send_inside(session, eyes, relations).await?,
            Manner::Committing => errand.send_committing(session, eyes, relations).await?,
        };
        walk.seen.push(sent.seen);
        if eyes == Eyes::Open {
            relations.follow(&sent.locks);
        }
        walk.locks.extend(sent.locks);
        if sent.failure.is_some() {
            walk.failure = sent.failure;
            break;
        }
    }
    Ok(walk)
}
