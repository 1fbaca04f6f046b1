//! What each kind of knowledge finds of each kind of tampering: one row an attack, one column a
//! level. That an attack passes is part of the table: whoever relies on a level should know it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_events::{
    Actor, Chain, Draft, Event, EventId, FORMAT_VERSION, LogCreated, Origin, RunId, Segment, Seq,
    StepSucceeded, Timestamp, scan, seal,
};
use annals_integrity::DamageClass::{self, *};
use annals_integrity::{KeptNote, Trust};
use annals_keys::{Checkpoint, KeyRing, SecretKey};
use annals_verify::verify_stream;
use uuid::Uuid;

/// Events when the auditor last came, and kept the head.
const REMEMBERED: usize = 300;
/// Events the anchor has seen: all there are.
const ANCHORED: usize = 400;

/// What stands at a place of a log. Two logs with the same facts have the same bytes.
type Fact = u64;

fn origin() -> Origin {
    "demo/production".parse().unwrap()
}

/// The log of these facts, every link as it must be.
fn told(facts: &[Fact]) -> (Vec<u8>, Chain) {
    let (mut chain, mut bytes) = (Chain::default(), Vec::new());
    for (n, fact) in facts.iter().enumerate() {
        let event = match n {
            0 => Event::from(LogCreated {
                checkpoint_key: "demo+00000000+AQ==".into(),
                format: FORMAT_VERSION,
                target: "production".into(),
                workspace: "demo".into(),
            }),
            _ => StepSucceeded {
                duration_us: *fact,
                run: RunId(Uuid::from_u128(7)),
                step: 0,
                transaction: "742".into(),
            }
            .into(),
        };
        let draft = Draft {
            event,
            id: EventId(Uuid::from_u128(u128::from(*fact))),
            occurred_at: Timestamp::from_micros(0),
            actor: Actor { host: "h".into(), name: "n".into(), tool: "t".into() },
            target: None,
            incarnation: 0,
        };
        let now = Timestamp::from_micros(n as i64);
        seal(&mut chain, &origin(), &draft, now, &mut bytes).unwrap();
    }
    (bytes, chain)
}

fn head(facts: &[Fact], key: &SecretKey) -> String {
    let chain = told(facts).1;
    Checkpoint { origin: origin(), size: chain.size(), root: chain.root() }.sign(key)
}

/// What somebody is shown: lines, and a signed head beside them.
struct Shown {
    lines: Vec<u8>,
    note: String,
}

/// What the levels say: lines alone; with the signed head; with the head the auditor kept; with
/// that of the anchor.
fn levels(
    shown: &Shown,
    ring: &KeyRing,
    remembered: &str,
    anchored: &str,
) -> [Option<DamageClass>; 4] {
    let lines = scan(&[Segment { first: Seq(0), bytes: &shown.lines }], &[]).end;
    let class = |notes: &[&str]| {
        let kept =
            notes.iter().map(|note| KeptNote { name: "kept".into(), note: note.as_bytes().into() });
        let trust = Trust { ring: ring.clone(), kept: kept.collect(), required: 0 };
        let export = format!("{}\n", shown.note).into_bytes();
        let export = [export, shown.lines.clone()].concat();
        let (report, _) = verify_stream("shown", export.as_slice(), None, &trust);
        DamageClass::ALL.into_iter().find(|class| class.as_str() == report.verdict)
    };
    // The chain is all that the lines have: its class is the one the other levels name too.
    let chain = lines.damage.map(|_| class(&[]).unwrap());
    [chain, class(&[]), class(&[remembered]), class(&[remembered, anchored])]
}

#[test]
fn what_each_level_finds_of_each_attack() {
    let (key, old, stranger) = (
        SecretKey::generate("demo").unwrap(),
        SecretKey::generate("demo").unwrap(),
        SecretKey::generate("demo").unwrap(),
    );
    let mut ring = KeyRing::from(old.verifier());
    ring.add(key.verifier());
    ring.retire(&old.verifier(), [(origin(), 200)].into());

    let honest: Vec<Fact> = (0..ANCHORED as Fact).collect();
    let with = |change: &dyn Fn(&mut Vec<Fact>)| {
        let mut facts = honest.clone();
        change(&mut facts);
        facts
    };
    let newest = head(&honest, &key);
    let (remembered, anchored) = (head(&honest[..REMEMBERED], &key), newest.clone());
    let show = |facts: &[Fact], note: &str| Shown { lines: told(facts).0, note: note.into() };
    let edited_byte = {
        let lines = String::from_utf8(told(&honest).0).unwrap();
        let lines = lines.replacen("\"duration_us\":100,", "\"duration_us\":101,", 1);
        Shown { lines: lines.into_bytes(), note: newest.clone() }
    };
    let signed_by = |facts: &[Fact], key: &SecretKey| show(facts, &head(facts, key));
    let longer: Vec<Fact> = (0..410).collect();
    let forged = |at: usize| with(&|facts| facts[at] = 9_999);
    let mut forked = longer.clone();
    forked[405] = 9_999;

    let (link, cut, none) = (Some(Link), Some(CutTail), None);
    let (not_signed, fork, older) = (Some(NotSigned), Some(Fork), Some(OlderCopy));
    let unknown = Some(UnknownKey);
    let rows = [
        ("a byte edited, nothing made anew", edited_byte, [link, link, link, link]),
        (
            "an event edited, every link made anew",
            show(&forged(100), &newest),
            [none, not_signed, not_signed, not_signed],
        ),
        (
            "an event deleted, every link made anew",
            show(&with(&|facts| facts.retain(|fact| *fact != 100)), &newest),
            [none, cut, cut, cut],
        ),
        (
            "an event inserted, every link made anew",
            show(&with(&|facts| facts.insert(100, 9_999)), &newest),
            [none, not_signed, not_signed, not_signed],
        ),
        (
            "two events exchanged, every link made anew",
            show(&with(&|facts| facts.swap(100, 200)), &newest),
            [none, not_signed, not_signed, not_signed],
        ),
        ("the tail cut, the head kept", show(&honest[..380], &newest), [none, cut, cut, cut]),
        (
            "back to 350 events with the head of then",
            signed_by(&honest[..350], &key),
            [none, none, none, older],
        ),
        (
            "back to 250 events, fewer than the auditor remembers",
            signed_by(&honest[..250], &key),
            [none, none, older, older],
        ),
        (
            "the key stolen, event 100 told differently and signed",
            signed_by(&forged(100), &key),
            [none, none, fork, fork],
        ),
        (
            "the key stolen, event 350 told differently and signed",
            signed_by(&forged(350), &key),
            [none, none, none, fork],
        ),
        (
            "the key stolen, what is behind the anchored size told differently",
            signed_by(&forked, &key),
            [none, none, none, none],
        ),
        (
            "a retired key stolen, event 350 told differently and signed",
            signed_by(&forged(350), &old),
            [none, unknown, unknown, unknown],
        ),
        (
            "a retired key stolen, told differently up to the size it counts for",
            signed_by(&with(&|facts| facts[100] = 9_999)[..200], &old),
            [none, none, older, older],
        ),
        (
            "signed by somebody else",
            signed_by(&forged(350), &stranger),
            [none, unknown, unknown, unknown],
        ),
        ("an honest append", signed_by(&longer, &key), [none, none, none, none]),
        ("nothing", signed_by(&honest, &key), [none, none, none, none]),
    ];
    for (attack, shown, expected) in rows {
        assert_eq!(levels(&shown, &ring, &remembered, &anchored), expected, "{attack}");
    }
}
