//! A rehearsal as a whole: the way is cut into lanes, and what they saw is put together.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;

use annals_events::Digest;
use annals_migrations::Migration;
use annals_postgres::SchemaScope;
use annals_schema::Snapshot;
use futures_util::future::join_all;

use crate::chain::{Below, Descent, Link, Undo};
use crate::engine::{Names, Stage};
use crate::group::{Group, declared};
use crate::lanes::{cuts, is_contiguous, shared_by_databases};
use crate::place::{Place, RehearsalError};
use crate::report::{ChainPlace, Rehearsal, StepProof};
use crate::touched::is_followed;

/// What is proven together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Batch {
    /// Each migration alone.
    #[default]
    Single,
    /// Each alone; where one differs, the smallest group of neighbours that mirrors exactly.
    Auto,
    /// So many together.
    Of(usize),
}

/// A migration on the way.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The migration.
    pub migration: &'a Migration,
    /// Whether it is to be proven, or only to be there for those behind it.
    pub prove: bool,
}

/// How a rehearsal goes.
#[derive(Debug, Clone, Copy)]
pub struct RehearsalOptions<'a> {
    /// The workspace's folder.
    pub folder: &'a Path,
    /// Which schemas are the project's own.
    pub scope: &'a SchemaScope,
    /// What is proven together.
    pub batch: Batch,
    /// The database to begin with; it is left as it is, and nobody is in it.
    pub start: &'a str,
    /// The most parts of the way that are rehearsed side by side, each in databases of its own. Where
    /// a file may change what databases share, it is one.
    pub lanes: usize,
}

/// Who watches a rehearsal.
pub trait Audience {
    /// Migration `at` of `of` comes next, from 0.
    fn next(&mut self, migration: &Migration, at: usize, of: usize) {
        let _ = (migration, at, of);
    }

    /// The whole chain goes down.
    fn chain(&mut self, of: usize) {
        let _ = of;
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudience;

impl Audience for NoAudience {}

/// Rehearses `items` in order.
///
/// Several lanes are rehearsed side by side, each in a database in which everything before it is
/// applied first. Their schemas must meet, and nothing that databases share may have changed; else
/// what they saw counts for nothing, and all of it is one lane.
///
/// # Errors
///
/// When the sandbox fails, or a migration that only has to be there does.
pub async fn rehearse<P: Place>(
    place: &P,
    items: &[Item<'_>],
    options: &RehearsalOptions<'_>,
    audience: &mut impl Audience,
) -> Result<Rehearsal, RehearsalError> {
    let groups = groups(items, options)?;
    let way = Way { place, items, groups: &groups, options };
    let lanes = cuts(&groups, options.lanes);
    if lanes.len() > 1
        && let Some(rehearsal) = way.walk(&lanes, audience).await?
    {
        return Ok(rehearsal);
    }
    let whole = way.walk(&cuts(&groups, 1), audience).await?;
    Ok(whole.expect("invariant: one lane contradicts nobody"))
}

/// What is to be rehearsed, and where.
struct Way<'w, 'a, P: Place> {
    place: &'w P,
    items: &'w [Item<'a>],
    groups: &'w [(Group<'a>, bool)],
    options: &'w RehearsalOptions<'a>,
}

/// What a lane has come to.
struct Lane<'g, 'a> {
    proven: Vec<StepProof>,
    links: Vec<Link<'g, 'a>>,
    /// Behind how many items it ended, where it could not go on.
    failed: Option<usize>,
    /// The schemas before its first link and behind its last.
    ends: Option<(Digest, Snapshot)>,
}

impl<'w, 'a, P: Place> Way<'w, 'a, P> {
    /// None where several lanes do not add up to one rehearsal.
    async fn walk(
        &self,
        cuts: &[Range<usize>],
        audience: &mut impl Audience,
    ) -> Result<Option<Rehearsal>, RehearsalError> {
        let names: Vec<Names> = (0..cuts.len()).map(Names::of_lane).collect();
        self.discard(&names).await?;
        for name in &names {
            self.place.copy(self.options.start, &name.main).await?;
        }
        let done = self.walk_in(&names, cuts, audience).await;
        self.discard(&names).await?;
        done
    }

    async fn discard(&self, names: &[Names]) -> Result<(), RehearsalError> {
        for name in names.iter().flat_map(Names::all) {
            self.place.discard(name).await?;
        }
        Ok(())
    }

    async fn walk_in(
        &self,
        names: &[Names],
        cuts: &[Range<usize>],
        audience: &mut impl Audience,
    ) -> Result<Option<Rehearsal>, RehearsalError> {
        let alone = self.items.iter().all(|item| is_followed(item.migration));
        let new = |names| Stage::new(self.place, names, *self.options, alone);
        let mut stages: Vec<Stage<'_, 'a, P>> = names.iter().map(new).collect();
        let server_major = stages[0].session().await?.facts().major();
        let is_cut = cuts.len() > 1;
        let shared = match is_cut {
            true => shared_by_databases(stages[0].session().await?).await?,
            false => String::new(),
        };
        let heard = Heard { audience: RefCell::new(audience), at: Cell::new(0), way: self };
        let last = cuts.len() - 1;
        let lanes = stages.iter_mut().zip(cuts).enumerate().map(|(at, (stage, cut))| {
            let heard = &heard;
            async move {
                let lane = self.walk_lane(stage, cut, heard).await?;
                let (mut descent, mut below) = (Descent::default(), Vec::new());
                if at == last && lane.failed.is_none() && is_contiguous(self.groups) {
                    if !is_cut && !lane.links.is_empty() {
                        heard.audience.borrow_mut().chain(lane.links.len());
                    }
                    if descend(stage, &lane, &mut descent).await? {
                        let others = self.groups[..cut.start].iter().rev();
                        let others = others.filter(|(_, prove)| *prove).map(|(group, _)| group);
                        below = descend_unseen(stage, others, &mut descent).await?;
                    }
                }
                Ok::<_, RehearsalError>((lane, descent, below))
            }
        });
        let mut done: Vec<Lane<'_, 'a>> = Vec::new();
        let (mut descent, mut below, mut failed) = (Descent::default(), Vec::new(), None);
        for (at, lane) in join_all(lanes).await.into_iter().enumerate() {
            let (lane, down, unseen) = match lane {
                // It is there in the database in which it was proven.
                Err(RehearsalError::Before { .. }) if at > 0 => return Ok(None),
                lane => lane?,
            };
            let border = done.last().and_then(|before| before.ends.as_ref());
            if let (Some((_, end)), Some((begin, _))) = (border, &lane.ends)
                && end.fingerprint().digest != *begin
            {
                return Ok(None);
            }
            (failed, descent, below) = (lane.failed, down, unseen);
            done.push(lane);
            if failed.is_some() {
                break;
            }
        }
        let mut below = below.into_iter();
        for lane in done.iter().rev().skip(1).filter(|_| failed.is_none()) {
            let Some((_, top)) = &lane.ends else { continue };
            for (at, below) in (0..lane.links.len()).rev().zip(&mut below) {
                descent.judge(&lane.links, at, top, below);
            }
        }
        if is_cut {
            let is_alike = shared_by_databases(stages[0].session().await?).await? == shared;
            if !is_alike || stages.iter().any(|stage| stage.has_dropped_roles) {
                return Ok(None);
            }
        }
        let reached = done.iter().rev().flat_map(|lane| lane.links.iter().rev());
        let places: Vec<_> = reached.map(|link| link.group).zip(descent.places).collect();
        let mut proven: Vec<StepProof> = done.into_iter().flat_map(|lane| lane.proven).collect();
        note_chain(&mut proven, places);
        let stage = &mut stages[0];
        stage.leave().await;
        if self.options.batch == Batch::Auto {
            stage.find_groups(self.items, &mut proven).await?;
        }
        for stage in &mut stages {
            stage.leave().await;
        }
        let behind = failed.unwrap_or(self.items.len());
        let not_reached = self.items.iter().skip(behind).filter(|item| item.prove);
        let not_reached =
            not_reached.map(|item| (item.migration.version.clone(), item.migration.name.clone()));
        let (lanes, not_reached) = (cuts.len() as u64, not_reached.collect());
        Ok(Some(Rehearsal { steps: proven, not_reached, server_major, lanes }))
    }

    /// Applies what is before a lane, and proves what is in it.
    async fn walk_lane(
        &self,
        stage: &mut Stage<'_, 'a, P>,
        cut: &Range<usize>,
        heard: &Heard<'_, 'w, 'a, impl Audience, P>,
    ) -> Result<Lane<'w, 'a>, RehearsalError> {
        let mut lane = Lane { proven: Vec::new(), links: Vec::new(), failed: None, ends: None };
        let mut begin = None;
        let mut behind = 0;
        for (at, (group, prove)) in self.groups[..cut.end].iter().enumerate() {
            behind += group.members.len();
            if cut.contains(&at) {
                heard.next(group);
            }
            if !prove || !cut.contains(&at) {
                stage.forward(group).await?;
                continue;
            }
            let before = stage.now().await?.clone();
            let digest = before.fingerprint().digest;
            begin.get_or_insert(digest);
            let (proofs, applied) = stage.prove(group).await?;
            lane.proven.extend(proofs);
            if !applied {
                lane.failed = Some(behind);
                return Ok(lane);
            }
            let undo = Undo::between(&before, stage.now().await?);
            lane.links.push(Link { group, before: digest, undo });
        }
        if let Some(begin) = begin {
            lane.ends = Some((begin, stage.now().await?.clone()));
        }
        Ok(lane)
    }
}

/// Goes down what a lane has left, as far as there is a way; says whether there is one to its beginning.
async fn descend<P: Place>(
    stage: &mut Stage<'_, '_, P>,
    lane: &Lane<'_, '_>,
    descent: &mut Descent,
) -> Result<bool, RehearsalError> {
    let Some((_, top)) = &lane.ends else { return Ok(true) };
    for (at, link) in lane.links.iter().enumerate().rev() {
        if !link.group.leads_back() {
            return Ok(false);
        }
        let below = stage.step_down(descent, link.group).await?;
        if !descent.judge(&lane.links, at, top, below) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Goes on down what other lanes are still about to prove: what should be there they say later.
async fn descend_unseen<'g, 'a: 'g, P: Place>(
    stage: &mut Stage<'_, '_, P>,
    groups: impl Iterator<Item = &'g Group<'a>>,
    descent: &mut Descent,
) -> Result<Vec<Below>, RehearsalError> {
    let mut all = Vec::new();
    for group in groups {
        let is_over = matches!(all.last(), Some(Below::Fails(_)));
        if is_over || !group.leads_back() {
            break;
        }
        all.push(stage.step_down(descent, group).await?);
    }
    Ok(all)
}

/// Tells of all lanes how far they are together.
struct Heard<'h, 'w, 'a, A, P: Place> {
    audience: RefCell<&'h mut A>,
    /// Items that have begun.
    at: Cell<usize>,
    way: &'h Way<'w, 'a, P>,
}

impl<A: Audience, P: Place> Heard<'_, '_, '_, A, P> {
    fn next(&self, group: &Group<'_>) {
        let at = self.at.replace(self.at.get() + group.members.len());
        self.audience.borrow_mut().next(group.members[0], at, self.way.items.len());
    }
}

fn note_chain<'g, 'a: 'g>(
    proven: &mut [StepProof],
    places: impl IntoIterator<Item = (&'g Group<'a>, ChainPlace)>,
) {
    for (group, place) in places {
        let versions = group.versions();
        for proof in proven.iter_mut().filter(|proof| versions.contains(&proof.version)) {
            proof.chain = Some(place.clone());
        }
    }
}

/// Cuts the way into what is proven together.
fn groups<'a>(
    items: &[Item<'a>],
    options: &RehearsalOptions<'a>,
) -> Result<Vec<(Group<'a>, bool)>, RehearsalError> {
    let size = match options.batch {
        Batch::Of(size) => size.max(1),
        Batch::Single | Batch::Auto => 1,
    };
    let mut groups: Vec<(Vec<&'a Migration>, bool)> = Vec::new();
    for item in items {
        let joins = |(members, prove): &(Vec<&Migration>, bool)| {
            let has_way_back =
                |migration: &Migration| migration.down.is_some() && declared(migration).is_none();
            *prove
                && item.prove
                && members.len() < size
                && has_way_back(item.migration)
                && members.iter().all(|member| has_way_back(member))
        };
        match groups.last_mut().filter(|group| joins(group)) {
            Some((members, _)) => members.push(item.migration),
            None => groups.push((vec![item.migration], item.prove)),
        }
    }
    let made = groups
        .into_iter()
        .map(|(members, prove)| Ok((Group::new(&members, options.folder)?, prove)));
    made.collect()
}
