//! What an event costs: appending and verifying, each against the least that must be done with the
//! same bytes in the same run. Prints ratios; judges nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use annals_events::{
    Actor, Chain, Digest, Direction, Draft, EventId, FORMAT_VERSION, FileRef, LogCreated, Origin,
    RunId, Segment, Seq, StepMode, StepStarted, TargetIdentity, Timestamp, scan, seal,
};
use uuid::Uuid;

const EVENTS: usize = 20_000;
const ROUNDS: usize = 15;

fn created() -> LogCreated {
    LogCreated {
        checkpoint_key: "demo+00000000+AQ==".into(),
        format: FORMAT_VERSION,
        target: "production".into(),
        workspace: "demo".into(),
    }
}

fn draft(n: u128) -> Draft {
    let file = |name: &str| FileRef {
        canonical: Digest::of(name.as_bytes()),
        name: name.to_owned(),
        raw: Digest::of(&n.to_be_bytes()),
    };
    let started = StepStarted {
        direction: Direction::Up,
        file: file("20250921_171500_add_agent_metrics_table.sql"),
        mode: StepMode::Transactional,
        name: "add_agent_metrics_table".to_owned(),
        ordinal: 1,
        rollback: Some(file("20250921_171500_add_agent_metrics_table_rollback.sql")),
        run: RunId(Uuid::from_u128(n)),
        statements: 6,
        step: 3,
        version: "20250921_171500".parse().expect("a version"),
    };
    Draft {
        event: if n == 0 { created().into() } else { started.into() },
        id: EventId(Uuid::from_u128(n)),
        occurred_at: Timestamp::from_micros(1_767_225_600_000_000),
        actor: Actor { host: "build-7".into(), name: "lucja".into(), tool: "annals 0.1.0".into() },
        target: Some(TargetIdentity {
            database: "app".into(),
            system_identifier: "7412345678901234567".into(),
            timeline: 1,
        }),
        incarnation: 0,
    }
}

fn append(drafts: &[Draft]) -> Vec<u8> {
    let origin: Origin = "demo/production".parse().expect("an origin");
    let (mut chain, mut lines) = (Chain::default(), Vec::new());
    for (n, draft) in drafts.iter().enumerate() {
        let now = Timestamp::from_micros(1_767_225_600_000_000 + n as i64 * 10);
        seal(&mut chain, &origin, draft, now, &mut lines).expect("a draft that fits");
    }
    lines
}

/// The least an append must do: one SHA-256 pass, and one formatting pass over as many bytes.
fn append_floor(values: &[serde_json::Value]) -> usize {
    let mut buffer = Vec::new();
    let mut bytes = 0;
    for value in values {
        buffer.clear();
        serde_json::to_writer(&mut buffer, value).expect("a buffer takes everything");
        black_box(ring::digest::digest(&ring::digest::SHA256, &buffer));
        bytes += buffer.len();
    }
    bytes
}

/// The least a verification must do: one SHA-256 pass and one parse of the same bytes.
fn verify_floor(lines: &[u8]) -> usize {
    let mut parsed = 0;
    for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        black_box(ring::digest::digest(&ring::digest::SHA256, line));
        let value: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
        parsed += usize::from(black_box(value).is_object());
    }
    parsed
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let clock = Instant::now();
    black_box(work());
    clock.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(name: &str, ours: Vec<Duration>, floor: Vec<Duration>) {
    let each = |times: Vec<Duration>| median(times).as_secs_f64() * 1e6 / EVENTS as f64;
    let (ours, floor) = (each(ours), each(floor));
    println!(
        "{name:<8} {ours:>7.2} µs an event   floor {floor:>6.2} µs   ratio {:.2}",
        ours / floor
    );
}

fn main() {
    let drafts: Vec<Draft> = (0..EVENTS as u128).map(draft).collect();
    let lines = append(&drafts);
    let values: Vec<serde_json::Value> = lines
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
        .collect();
    println!(
        "{EVENTS} events, {} bytes each, median of {ROUNDS} interleaved rounds",
        lines.len() / EVENTS
    );
    let (mut a, mut af, mut v, mut vf) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        a.push(timed(|| append(&drafts)));
        af.push(timed(|| append_floor(&values)));
        let segment = Segment { first: Seq(0), bytes: &lines };
        v.push(timed(|| {
            let scan = scan(&[segment], &[EVENTS as u64]);
            assert!(scan.end.damage.is_none(), "the log is intact");
        }));
        vf.push(timed(|| verify_floor(&lines)));
    }
    report("append", a, af);
    report("verify", v, vf);
}
