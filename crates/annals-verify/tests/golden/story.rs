//! The past of the golden log: a small shop's database, from its first migration on, told in the
//! events that annals writes, in the order in which it writes them.
//!
//! Nothing is drawn or read: keys, ids and times are fixed, so the bytes are the same on every
//! machine.

use std::collections::{BTreeMap, HashMap};

use annals_events::{
    Actor, BlobRef, Chain, CheckLevel, CheckOutcome, CheckResults, CheckpointAnchored, Digest,
    Direction, Draft, Effect, Event, EventId, Evidence, FORMAT_VERSION, FileRef, IntegrityChecked,
    KeyAdded, KeyPurpose, KeyRetired, LogCreated, Origin, PlanMade, ReconciledAs, RecordedError,
    RunFinished, RunId, RunOutcome, RunStarted, SchemaRecorded, StatementStarted,
    StatementSucceeded, StepFailed, StepMode, StepReconciled, StepStarted, StepSucceeded,
    TargetIdentity, TargetRegistered, Timestamp, TreeHash, Version, seal,
};
use annals_keys::{Checkpoint, KeyRing, SecretKey};
use annals_schema::{Object, Snapshot};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const ORIGIN: &str = "shop/production";

/// 2026-01-05T08:00:00Z, a Monday.
const BEGINNING_US: i64 = 1_767_600_000_000_000;
const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The major version of its server.
const SERVER_MAJOR: u32 = 15;

/// The event after which the story ends with the next Monday.
const LENGTH: u64 = 300;

/// A secret key of `keys/`, made for this log alone.
pub(crate) fn key(who: &str) -> SecretKey {
    let path = format!("{}/../../keys/test-only-golden-{who}.key", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    SecretKey::parse(&text).unwrap()
}

/// A migration: version, name, statements up, statements down.
type Migration = (String, String, Vec<String>, Vec<String>);

/// A signed head that was published.
pub(crate) struct Published {
    pub(crate) size: u64,
    pub(crate) root: TreeHash,
    pub(crate) note: String,
}

/// The log as it grows.
pub(crate) struct Story {
    pub(crate) chain: Chain,
    pub(crate) bytes: Vec<u8>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    /// Every head that was published, oldest first.
    pub(crate) published: Vec<Published>,
    /// Who signs: the newest key last.
    signers: Vec<SecretKey>,
    pub(crate) ring: KeyRing,
    origin: Origin,
    now_us: i64,
    actor: Actor,
    ordinals: HashMap<String, u64>,
    /// The schema of the shop, by name.
    objects: BTreeMap<String, Object>,
    migrations: Vec<Migration>,
    runs: u64,
}

/// The migrations `001`, `002`, …
fn migration(n: usize) -> Migration {
    let nouns = ["customers", "orders", "payments", "parcels", "returns", "prices", "stock"];
    let noun = nouns[n % nouns.len()];
    let version = format!("{:03}", n + 1);
    let (name, up, down) = if n < nouns.len() {
        let create = format!("CREATE TABLE {noun} (id bigint PRIMARY KEY, note text);");
        (format!("create_{noun}"), create, format!("DROP TABLE {noun};"))
    } else {
        let column = format!("extra_{version}");
        let add = format!("ALTER TABLE {noun} ADD COLUMN {column} text;");
        (format!("extend_{noun}"), add, format!("ALTER TABLE {noun} DROP COLUMN {column};"))
    };
    (version, name, vec![up], vec![down])
}

fn object(kind: &str, name: &str, attributes: &[(&str, &str)]) -> (String, Object) {
    let attributes = attributes.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let kind = serde_json::from_value(kind.into()).unwrap();
    let object = Object { attributes: attributes.collect(), kind, name: name.into() };
    (format!("{kind} {name}"), object)
}

/// The objects that a statement of these migrations makes, as a server would tell them.
fn made_by(sql: &str) -> Vec<(String, Object)> {
    let words: Vec<&str> = sql.split([' ', '(', ')', ';']).collect();
    match words[..] {
        ["CREATE", "TABLE", table, ..] => {
            let named = |rest: &str| format!("public.{table}{rest}");
            let key = format!("{table}_pkey");
            let primary = format!("CREATE UNIQUE INDEX {key} ON public.{table} USING btree (id)");
            vec![
                object("table", &named(""), &[("is", "table"), ("owner", "migrator")]),
                object(
                    "column",
                    &named(".id"),
                    &[("not_null", "true"), ("position", "1"), ("type", "bigint")],
                ),
                object("column", &named(".note"), &[("position", "2"), ("type", "text")]),
                object(
                    "constraint",
                    &format!("public.{table}.{key}"),
                    &[("definition", "PRIMARY KEY (id)"), ("is", "primary key")],
                ),
                object(
                    "index",
                    &format!("public.{key}"),
                    &[("definition", &primary), ("table", table), ("unique", "true")],
                ),
            ]
        }
        ["ALTER", "TABLE", table, "ADD", "COLUMN", column, ..] => {
            vec![object("column", &format!("public.{table}.{column}"), &[("type", "text")])]
        }
        ["CREATE", "INDEX", "CONCURRENTLY", index, "ON", table, ..] => {
            let definition = format!("CREATE INDEX {index} ON public.{table} USING btree (note)");
            vec![object(
                "index",
                &format!("public.{index}"),
                &[("definition", &definition), ("table", table)],
            )]
        }
        _ => panic!("{sql}: no statement of these migrations"),
    }
}

/// The text of a migration file, and the reference the log keeps of it.
fn file(version: &str, name: &str, suffix: &str, statements: &[String]) -> FileRef {
    let sql = statements.join("\n");
    FileRef {
        canonical: Digest::of(sql.as_bytes()),
        name: format!("{version}_{name}{suffix}.sql"),
        raw: Digest::of(format!("-- {name}\n{sql}\n").as_bytes()),
    }
}

/// What happens to the steps of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All of them take effect.
    Well,
    /// The last one fails and leaves nothing.
    Fails,
    /// The process is killed in the last one, which then turns out to have had no effect.
    Killed,
}

impl Story {
    /// The whole of it.
    pub(crate) fn told() -> Self {
        let mut story = Self::begun();
        let ups = |story: &mut Self, n: usize| story.migrate(n, Fate::Well);
        ups(&mut story, 2);
        story.publish();
        for monday in 1.. {
            story.anchored();
            story.nights();
            match monday % 6 {
                1 => ups(&mut story, 3),
                2 => {
                    story.roll_back();
                    story.verify("mira");
                    ups(&mut story, 1);
                }
                3 => {
                    story.migrate(2, Fate::Fails);
                    ups(&mut story, 1);
                }
                4 => story.build_indexes(monday),
                5 => {
                    story.migrate(1, Fate::Killed);
                    ups(&mut story, 1);
                }
                _ => {
                    if story.signers.len() == 1 {
                        story.rotate();
                    }
                    ups(&mut story, 1);
                }
            }
            story.publish();
            if story.chain.size() > LENGTH {
                return story;
            }
        }
        unreachable!("the last Monday comes")
    }

    fn begun() -> Self {
        let first = key("retired");
        let mut story = Self {
            chain: Chain::default(),
            bytes: Vec::new(),
            blobs: BTreeMap::new(),
            published: Vec::new(),
            ring: KeyRing::from(first.verifier()),
            signers: vec![first],
            origin: ORIGIN.parse().unwrap(),
            now_us: BEGINNING_US,
            actor: actor("mira"),
            ordinals: HashMap::new(),
            objects: [object("schema", "public", &[("owner", "pg_database_owner")])].into(),
            migrations: (0..).map(migration).take(64).collect(),
            runs: 0,
        };
        let checkpoint_key = story.signers[0].verifier().to_string();
        story.append([LogCreated {
            checkpoint_key,
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "shop".into(),
        }]);
        story.append([TargetRegistered {
            platform: "plain".into(),
            reason: None,
            server_version: "15.18".into(),
        }]);
        story
    }

    /// One append of the writer: its clock is read once.
    fn append<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) {
        self.now_us += SECOND_US / 5;
        for event in events {
            let n = self.chain.size();
            let now = Timestamp::from_micros(self.now_us);
            let draft = Draft {
                event: event.into(),
                id: EventId(self.id(n, "event")),
                occurred_at: now,
                actor: self.actor.clone(),
                target: Some(TargetIdentity {
                    database: "shop".into(),
                    system_identifier: "7311078407246320954".into(),
                    timeline: 1,
                }),
                incarnation: 0,
            };
            seal(&mut self.chain, &self.origin, &draft, now, &mut self.bytes).unwrap();
        }
    }

    /// A version 7 UUID: the time, and bits that are drawn for no one.
    fn id(&self, n: u64, of: &str) -> Uuid {
        let mut low = [0; 10];
        low.copy_from_slice(&Digest::of(format!("{of} {n}").as_bytes()).as_bytes()[..10]);
        let millis = (self.now_us / 1000) as u64;
        uuid::Builder::from_unix_timestamp_millis(millis, &low).into_uuid()
    }

    fn blob(&mut self, content: &Value) -> BlobRef {
        let content = content.to_string().into_bytes();
        annals_events::check_canonical(&content).unwrap();
        let (digest, size) = (Digest::of(&content), content.len() as u64);
        self.blobs.insert(digest, content);
        BlobRef { digest, size }
    }

    fn step(&mut self, direction: Direction, n: usize, mode: StepMode) -> (StepStarted, Value) {
        let (version, name, up, down) = self.migrations[n].clone();
        let undo = file(&version, &name, "_rollback", &down);
        let (file, rollback, statements) = match direction {
            Direction::Up => (file(&version, &name, "", &up), Some(undo), up),
            Direction::Down => (undo, None, down),
        };
        let ordinal = self.ordinals.get(&version).copied().unwrap_or_default() + 1;
        let class = |sql: &String| match sql.split(' ').nth(3) {
            Some(index) if sql.starts_with("CREATE INDEX CONCURRENTLY") => json!({
                "class": "concurrent_index_build", "index": index, "table": "orders"
            }),
            _ => json!({"class": "transactional"}),
        };
        let listed: Vec<Value> = statements
            .iter()
            .enumerate()
            .map(|(at, sql)| json!({"class": class(sql), "line": at + 2, "sql": sql}))
            .collect();
        let planned = json!({
            "direction": direction, "file": file, "mode": mode, "name": name, "ordinal": ordinal,
            "rollback": rollback, "statements": listed,
            "timeouts": {"lock_ms": 2000, "lock_outside_ms": 0, "statement_ms": 0},
            "version": version,
        });
        let started = StepStarted {
            direction,
            file,
            mode,
            name,
            ordinal,
            rollback,
            run: RunId(Uuid::nil()),
            statements: statements.len() as u64,
            step: 0,
            version: version.parse::<Version>().unwrap(),
        };
        (started, planned)
    }

    /// Plans and begins a run: the plan, the run and the first step are one write.
    fn begin(
        &mut self,
        direction: Direction,
        steps: &mut [StepStarted],
        planned: Vec<Value>,
    ) -> RunId {
        self.runs += 1;
        let run = RunId(self.id(self.runs, "run"));
        for (at, step) in steps.iter_mut().enumerate() {
            (step.run, step.step) = (run, at as u64);
        }
        let plan = self.blob(&json!({
            "direction": direction, "format": 1, "out_of_order": [],
            "precondition": {
                "database": "shop", "log_head": self.chain.last(), "log_size": self.chain.size(),
                "system_identifier": "7311078407246320954",
            },
            "steps": planned, "target": "production", "workspace": "shop",
        }));
        let count = steps.len() as u64;
        self.append([
            Event::from(PlanMade { direction, plan, steps: count }),
            RunStarted { direction, plan: plan.digest, run, steps: count }.into(),
            steps[0].clone().into(),
        ]);
        run
    }

    /// Carries out a run of transactional steps: each outcome and the next step are one write.
    fn run(&mut self, direction: Direction, versions: &[usize], fate: Fate) {
        let (mut steps, planned): (Vec<StepStarted>, Vec<Value>) =
            versions.iter().map(|n| self.step(direction, *n, StepMode::Transactional)).unzip();
        let run = self.begin(direction, &mut steps, planned);
        let last = steps.len() - 1;
        for at in 0..=last {
            let (step, n) = (at as u64, self.chain.size());
            let duration_us = 8_000 + n * 37 % 5_000;
            let next = steps.get(at + 1).cloned().map(Event::from);
            let finished = |steps_done, outcome, reason: Option<&str>| {
                let reason = reason.map(str::to_owned);
                Event::from(RunFinished { outcome, reason, run, steps_done })
            };
            let settled = match fate {
                Fate::Fails if at == last => {
                    let error = RecordedError {
                        code: Some("42P01".into()),
                        line: Some(2),
                        message: "relation \"order\" does not exist".into(),
                        statement: Some(1),
                    };
                    let effect = Effect::None;
                    [
                        StepFailed { duration_us, effect, error, run, step }.into(),
                        finished(step, RunOutcome::Failed, Some("a step failed")),
                    ]
                }
                Fate::Killed if at == last => {
                    self.now_us += 90 * SECOND_US;
                    let evidence = Evidence {
                        ledger_row: false,
                        statements_done: 0,
                        transaction: None,
                        transaction_status: None,
                    };
                    let found = ReconciledAs::NoEffect;
                    [
                        StepReconciled { evidence, found, run, step }.into(),
                        finished(step, RunOutcome::Interrupted, Some("the process was killed")),
                    ]
                }
                _ => {
                    let transaction = (700 + n).to_string();
                    let done = StepSucceeded { duration_us, run, step, transaction };
                    self.took_effect(&steps[at]);
                    let next =
                        next.unwrap_or_else(|| finished(step + 1, RunOutcome::Succeeded, None));
                    [done.into(), next]
                }
            };
            self.append(settled);
        }
        self.record_schema(run);
    }

    fn took_effect(&mut self, step: &StepStarted) {
        let version = step.version.to_string();
        *self.ordinals.entry(version.clone()).or_default() += 1;
        let statements = self.migrations.iter().find(|migration| migration.0 == version);
        for (name, object) in statements.unwrap().2.iter().flat_map(|sql| made_by(sql)) {
            match step.direction {
                Direction::Up => self.objects.insert(name, object),
                Direction::Down => self.objects.remove(&name),
            };
        }
    }

    fn record_schema(&mut self, run: RunId) {
        let snapshot = Snapshot::new(SERVER_MAJOR, self.objects.values().cloned());
        let blob = self.blob(&serde_json::from_str(&snapshot.to_stored()).unwrap());
        self.append([SchemaRecorded {
            fingerprint: snapshot.fingerprint().digest,
            objects: self.objects.len() as u64,
            run: Some(run),
            server_major: SERVER_MAJOR,
            snapshot: blob,
            step: None,
        }]);
    }

    /// The versions that are applied, and the next ones that are not.
    fn applied(&self) -> usize {
        let applied =
            |n: usize| self.ordinals.get(&self.migrations[n].0).is_some_and(|o| o % 2 == 1);
        (0..).take_while(|n| applied(*n)).count()
    }

    fn migrate(&mut self, steps: usize, fate: Fate) {
        self.actor = actor("mira");
        let first = self.applied();
        let versions: Vec<usize> = (first..first + steps).collect();
        self.run(Direction::Up, &versions, fate);
    }

    fn roll_back(&mut self) {
        self.actor = actor("jonas");
        let last = self.applied() - 1;
        self.run(Direction::Down, &[last], Fate::Well);
    }

    /// A step outside a transaction: each statement is announced and settled by itself.
    fn build_indexes(&mut self, monday: usize) {
        self.actor = actor("mira");
        let n = self.applied();
        let build =
            |i: usize| format!("CREATE INDEX CONCURRENTLY orders_{monday}_{i} ON orders (note);");
        let drop = |i: usize| format!("DROP INDEX CONCURRENTLY orders_{monday}_{i};");
        self.migrations[n].1 = "index_orders".into();
        self.migrations[n].2 = (1..=4).map(build).collect();
        self.migrations[n].3 = (1..=4).map(drop).collect();
        let (step, planned) = self.step(Direction::Up, n, StepMode::StatementByStatement);
        let mut steps = [step];
        let run = self.begin(Direction::Up, &mut steps, vec![planned]);
        for (at, sql) in self.migrations[n].2.clone().iter().enumerate() {
            let (statement, sql) = (at as u64 + 1, Digest::of(sql.as_bytes()));
            self.append([StatementStarted { run, sql, statement, step: 0 }]);
            let duration_us = 400_000 + statement;
            self.append([StatementSucceeded { duration_us, found: None, run, statement, step: 0 }]);
        }
        self.took_effect(&steps[0]);
        let transaction = (700 + self.chain.size()).to_string();
        let (outcome, reason, steps_done) = (RunOutcome::Succeeded, None, 1);
        self.append([
            Event::from(StepSucceeded { duration_us: 1_700_000, run, step: 0, transaction }),
            RunFinished { outcome, reason, run, steps_done }.into(),
        ]);
        self.record_schema(run);
    }

    fn verify(&mut self, who: &str) {
        self.actor = actor(who);
        let report = self.blob(&json!({"findings": [], "format": 1}));
        let passed = CheckOutcome::Passed;
        let checks = CheckResults {
            constraints: passed,
            data_consistency: CheckOutcome::NotChecked,
            history: passed,
            indexes: passed,
            permissions: passed,
            table_structure: passed,
        };
        let level = CheckLevel::Standard;
        self.append([IntegrityChecked {
            checks,
            duration_us: None,
            findings: 0,
            level,
            report,
            result: passed,
        }]);
    }

    /// A week in which nothing changes but that every night the target is verified.
    fn nights(&mut self) {
        for _ in 0..7 {
            self.now_us += DAY_US;
            self.verify("nightly");
        }
    }

    /// A new key signs from here on; the old one counts up to here.
    fn rotate(&mut self) {
        let (old, new) = (key("retired"), key("current"));
        let (added, retired) = (new.verifier(), old.verifier());
        let size = self.chain.size() + 2;
        let purpose = KeyPurpose::Log;
        self.actor = actor("mira");
        self.append([
            Event::from(KeyAdded { key: added.to_string(), purpose }),
            KeyRetired { key: retired.to_string(), purpose, size: Some(size) }.into(),
        ]);
        self.ring.add(added);
        self.ring.retire(&retired, [(self.origin.clone(), size)].into());
        self.signers.push(new);
        let note = self.head().sign_by(&[&self.signers[0], &self.signers[1]]);
        let root = self.chain.root();
        self.published.push(Published { size, root, note });
    }

    pub(crate) fn head(&self) -> Checkpoint {
        let (origin, size, root) = (self.origin.clone(), self.chain.size(), self.chain.root());
        Checkpoint { origin, size, root }
    }

    /// Signs the head and gives it to the anchor, which the log notes when it is next written.
    fn publish(&mut self) {
        let signer = self.signers.last().expect("somebody signs");
        let Checkpoint { size, root, .. } = self.head();
        let note = self.head().sign(signer);
        self.published.push(Published { size, root, note });
    }

    /// The anchor holds what was published last.
    fn anchored(&mut self) {
        let last = self.published.last().expect("something was published");
        let (anchor, kind) = ("vault".to_owned(), "directory".to_owned());
        let (root, size) = (last.root, last.size);
        self.append([CheckpointAnchored { anchor, kind, root, size }]);
    }
}

fn actor(name: &str) -> Actor {
    Actor { host: "build-7".into(), name: name.into(), tool: "annals 0.1.0".into() }
}
