//! What somebody with every right over a home can do to a log, and how opening it says so.

use annals_event_store::{KnownHead, OpenError};
use annals_events::{Chain, Draft, Event, LeafHash, Origin, Recorded, decode, seal};
use annals_keys::SecretKey;

use crate::drafts::{created, fact};
use crate::home::{Home, Log};

/// The classes of [`OpenError`] that alterations end in.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Damaged,
    CutTail,
    OtherHistory,
    Older,
    Forked,
    NeverSigned,
    Checkpoint,
    Opened,
    Another,
}

fn class(result: Result<(), OpenError>) -> Class {
    match result {
        Ok(()) => Class::Opened,
        Err(OpenError::Damaged { .. }) => Class::Damaged,
        Err(OpenError::CutTail { .. }) => Class::CutTail,
        Err(OpenError::OtherHistory { .. }) => Class::OtherHistory,
        Err(OpenError::Older { .. }) => Class::Older,
        Err(OpenError::Forked { .. }) => Class::Forked,
        Err(OpenError::NeverSigned { .. }) => Class::NeverSigned,
        Err(OpenError::Checkpoint { .. }) => Class::Checkpoint,
        Err(_) => Class::Another,
    }
}

/// The lines again, from event `from` on each sealed anew as `change` wants it: a history without
/// a fault in it that is another one.
fn rewritten(
    lines: &[Vec<u8>],
    origin: &Origin,
    from: usize,
    change: impl Fn(usize, &mut Event),
) -> Vec<Vec<u8>> {
    let mut chain = Chain::default();
    let again = lines.iter().enumerate().map(|(at, line)| {
        let recorded = decode(line).expect("the lines are sound");
        let mut sealed = Vec::new();
        let mut draft = Draft {
            event: recorded.event,
            id: recorded.id,
            occurred_at: recorded.occurred_at,
            actor: recorded.actor,
            target: recorded.target,
            incarnation: recorded.incarnation,
        };
        if at >= from {
            change(at, &mut draft.event);
        }
        seal(&mut chain, origin, &draft, recorded.recorded_at, &mut sealed).expect("it seals");
        sealed.pop();
        sealed
    });
    again.collect()
}

fn changed(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(line).expect("a line is UTF-8");
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

/// Every alteration of the lines, and how it is told.
fn alterations(lines: &[Vec<u8>], origin: &Origin) -> Vec<(&'static str, Vec<Vec<u8>>, Class)> {
    let last = lines.len() - 1;
    let with = |at: usize, line: Vec<u8>| {
        let mut altered = lines.to_vec();
        altered[at] = line;
        altered
    };
    let mut list: Vec<(&'static str, Vec<Vec<u8>>, Class)> = Vec::new();
    let mut add = |name, lines, class| list.push((name, lines, class));
    for (at, name) in [(0, "first"), (2, "one in the middle")] {
        let line = changed(&lines[at], "\"host\":\"h\"", "\"host\":\"i\"");
        add(name, with(at, line), Class::Damaged);
    }
    // Nothing links to the last one: only the signed root shows it.
    let line = changed(&lines[last], "\"host\":\"h\"", "\"host\":\"i\"");
    add("the last signed one", with(last, line), Class::OtherHistory);
    add("a space", with(2, changed(&lines[2], "{\"actor\"", "{ \"actor\"")), Class::Damaged);
    let twice = "{\"host\":\"i\",\"host\":\"h\"";
    add("a key twice", with(2, changed(&lines[2], "{\"host\":\"h\"", twice)), Class::Damaged);
    add("a fraction", with(2, changed(&lines[2], "\"seq\":2", "\"seq\":2.0")), Class::Damaged);
    let beyond = "\"steps\":9007199254740993";
    add("beyond 2^53", with(2, changed(&lines[2], "\"steps\":1", beyond)), Class::Damaged);
    add("no JSON", with(2, b"rubbish".to_vec()), Class::Damaged);
    add("not UTF-8", with(2, vec![b'{', 0xff, b'}']), Class::Damaged);
    add("NUL", with(2, changed(&lines[2], "\"h\"", "\"\0\"")), Class::Damaged);
    let mut without = lines.to_vec();
    without.remove(2);
    add("one removed", without, Class::Damaged);
    let mut doubled = lines.to_vec();
    doubled.insert(2, lines[2].clone());
    add("one twice", doubled, Class::Damaged);
    let mut swapped = lines.to_vec();
    swapped.swap(2, 3);
    add("two swapped", swapped, Class::Damaged);
    add("the beginning removed", lines[1..].to_vec(), Class::Damaged);
    add("the tail cut", lines[..last].to_vec(), Class::CutTail);
    add("all but the first cut", lines[..1].to_vec(), Class::CutTail);
    add("nothing left", Vec::new(), Class::Damaged);
    let other = rewritten(lines, origin, 2, |at, event| {
        *event = fact(1_000 + at as u64).event;
    });
    add("all from one on sealed anew", other, Class::OtherHistory);
    let elsewhere: Origin = "conformance/elsewhere".parse().expect("an origin");
    let other = rewritten(lines, &elsewhere, usize::MAX, |_, _| {});
    add("another log", other, Class::OtherHistory);
    let second = created(&SecretKey::generate("x").expect("there is randomness")).event;
    let other = rewritten(lines, origin, 3, |at, event| {
        if at == 3 {
            *event = second.clone();
        }
    });
    add("a second beginning", other, Class::Damaged);
    list
}

/// Whatever is done to the lines is refused, by the class it has in every home, and nothing is
/// changed by refusing.
pub async fn every_alteration_of_the_lines_is_refused_by_its_class<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "lines").await;
    log.must_append(&mut store, &[fact(1), fact(2), fact(3)]).await;
    log.must_append(&mut store, &[fact(4)]).await;
    log.publish(&mut store).await;
    drop(store);
    let lines = log.lines().await;
    for (name, altered, expected) in alterations(&lines, log.origin()) {
        home.replace_lines(log.origin(), &altered).await;
        let opened = log.open().await;
        let text = opened.as_ref().err().map(ToString::to_string);
        assert_eq!(class(opened.map(drop)), expected, "{name}: {text:?}");
        assert_eq!(log.lines().await, altered, "{name}: refusing changed it");
    }
    home.replace_lines(log.origin(), &lines).await;
    log.goes_on().await;
}

/// A log without a checkpoint, or with one that no key that counts has signed, is refused.
pub async fn any_checkpoint_but_a_signed_one_is_refused<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "notes").await;
    log.must_append(&mut store, &[fact(1)]).await;
    let checkpoint = log.publish(&mut store).await;
    drop(store);
    let good = checkpoint.sign(log.key());
    let stranger = SecretKey::generate("conformance").expect("there is randomness");
    let mut larger = checkpoint.clone();
    larger.size = 3;
    let mut foreign = checkpoint.clone();
    foreign.origin = "conformance/elsewhere".parse().expect("an origin");
    let forged = good.replacen("\n2\n", "\n1\n", 1);
    for (name, note, expected) in [
        ("none", None, Class::NeverSigned),
        ("empty", Some(String::new()), Class::Checkpoint),
        ("another text", Some(log.key().sign_note("hello\n")), Class::Checkpoint),
        ("a stranger's", Some(checkpoint.sign(&stranger)), Class::Checkpoint),
        ("an edited one", Some(forged), Class::Checkpoint),
        ("one over more events", Some(larger.sign(log.key())), Class::CutTail),
        ("another log's", Some(foreign.sign(log.key())), Class::OtherHistory),
    ] {
        home.replace_note(log.origin(), note.as_deref().map(str::as_bytes)).await;
        let opened = log.open().await;
        let text = opened.as_ref().err().map(ToString::to_string);
        assert_eq!(class(opened.map(drop)), expected, "{name}: {text:?}");
    }
    home.replace_note(log.origin(), Some(good.as_bytes())).await;
    log.goes_on().await;
}

/// An older copy verifies by itself; a head seen elsewhere shows it, and shows a fork.
pub async fn a_head_that_somebody_has_seen_must_be_in_the_log<H: Home>(home: &H) {
    let (log, mut store) = Log::create(home, "known").await;
    log.must_append(&mut store, &[fact(1), fact(2)]).await;
    let older = (log.lines().await, log.publish(&mut store).await.sign(log.key()));
    let later: Vec<Recorded> = log.must_append(&mut store, &[fact(3), fact(4)]).await;
    log.publish(&mut store).await;
    drop(store);
    let seen = KnownHead { size: later[1].seq.0 + 1, leaf: later[1].leaf };
    let between = KnownHead { size: later[0].seq.0 + 1, leaf: later[0].leaf };
    let another = KnownHead { leaf: LeafHash::of_line(b"another"), ..between };
    let beyond = KnownHead { size: 6, leaf: LeafHash::of_line(b"beyond") };
    let now = log.lines().await;
    for (known, expected) in [
        (&[seen, between][..], Class::Opened),
        (&[another], Class::Forked),
        // The later hash stands for all before it: the earlier was altered where it was kept.
        (&[seen, another], Class::Opened),
        (&[beyond], Class::Older),
    ] {
        assert_eq!(class(log.open_knowing(known).await.map(drop)), expected, "{known:?}");
    }
    home.replace_lines(log.origin(), &older.0).await;
    home.replace_note(log.origin(), Some(older.1.as_bytes())).await;
    for known in [&[seen][..], &[between], &[between, seen]] {
        assert_eq!(class(log.open_knowing(known).await.map(drop)), Class::Older, "{known:?}");
    }
    assert_eq!(class(log.open().await.map(drop)), Class::Opened, "by itself it is whole");
    assert_eq!(log.lines().await, older.0, "refusing changed it");
    // A tail that was written anew behind the signed part is another one than was seen.
    let forked = rewritten(&now, log.origin(), 3, |_, event| *event = fact(9).event);
    home.replace_lines(log.origin(), &forked).await;
    assert_eq!(class(log.open_knowing(&[seen]).await.map(drop)), Class::Forked);
}
