//! `annals proof` over migrations of usual size, against one `psql` session that runs each file up,
//! down and up again on the same kind of server: without `fsync`, as in a sandbox.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use annals_testkit::{Server, Workspace};

use crate::measure::{Spread, Used, run};
use crate::workload::{annals, drop_database, fresh_database, psql_itself, with_database};
use crate::{Options, with_sessions};

/// The SQL of migration `n` and of its rollback, of five kinds in turn; those that change a table
/// change the last one that was made.
fn files(n: usize) -> (String, String) {
    let t = n - n % 5;
    match n % 5 {
        0 => (
            format!(
                "CREATE TYPE state{t} AS ENUM ('new', 'open', 'done');\n\
                 CREATE TABLE t{t} (\n    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n    \
                 owner uuid NOT NULL,\n    name text NOT NULL CHECK (char_length(name) <= 200),\n    \
                 state state{t} NOT NULL DEFAULT 'new',\n    amount numeric(12, 2) NOT NULL DEFAULT 0,\n    \
                 data jsonb NOT NULL DEFAULT '{{}}',\n    made_at timestamptz NOT NULL DEFAULT now(),\n    \
                 CONSTRAINT t{t}_owner_name UNIQUE (owner, name),\n    \
                 CONSTRAINT t{t}_amount CHECK (amount >= 0)\n);\n\
                 CREATE INDEX t{t}_made_at ON t{t} (made_at DESC);\n\
                 CREATE INDEX t{t}_data ON t{t} USING gin (data);\n\
                 COMMENT ON TABLE t{t} IS 'Things of kind {t}';\n"
            ),
            format!("DROP TABLE t{t};\nDROP TYPE state{t};\n"),
        ),
        1 => (
            format!(
                "ALTER TABLE t{t} ADD COLUMN note text;\nALTER TABLE t{t} ADD COLUMN rank int NOT NULL \
                 DEFAULT 0;\nCREATE INDEX t{t}_rank ON t{t} (rank) WHERE rank > 0;\n"
            ),
            format!(
                "DROP INDEX t{t}_rank;\nALTER TABLE t{t} DROP COLUMN rank;\n\
                 ALTER TABLE t{t} DROP COLUMN note;\n"
            ),
        ),
        2 => (
            format!(
                "CREATE FUNCTION touch{t}() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n    \
                 NEW.made_at := now();\n    RETURN NEW;\nEND;\n$$;\n\
                 CREATE TRIGGER t{t}_touch BEFORE UPDATE ON t{t} FOR EACH ROW EXECUTE FUNCTION touch{t}();\n"
            ),
            format!("DROP TRIGGER t{t}_touch ON t{t};\nDROP FUNCTION touch{t}();\n"),
        ),
        3 => (
            format!(
                "ALTER TABLE t{t} ENABLE ROW LEVEL SECURITY;\n\
                 CREATE POLICY t{t}_read ON t{t} FOR SELECT USING (state <> 'new');\n\
                 CREATE POLICY t{t}_write ON t{t} FOR UPDATE USING (amount < 1000) WITH CHECK (amount < 1000);\n\
                 GRANT SELECT ON t{t} TO PUBLIC;\n"
            ),
            format!(
                "REVOKE SELECT ON t{t} FROM PUBLIC;\nDROP POLICY t{t}_write ON t{t};\n\
                 DROP POLICY t{t}_read ON t{t};\nALTER TABLE t{t} DISABLE ROW LEVEL SECURITY;\n"
            ),
        ),
        _ => (
            format!(
                "CREATE TABLE t{t}_events (id bigserial PRIMARY KEY, t bigint NOT NULL REFERENCES t{t} ON \
                 DELETE CASCADE, at timestamptz NOT NULL DEFAULT now(), what text NOT NULL);\n\
                 CREATE INDEX t{t}_events_t ON t{t}_events (t, at);\n\
                 CREATE VIEW t{t}_open AS SELECT t.id, t.name, count(e.id) AS events FROM t{t} t \
                 LEFT JOIN t{t}_events e ON e.t = t.id WHERE t.state = 'open' GROUP BY t.id, t.name;\n"
            ),
            format!("DROP VIEW t{t}_open;\nDROP TABLE t{t}_events;\n"),
        ),
    }
}

fn fill(workspace: &Workspace, count: usize) {
    let mut script = String::new();
    for n in 0..count {
        let (up, down) = files(n);
        let id = format!("{:05}_m{n}", n + 1);
        workspace.migration(&id, &up, &down);
        for file in [
            format!("migrations/{id}.sql"),
            format!("rollbacks/{id}_rollback.sql"),
            format!("migrations/{id}.sql"),
        ] {
            let _ = write!(script, "BEGIN;\n\\i {file}\nCOMMIT;\n");
        }
    }
    workspace.write("all.sql", script);
}

pub(crate) fn print(options: &Options) {
    let server = Server::start();
    println!(
        "up, down and up again with psql; annals, in as many databases as it takes and in one: medians of \
         interleaved rounds (lowest–highest)"
    );
    let sizes = options.sizes.clone().unwrap_or_else(|| vec![10, 100, 300]);
    for count in sizes {
        measure(&server, count, options.rounds.unwrap_or(3));
    }
    match messages(&server) {
        Some([ours, floor]) => {
            println!("messages for each migration, by strace: annals {ours:.1}, psql {floor:.1}");
        }
        None => println!("messages are not counted: strace is not installed"),
    }
}

fn measure(server: &Server, count: usize, rounds: usize) {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    let folder = workspace.folder();
    let (mut ours, mut alone, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let database = format!("p{count}_{round}");
        fresh_database(server, &database);
        let url = with_database(&server.url(), &database);
        let proof = |arguments: &[&str]| {
            let mut proof = annals(folder, &url, "proof");
            proof.arg("--no-record").args(arguments);
            proof
        };
        let mut psql = Command::new(psql_itself());
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "all.sql", "-d", &url]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning").current_dir(folder);
        // The rehearsal only reads the target, and is first on the empty one.
        ours.push(with_sessions(server, || run(&proof(&[]))));
        alone.push(with_sessions(server, || run(&proof(&["--jobs", "1"]))));
        floor.push(with_sessions(server, || run(&psql)));
        drop_database(server, &database);
    }
    let wall = |(used, _): &(Used, f64)| used.wall.as_secs_f64();
    let cpu = |(used, server): &(Used, f64)| used.cpu.as_secs_f64() + server;
    let to_floor = |ours: &[(Used, f64)], of: &dyn Fn(&(Used, f64)) -> f64| {
        Spread::of(ours.iter().zip(&floor).map(|(ours, floor)| of(ours) / of(floor)))
    };
    let median = |of: &dyn Fn(&(Used, f64)) -> f64, all: &[(Used, f64)]| {
        Spread::of(all.iter().map(of)).median
    };
    println!("{count:>5} migrations, {rounds} rounds");
    for (who, all) in [("annals", &ours), ("in one database", &alone)] {
        let (wall, cpu) = (to_floor(all, &wall), to_floor(all, &cpu));
        println!("      {who:<15} wall {wall}, CPU of client and server {cpu}");
    }
    for (who, all) in [("annals", &ours), ("in one database", &alone), ("psql", &floor)] {
        let (wall, cpu) = (median(&wall, all), median(&cpu, all));
        println!("      {who:<15} wall {wall:>8.3} s   CPU {cpu:>7.3} s");
    }
}

/// How many migrations are counted with, the fewer and the more.
const COUNTED: [usize; 2] = [10, 30];

/// Messages to the server for each migration, by `strace`; none where it is not installed.
fn messages(server: &Server) -> Option<[f64; 2]> {
    let mut all = Vec::new();
    for count in COUNTED {
        let workspace = Workspace::new(server);
        fill(&workspace, count);
        let database = format!("m{count}");
        fresh_database(server, &database);
        let url = with_database(&server.url(), &database);
        let mut proof = annals(workspace.folder(), &url, "proof");
        proof.arg("--no-record");
        let mut psql = Command::new(psql_itself());
        psql.args(["-X", "-q", "-f", "all.sql", "-d", &url]).current_dir(workspace.folder());
        let counts = [sent(&proof, &workspace)?, sent(&psql, &workspace)?];
        all.push(counts);
        drop_database(server, &database);
    }
    let more = (COUNTED[1] - COUNTED[0]) as f64;
    Some([0, 1].map(|who| (all[1][who] - all[0][who]) as f64 / more))
}

/// Queries a program sends: what begins with a `Q` or is prepared, with a `P`.
fn sent(run: &Command, workspace: &Workspace) -> Option<usize> {
    let trace = workspace.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=sendto,write", "-s", "1", "-o"]).arg(&trace);
    command.arg(run.get_program()).args(run.get_args()).current_dir(workspace.folder());
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    let text = std::fs::read_to_string(&trace).ok()?;
    let is_query = |line: &&str| [", \"Q\"", ", \"P\""].iter().any(|start| line.contains(start));
    Some(text.lines().filter(|line| line.contains("sendto(")).filter(is_query).count())
}
