//! What annals asks of the network and of the disk, counted from outside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use annals_testkit::{Server, Workspace};

use crate::workload::{annals, drop_database, fill, forget, fresh_database, with_database};

/// How often each thing was seen.
type Counts = BTreeMap<String, usize>;

/// Migrations of the two runs whose difference is what one migration costs.
const FEW: usize = 10;
const MANY: usize = 60;

/// What a thing is that is seen once a migration: how it begins, and why it is done.
const REASONS: &[(&str, &str)] = &[
    (
        "message RESET SESSION",
        "the session as it began, BEGIN with its limits, has the lock been ours, the ledger row, the file",
    ),
    (
        "message SELECT pg_catalog.set_config('synchronous_commit'",
        "still the same transaction? will it be durable? COMMIT",
    ),
    (
        "fdatasync segments",
        "the outcome of the step before and the intent of this one, durable before COMMIT is sent",
    ),
];

fn reason(thing: &str) -> &'static str {
    let known = REASONS.iter().find(|(start, _)| thing.starts_with(start));
    known.map_or("not known to this program", |(_, reason)| reason)
}

/// Counts what clients ask: each simple query and each `Sync` is a round trip.
struct CountingProxy {
    port: u16,
    seen: Arc<Mutex<Counts>>,
}

impl CountingProxy {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let seen = Arc::new(Mutex::new(Counts::new()));
        let counts = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to)).expect("the server listens");
                let counts = Arc::clone(&counts);
                thread::spawn(move || pass(client, server, &counts));
            }
        });
        Self { port, seen }
    }
}

/// The beginning of a message's text, which says what it is.
fn name(text: &[u8]) -> String {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let words = String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(60).collect()
}

fn pass(mut client: TcpStream, mut server: TcpStream, counts: &Mutex<Counts>) {
    client.set_nodelay(true).expect("a socket");
    server.set_nodelay(true).expect("a socket");
    let (mut answers, mut back) =
        (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
    let returning = thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    // The first message has no type; every later one is a type and a length that counts itself.
    let (mut bytes, mut buffer, mut begun, mut parsed) = (Vec::new(), [0; 65_536], false, None);
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        loop {
            let header = usize::from(begun);
            let Some(length) = bytes.get(header..header + 4) else { break };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if bytes.len() < header + length {
                break;
            }
            let message: Vec<u8> = bytes.drain(..header + length).collect();
            let body = &message[header + 4..];
            let seen = match (begun, message[0]) {
                (false, _) => Some("connect".to_owned()),
                (true, b'p') => Some("password".to_owned()),
                (true, b'Q') => Some(format!("message {}", name(body))),
                (true, b'P') => {
                    let text = body.splitn(2, |byte| *byte == 0).nth(1).unwrap_or_default();
                    parsed = Some(name(text));
                    None
                }
                (true, b'S') => Some(match parsed.take() {
                    Some(text) => format!("prepare {text}"),
                    None => "execute what was prepared".to_owned(),
                }),
                (true, _) => None,
            };
            begun = true;
            if let Some(seen) = seen {
                *counts.lock().expect("nobody panics").entry(seen).or_default() += 1;
            }
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = returning.join();
}

/// Round trips of one first run of `count` migrations.
fn round_trips(server: &Server, count: usize) -> Counts {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    let (proxy, database) = (CountingProxy::start(server.tcp_port()), format!("trips{count}"));
    fresh_database(server, &database);
    let (direct, by_proxy) = (format!(":{}/", server.tcp_port()), format!(":{}/", proxy.port));
    let url = with_database(&server.tcp_url().replace(&direct, &by_proxy), &database);
    let mut command = annals(workspace.folder(), &url, "migrate");
    let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "annals migrate");
    drop_database(server, &database);
    std::mem::take(&mut *proxy.seen.lock().expect("nobody panics"))
}

/// Syncs of the disk in one first run of `count` migrations, by what was synced; nothing where there
/// is no `strace`.
fn syncs(server: &Server, count: usize) -> Option<Counts> {
    let workspace = Workspace::new(server);
    fill(&workspace, count);
    forget(workspace.folder());
    let database = format!("syncs{count}");
    fresh_database(server, &database);
    let url = with_database(&server.url(), &database);
    let run = annals(workspace.folder(), &url, "migrate");
    let trace = workspace.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fdatasync,fsync", "-o"]).arg(&trace);
    command.arg(run.get_program()).args(run.get_args()).current_dir(workspace.folder());
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    assert!(status.success(), "strace annals migrate");
    drop_database(server, &database);
    let mut counts = Counts::new();
    let root = workspace.folder().canonicalize().expect("it is there");
    for line in std::fs::read_to_string(&trace).expect("strace has written it").lines() {
        let call =
            ["fdatasync", "fsync"].into_iter().find(|call| line.contains(&format!(" {call}(")));
        let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let (Some(call), Some((path, _))) = (call, path) else { continue };
        let path = path.strip_prefix(&*root.to_string_lossy()).unwrap_or(path);
        let part = path.split('/').find(|part| {
            ["segments", "blobs", "tiles", "checkpoint", "keys"]
                .iter()
                .any(|known| part.starts_with(known))
        });
        *counts.entry(format!("{call} {}", part.unwrap_or("the folder"))).or_default() += 1;
    }
    Some(counts)
}

fn total(counts: &Counts) -> usize {
    counts.values().sum()
}

/// Prints what grows with the migrations, each with its reason, and what a run costs besides.
fn show(what: &str, few: &Counts, many: &Counts) {
    let mut once_a_migration = 0;
    for (thing, count) in many {
        let before = few.get(thing).copied().unwrap_or_default();
        let each = (count - before.min(*count)) as f64 / (MANY - FEW) as f64;
        if each > 0.1 {
            once_a_migration += (each * FEW as f64).round() as usize;
            println!("  {each:>5.2} a migration  {thing}…\n{:>21}{}", "", reason(thing));
        }
    }
    let once_a_run = total(few).saturating_sub(once_a_migration);
    println!("  {once_a_run:>5} a run        {what} that do not grow with the migrations");
}

/// Counts both and prints them.
pub(crate) fn print(server: &Server) {
    println!("\nround trips, by a proxy that counts (first runs of {FEW} and {MANY} migrations)");
    show("round trips", &round_trips(server, FEW), &round_trips(server, MANY));
    println!("syncs of the disk, by strace (the same runs; the server's own are not counted)");
    match (syncs(server, FEW), syncs(server, MANY)) {
        (Some(few), Some(many)) => show("syncs", &few, &many),
        _ => println!("  not counted: strace is not installed (apt-get install -y strace)"),
    }
}
