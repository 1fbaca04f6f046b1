//! The oracle: eleven invariants, checked against the database, the log and everything that was said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use annals_testkit::Server;

use crate::migrations::{BACKFILL_ROWS, DATA_CANARY, MIGRATIONS};
use crate::scene::{Said, Scene, WEAK, events, files_below};
use crate::writers::Journal;

/// What must hold behind every fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Each effect is there as often as ledger and log say.
    Once,
    /// Nothing was called applied that is absent, nor undone that is there.
    NoLie,
    /// Every effect was announced by an intent.
    NoOrphan,
    /// What a reader has seen of the log stands.
    LogWhole,
    /// What the application was told is stored is stored.
    UserRows,
    /// A verified backup can be restored.
    Backup,
    /// The next commands reach a clean end, and the one after them changes nothing.
    Recoverable,
    /// The application waited no longer than it may.
    NoPileUp,
    /// One backend at a time carries out steps.
    OneAtATime,
    /// No secret anywhere.
    NoSecret,
    /// Nothing is left in the server.
    CleanSession,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Once,
        Self::NoLie,
        Self::NoOrphan,
        Self::LogWhole,
        Self::UserRows,
        Self::Backup,
        Self::Recoverable,
        Self::NoPileUp,
        Self::OneAtATime,
        Self::NoSecret,
        Self::CleanSession,
    ];

    /// Which cases it is looked at in, if not in all.
    pub const fn only_in(self) -> Option<&'static str> {
        match self {
            Self::Backup => Some("F22, F23, and the cases at P6, P7 and P17"),
            _ => None,
        }
    }

    /// What must hold, in a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Once => "each effect is there as often as its ledger rows and the log say",
            Self::NoLie => "nothing was called applied that is absent, nor undone that is there",
            Self::NoOrphan => "every effect has an earlier durable intent in the log",
            Self::LogWhole => "what a reader has seen of the log stands, and it verifies",
            Self::UserRows => "rows the application was told are stored are there, once",
            Self::Backup => {
                "no run without its backup; a whole one restores, a damaged one is refused"
            }
            Self::Recoverable => "the next commands reach a clean end; one more changes nothing",
            Self::NoPileUp => "no statement of the application waited beyond the bound",
            Self::OneAtATime => "every step ran on a backend that held the one lock",
            Self::NoSecret => "no password and no row value in output, log, files or arguments",
            Self::CleanSession => "no lock, session, transaction, setting or INVALID index is left",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Self::ALL.iter().position(|other| other == self).unwrap_or_default();
        write!(formatter, "I{}", place + 1)
    }
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.invariant, self.what)
    }
}

/// Ends the application and checks everything.
pub fn judge(scene: &mut Scene<'_>) -> Vec<Violation> {
    let journals = scene.stop_writers();
    scene.copy_log();
    let mut found: Vec<Violation> = scene.seen.borrow_mut().drain(..).collect();
    let mut check = |invariant: Invariant, broken: Vec<String>| {
        found.extend(broken.into_iter().map(|what| Violation { invariant, what }));
    };
    check(Invariant::Once, once(scene));
    check(Invariant::NoLie, scene.said.iter().flat_map(lies).collect());
    check(Invariant::NoOrphan, orphans(scene));
    check(Invariant::LogWhole, log_whole(scene));
    check(Invariant::UserRows, journals.iter().flat_map(|j| user_rows(scene, j)).collect());
    check(Invariant::NoPileUp, pile_up(scene));
    check(Invariant::OneAtATime, one_at_a_time(scene));
    check(Invariant::NoSecret, secrets(scene));
    check(Invariant::CleanSession, left_behind(scene));
    found
}

fn counted(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_insert(0) += 1;
    }
    counts
}

/// The steps that took effect, as the log tells it: `up 3`.
pub fn told(log: &[u8]) -> Vec<String> {
    let mut steps: BTreeMap<String, String> = BTreeMap::new();
    let mut done = Vec::new();
    for event in events(log) {
        let data = &event["data"];
        let key = format!("{} {}", data["run"], data["step"]);
        let took = match event["kind"].as_str().unwrap_or_default() {
            "step_started" => {
                let text = |name: &str| data[name].as_str().unwrap_or_default();
                steps.insert(key, format!("{} {}", text("direction"), text("version")));
                continue;
            }
            "step_succeeded" => true,
            "step_reconciled" => data["found"] == "took_effect",
            _ => false,
        };
        if took {
            done.push(steps.get(&key).cloned().unwrap_or_else(|| format!("unknown step {key}")));
        }
    }
    done
}

fn ledger(scene: &Scene<'_>) -> Vec<String> {
    match scene.rows("SELECT to_regclass('annals.ledger')")[..] {
        [ref there] if !there.is_empty() => {
            scene.rows("SELECT direction || ' ' || version FROM annals.ledger")
        }
        _ => Vec::new(),
    }
}

/// The versions whose files count themselves.
fn counts_itself(step: &str) -> bool {
    let version = step.split(' ').nth(1).and_then(|version| version.parse().ok());
    let mut counting = MIGRATIONS.iter().filter(|migration| migration.counts_itself());
    counting.any(|migration| Some(migration.version()) == version)
}

/// Rows a backfill has met too often or not at all.
fn batches(scene: &Scene<'_>, in_ledger: &BTreeMap<&str, usize>) -> Vec<String> {
    let query = "SELECT what || ':' || sum(n) || ':' || min(n) || ':' || max(n) FROM \
                 (SELECT what, day, count(*) AS n FROM harness.batches GROUP BY what, day) AS met \
                 GROUP BY what";
    let mut broken = Vec::new();
    let met = scene.rows(query);
    for what in ["up 15", "down 15"] {
        let times = in_ledger.get(what).copied().unwrap_or_default();
        let wanted = format!("{what}:{}:{times}:{times}", times * BACKFILL_ROWS);
        let found = met.iter().find(|line| line.starts_with(what));
        if found.map_or(times > 0, |found| *found != wanted) {
            broken.push(format!("batches met {found:?}, not {wanted} (rows, least, most)"));
        }
    }
    broken
}

fn once(scene: &Scene<'_>) -> Vec<String> {
    let effects = scene.effects();
    let log = scene.log();
    let (ledger, told) = (ledger(scene), told(&log));
    let (in_effect, in_ledger, in_log) = (counted(&effects), counted(&ledger), counted(&told));
    let steps: BTreeSet<&str> =
        in_effect.keys().chain(in_ledger.keys()).chain(in_log.keys()).copied().collect();
    let mut broken = Vec::new();
    for step in steps {
        let of = |counts: &BTreeMap<&str, usize>| counts.get(step).copied().unwrap_or_default();
        let (effect, row, event) = (of(&in_effect), of(&in_ledger), of(&in_log));
        if row != event || (counts_itself(step) && effect != row) {
            broken.push(format!(
                "{step}: {effect} times in the database, {row} times in the ledger, {event} times \
                 in the log"
            ));
        }
    }
    broken.extend(batches(scene, &in_ledger));
    for migration in MIGRATIONS {
        let of = |direction: &str| {
            let step = format!("{direction} {}", migration.version());
            in_effect.get(step.as_str()).copied().unwrap_or_default()
        };
        if !(of("down")..=of("down") + 1).contains(&of("up")) {
            broken.push(format!("{}: up {} times, down {}", migration.id, of("up"), of("down")));
        }
    }
    broken
}

/// Where what a command claimed is not what it left.
fn lies(said: &Said) -> Vec<String> {
    let Said { line, outcome, before, after, .. } = said;
    let changes = line.starts_with("migrate") || line.starts_with("rollback");
    if !changes || !said.alone || outcome.code == -1 {
        return Vec::new();
    }
    let (before, after) = (counted(before), counted(after));
    let of =
        |counts: &BTreeMap<&str, usize>, step: &str| counts.get(step).copied().unwrap_or_default();
    let grew = |step: &str| of(&after, step) > of(&before, step);
    // A file outside a transaction may have counted itself in an earlier run that left it half done.
    let stands = |step: &str| match step.split_once(' ') {
        Some(("up", version)) => of(&after, step) > of(&after, &format!("down {version}")),
        Some((_, version)) => of(&after, step) == of(&after, &format!("up {version}")),
        None => false,
    };
    let Ok(document) = serde_json::from_str::<serde_json::Value>(&outcome.out) else {
        let refused = !matches!(outcome.code, 0 | 101);
        return match refused && before != after {
            true => vec![format!("{line} ended with {} and had an effect", outcome.code)],
            false => Vec::new(),
        };
    };
    let run = &document["run"];
    let done = run["steps_done"].as_u64().unwrap_or_default();
    let message = run["failure"]["message"].as_str().unwrap_or_default();
    let none = run["failure"]["effect"] == "none";
    let mut broken = Vec::new();
    for (at, step) in (0..).zip(document["steps"].as_array().into_iter().flatten()) {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        let name = format!("{} {}", text("direction"), text("version"));
        if !counts_itself(&name) {
            continue;
        }
        let took = match (at, run["outcome"].as_str().unwrap_or_default()) {
            (at, _) if at < done => Some(true),
            (_, "in_doubt") => None,
            (at, _) if at > done => Some(false),
            (_, "not_recorded") if message.contains("not begun") => Some(false),
            (_, "not_recorded") if message.contains(", not yet recorded") => None,
            (_, "succeeded") => Some(false),
            _ if none && text("mode") == "transactional" => Some(false),
            _ => None,
        };
        let outside = text("mode") != "transactional";
        let is_lie = match took {
            Some(true) if outside => !stands(&name),
            Some(took) => took != grew(&name),
            None => false,
        };
        if is_lie {
            broken.push(format!(
                "{line} says {} of {name}, and it {}",
                if took == Some(true) { "done" } else { "not done" },
                if grew(&name) { "took effect" } else { "left nothing" },
            ));
        }
    }
    let applied = format!("{message} ");
    if applied.starts_with("applied, not yet recorded") {
        let step = format!("up {}", run["failure"]["step"].as_str().unwrap_or_default());
        let step = step.split('_').next().unwrap_or_default().to_owned();
        // A backfill is counted by its batches.
        if counts_itself(&step) && !grew(&step) {
            broken.push(format!("{line} says {step} was applied, and it left nothing"));
        }
    }
    broken
}

fn orphans(scene: &Scene<'_>) -> Vec<String> {
    let log = scene.log();
    let lines: Vec<serde_json::Value> = events(&log).collect();
    let mut broken = Vec::new();
    if ledger(scene).is_empty() {
        return broken;
    }
    let rows =
        scene.rows("SELECT direction || ' ' || version || ' ' || intent_seq FROM annals.ledger");
    for row in rows {
        let words: Vec<&str> = row.split(' ').collect();
        let intent = words[2].parse().ok().and_then(|seq: usize| lines.get(seq));
        let fits = intent.is_some_and(|event| {
            event["kind"] == "step_started"
                && event["data"]["direction"] == words[0]
                && event["data"]["version"] == words[1]
        });
        if !fits {
            broken.push(format!("the ledger row of {row} names an intent the log does not have"));
        }
    }
    let statements = scene.rows(
        "SELECT sql_sha256 FROM annals.statements WHERE run::text <> '' ORDER BY recorded_at",
    );
    let announced: BTreeSet<&str> = lines
        .iter()
        .filter(|event| event["kind"] == "statement_started")
        .filter_map(|event| event["data"]["sql"].as_str())
        .collect();
    for digest in statements.iter().filter(|digest| !announced.contains(digest.as_str())) {
        broken.push(format!("statement {digest} took effect and was not announced"));
    }
    broken
}

fn log_whole(scene: &Scene<'_>) -> Vec<String> {
    let last = scene.log();
    let mut broken = Vec::new();
    for (at, copy) in scene.copies.iter().enumerate() {
        let whole = copy.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let stands = last.starts_with(&copy[..whole]);
        if !stands {
            let same = last.iter().zip(copy).take_while(|(one, other)| one == other).count();
            let line = last[..same.min(last.len())].iter().filter(|&&byte| byte == b'\n').count();
            broken.push(format!("copy {at} of the log was another one from event {line} on"));
        }
    }
    broken
}

fn user_rows(scene: &Scene<'_>, journal: &Journal) -> Vec<String> {
    let Journal { writer, table, acknowledged, unknown } = journal;
    let query = format!("SELECT n FROM {table} WHERE writer = {writer} ORDER BY n");
    let rows = scene.rows(&query).into_iter().filter_map(|n| n.parse().ok());
    let rows: Vec<u32> = rows.collect();
    let there: BTreeSet<u32> = rows.iter().copied().collect();
    let mut broken = Vec::new();
    if there.len() != rows.len() {
        broken.push(format!("{table}: rows of writer {writer} are there twice"));
    }
    for lost in acknowledged.difference(&there) {
        broken.push(format!("{table}: row {lost} of writer {writer} was acknowledged and is lost"));
    }
    for strange in there.iter().filter(|n| !acknowledged.contains(n) && !unknown.contains(n)) {
        broken.push(format!("{table}: row {strange} of writer {writer} was refused and is there"));
    }
    let before = scene.rows(&format!("SELECT count(*) FROM {table} WHERE writer = 0"));
    if before != ["200"] {
        broken.push(format!("{table}: of 200 rows from before {} are left", before.concat()));
    }
    broken
}

/// Waits of the application the server has written down, in milliseconds.
fn waits(scene: &Scene<'_>) -> Vec<u64> {
    let ours = format!("faults-writer@{} ", scene.database);
    let log = scene.server_says();
    let waits = log.lines().filter(|line| line.contains(&ours) && line.contains(" ms"));
    let waits =
        waits.filter(|line| line.contains("still waiting for") || line.contains("acquired "));
    waits
        .filter_map(|line| line.rsplit_once(" after ")?.1.split('.').next()?.parse().ok())
        .collect()
}

/// The longest wait of the application the server has written down, in milliseconds.
pub fn longest_wait_ms(scene: &Scene<'_>) -> u64 {
    waits(scene).into_iter().max().unwrap_or_default()
}

fn pile_up(scene: &Scene<'_>) -> Vec<String> {
    let (longest, bound) = (longest_wait_ms(scene), scene.wait_bound_ms);
    match longest > bound {
        true => vec![format!("the application waited {longest} ms, {bound} ms are the bound")],
        false => Vec::new(),
    }
}

fn one_at_a_time(scene: &Scene<'_>) -> Vec<String> {
    let ours = format!("harness effect db={} ", scene.database);
    let log = scene.server_says();
    let mut keys = BTreeSet::new();
    let mut broken = Vec::new();
    for line in log.lines().filter(|line| line.contains(&ours)) {
        let what = line.split_once(&ours).map_or(line, |(_, what)| what);
        match what.rsplit_once("locks=") {
            Some((_, "none")) | None => broken.push(format!("without the lock: {what}")),
            Some((_, key)) => drop(keys.insert(key.to_owned())),
        }
    }
    if keys.len() > 1 {
        broken.push(format!("steps ran under different locks: {keys:?}"));
    }
    broken
}

fn secrets(scene: &Scene<'_>) -> Vec<String> {
    let canaries = [("the password", Server::PASSWORD), ("a row's value", DATA_CANARY)];
    let mut broken = Vec::new();
    for (name, canary) in canaries {
        let has = |text: &[u8]| text.windows(canary.len()).any(|part| part == canary.as_bytes());
        for said in &scene.said {
            if has(said.outcome.out.as_bytes()) || has(said.outcome.err.as_bytes()) {
                broken.push(format!("{name} was printed by {}", said.line));
            }
        }
        for argv in scene.argv.iter().filter(|argv| has(argv)) {
            broken.push(format!("{name} is an argument: {}", argv.escape_ascii()));
        }
        let mut files = files_below(scene.folder.path());
        files.extend(files_below(&scene.store()));
        for path in files {
            if fs::read(&path).is_ok_and(|bytes| has(&bytes)) {
                broken.push(format!("{name} is in {}", path.display()));
            }
        }
    }
    broken
}

fn left_behind(scene: &Scene<'_>) -> Vec<String> {
    let questions = [
        (
            "a lock",
            "SELECT pid || ' holds ' || objid FROM pg_locks l JOIN pg_database d ON d.oid = \
             l.database WHERE locktype = 'advisory' AND d.datname = current_database()",
        ),
        (
            "a session",
            "SELECT application_name || ' ' || state FROM pg_stat_activity WHERE datname = \
             current_database() AND application_name LIKE 'annals%'",
        ),
        (
            "a transaction",
            "SELECT application_name || ' ' || state FROM pg_stat_activity WHERE datname = \
             current_database() AND state LIKE 'idle in transaction%'",
        ),
        ("a prepared transaction", "SELECT gid FROM pg_prepared_xacts"),
        (
            "an INVALID index",
            "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid OR NOT indisready",
        ),
        (
            "a setting",
            "SELECT setconfig FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = \
             setdatabase WHERE d.datname = current_database() OR setrole = 'deployer'::regrole",
        ),
    ];
    let mut broken = Vec::new();
    for (what, query) in questions {
        broken.extend(scene.rows(query).into_iter().map(|row| format!("{what} is left: {row}")));
    }
    if scene.stage.is_weak {
        let own = format!("a setting is left: {{{WEAK}=off}}");
        assert!(broken.contains(&own), "what the scene has set is there: {broken:?}");
        broken.retain(|what| *what != own);
    }
    broken
}
