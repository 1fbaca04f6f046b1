//! The pieces of work on rows, shared out among sessions: the largest first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::try_join_all;

use super::catalog::complete;
use super::data::{Plan, read_plan};
use super::keys::Verdict;
use super::physical::{Amcheck, check_heap, check_index, is_readable};
use super::rows::{HASHES_RECORDS_SINCE, Item, Part, Range, evidence, items, places, read};
use super::statement::{Guard, Met, Statements, number};
use super::{CheckOptions, CheckProgress, Content, Report, Why};
use crate::fault::Fault;

/// One piece of work.
#[derive(Debug, Clone, Copy)]
enum Task {
    Rows(usize, Option<Range>),
    ForeignKey(usize, Option<Range>),
    Unique(usize),
    Exclusion(usize),
    Sequence(usize),
    Index(usize),
    Heap(usize),
}

/// How far the reading of one table is.
#[derive(Default)]
struct Reading {
    /// Parts not read yet.
    left: u32,
    parts: u32,
    rows: u64,
    blocks: u64,
    counts: Vec<Result<u64, Why>>,
    sums: Option<Result<[u64; 2], Why>>,
    /// Why it was not read to the end.
    cut: Option<Why>,
}

struct State<'a> {
    queue: Vec<Task>,
    total: usize,
    done: usize,
    readings: Vec<Reading>,
    report: &'a mut Report,
    progress: &'a mut dyn CheckProgress,
}

/// What all sessions share.
struct Work<'a> {
    plan: Plan,
    items: Vec<Vec<Item>>,
    /// Blocks of each table by its number.
    blocks: BTreeMap<u64, u64>,
    amcheck: Amcheck,
    with_sums: bool,
    state: Mutex<State<'a>>,
}

/// A range of TIDs is read without reading the rest since 14.
const READS_PARTS_SINCE: u32 = 14;

const SIZES: &str = " SELECT oid::int8 AS oid, pg_relation_size(oid)
    / current_setting('block_size')::int8 AS blocks FROM rel WHERE relkind IN ('r', 'm')";

/// Makes the checks that read rows.
pub(super) async fn examine(
    lines: &mut [Statements],
    options: &CheckOptions<'_>,
    report: &mut Report,
    progress: &mut dyn CheckProgress,
) -> Result<(), Fault> {
    let Some(first) = lines.first_mut() else { return Ok(()) };
    let wanted: Vec<&'static str> =
        super::data::CHECKS.iter().copied().filter(|check| options.has(check)).collect();
    // What cannot be read is met by the others, and looked for by none.
    if wanted.iter().all(|check| *check == "data.unreadable") {
        return Ok(());
    }
    report.made.extend(&wanted);
    let (plan, missed) = read_plan(first, options).await?;
    for (check, why) in missed {
        report.miss(check, "catalog", why);
    }
    let blocks = sizes(first, options, &plan).await?;
    let amcheck = Amcheck::find(first, options, &plan, report).await?;
    let items: Vec<Vec<Item>> = plan.tables.iter().map(|table| items(table, options)).collect();
    let in_recovery = first.in_recovery();
    let part = (first.major() >= READS_PARTS_SINCE).then_some(options.limits.part_blocks);
    let with_sums = options.has("data.checksum");
    let readings = plan.tables.iter().map(|_| Reading::default()).collect();
    let state = State { queue: Vec::new(), total: 0, done: 0, readings, report, progress };
    let mut work = Work { plan, items, blocks, amcheck, with_sums, state: Mutex::new(state) };
    work.fill(part, in_recovery);
    let work = &work;
    try_join_all(lines.iter_mut().map(|line| async move { work.run(line).await })).await?;
    Ok(())
}

/// The true sizes; where a lock is in the way, what the catalog remembers.
async fn sizes(
    line: &mut Statements,
    options: &CheckOptions<'_>,
    plan: &Plan,
) -> Result<BTreeMap<u64, u64>, Fault> {
    let known = plan.tables.iter().map(|table| (table.oid, table.pages));
    let mut blocks: BTreeMap<u64, u64> = known.collect();
    if let Ok(rows) = line.rows(&Guard::Catalog, &complete(SIZES, options)).await? {
        for row in rows {
            blocks.insert(number(&row, "oid")?, number(&row, "blocks")?);
        }
    }
    Ok(blocks)
}

/// The parts of so many blocks; one that is everything where it is no larger than a part.
fn parts(blocks: u64, part: Option<u64>) -> Vec<Option<Range>> {
    let Some(part) = part.filter(|part| *part > 0 && blocks > *part) else { return vec![None] };
    let starts = (0..blocks.div_ceil(part)).map(|at| at * part);
    // The last one has no end: rows that come in meanwhile are in it.
    starts.map(|from| Some((from, (from + part < blocks).then_some(from + part)))).collect()
}

impl<'a> Work<'a> {
    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An expression that says which row of a table it is.
    fn place_in(&self, oid: u64) -> &str {
        let table = self.plan.tables.iter().find(|table| table.oid == oid);
        table.map_or("'row ' || t.ctid::text", |table| &table.place)
    }

    fn blocks_of(&self, oid: u64) -> u64 {
        self.blocks.get(&oid).copied().unwrap_or_default()
    }

    /// Lines up the tasks, the largest last: they are taken from the end.
    fn fill(&mut self, part: Option<u64>, in_recovery: bool) {
        let mut tasks: Vec<(u64, Task)> = Vec::new();
        let mut left = Vec::new();
        for (at, table) in self.plan.tables.iter().enumerate() {
            let blocks = self.blocks_of(table.oid);
            let mut ranges = parts(blocks, part);
            // On a standby an unlogged table has no rows to read.
            let nothing = self.items[at].is_empty() && !self.with_sums;
            if nothing || (in_recovery && table.unlogged) {
                ranges.clear();
            }
            left.push(u32::try_from(ranges.len()).unwrap_or(u32::MAX));
            let weight = blocks.min(part.unwrap_or(blocks)) * 2;
            tasks.extend(ranges.into_iter().map(|range| (weight, Task::Rows(at, range))));
            if self.amcheck.heap.is_some() && !(in_recovery && table.unlogged) {
                tasks.push((blocks, Task::Heap(at)));
            }
        }
        for (at, key) in self.plan.foreign_keys.iter().enumerate() {
            let blocks = match key.child_is_plain {
                true => self.blocks_of(key.child_oid),
                false => 0,
            };
            let weight = blocks.max(key.child_pages).min(part.unwrap_or(u64::MAX));
            let ranges = parts(blocks, part).into_iter();
            tasks.extend(ranges.map(|range| (weight, Task::ForeignKey(at, range))));
        }
        let unique = self.plan.unique_keys.iter().enumerate();
        tasks.extend(unique.map(|(at, key)| (key.pages, Task::Unique(at))));
        let exclusions = self.plan.exclusions.iter().enumerate();
        tasks.extend(exclusions.map(|(at, key)| (key.pages, Task::Exclusion(at))));
        tasks.extend((0..self.plan.sequences.len()).map(|at| (0, Task::Sequence(at))));
        let indexes = self.plan.indexes.iter().enumerate();
        let there = indexes.filter(|(_, index)| {
            self.amcheck.of(index).is_some() && !(in_recovery && index.unlogged)
        });
        tasks.extend(there.map(|(at, index)| (index.pages * 2, Task::Index(at))));
        tasks.sort_by_key(|(weight, _)| *weight);
        let mut state = self.state();
        for (reading, left) in state.readings.iter_mut().zip(left) {
            reading.left = left;
        }
        state.total = tasks.len();
        state.queue = tasks.into_iter().map(|(_, task)| task).collect();
    }

    async fn run(&self, line: &mut Statements) -> Result<(), Fault> {
        loop {
            let Some(task) = self.state().queue.pop() else { return Ok(()) };
            self.carry_out(line, task).await?;
            let name = self.name(task);
            let mut state = self.state();
            state.done += 1;
            let (done, total) = (state.done, state.total);
            state.progress.advanced(done, total, &name);
        }
    }

    fn name(&self, task: Task) -> String {
        match task {
            Task::Rows(at, _) | Task::Heap(at) => self.plan.tables[at].name.clone(),
            Task::ForeignKey(at, _) => self.plan.foreign_keys[at].subject.clone(),
            Task::Unique(at) => self.plan.unique_keys[at].subject.clone(),
            Task::Exclusion(at) => self.plan.exclusions[at].subject.clone(),
            Task::Sequence(at) => format!("sequence {}", self.plan.sequences[at].name),
            Task::Index(at) => format!("index {}", self.plan.indexes[at].name),
        }
    }

    async fn carry_out(&self, line: &mut Statements, task: Task) -> Result<(), Fault> {
        match task {
            Task::Rows(at, range) => self.read_rows(line, at, range).await,
            Task::ForeignKey(at, range) => {
                let key = &self.plan.foreign_keys[at];
                let verdict = key.look(line, self.place_in(key.child_oid), range).await?;
                let tables = key.tables();
                self.settle(line, "data.foreign_key", &key.subject, verdict, &tables).await
            }
            Task::Unique(at) => {
                let key = &self.plan.unique_keys[at];
                let verdict = key.look(line).await?;
                let tables = [(key.table.as_str(), format!("ONLY {} t", key.table))];
                self.settle(line, "data.unique", &key.subject, verdict, &tables).await
            }
            Task::Exclusion(at) => {
                let key = &self.plan.exclusions[at];
                let verdict = key.look(line, self.place_in(key.table_oid)).await?;
                let tables = [(key.table.as_str(), format!("ONLY {} t", key.table))];
                self.settle(line, "data.exclusion", &key.subject, verdict, &tables).await
            }
            Task::Sequence(at) => {
                let sequence = &self.plan.sequences[at];
                let verdict = sequence.look(line).await?;
                let tables = [(sequence.table.as_str(), format!("{} t", sequence.table))];
                let subject = format!("sequence {}", sequence.name);
                self.settle(line, "data.sequence_behind", &subject, verdict, &tables).await
            }
            Task::Index(at) => {
                let index = &self.plan.indexes[at];
                let Some(call) = self.amcheck.of(index) else { return Ok(()) };
                let verdict = check_index(line, &call, index).await?;
                let subject = format!("index {}", index.name);
                self.settle(line, "index.corrupt", &subject, verdict, &[]).await
            }
            Task::Heap(at) => {
                let (table, function) = (&self.plan.tables[at], &self.amcheck.heap);
                let Some(function) = function else { return Ok(()) };
                let verdict = check_heap(line, function, table).await?;
                let subject = format!("table {}", table.name);
                self.settle(line, "data.heap", &subject, verdict, &[]).await
            }
        }
    }

    /// Puts a verdict into the report. Where the server could not read, it says which table it is.
    async fn settle(
        &self,
        line: &mut Statements,
        check: &'static str,
        subject: &str,
        verdict: Verdict,
        tables: &[(&str, String)],
    ) -> Result<(), Fault> {
        let why = match verdict {
            Ok(None) => return Ok(()),
            Ok(Some(evidence)) => {
                self.state().report.see(check, subject.to_owned(), evidence);
                return Ok(());
            }
            Err(Met::Not(why)) => why,
            Err(Met::Damage(message)) => {
                for (name, from) in tables {
                    if let Some(damage) = is_readable(line, from).await? {
                        let mut state = self.state();
                        state.report.see("data.unreadable", format!("table {name}"), damage);
                    }
                }
                Why::Failed(message)
            }
        };
        let mut state = self.state();
        // One of its parts was cut off before.
        let known = state.report.unmade.iter().any(|u| u.check == check && u.subject == subject);
        if !known {
            state.report.miss(check, subject, why);
        }
        Ok(())
    }

    async fn read_rows(
        &self,
        line: &mut Statements,
        at: usize,
        range: Option<Range>,
    ) -> Result<(), Fault> {
        let (table, items) = (&self.plan.tables[at], &self.items[at]);
        // Of a table that was cut off, the rest is not read either.
        let is_cut = self.state().readings[at].cut.is_some();
        let part = match is_cut {
            true => None,
            false => Some(read(line, table, items, self.with_sums, range).await?),
        };
        let blocks = self.blocks_of(table.oid);
        let finished = {
            let mut state = self.state();
            let reading = &mut state.readings[at];
            match part {
                None => {}
                Some(Ok(part)) => {
                    reading.blocks += match range {
                        None => blocks,
                        Some((from, to)) => to.unwrap_or(blocks).saturating_sub(from),
                    };
                    reading.add(part);
                }
                Some(Err(Met::Not(why))) => reading.cut = Some(why),
                Some(Err(Met::Damage(message))) => {
                    reading.cut = Some(Why::Failed("the table cannot be read".to_owned()));
                    let subject = format!("table {}", table.name);
                    state.report.see("data.unreadable", subject, message);
                }
            }
            let reading = &mut state.readings[at];
            reading.left -= 1;
            (reading.left == 0).then(|| std::mem::take(reading))
        };
        match finished {
            None => Ok(()),
            Some(reading) => self.judge(line, at, reading).await,
        }
    }

    /// Says what the whole reading of a table came to.
    async fn judge(&self, line: &mut Statements, at: usize, reading: Reading) -> Result<(), Fault> {
        let (table, items) = (&self.plan.tables[at], &self.items[at]);
        let subject = format!("table {}", table.name);
        let from = format!("ONLY {} t", table.name);
        let mut seen = Vec::new();
        for (item, count) in items.iter().zip(&reading.counts) {
            let Ok(count @ 1..) = count else { continue };
            let parts =
                if item.parts.is_empty() { std::slice::from_ref(item) } else { &item.parts };
            for part in parts {
                let found = places(line, &from, &table.place, &part.condition).await?;
                let text = match found {
                    Some((0, _)) => continue,
                    Some((count, places)) => evidence(count, &part.what, &places),
                    None => evidence(*count, &part.what, ""),
                };
                seen.push((part.check, text));
            }
        }
        let mut state = self.state();
        // What one check found in one table is one finding.
        let mut by_check: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (check, text) in seen {
            by_check.entry(check).or_default().push(text);
        }
        for (check, texts) in by_check {
            state.report.see(check, subject.clone(), texts.join("; "));
        }
        let mut missed: BTreeMap<&'static str, Why> = BTreeMap::new();
        if let Some(why) = &reading.cut {
            let why = how_far(why, &reading, self.blocks_of(table.oid));
            missed.extend(items.iter().map(|item| (item.check, why.clone())));
            if self.with_sums {
                missed.insert("data.checksum", why);
            }
        } else {
            for (item, count) in items.iter().zip(&reading.counts) {
                if let Err(why) = count {
                    missed.insert(item.check, why.clone());
                }
            }
            state.report.tables += 1;
            match reading.sums {
                Some(Err(why)) => {
                    missed.insert("data.checksum", why);
                }
                Some(Ok(sums)) if self.with_sums => state.report.contents.push(Content {
                    table: table.name.clone(),
                    columns: table.columns.iter().map(|column| column.name.clone()).collect(),
                    as_text: line.major() < HASHES_RECORDS_SINCE,
                    rows: reading.rows,
                    sums,
                    parts: reading.parts,
                }),
                _ => {}
            }
        }
        state.report.rows += reading.rows;
        for (check, why) in missed {
            state.report.miss(check, &subject, why);
        }
        Ok(())
    }
}

impl Reading {
    fn add(&mut self, part: Part) {
        self.parts += 1;
        self.rows += part.rows;
        if self.counts.is_empty() {
            self.counts = part.counts;
        } else {
            for (all, more) in self.counts.iter_mut().zip(part.counts) {
                match (all.as_mut(), more) {
                    (Ok(all), Ok(more)) => *all += more,
                    (_, Err(why)) => *all = Err(why),
                    (Err(_), Ok(_)) => {}
                }
            }
        }
        self.sums = Some(match (self.sums.take(), part.sums) {
            (None, sums) => sums,
            (Some(Ok(a)), Ok(b)) => Ok([a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]),
            (Some(Err(why)), _) | (Some(Ok(_)), Err(why)) => Err(why),
        });
    }
}

/// What was looked at before the time was up.
fn how_far(why: &Why, reading: &Reading, blocks: u64) -> Why {
    match why {
        Why::TimeBudget(text) => {
            let percent = reading.blocks * 100 / blocks.max(1);
            Why::TimeBudget(format!(
                "{text}; {} rows were looked at, {percent} % of the table",
                reading.rows
            ))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_into_parts_without_gaps_and_the_last_has_no_end() {
        assert_eq!(parts(10, None), [None]);
        assert_eq!(parts(10, Some(10)), [None]);
        assert_eq!(parts(0, Some(10)), [None]);
        let expected = [Some((0, Some(4))), Some((4, Some(8))), Some((8, None))];
        assert_eq!(parts(9, Some(4)), expected);
        assert_eq!(parts(8, Some(4)), [Some((0, Some(4))), Some((4, None))]);
    }

    #[test]
    fn what_was_cut_short_says_how_much_was_looked_at() {
        let reading = Reading { rows: 120, blocks: 3, ..Reading::default() };
        let why = how_far(&Why::TimeBudget("cut off".to_owned()), &reading, 12);
        let expected = "cut off; 120 rows were looked at, 25 % of the table";
        assert_eq!(why, Why::TimeBudget(expected.to_owned()));
    }
}
