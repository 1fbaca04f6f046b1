//! The same workload with other runners, those that are installed. Nothing is installed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use annals_testkit::{Server, Workspace};

use crate::Options;
use crate::measure::{Spread, Used, run};
use crate::workload::{
    annals, down, drop_database, fill, forget, fresh_database, psql, psql_itself, up, with_database,
};

/// Another runner, with the settings its own documentation gives for this work.
struct Peer {
    /// What it is called.
    name: &'static str,
    /// Its program.
    program: &'static str,
    /// How to get it.
    install: &'static str,
    /// What it keeps of a migration that was applied.
    record: &'static str,
    /// Writes `count` migrations in its format into an empty folder.
    lay: fn(&Path, usize),
    /// Its command in that folder.
    command: fn(&str) -> Command,
    /// How it says its version; nothing where it has no way, or says that of another package.
    version: &'static [&'static str],
}

/// A runner that takes longer than this is measured once.
const LONG: Duration = Duration::from_secs(20);

const PEERS: &[Peer] = &[
    Peer {
        name: "sqlx-cli",
        program: "sqlx",
        install: "cargo install --locked sqlx-cli --no-default-features --features postgres,rustls",
        record: "a row: version, SHA-384, duration",
        lay: |folder, count| each(count, |n| write(folder, &format!("{n:05}_t{n}.sql"), &up(n))),
        command: |url| with("sqlx", &["migrate", "run", "--source", ".", "-D", url]),
        version: &["--version"],
    },
    Peer {
        name: "refinery_cli",
        program: "refinery",
        install: "cargo install --locked refinery_cli --no-default-features --features postgresql",
        record: "a row: version, SipHash, time",
        lay: |folder, count| each(count, |n| write(folder, &format!("V{n}__t{n}.sql"), &up(n))),
        command: |url| {
            let mut command = with("refinery", &["migrate", "-e", "BENCH_URL", "-p", "."]);
            command.env("BENCH_URL", url);
            command
        },
        version: &["--version"],
    },
    Peer {
        name: "dbmate",
        program: "dbmate",
        install: "npm install dbmate",
        record: "a row: version",
        lay: |folder, count| {
            each(count, |n| {
                let text = format!("-- migrate:up\n{}\n-- migrate:down\n{}", up(n), down(n));
                write(folder, &format!("{n:05}_t{n}.sql"), &text);
            });
        },
        command: |url| with("dbmate", &["--url", url, "-d", ".", "--no-dump-schema", "migrate"]),
        version: &["--version"],
    },
    Peer {
        name: "node-pg-migrate",
        program: "node-pg-migrate",
        install: "npm install node-pg-migrate pg",
        record: "a row: name, time",
        lay: |folder, count| {
            each(count, |n| {
                let text = format!("-- Up Migration\n{}\n-- Down Migration\n{}", up(n), down(n));
                let version = 1_700_000_000_000_usize + n;
                write(folder, &format!("{version}_t{n}.sql"), &text);
            });
        },
        command: |url| {
            let words =
                ["up", "-m", ".", "-d", "BENCH_URL", "--no-single-transaction", "--no-verbose"];
            let mut command = with("node-pg-migrate", &words);
            command.env("BENCH_URL", url);
            command
        },
        version: &[],
    },
    Peer {
        name: "supabase",
        program: "supabase",
        install: "npm install supabase",
        record: "a row: version, name, statements",
        lay: |folder, count| {
            let migrations = folder.join("supabase/migrations");
            fs::create_dir_all(&migrations).expect("a folder");
            write(folder, "supabase/config.toml", "project_id = \"bench\"\n");
            each(count, |n| {
                let version = 20_260_101_000_000_usize + n;
                write(&migrations, &format!("{version}_t{n}.sql"), &up(n));
            });
        },
        command: |url| {
            let mut command = with("supabase", &["db", "push", "--yes", "--db-url", url]);
            command.env("DO_NOT_TRACK", "1").env("SUPABASE_TELEMETRY_DISABLED", "1");
            command
        },
        version: &["--version"],
    },
    Peer {
        name: "yoyo-migrations",
        program: "yoyo",
        install: "pip install yoyo-migrations psycopg2-binary",
        record: "a row: id, SHA-256 of it; a row in its log: user, host, time",
        lay: |folder, count| {
            each(count, |n| {
                write(folder, &format!("{n:05}_t{n}.sql"), &up(n));
                write(folder, &format!("{n:05}_t{n}.rollback.sql"), &down(n));
            });
        },
        command: |url| {
            let url = url.replace("postgres://", "postgresql://");
            with("yoyo", &["apply", "--batch", "--no-config-file", "-d", &url, "."])
        },
        version: &[],
    },
    Peer {
        name: "alembic",
        program: "alembic",
        install: "pip install alembic psycopg2-binary",
        record: "one row for all: the last revision",
        lay: lay_alembic,
        command: |url| {
            let mut command = with("alembic", &["upgrade", "head"]);
            command.env("BENCH_URL", url.replace("postgres://", "postgresql://"));
            command
        },
        version: &["--version"],
    },
    Peer {
        name: "sqitch",
        program: "sqitch",
        install: "apt-get install -y sqitch libdbd-pg-perl",
        record: "a change, its dependencies, and an event: SHA-1, who, when",
        lay: lay_sqitch,
        command: |url| {
            let mut command = with("sqitch", &["deploy", &url.replace("postgres://", "db:pg://")]);
            command.env("SQITCH_FULLNAME", "Bench").env("SQITCH_EMAIL", "bench@example.org");
            command
        },
        version: &["--version"],
    },
];

fn each(count: usize, make: impl FnMut(usize)) {
    (1..=count).for_each(make);
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a temporary folder can be written to");
}

fn with(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

fn lay_alembic(folder: &Path, count: usize) {
    let versions = folder.join("versions");
    fs::create_dir(&versions).expect("a folder");
    write(folder, "alembic.ini", "[alembic]\nscript_location = .\n");
    let environment = "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\n\
        with create_engine(os.environ['BENCH_URL']).connect() as connection:\n    \
        context.configure(connection=connection, transaction_per_migration=True)\n    \
        with context.begin_transaction():\n        context.run_migrations()\n";
    write(folder, "env.py", environment);
    each(count, |n| {
        let before = if n == 1 { "None".to_owned() } else { format!("'r{:05}'", n - 1) };
        let text = format!(
            "from alembic import op\nrevision = 'r{n:05}'\ndown_revision = {before}\n\
             def upgrade():\n    op.execute(\"\"\"{}\"\"\")\n\
             def downgrade():\n    op.execute(\"\"\"{}\"\"\")\n",
            up(n),
            down(n)
        );
        write(&versions, &format!("r{n:05}.py"), &text);
    });
}

fn lay_sqitch(folder: &Path, count: usize) {
    let mut plan = "%syntax-version=1.0.0\n%project=bench\n\n".to_owned();
    write(folder, "sqitch.conf", "[core]\n\tengine = pg\n");
    for part in ["deploy", "revert"] {
        fs::create_dir(folder.join(part)).expect("a folder");
    }
    each(count, |n| {
        plan += &format!("t{n} 2026-01-01T00:00:00Z Bench <bench@example.org> # t{n}\n");
        write(&folder.join("deploy"), &format!("t{n}.sql"), &format!("BEGIN;\n{}COMMIT;\n", up(n)));
        let back = format!("BEGIN;\n{}COMMIT;\n", down(n));
        write(&folder.join("revert"), &format!("t{n}.sql"), &back);
    });
    write(folder, "sqitch.plan", &plan);
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The first number with a point in what it says of itself.
fn version(peer: &Peer) -> String {
    if peer.version.is_empty() {
        return String::new();
    }
    let output = Command::new(peer.program).args(peer.version).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut words = text.split(|c: char| c.is_whitespace() || c == 'v');
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    words.find(number).map(str::to_owned).unwrap_or_default()
}

/// A runner in this comparison.
struct Runner<'a> {
    name: String,
    record: &'static str,
    /// Makes its folder as it is before a first run.
    prepare: Box<dyn Fn() + 'a>,
    command: Box<dyn Fn(&str) -> Command + 'a>,
    first: Vec<Used>,
    again: Vec<Used>,
}

fn runners<'a>(workspace: &'a Workspace, folder: &'a Path, count: usize) -> Vec<Runner<'a>> {
    let here = workspace.folder();
    let mut all = vec![
        Runner {
            name: "psql".to_owned(),
            record: "none",
            prepare: Box::new(|| ()),
            command: Box::new(move |url| psql(here, url)),
            first: Vec::new(),
            again: Vec::new(),
        },
        Runner {
            name: format!("annals {}", env!("CARGO_PKG_VERSION")),
            record: "ledger row, hash-chained signed log, plan, two pictures of the schema",
            prepare: Box::new(move || forget(here)),
            command: Box::new(move |url| annals(here, url, "migrate")),
            first: Vec::new(),
            again: Vec::new(),
        },
    ];
    all.extend(PEERS.iter().filter(|peer| is_installed(peer.program)).map(|peer| {
        let own: PathBuf = folder.join(peer.name);
        fs::create_dir(&own).expect("a temporary folder");
        (peer.lay)(&own, count);
        Runner {
            name: format!("{} {}", peer.name, version(peer)).trim_end().to_owned(),
            record: peer.record,
            prepare: Box::new(|| ()),
            command: Box::new(move |url| {
                let mut command = (peer.command)(url);
                command.current_dir(&own);
                command
            }),
            first: Vec::new(),
            again: Vec::new(),
        }
    }));
    all
}

/// Migrations that took effect, as the database shows it.
fn tables(server: &Server, database: &str) -> String {
    let url = with_database(&server.tcp_url(), database);
    let count = "SELECT count(*) FROM pg_indexes WHERE indexname ~ '^t[0-9]+_(name|at)$'";
    let output = Command::new(psql_itself()).args(["-XAtc", count, "-d", &url]).output();
    String::from_utf8_lossy(&output.expect("psql is installed").stdout).trim().to_owned()
}

fn compare(server: &Server, count: usize, rounds: usize) {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut runners = runners(&workspace, folder.path(), count);
    for round in 0..rounds {
        for (at, runner) in runners.iter_mut().enumerate() {
            if runner.first.first().is_some_and(|used| used.wall > LONG) {
                continue;
            }
            let database = format!("peer{count}_{round}_{at}");
            fresh_database(server, &database);
            let url = with_database(&server.tcp_url(), &database);
            (runner.prepare)();
            let command = (runner.command)(&url);
            runner.first.push(run(&command));
            let made = tables(server, &database);
            assert_eq!(made, (2 * count).to_string(), "{}: two indexes each", runner.name);
            if at > 0 {
                runner.again.push(run(&command));
            }
            drop_database(server, &database);
        }
    }
    println!("\n{count} migrations over TCP, {rounds} rounds; ratios to psql of the same round");
    println!(
        "| runner | wall | CPU of the client | peak | nothing to do | record |\n|---|---|---|---|---|---|"
    );
    let floor = runners[0].first.clone();
    for runner in &runners {
        let ratio = |value: fn(&Used) -> f64| {
            Spread::of(
                runner.first.iter().zip(&floor).map(|(own, floor)| value(own) / value(floor)),
            )
        };
        let peak = Spread::of(runner.first.iter().map(|used| used.peak_bytes as f64)).median;
        let again = match runner.again.is_empty() {
            true => "–".to_owned(),
            false => {
                let wall = runner.again.iter().map(|used| used.wall.as_secs_f64() * 1e3);
                format!("{:.0} ms", Spread::of(wall).median)
            }
        };
        let once = if runner.first.len() < rounds { ", one round" } else { "" };
        println!(
            "| {} | {}{once} | {} | {:.0} MiB | {again} | {} |",
            runner.name,
            ratio(|used| used.wall.as_secs_f64()),
            ratio(|used| used.cpu.as_secs_f64()),
            peak / f64::from(1 << 20),
            runner.record,
        );
    }
    println!(
        "psql itself: {:.3} s, {:.3} s of CPU",
        Spread::of(floor.iter().map(|used| used.wall.as_secs_f64())).median,
        Spread::of(floor.iter().map(|used| used.cpu.as_secs_f64())).median,
    );
}

/// Runs the comparison and prints it.
pub(crate) fn print(server: &Server, options: &Options) {
    for peer in PEERS.iter().filter(|peer| !is_installed(peer.program)) {
        println!("not installed: {:<16} {}", peer.name, peer.install);
    }
    for count in options.sizes.clone().unwrap_or_else(|| vec![100, 1000]) {
        compare(server, count, options.rounds.unwrap_or(if count < 500 { 7 } else { 3 }));
    }
}
