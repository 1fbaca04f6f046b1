//! What the verification of a log says: every class, and that an honest log has none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use annals_events::{
    Actor, Chain, CheckpointAnchored, Draft, Event, EventId, FORMAT_VERSION, LogCreated, Origin,
    RunId, Scanned, Segment, Seq, StepSucceeded, Timestamp, TreeHash, scan, seal,
};
use annals_integrity::{DamageClass, KeptHead, KeptNote, LogAudit, LogVerification, Trust};
use annals_keys::{Checkpoint, KeyRing, SecretKey};
use uuid::Uuid;

const ORIGIN: &str = "demo/production";

/// A log in the making.
#[derive(Clone)]
struct Log {
    origin: Origin,
    chain: Chain,
    bytes: Vec<u8>,
}

impl Log {
    fn named(origin: &str) -> Self {
        let (origin, chain) = (origin.parse().unwrap(), Chain::default());
        let mut log = Self { origin, chain, bytes: Vec::new() };
        log.record(LogCreated {
            checkpoint_key: "demo+00000000+AQ==".into(),
            format: FORMAT_VERSION,
            target: "production".into(),
            workspace: "demo".into(),
        });
        log
    }

    /// `log_created`, then one event for each of `durations_us`.
    fn of(durations_us: &[u64]) -> Self {
        Self::named(ORIGIN).after(durations_us)
    }

    fn after(mut self, durations_us: &[u64]) -> Self {
        for duration_us in durations_us {
            let (run, transaction) = (RunId(Uuid::from_u128(7)), "742".into());
            self.record(StepSucceeded { duration_us: *duration_us, run, step: 0, transaction });
        }
        self
    }

    fn record(&mut self, event: impl Into<Event>) {
        let n = self.chain.size();
        let draft = Draft {
            event: event.into(),
            id: EventId(Uuid::from_u128(u128::from(n))),
            occurred_at: Timestamp::from_micros(0),
            actor: Actor { host: "h".into(), name: "n".into(), tool: "t".into() },
            target: None,
            incarnation: 0,
        };
        let now = Timestamp::from_micros(n as i64);
        seal(&mut self.chain, &self.origin, &draft, now, &mut self.bytes).unwrap();
    }

    fn head(&self) -> Checkpoint {
        let (origin, size, root) = (self.origin.clone(), self.chain.size(), self.chain.root());
        Checkpoint { origin, size, root }
    }

    fn sign(&self, key: &SecretKey) -> String {
        self.head().sign(key)
    }

    /// The bytes of the first `size` events.
    fn first_lines(&self, size: usize) -> &[u8] {
        let ends = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = ends.map(|(at, _)| at + 1).nth(size - 1).unwrap();
        &self.bytes[..end]
    }

    fn verify(&self, note: Option<&str>, trust: &Trust) -> LogVerification {
        verify(&[Segment { first: Seq(0), bytes: &self.bytes }], note, trust)
    }
}

fn verify(segments: &[Segment<'_>], note: Option<&str>, trust: &Trust) -> LogVerification {
    let mut audit = LogAudit::new(trust, note.map(str::as_bytes));
    let scanned = scan(segments, &audit.marks());
    scanned.events.iter().for_each(|recorded| audit.watch(recorded));
    audit.finish(&scanned.end)
}

fn verify_bytes(bytes: &[u8], note: &str, trust: &Trust) -> LogVerification {
    verify(&[Segment { first: Seq(0), bytes }], Some(note), trust)
}

fn key() -> SecretKey {
    SecretKey::generate("demo").unwrap()
}

fn trust(key: &SecretKey) -> Trust {
    Trust { ring: KeyRing::from(key.verifier()), kept: Vec::new(), required: 0 }
}

fn keeping(key: &SecretKey, notes: &[&str]) -> Trust {
    let kept = notes
        .iter()
        .enumerate()
        .map(|(n, note)| KeptNote { name: format!("k{n}"), note: note.as_bytes().to_vec() });
    Trust { kept: kept.collect(), ..trust(key) }
}

/// Class and first bad place of all that was found.
fn classes(found: &LogVerification) -> Vec<(DamageClass, Option<u64>)> {
    found.damages.iter().map(|damage| (damage.class, damage.at.map(|at| at.0))).collect()
}

#[test]
fn a_log_as_it_was_signed_is_intact() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let found = log.verify(Some(&log.sign(&key)), &trust(&key));
    assert!(found.is_intact(), "{found:?}");
    assert_eq!((found.events, found.signed, found.torn_bytes), (5, 5, 0));
    assert_eq!((found.bytes, found.signatures), (log.bytes.len() as u64, 1));
    // Five leaves, and two nodes over four of them and one over all.
    assert_eq!(found.hashes, 5 + 3);
    assert_eq!((found.root, found.origin.as_deref()), (log.chain.root(), Some(ORIGIN)));
    assert_eq!((found.unanchored_from, found.claimed_anchored, found.not_understood), (0, 0, 0));
}

#[test]
fn events_behind_the_checkpoint_and_a_torn_tail_leave_it_intact() {
    let (signed, longer, key) = (Log::of(&[1, 2]), Log::of(&[1, 2, 3, 4]), key());
    let bytes = [longer.bytes.as_slice(), b"{\"actor\":"].concat();
    let found = verify_bytes(&bytes, &signed.sign(&key), &trust(&key));
    assert!(found.is_intact(), "{found:?}");
    assert_eq!((found.events, found.signed, found.torn_bytes), (5, 3, 9));
    assert_eq!(found.root, longer.chain.root());
}

#[test]
fn a_changed_event_breaks_the_link_behind_it() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let text = String::from_utf8(log.bytes.clone()).unwrap();
    let text = text.replacen("\"duration_us\":1,", "\"duration_us\":9,", 1);
    let found = verify_bytes(text.as_bytes(), &log.sign(&key), &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::Link, Some(2))]);
    assert!(found.damages[0].reason.starts_with("prev is "), "{found:?}");
    assert_eq!((found.events, found.signed), (2, 5));
}

#[test]
fn a_line_that_is_no_event_is_content() {
    let (log, key) = (Log::of(&[1, 2]), key());
    let text = String::from_utf8(log.bytes.clone()).unwrap();
    let (spaced, doubled) = (
        text.replacen("\"duration_us\":1,", "\"duration_us\": 1,", 1),
        text.replacen("\"duration_us\":1,", "\"duration_us\":1,\"duration_us\":1,", 1),
    );
    for text in [spaced, doubled] {
        let found = verify_bytes(text.as_bytes(), &log.sign(&key), &trust(&key));
        assert_eq!(classes(&found), [(DamageClass::Content, Some(1))]);
    }
    let found = verify_bytes(b"{}\n", &log.sign(&key), &trust(&key));
    assert_eq!(found.damages[0].class, DamageClass::Content);
    assert_eq!((found.damages[0].at, found.events), (Some(Seq(0)), 0));
}

#[test]
fn a_removed_line_and_a_missing_segment_are_order() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let (note, trust) = (log.sign(&key), trust(&key));
    let (one, two) = (log.first_lines(1).len(), log.first_lines(2).len());
    let removed = [&log.bytes[..one], &log.bytes[two..]].concat();
    let line = verify_bytes(&removed, &note, &trust);
    assert_eq!(classes(&line), [(DamageClass::Order, Some(1))]);
    let first = Segment { first: Seq(0), bytes: &log.bytes[..one] };
    let gap =
        verify(&[first, Segment { first: Seq(2), bytes: &log.bytes[two..] }], Some(&note), &trust);
    assert_eq!(classes(&gap), [(DamageClass::Order, Some(1))]);
}

#[test]
fn a_closed_segment_that_ends_inside_a_line_is_content() {
    let (log, key) = (Log::of(&[1, 2]), key());
    let one = log.first_lines(1).len();
    let cut = Segment { first: Seq(0), bytes: &log.bytes[..one + 5] };
    let rest = Segment { first: Seq(1), bytes: &log.bytes[one..] };
    let found = verify(&[cut, rest], Some(&log.sign(&key)), &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::Content, Some(1))]);
}

#[test]
fn nothing_is_never_intact() {
    let (log, key) = (Log::of(&[]), key());
    let nothing = Checkpoint { size: 0, root: Chain::default().root(), ..log.head() }.sign(&key);
    for note in [None, Some(log.sign(&key)), Some(nothing)] {
        for bytes in [&b""[..], b"{\"actor\":"] {
            let segments = [Segment { first: Seq(0), bytes }];
            let found = verify(&segments, note.as_deref(), &trust(&key));
            assert_eq!(classes(&found)[0], (DamageClass::Nothing, Some(0)), "{found:?}");
        }
    }
    assert_eq!(classes(&verify(&[], None, &trust(&key)))[0], (DamageClass::Nothing, Some(0)));
}

#[test]
fn a_log_shorter_than_its_checkpoint_has_lost_its_tail() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let note = log.sign(&key);
    for size in 1..5 {
        let found = verify_bytes(log.first_lines(size), &note, &trust(&key));
        assert_eq!(classes(&found), [(DamageClass::CutTail, Some(size as u64))]);
        assert_eq!((found.events, found.signed), (size as u64, 5));
    }
}

#[test]
fn a_tail_cut_inside_a_line_is_a_cut_tail_with_torn_bytes() {
    let (log, key) = (Log::of(&[1, 2]), key());
    let bytes = &log.bytes[..log.bytes.len() - 1];
    let found = verify_bytes(bytes, &log.sign(&key), &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::CutTail, Some(2))]);
    assert_eq!(found.torn_bytes, (bytes.len() - log.first_lines(2).len()) as u64);
}

#[test]
fn a_rewritten_log_is_not_the_one_that_was_signed() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let rewritten = Log::of(&[9, 2, 3, 4]);
    let found = rewritten.verify(Some(&log.sign(&key)), &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::NotSigned, Some(4))]);
    assert_eq!(
        found.damages[0].reason,
        "this event, or one before it together with every link behind it, is not what the \
         checkpoint vouches for"
    );
    let root = TreeHash::from_bytes([7; 32]);
    let note = Checkpoint { root, ..log.head() }.sign(&key);
    let found = log.verify(Some(&note), &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::NotSigned, Some(4))]);
}

#[test]
fn a_checkpoint_of_another_log_vouches_for_nothing_here() {
    let (log, other, key) = (Log::of(&[1, 2]), Log::named("demo/staging").after(&[1]), key());
    for size in [2, 3] {
        let note = Checkpoint { size, ..other.head() }.sign(&key);
        let found = log.verify(Some(&note), &trust(&key));
        assert_eq!(classes(&found), [(DamageClass::Order, Some(0))], "{size}");
        assert_eq!(found.damages[0].reason, "the checkpoint is of log demo/staging");
    }
}

#[test]
fn a_checkpoint_no_known_key_has_signed_is_told_from_one_that_was_altered() {
    let (log, mine, other) = (Log::of(&[1, 2]), key(), key());
    let class = |note: &str| {
        let found = log.verify(Some(note), &trust(&mine));
        assert_eq!((found.events, found.signed, found.signatures), (3, 0, 0));
        let [(class, None)] = classes(&found)[..] else { panic!("{found:?}") };
        class
    };
    assert_eq!(class(&log.sign(&other)), DamageClass::UnknownKey);
    let altered = log.sign(&mine).replacen("\n3\n", "\n2\n", 1);
    assert_eq!(class(&altered), DamageClass::Signature);
    assert_eq!(class(&mine.sign_note("hello\n")), DamageClass::Signature);
    assert_eq!(class(""), DamageClass::Signature);
}

#[test]
fn without_a_checkpoint_nothing_vouches_for_the_log() {
    let (log, key) = (Log::of(&[1, 2]), key());
    let found = log.verify(None, &trust(&key));
    assert_eq!(classes(&found), [(DamageClass::Signature, None)]);
    assert_eq!((found.events, found.signed, found.root), (3, 0, log.chain.root()));
}

#[test]
fn a_retired_key_vouches_up_to_its_size() {
    let (log, old, new) = (Log::of(&[1, 2, 3]), key(), key());
    let mut ring = KeyRing::from(old.verifier());
    ring.add(new.verifier());
    ring.retire(&old.verifier(), [(log.origin.clone(), 3)].into());
    let trust = Trust { ring, kept: Vec::new(), required: 0 };
    let earlier = Log::of(&[1, 2]);
    assert!(log.verify(Some(&earlier.sign(&old)), &trust).is_intact());
    assert!(log.verify(Some(&log.sign(&new)), &trust).is_intact());
    let stolen = log.verify(Some(&log.sign(&old)), &trust);
    assert_eq!(classes(&stolen), [(DamageClass::UnknownKey, None)]);
}

#[test]
fn a_head_kept_elsewhere_that_fits_vouches_for_its_events() {
    let (log, key) = (Log::of(&[1, 2, 3, 4]), key());
    let (early, late) = (Log::of(&[1]).sign(&key), Log::of(&[1, 2, 3]).sign(&key));
    let trust = Trust { required: 2, ..keeping(&key, &[&early, &late]) };
    let found = log.verify(Some(&log.sign(&key)), &trust);
    assert!(found.is_intact(), "{found:?}");
    let head = |name: &str, size| KeptHead { name: name.into(), size: Some(size), fits: true };
    assert_eq!(found.kept, [head("k0", 2), head("k1", 4)]);
    assert_eq!((found.unanchored_from, found.signatures), (4, 3));
    let trust = Trust { required: 3, ..trust };
    let found = log.verify(Some(&log.sign(&key)), &trust);
    assert_eq!(classes(&found), [(DamageClass::FewAnchors, None)]);
}

#[test]
fn a_larger_kept_head_means_an_older_copy() {
    let (older, newer, key) = (Log::of(&[1, 2]), Log::of(&[1, 2, 3]), key());
    let trust = keeping(&key, &[&newer.sign(&key)]);
    let found = older.verify(Some(&older.sign(&key)), &trust);
    assert_eq!(classes(&found), [(DamageClass::OlderCopy, Some(3))]);
    assert_eq!((found.kept[0].fits, found.unanchored_from), (false, 0));
}

#[test]
fn two_signed_heads_that_do_not_fit_are_a_fork_of_which_both_are_kept() {
    let (kept, shown, key) = (Log::of(&[1, 2]), Log::of(&[1, 9, 3]), key());
    let (theirs, ours) = (kept.sign(&key), shown.sign(&key));
    let found = shown.verify(Some(&ours), &keeping(&key, &[&theirs]));
    assert_eq!(classes(&found), [(DamageClass::Fork, Some(2))]);
    let [fork] = &found.forks[..] else { panic!("{found:?}") };
    assert_eq!((fork.kept_size, fork.own_size), (3, 4));
    assert_eq!((&fork.kept[..], &fork.own[..]), (theirs.as_bytes(), ours.as_bytes()));
}

#[test]
fn a_kept_head_that_does_not_count_is_named_and_fits_nothing() {
    let (log, key, other) = (Log::of(&[1, 2]), key(), key());
    let (unknown, foreign) = (log.sign(&other), Log::named("demo/staging").sign(&key));
    let cases = [
        ("rubbish", DamageClass::Signature, None),
        (&unknown, DamageClass::UnknownKey, None),
        (&foreign, DamageClass::Order, Some(0)),
    ];
    for (note, class, at) in cases {
        let trust = Trust { required: 1, ..keeping(&key, &[note]) };
        let found = log.verify(Some(&log.sign(&key)), &trust);
        assert_eq!(classes(&found), [(class, at), (DamageClass::FewAnchors, None)]);
        assert!(found.damages[0].reason.contains("the head kept in k0"), "{found:?}");
        assert!(!found.kept[0].fits);
    }
}

#[test]
fn what_the_log_says_an_anchor_holds_is_a_claim() {
    let (mut log, key) = (Log::of(&[1, 2]), key());
    let root = log.chain.root();
    let (anchor, kind) = ("vault".to_owned(), "folder".to_owned());
    log.record(CheckpointAnchored { anchor, kind, root, size: 3 });
    let found = log.verify(Some(&log.sign(&key)), &trust(&key));
    assert!(found.is_intact(), "{found:?}");
    assert_eq!((found.claimed_anchored, found.unanchored_from), (3, 0));
}

#[test]
fn every_class_has_its_own_word_and_code() {
    let all = DamageClass::ALL;
    let words: std::collections::BTreeSet<&str> = all.iter().map(|class| class.as_str()).collect();
    let codes: std::collections::BTreeSet<u8> = all.iter().map(|class| class.exit_code()).collect();
    assert_eq!((words.len(), codes.len()), (all.len(), all.len()));
    assert!(codes.iter().all(|code| (20..32).contains(code)), "{codes:?}");
    assert!(all.is_sorted(), "the order of the verdict");
}

#[test]
fn a_scan_that_noted_no_root_vouches_for_nothing() {
    let (log, key) = (Log::of(&[1, 2]), key());
    let (trust, note) = (trust(&key), log.sign(&key));
    let blind: Scanned = scan(&[Segment { first: Seq(0), bytes: &log.bytes }], &[]).end;
    let found = LogAudit::new(&trust, Some(note.as_bytes())).finish(&blind);
    assert!(!found.is_intact());
}
