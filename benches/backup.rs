//! `annals backup` and `annals restore` against `pg_dump`, `pg_dump | age` and `pg_restore`, and against
//! the floor: a COPY of the same tables to nowhere. Prints ratios; judges nothing.
//!
//! `backup [--mb N] [--rounds N] [--dump PATH]`
//!
//! Every round runs each once, on one server with one database. `--dump` names a `pg_dump` of 16 or later
//! that was built with zstd; without one, what needs it is left out. `age` is found on the `PATH`.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annals_backup::{BackupId, KeyEncryptionKey, SealParams, examine, seal};
use annals_testkit::{Server, Workspace};

#[path = "migrate/measure.rs"]
mod measure;

use measure::{Spread, Used, run, sessions_cpu};

struct Options {
    megabytes: u64,
    rounds: usize,
    dump: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options { megabytes: 200, rounds: 3, dump: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--mb" => options.megabytes = value().parse().expect("a number"),
            "--rounds" => options.rounds = value().parse().expect("a number"),
            "--dump" => options.dump = Some(value().into()),
            // What cargo adds.
            "--bench" => {}
            other => panic!("{other} is not known"),
        }
    }
    options
}

/// Two tables of about as many bytes: narrow rows that compress well, and documents that do not.
fn fill(server: &Server, megabytes: u64) {
    let (accounts, documents) = (megabytes * 4_000, megabytes * 700);
    server.sql(&format!(
        "CREATE TABLE accounts (id bigint PRIMARY KEY, branch int, balance int, filler char(84)); \
         INSERT INTO accounts SELECT n, n % 50, (n::bigint * 7919 % 100000)::int - 50000, '' \
         FROM generate_series(1, {accounts}) n"
    ));
    // Words of which few come often, as in texts.
    server.sql(&format!(
        "CREATE FUNCTION pg_temp.words(seed bigint, many int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ \
         SELECT string_agg(substr(md5((power(abs(hashint8extended(seed, k)) % 1000003 / 1000003.0, 4) \
         * 4000)::int::text), 1, 3 + k % 6), ' ') FROM generate_series(1, many) k $$; \
         CREATE TABLE documents (id uuid PRIMARY KEY, owner int, at timestamptz, title text, body text, \
         data jsonb, price numeric(12, 2)); \
         INSERT INTO documents SELECT gen_random_uuid(), n % 5000, \
         '2024-01-01'::timestamptz + n * interval '37 seconds', pg_temp.words(n, 4), \
         pg_temp.words(n * 31, 45), jsonb_build_object('state', (ARRAY['new', 'paid', 'sent'])[n % 3 + 1], \
         'tags', to_jsonb(string_to_array(pg_temp.words(n * 17, 6), ' ')), 'count', n % 97), \
         (n::bigint * 7907 % 1000000) / 100.0 FROM generate_series(1, {documents}) n"
    ));
    server.sql("CREATE INDEX ON documents (owner); CREATE INDEX ON documents (at)");
    server.sql("VACUUM ANALYZE");
    server.sql("CHECKPOINT");
}

/// What is measured: its name, what it runs, and where the size of what it makes is found.
struct Rival {
    name: String,
    command: Box<dyn Fn() -> Command>,
    made: PathBuf,
}

/// What one of them came to in a round.
#[derive(Clone, Copy)]
struct Figures {
    used: Used,
    server: Duration,
    bytes: u64,
}

fn shell(line: String) -> Command {
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", &line]);
    command
}

/// `psql` and the others themselves: what Debian has on the PATH are scripts that look for them first.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name));
    programs.filter(|program| program.is_file()).max().unwrap_or_else(|| name.into())
}

fn bytes_of(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Err(_) => 0,
        Ok(found) if found.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_of(&entry.path())).sum()
        }
        Ok(found) => found.len(),
    }
}

fn clear(path: &Path) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
}

fn has_age() -> bool {
    Command::new("age").arg("--version").output().is_ok_and(|said| said.status.success())
}

fn annals(workspace: &Workspace, server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command.args(words).current_dir(workspace.folder()).env("TEST_URL", server.url());
    command
}

/// A recipient of `age`, made for this.
fn recipient(folder: &Path) -> String {
    let key = folder.join("age.key");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output().expect("age is there");
    assert!(made.status.success(), "age-keygen");
    let text = fs::read_to_string(key).expect("it was written");
    let line = text.lines().find_map(|line| line.strip_prefix("# public key: "));
    line.expect("it names its recipient").to_owned()
}

fn backups(server: &Server, folder: &Path, options: &Options) -> Vec<Rival> {
    let (url, psql, dump) = (server.url(), program("psql"), program("pg_dump"));
    let out = |name: &str| folder.join(name);
    let quoted = |path: &Path| format!("'{}'", path.display());
    let mut rivals = Vec::new();
    let mut add = |name: &str, line: String, made: PathBuf| {
        let command = Box::new(move || shell(line.clone()));
        rivals.push(Rival { name: name.to_owned(), command, made });
    };
    let copy = |table: &str| {
        format!("{} -qXc 'COPY {table} TO STDOUT' '{url}' > /dev/null", quoted(&psql))
    };
    let floor = format!("{} & other=$!; {} && wait $other", copy("accounts"), copy("documents"));
    add("COPY of the tables to nowhere, two at a time", floor, out("nothing"));
    let own = quoted(&dump);
    let file = out("custom.dump");
    add("pg_dump -Fc", format!("{own} -Fc -f {} '{url}'", quoted(&file)), file);
    if has_age() {
        let (file, to) = (out("custom.age"), recipient(folder));
        let line = format!("{own} -Fc '{url}' | age -r {to} -o {}", quoted(&file));
        add("pg_dump -Fc \\| age", line, file);
        if let Some(newer) = &options.dump {
            let file = out("zstd.age");
            let line = format!(
                "{} -Fc -Z zstd:1 '{url}' | age -r {to} -o {}",
                quoted(newer),
                quoted(&file)
            );
            add("pg_dump -Fc -Z zstd:1 \\| age", line, file);
        }
    }
    let file = out("directory.dump");
    add("pg_dump -Fd -j2", format!("{own} -Fd -j2 -f {} '{url}'", quoted(&file)), file);
    let file = out("directory-1.dump");
    add("pg_dump -Fd -j2 -Z 1", format!("{own} -Fd -j2 -Z 1 -f {} '{url}'", quoted(&file)), file);
    if let Some(newer) = &options.dump {
        let file = out("zstd.dump");
        let line = format!("{} -Fd -j2 -Z zstd:1 -f {} '{url}'", quoted(newer), quoted(&file));
        add("pg_dump -Fd -j2 -Z zstd:1", line, file);
    }
    rivals
}

fn measure(server: &Server, rival: &Rival) -> Figures {
    clear(&rival.made);
    let before = sessions_cpu(server);
    let used = run(&(rival.command)());
    let server_cpu = sessions_cpu(server).saturating_sub(before);
    Figures { used, server: server_cpu, bytes: bytes_of(&rival.made) }
}

/// Prints each as a ratio to the first of its round.
fn print(titles: &[&str], names: &[String], rounds: &[Vec<Figures>], by: usize) {
    println!("\n| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (at, name) in names.iter().enumerate() {
        let ratio = |of: &dyn Fn(&Figures) -> f64| {
            Spread::of(rounds.iter().map(|round| of(&round[at]) / of(&round[by]).max(1e-9)))
        };
        let wall = ratio(&|figures| figures.used.wall.as_secs_f64());
        let both = |figures: &Figures| (figures.used.cpu + figures.server).as_secs_f64();
        let cpu = ratio(&both);
        let seconds =
            |of: &dyn Fn(&Figures) -> f64| Spread::of(rounds.iter().map(|it| of(&it[at])));
        let size = rounds.iter().map(|round| round[at].bytes).max().unwrap_or_default();
        let peak = rounds.iter().map(|round| round[at].used.peak_bytes).max().unwrap_or_default();
        println!(
            "| {name} | {wall} | {cpu} | {:.1} + {:.1} s | {} | {} MiB |",
            seconds(&|figures| figures.used.cpu.as_secs_f64()).median,
            seconds(&|figures| figures.server.as_secs_f64()).median,
            if size == 0 { "–".to_owned() } else { format!("{} MiB", size >> 20) },
            peak >> 20
        );
    }
}

/// Bytes as a sealed backup holds: they do not repeat.
struct Noise {
    state: u64,
    left: u64,
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let many = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        for piece in out[..many].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let bytes = self.state.to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
        self.left -= many as u64;
        Ok(many)
    }
}

/// CPU time of this thread; the kernel counts nanoseconds.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(first.expect("a number"))
}

/// What sealing so many bytes costs, and hashing them once more when they are read again.
fn sealing(bytes: u64) -> (Duration, Duration) {
    let mut plain = vec![0; 1 << 20];
    Noise { state: 7, left: 1 << 20 }.read_exact(&mut plain).expect("it is long enough");
    let key = KeyEncryptionKey::generate().expect("random bytes");
    let params = SealParams { backup_id: BackupId::from_bytes([1; 16]), public_metadata: b"{}" };
    let mut writer = seal(io::sink(), &params, [&key]).expect("a beginning");
    let before = cpu();
    for _ in 0..bytes >> 20 {
        writer.write_all(&plain).expect("sealed");
    }
    writer.finish().expect("an end");
    let sealed = cpu() - before;

    let mut small = seal(Vec::new(), &params, [&key]).expect("a beginning");
    for _ in 0..64 {
        small.write_all(&plain).expect("sealed");
    }
    let (small, _) = small.finish().expect("an end");
    let before = cpu();
    examine(small.as_slice()).expect("it is whole");
    let hashed = (cpu() - before).mul_f64((bytes >> 20) as f64 / 64.0);
    (sealed, hashed)
}

fn main() {
    if measure::was_called() {
        return;
    }
    let options = options();
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let begun = Instant::now();
    fill(&server, options.megabytes);
    let size = server.value("SELECT pg_size_pretty(pg_database_size(current_database()))");
    println!(
        "PostgreSQL {}, {size}, {} rows; filled in {} s; {} rounds",
        server.major(),
        server.value("SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM documents)"),
        begun.elapsed().as_secs(),
        options.rounds
    );
    let adopted = run(&annals(&workspace, &server, &["backup", "--schema"]));
    println!("a backup of the schema alone takes {} ms", adopted.wall.as_millis());

    let folder = workspace.path("made");
    fs::create_dir(&folder).expect("the folder is ours");
    let mut rivals = backups(&server, &folder, &options);
    let (at, url) = (workspace.folder().to_owned(), server.url());
    let own = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(["backup", "--jobs", "2"]).current_dir(&at).env("TEST_URL", &url);
        command
    };
    let made = workspace.path("backups/db");
    rivals.insert(0, Rival { name: "annals backup".to_owned(), command: Box::new(own), made });

    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        let mut figures = vec![None; rivals.len()];
        for step in 0..rivals.len() {
            // Another one begins each round.
            let at = (step + round) % rivals.len();
            figures[at] = Some(measure(&server, &rivals[at]));
        }
        rounds.push(figures.into_iter().flatten().collect::<Vec<_>>());
        eprintln!("round {} of {} is done", round + 1, options.rounds);
    }
    let titles =
        ["backup", "wall to annals", "CPU to annals", "CPU of client + server", "size", "peak"];
    let names: Vec<String> = rivals.iter().map(|rival| rival.name.clone()).collect();
    print(&titles, &names, &rounds, 0);

    let sealed_bytes = rounds.iter().map(|round| round[0].bytes).max().unwrap_or_default();
    let (sealed, hashed) = sealing(sealed_bytes);
    let of = Spread::of(rounds.iter().map(|round| round[0].used.cpu.as_secs_f64()));
    let all =
        Spread::of(rounds.iter().map(|round| (round[0].used.cpu + round[0].server).as_secs_f64()));
    println!(
        "\nsealing {} MiB (AES-256-GCM and SHA-256) takes {:.2} s of CPU, hashing them when they are read \
         again {:.2} s: {:.1} % of the client's CPU, {:.1} % of all",
        sealed_bytes >> 20,
        sealed.as_secs_f64(),
        hashed.as_secs_f64(),
        100.0 * (sealed + hashed).as_secs_f64() / of.median,
        100.0 * (sealed + hashed).as_secs_f64() / all.median
    );

    restores(&server, &workspace, &folder, options.rounds);
}

/// A workspace whose log lives in the database itself: a backup of it is brought back in place.
struct InPlace {
    workspace: Workspace,
    said: PathBuf,
}

impl InPlace {
    fn begun(server: &Server) -> Self {
        let workspace = Workspace::new(server);
        let config = fs::read_to_string(workspace.path("annals.toml")).expect("it was written");
        workspace.write("annals.toml", config + "event_store = \"postgres\"\n");
        let said = workspace.path("said.json");
        run(&annals(&workspace, server, &["backup", "--jobs", "2"]));
        Self { workspace, said }
    }

    fn said(&self, server: &Server, words: &[&str]) -> serde_json::Value {
        let output = annals(&self.workspace, server, words).output().expect("it runs");
        serde_json::from_slice(&output.stdout).expect("it prints a document")
    }

    fn command(&self, server: &Server) -> Command {
        let look = self.said(server, &["restore", "latest", "--json"]);
        let confirm = look["fingerprint"].as_str().expect("it is shown").to_owned();
        assert_eq!(look["in_place"], true, "{look}");
        let line = format!(
            "'{}' restore latest --yes-restore {confirm} --without-backup --json > '{}'",
            env!("CARGO_BIN_EXE_annals"),
            self.said.display()
        );
        let mut command = shell(line);
        command.current_dir(self.workspace.folder()).env("TEST_URL", server.url());
        command
    }

    fn locked(&self) -> Duration {
        let text = fs::read_to_string(&self.said).expect("it was written");
        let said: serde_json::Value = serde_json::from_str(&text).expect("it prints a document");
        Duration::from_micros(said["done"]["closed_us"].as_u64().expect("it was done"))
    }
}

fn restores(server: &Server, workspace: &Workspace, folder: &Path, rounds: usize) {
    let restore = program("pg_restore");
    let in_place = InPlace::begun(server);
    let mut locked = Vec::new();
    let base = server.url().rsplit_once('/').expect("a URL has a path").0.to_owned();
    let mut all = Vec::new();
    for round in 0..rounds {
        let mut figures = Vec::new();
        for what in ["annals restore", "directory.dump", "custom.dump"] {
            let name = format!("back_{round}_{}", figures.len());
            let command = match what {
                "annals restore" => {
                    let words = ["restore", "latest", "--into", &name, "--jobs", "2"];
                    annals(workspace, server, &words)
                }
                dump => {
                    server.sql(&format!("CREATE DATABASE {name}"));
                    let mut command = Command::new(&restore);
                    command.args(["-j2", "-d", &format!("{base}/{name}")]).arg(folder.join(dump));
                    command
                }
            };
            let before = sessions_cpu(server);
            let used = run(&command);
            let server_cpu = sessions_cpu(server).saturating_sub(before);
            figures.push(Figures { used, server: server_cpu, bytes: 0 });
            server.sql(&format!("DROP DATABASE {name}"));
            server.sql("CHECKPOINT");
        }
        let command = in_place.command(server);
        let before = sessions_cpu(server);
        let used = run(&command);
        let server_cpu = sessions_cpu(server).saturating_sub(before);
        locked.push(in_place.locked().as_secs_f64() / used.wall.as_secs_f64());
        figures.push(Figures { used, server: server_cpu, bytes: 0 });
        server.sql("CHECKPOINT");
        all.push(figures);
    }
    let titles =
        ["restore", "wall to annals", "CPU to annals", "CPU of client + server", "size", "peak"];
    let names = [
        "annals restore (authenticates, restores, compares)",
        "pg_restore -j2 of -Fd",
        "pg_restore -j2 of -Fc",
        "annals restore in place, over one connection",
    ];
    print(&titles, &names.map(str::to_owned), &all, 0);
    let of_time = Spread::of(locked.into_iter().map(|part| 100.0 * part));
    println!("\nin place, the tables are locked for {of_time} % of that time");
}
