//! Tasks of this repository: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`,
//! `cargo xtask matrix`, `cargo xtask reference`.
//!
//! Nothing here is part of the product. Each task installs what it needs: PostgreSQL, and for the
//! tests PgBouncer, `strace` and the tools of `event-store/verify`, by `apt-get` where they are absent.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask <task>

  demo         install PostgreSQL if absent, build annals, take the tour
  test         install PostgreSQL, PgBouncer, strace and the verifiers' tools if absent, then formatting, lints, every test
  matrix       run the fault matrix; --long runs all of it and writes docs/fault-matrix.md anew,
               --seed N chooses its random part, --cases PART runs only what has this in its name
  bench NAME   run one benchmark: backup, checks, events, log, migrate, peers, proof, schema or startup
  reference    write the generated pages below docs/reference anew
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match task.as_str() {
        "demo" => demo(&rest),
        "test" => test(),
        "bench" => bench(&rest),
        "matrix" => matrix(&rest),
        "reference" => reference(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(command: &mut Command) -> Result<(), String> {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    let line = format!("{} {}", command.get_program().to_string_lossy(), words.join(" "));
    eprintln!("+ {line}");
    let status = command.current_dir(root()).status().map_err(|e| format!("{line}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

fn server_is_installed() -> bool {
    let has_server =
        |folder: &Path| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    if let Some(folder) = std::env::var_os("ANNALS_PG_BIN") {
        return has_server(Path::new(&folder));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path).any(|folder| has_server(&folder))
        || versions.into_iter().any(|version| has_server(&version.path().join("bin")))
}

/// `apt-get`, by way of `sudo` for an ordinary user.
fn apt_get(arguments: &[&str]) -> Command {
    let id = Command::new("id").arg("-u").output();
    let is_root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if is_root { "apt-get" } else { "sudo" });
    if !is_root {
        command.arg("apt-get");
    }
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Installs a package of the distribution; `what` is how a message names it.
fn install(package: &str, what: &str) -> Result<(), String> {
    run(&mut apt_get(&["update"]))
        .and_then(|()| run(&mut apt_get(&["install", "-y", package])))
        .map_err(|error| {
            format!("{error}\nno {what} is installed; install one: apt-get install -y {package}")
        })
}

fn install_server() -> Result<(), String> {
    if server_is_installed() { Ok(()) } else { install("postgresql", "PostgreSQL server") }
}

/// What the tests use besides: connections are pooled by PgBouncer, `strace` fails and kills a
/// process at chosen system calls, and the verifiers below `event-store/verify` are written in the
/// others.
fn install_tools() -> Result<(), String> {
    // Below /usr/sbin, which an ordinary user's PATH may leave out.
    if !Path::new("/usr/sbin/pgbouncer").is_file()
        && Command::new("pgbouncer").arg("--version").output().is_err()
    {
        install("pgbouncer", "PgBouncer")?;
    }
    for tool in ["strace", "python3", "jq", "openssl", "xxd", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            install(tool, tool)?;
        }
    }
    // Another clock for the commands of the fault matrix.
    let has_library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1").is_file();
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    if !folders.map(|folder| folder.path()).any(has_library) {
        install("libfaketime", "libfaketime")?;
    }
    Ok(())
}

fn matrix(arguments: &[String]) -> Result<(), String> {
    install_server()?;
    install_tools()?;
    run(&mut cargo(&["build", "--locked", "--package", "annals-faults", "--examples"]))?;
    let mut command =
        cargo(&["run", "--locked", "--package", "annals-faults", "--example", "matrix", "--"]);
    run(command.args(arguments))
}

fn demo(arguments: &[String]) -> Result<(), String> {
    install_server()?;
    let mut tour = cargo(&["run", "--locked", "--package", "annals-cli", "--", "demo"]);
    if arguments.is_empty() {
        // Our own folder of an earlier tour makes room for the new one.
        let folder = root().join("target/annals-demo");
        if folder.join("annals.toml").is_file() {
            std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        tour.arg("target/annals-demo");
    }
    // A folder that is named lies where the caller stands.
    let here = std::env::current_dir().unwrap_or_default();
    let folders = arguments.iter().map(|argument| match argument.starts_with('-') {
        true => argument.into(),
        false => here.join(argument),
    });
    run(tour.args(folders))
}

/// How many tests run at a time, to nextest.
const TEST_THREADS: &str = "NEXTEST_TEST_THREADS";

fn test() -> Result<(), String> {
    install_server()?;
    install_tools()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let strict = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(&mut cargo(&strict))?;
    let has_nextest = cargo(&["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    if has_nextest {
        run(&mut cargo(&["test", "--locked", "--workspace", "--doc"]))?;
        let mut tests = cargo(&["nextest", "run", "--locked", "--workspace"]);
        if std::env::var_os(TEST_THREADS).is_none() {
            // Tests wait for servers a third of their time.
            let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
            tests.env(TEST_THREADS, (processors + processors / 2).to_string());
        }
        run(&mut tests)
    } else {
        run(&mut cargo(&["test", "--locked", "--workspace"]))
    }
}

fn bench(arguments: &[String]) -> Result<(), String> {
    let [name, rest @ ..] = arguments else { return Err(USAGE.to_owned()) };
    match name.as_str() {
        "events" => {}
        "log" => {
            install_tools()?;
            run(&mut cargo(&["build", "--locked", "--release", "--package", "annals-verify"]))?;
        }
        "backup" => {
            install_server()?;
            if Command::new("age").arg("--version").output().is_err() {
                install("age", "age")?;
            }
        }
        _ => install_server()?,
    }
    // Parts of one program: what they are measured with is the same.
    let (name, part) = match name.as_str() {
        part @ ("peers" | "proof" | "startup") => ("migrate", Some(part)),
        name => (name, None),
    };
    let mut command =
        cargo(&["bench", "--locked", "--package", "annals-cli", "--bench", name, "--"]);
    run(command.args(part).args(rest))
}

fn reference() -> Result<(), String> {
    let mut pages =
        cargo(&["test", "--locked", "--package", "annals-api", "--package", "annals-lint"]);
    pages.args(["--package", "annals-ci"]);
    run(pages.args(["--test", "reference"]).env("ANNALS_UPDATE_GOLDEN", "1"))?;
    let mut changes = cargo(&["test", "--locked", "--package", "annals-postgres"]);
    changes.args(["--test", "schema", "the_page_of_changes_is_the_table"]);
    run(changes.env("ANNALS_UPDATE_GOLDEN", "1"))
}
