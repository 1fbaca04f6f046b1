//! Damaged copies of the golden log, each as the few files in which it differs.

use annals_events::{Chain, LeafHash, TreeHash};
use annals_integrity::DamageClass::{self, *};
use annals_keys::{Checkpoint, SecretKey};
use serde_json::{Value, json};

use crate::published::{Files, lines};
use crate::story::{ORIGIN, Story, key};

/// What was done to a copy, and what a verifier must say.
pub(crate) struct Case {
    name: &'static str,
    what: &'static str,
    /// Files that differ, below `log/`; heads that were kept, below `known/`.
    files: Files,
    /// Files and folders that are gone.
    removed: Vec<String>,
    required: usize,
    class: Option<DamageClass>,
    at: Option<u64>,
    /// The same in a folder alone, for what an export does not hold.
    folder_only: bool,
    not_understood: u64,
    torn_bytes: u64,
}

impl Case {
    fn new(name: &'static str, what: &'static str, class: DamageClass, at: Option<u64>) -> Self {
        Self {
            name,
            what,
            files: Files::new(),
            removed: Vec::new(),
            required: 0,
            class: Some(class),
            at,
            folder_only: false,
            not_understood: 0,
            torn_bytes: 0,
        }
    }

    fn intact(name: &'static str, what: &'static str) -> Self {
        Self { class: None, ..Self::new(name, what, Content, None) }
    }

    fn with(mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(format!("log/{}", path.into()), bytes.into());
        self
    }

    fn known(mut self, note: &str) -> Self {
        let n = self.files.keys().filter(|path| path.starts_with("known/")).count() + 1;
        self.files.insert(format!("known/{n}"), note.into());
        self
    }

    fn without(mut self, paths: &[&str]) -> Self {
        self.removed.extend(paths.iter().map(|path| (*path).to_owned()));
        self
    }

    /// How a test and an auditor's script run it.
    fn document(&self) -> Value {
        let known: Vec<&String> =
            self.files.keys().filter(|path| path.starts_with("known/")).collect();
        json!({
            "what": self.what,
            "remove": self.removed,
            "known": known,
            "require_known": self.required,
            "forms": if self.folder_only { json!(["folder"]) } else { json!(["folder", "export", "stream"]) },
            "verdict": self.class.map_or("intact", DamageClass::as_str),
            "exit_code": self.class.map_or(0, DamageClass::exit_code),
            "first_bad_seq": self.at,
            "not_understood": self.not_understood,
            "torn_bytes": self.torn_bytes,
        })
    }
}

/// The golden log in pieces to be broken.
struct Copy {
    story: Story,
    lines: Vec<Vec<u8>>,
    /// Where its segments begin.
    firsts: Vec<usize>,
}

/// `line` with some members changed, in canonical form.
fn with(line: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(line).unwrap();
    change(&mut value);
    let line = value.to_string().into_bytes();
    annals_events::check_canonical(&line).unwrap();
    line
}

/// `line` with `old` replaced by `new`, in whatever form that gives.
fn replaced(line: &[u8], old: &str, new: &str) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    assert!(text.contains(old), "{old} in {text}");
    text.replacen(old, new, 1).into_bytes()
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
}

fn root_of(lines: &[Vec<u8>]) -> TreeHash {
    let mut tree = annals_events::CompactRange::default();
    lines.iter().for_each(|line| tree.push(LeafHash::of_line(line)));
    tree.root()
}

fn signed(origin: &str, lines: &[Vec<u8>], key: &SecretKey) -> String {
    let (origin, size) = (origin.parse().unwrap(), lines.len() as u64);
    Checkpoint { origin, size, root: root_of(lines) }.sign(key)
}

fn segment(first: usize) -> String {
    format!("segments/{first:020}.jsonl")
}

impl Copy {
    fn new() -> Self {
        let story = Story::told();
        let lines: Vec<Vec<u8>> = lines(&story.bytes).into_iter().map(<[u8]>::to_vec).collect();
        let mut firsts: Vec<usize> =
            story.published.iter().map(|head| head.size as usize).collect();
        firsts.dedup();
        assert_eq!(firsts.pop(), Some(lines.len()));
        firsts.insert(0, 0);
        Self { story, lines, firsts }
    }

    fn last_first(&self) -> usize {
        *self.firsts.last().unwrap()
    }

    /// The first segment with other lines.
    fn first_segment(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
        let mut lines = self.lines[..self.firsts[1]].to_vec();
        change(&mut lines);
        joined(&lines)
    }

    /// A copy whose line 5 is `change`d and whose bytes are otherwise as they were.
    fn line_five(
        &self,
        name: &'static str,
        what: &'static str,
        class: DamageClass,
        at: u64,
        change: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Case {
        let changed = self.first_segment(|lines| lines[5] = change(&lines[5]));
        Case::new(name, what, class, Some(at)).with(segment(0), changed)
    }

    /// All lines, with those from `from` on told differently and every link made anew.
    fn rewritten(&self, from: usize) -> Vec<Vec<u8>> {
        let mut told = self.lines.clone();
        told[from] = with(&told[from], |line| line["actor"]["name"] = json!("nobody"));
        relink(&mut told, from + 1);
        told
    }

    /// A published copy of `told`, as far as it differs from the golden one from segment `first` on.
    fn publish(&self, case: Case, told: &[Vec<u8>], first: usize, note: String) -> Case {
        let later: Vec<String> =
            self.firsts.iter().filter(|at| **at > first).map(|at| segment(*at)).collect();
        let later: Vec<&str> = later.iter().map(String::as_str).collect();
        case.without(&later)
            .without(&["tile"])
            .with(segment(first), joined(&told[first..]))
            .with("checkpoint", note)
    }

    fn kept(&self, size: u64) -> &str {
        let mut heads = self.story.published.iter();
        &heads.rfind(|head| head.size == size).expect("a head that was published").note
    }
}

/// Makes every link from line `from` on anew, as whoever knows the format can.
fn relink(lines: &mut [Vec<u8>], from: usize) {
    for n in from..lines.len() {
        let prev = LeafHash::of_line(&lines[n - 1]).to_string();
        lines[n] = with(&lines[n], |line| {
            line["prev"] = json!(prev);
            line["seq"] = json!(n);
        });
    }
}

/// A well-linked line 5 in place of the true one.
fn line_in_place(copy: &Copy, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    copy.first_segment(|lines| lines[5] = with(&lines[5], change))
}

/// Lines that were changed, moved, added, taken away.
fn moved(copy: &Copy) -> Vec<Case> {
    let segment = segment(0);
    let case = |name, what, class, at, lines: Vec<u8>| {
        Case::new(name, what, class, Some(at)).with(segment.clone(), lines)
    };
    vec![
        copy.line_five("edit", "one digit of event 5 is another one", Link, 6, |line| {
            with(line, |line| line["data"]["duration_us"] = json!(1))
        }),
        case(
            "delete",
            "event 5 is gone",
            Order,
            5,
            copy.first_segment(|lines| drop(lines.remove(5))),
        ),
        case(
            "insert",
            "an event was made up and stands before event 6, with the right place and link",
            Order,
            6,
            copy.first_segment(|lines| {
                lines.insert(
                    5,
                    with(&lines[5], |l| l["id"] = json!("019b8d2b-8cc8-7bee-af42-7ee0bfcd1a7c")),
                )
            }),
        ),
        case("reorder", "events 5 and 6 have changed places", Order, 5, {
            copy.first_segment(|lines| lines.swap(5, 6))
        }),
        case(
            "duplicate",
            "event 5 stands there twice",
            Order,
            6,
            copy.first_segment(|lines| lines.insert(6, lines[5].clone())),
        ),
        case(
            "time-back",
            "event 5 says it was recorded before event 4",
            Order,
            5,
            line_in_place(copy, |line| line["recorded_at"] = json!("2026-01-05T08:00:00.000000Z")),
        ),
        case(
            "second-beginning",
            "event 5 is log_created",
            Order,
            5,
            copy.first_segment(|lines| {
                let first: Value = serde_json::from_slice(&lines[0]).unwrap();
                lines[5] = with(&lines[5], |line| {
                    line["kind"] = json!("log_created");
                    line["data"] = first["data"].clone();
                });
            }),
        ),
        case("other-origin", "event 5 is of another log", Order, 5, {
            line_in_place(copy, |line| line["origin"] = json!("shop/staging"))
        }),
        case("no-beginning", "the log begins with event 1, renumbered", Order, 0, {
            copy.first_segment(|lines| {
                lines.remove(0);
                lines[0] = with(&lines[0], |line| {
                    line["seq"] = json!(0);
                    line["prev"] = json!(LeafHash::ZERO.to_string());
                });
                relink(lines, 1);
            })
        }),
        Case::new("segment-gone", "the second segment is gone", Order, Some(copy.firsts[1] as u64))
            .without(&[&self::segment(copy.firsts[1])]),
        Case::new("two-lines-in-one", "the LF between event 9 and 10 is gone", Content, Some(9))
            .with(segment.clone(), {
                let mut lines = copy.first_segment(|_| {});
                lines.pop();
                lines
            }),
    ]
}

/// Lines that are no events.
fn misspelled(copy: &Copy) -> Vec<Case> {
    let content = |name, what, old: &str, new: &str| {
        copy.line_five(name, what, Content, 5, |line| replaced(line, old, new))
    };
    let mut cases = vec![
        content(
            "duplicate-key",
            "`step` stands twice in event 5",
            "\"step\":0",
            "\"step\":0,\"step\":0",
        ),
        content("spelling-space", "a space behind a colon", "\"step\":0", "\"step\": 0"),
        content(
            "spelling-order",
            "two keys have changed places",
            "\"schema\":1,\"seq\":5",
            "\"seq\":5,\"schema\":1",
        ),
        content(
            "spelling-escape",
            "a character that needs no escape has one",
            "\"mira\"",
            "\"\\u006dira\"",
        ),
        content("spelling-number", "a whole number as a fraction", "\"step\":0", "\"step\":0.0"),
        content("spelling-minus", "minus zero", "\"step\":0", "\"step\":-0"),
        copy.line_five("spelling-capitals", "an id in capitals", Content, 5, |line| {
            let line: Value = serde_json::from_slice(line).unwrap();
            let id = line["id"].as_str().unwrap();
            replaced(line.to_string().as_bytes(), id, &id.to_uppercase())
        }),
        content(
            "unknown-member",
            "a member that no event has",
            "\"schema\":1",
            "\"schema\":1,\"score\":1",
        ),
        content("integer-too-large", "2^53 + 1", "\"step\":0", "\"step\":9007199254740993"),
        content("nul", "a NUL byte in a name", "\"mira\"", "\"mi\0ra\""),
        content(
            "line-feed-cr",
            "the line ends with CR LF",
            "\"timeline\":1}}",
            "\"timeline\":1}}\r",
        ),
        copy.line_five("not-utf8", "a byte that is not UTF-8", Content, 5, |line| {
            let mut line = line.to_vec();
            *line.iter_mut().find(|byte| **byte == b'm').unwrap() = 0xff;
            line
        }),
        copy.line_five("bidi-edit", "a name is written from right to left", Link, 6, |line| {
            replaced(line, "\"mira\"", "\"\u{202e}arim\u{2066}\"")
        }),
    ];
    cases.push(copy.line_five(
        "empty-line",
        "an empty line in place of event 5",
        Content,
        5,
        |_| Vec::new(),
    ));
    cases
}

/// What the signed head says against it.
fn signatures(copy: &Copy) -> Vec<Case> {
    let (last, total) = (copy.last_first(), copy.lines.len());
    let (current, stranger) = (key("current"), key("stranger"));
    let newest = copy.kept(total as u64);
    let all = &copy.lines;
    let fewer = joined(&all[last..total - 3]);
    let cut_in_line = &fewer[..fewer.len() - 20];
    let note = |name, what, class, at, note: String| {
        Case::new(name, what, class, at).with("checkpoint", note)
    };
    let changed_last = {
        let mut lines = all[last..].to_vec();
        let line = lines.last_mut().unwrap();
        *line = with(line, |line| line["data"]["objects"] = json!(999));
        joined(&lines)
    };
    let told = copy.rewritten(total - 5);
    vec![
        Case::new("cut-tail", "the last three events are gone", CutTail, Some(total as u64 - 3))
            .with(segment(last), fewer.clone()),
        Case {
            torn_bytes: all[total - 4].len() as u64 - 19,
            ..Case::new(
                "cut-in-line",
                "the file ends within a line",
                CutTail,
                Some(total as u64 - 4),
            )
            .with(segment(last), cut_in_line)
        },
        Case::new("edit-last", "the last event is another one", NotSigned, Some(total as u64 - 1))
            .with(segment(last), changed_last),
        Case::new(
            "rewritten",
            "an event near the end is another one, and every link is made anew",
            NotSigned,
            Some(total as u64 - 1),
        )
        .with(segment(last), joined(&told[last..])),
        Case::new("no-checkpoint", "the signed head is gone", Signature, None)
            .without(&["checkpoint"]),
        note("empty-note", "the signed head is empty", Signature, None, String::new()),
        note(
            "note-altered",
            "the signed size is another one",
            Signature,
            None,
            newest.replacen(&format!("\n{total}\n"), &format!("\n{}\n", total - 1), 1),
        ),
        Case {
            folder_only: true,
            ..note(
                "note-cr",
                "the signed head has lines that end with CR LF",
                Signature,
                None,
                newest.replace('\n', "\r\n"),
            )
        },
        note(
            "note-malformed",
            "signed, but no head: there is no root",
            Signature,
            None,
            current.sign_note(&format!("{ORIGIN}\n{total}\n")),
        ),
        note(
            "unknown-key",
            "signed by a key that is not in the ring",
            UnknownKey,
            None,
            signed(ORIGIN, all, &stranger),
        ),
        note(
            "other-log",
            "a signed head of another log",
            Order,
            Some(0),
            signed("shop/staging", &all[..total - 1], &current),
        ),
        note("other-log-longer", "a signed head of another, longer log", Order, Some(0), {
            signed("shop/staging", &[all.clone(), all.clone()].concat(), &current)
        }),
        note(
            "head-of-nothing",
            "a signed head over no event",
            Nothing,
            None,
            signed(ORIGIN, &[], &current),
        ),
        Case {
            torn_bytes: 10,
            ..Case::intact("torn-tail", "an append that was cut short: not damage")
        }
        .with(segment(last), [joined(&all[last..]), b"{\"actor\":{".to_vec()].concat()),
        Case::intact(
            "longer-than-signed",
            "an older signed head, and more events behind it: not damage",
        )
        .with("checkpoint", copy.kept(285)),
    ]
}

/// What only somebody who has kept something elsewhere can see.
fn copies(copy: &Copy) -> Vec<Case> {
    let (last, total) = (copy.last_first(), copy.lines.len());
    let (current, retired, stranger) = (key("current"), key("retired"), key("stranger"));
    let newest = copy.kept(total as u64);
    let told = copy.rewritten(total - 5);
    let mut longer = told.clone();
    longer.push(with(&told[total - 1], |line| {
        line["recorded_at"] = json!("2027-01-01T00:00:00.000000Z");
        line["seq"] = json!(total);
        line["prev"] = json!(LeafHash::of_line(&told[total - 1]).to_string());
    }));
    let end = Some(total as u64 - 1);
    let until = 123;
    let segment_before = *copy.firsts.iter().rfind(|at| **at < until).unwrap();
    let past = copy.rewritten(until - 3)[..until].to_vec();
    vec![
        Case::new("older-copy", "an older state with its own signed head; a newer head was kept", OlderCopy, Some(last as u64))
            .without(&[&segment(last), "tile"])
            .with("checkpoint", copy.kept(last as u64))
            .known(newest),
        copy.publish(
            Case::new("fork", "the key's holder tells the end differently and goes on; the true head was kept", Fork, end),
            &longer, last, signed(ORIGIN, &longer, &current),
        ).known(newest),
        copy.publish(
            Case::new("fork-same-size", "the same, with as many events", Fork, end),
            &told, last, signed(ORIGIN, &told, &current),
        ).known(newest),
        Case::new("fork-of-heads", "the lines are the true ones, the signed head beside them is of another history", NotSigned, end)
            .with("checkpoint", signed(ORIGIN, &told, &current))
            .known(newest),
        copy.publish(
            Case::new("stolen-retired-key", "the end is told differently and signed with the retired key", UnknownKey, None),
            &told, last, signed(ORIGIN, &told, &retired),
        ),
        copy.publish(
            Case::new("stolen-retired-key-early", "told differently up to the size the retired key counts for; a head of that time was kept", Fork, Some(until as u64 - 1)),
            &past, segment_before, signed(ORIGIN, &past, &retired),
        ).known(copy.kept(until as u64)),
        copy.publish(
            Case::new("stolen-retired-key-newer-head", "the same; only the newest head was kept", OlderCopy, Some(until as u64)),
            &past, segment_before, signed(ORIGIN, &past, &retired),
        ).known(newest),
        Case { required: 2, ..Case::new("few-anchors", "one head was kept, two are asked for", FewAnchors, None) }
            .known(copy.kept(285)),
        Case { required: 2, ..Case::new("same-anchor-twice", "one head was kept in two places, with a signature added", FewAnchors, None) }
            .known(copy.kept(285))
            .known(&format!("{}{}", copy.kept(285), stranger.sign_note("x\n").split_once("\n\n").unwrap().1)),
        Case { required: 1, ..Case::new("kept-head-of-nothing", "the head that was kept vouches for no event", FewAnchors, None) }
            .known(&signed(ORIGIN, &[], &current)),
        Case::new("kept-garbage", "what was kept is no signed head", Signature, None).known("nothing\n"),
        Case::new("kept-unknown-key", "what was kept is signed by a stranger", UnknownKey, None)
            .known(&signed(ORIGIN, &copy.lines, &stranger)),
        Case::new("kept-other-log", "what was kept is of another log", Order, Some(0))
            .known(&signed("shop/staging", &copy.lines[..20], &current)),
        Case { required: 3, ..Case::intact("kept-heads", "heads of both keys were kept, and all fit") }
            .known(copy.kept(10)).known(copy.kept(123)).known(newest),
    ]
}

/// What lies beside the lines.
fn beside(copy: &Copy) -> Vec<Case> {
    let tiles = crate::published::copy(&copy.story);
    let flipped = |path: &str| {
        let mut bytes = tiles[path].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let mut named = copy.lines.iter().enumerate().filter_map(|(n, line)| {
        let line: Value = serde_json::from_slice(line).unwrap();
        let digest = line["data"]["snapshot"]["digest"].as_str().map(str::to_owned);
        digest.map(|digest| (n as u64, format!("blobs/sha256/{digest}")))
    });
    let (first, second) = (named.next().unwrap(), named.next().unwrap());
    let case =
        |name, what, class, at| Case { folder_only: true, ..Case::new(name, what, class, at) };
    let wrong =
        |name, what, path: &str| case(name, what, Content, Some(0)).with(path, flipped(path));
    let narrow = "tile/0/000.p/10";
    vec![
        wrong("wrong-tile", "one hash of a tile is another one", narrow),
        wrong(
            "wrong-tile-above",
            "one hash of a tile of the second level is another one",
            "tile/1/000.p/1",
        ),
        wrong(
            "wrong-bundle",
            "one byte of an entry bundle is another one",
            "tile/entries/000.p/10",
        ),
        case("short-tile", "a tile ends within a hash", Content, Some(0))
            .with(narrow, &tiles[narrow][..300]),
        Case {
            folder_only: true,
            ..Case::intact("foreign-in-tiles", "files that are no tiles lie among them: not damage")
        }
        .with("tile/0/000.p/010", "x")
        .with("tile/0/000.p/.9.tmp", "x")
        .with("tile/0/000.p/300", "x"),
        case("blob-missing", "a picture of the schema is gone", Content, Some(first.0))
            .without(&[&first.1]),
        case(
            "blob-altered",
            "one byte of a picture of the schema is another one",
            Content,
            Some(second.0),
        )
        .with(second.1.clone(), flipped(&second.1)),
        case(
            "foreign-in-segments",
            "a file lies among the segments that is none",
            Unreadable,
            None,
        )
        .with("segments/notes.txt", "x"),
        Case {
            folder_only: true,
            ..Case::intact("unfinished-in-segments", "a writer's unfinished file: not damage")
        }
        .with("segments/.00000000000000000307.jsonl.tmp", "x"),
        case(
            "bundles-alone",
            "only entry bundles, and one of them ends within a line",
            Content,
            Some(256),
        )
        .without(&["segments"])
        .with("tile/entries/001.p/51", &tiles["tile/entries/001.p/51"][..700]),
        Case {
            folder_only: true,
            ..Case::intact("bundles-only", "entry bundles and no segments: the same log")
        }
        .without(&["segments"]),
    ]
}

/// Logs of their own.
fn others() -> Vec<Case> {
    let current = key("current");
    let base = Copy::new();
    let own = |case: Case, lines: &[Vec<u8>]| {
        case.without(&["segments", "tile", "blobs"])
            .with(segment(0), joined(lines))
            .with("checkpoint", signed(ORIGIN, lines, &current))
    };
    let mut newer = base.lines[..2].to_vec();
    newer[0] = with(&newer[0], |line| line["data"]["format"] = json!(2));
    newer.push(with(&newer[1], |line| {
        line["kind"] = json!("moon_observed");
        line["data"] = json!({"phase": "full", "seen_by": ["mira"]});
        line["recorded_at"] = json!("2026-01-05T08:00:01.000000Z");
    }));
    newer.push(with(&newer[1], |line| {
        line["schema"] = json!(2);
        line["recorded_at"] = json!("2026-01-05T08:00:02.000000Z");
    }));
    relink(&mut newer, 1);
    let mut strange = base.lines[..2].to_vec();
    strange[1] = with(&strange[1], |line| {
        line["actor"]["name"] = json!("\u{202e}arim\u{2066}\u{0}\u{1b}[2J");
        line["data"]["platform"] = json!("\u{0}");
    });
    relink(&mut strange, 1);
    let mut foreign = base.lines[1..2].to_vec();
    foreign[0] = with(&foreign[0], |line| {
        line["kind"] = json!("\u{202e}detaerc_gol\u{1b}[2J");
        line["data"] = json!({});
        line["prev"] = json!(LeafHash::ZERO.to_string());
        line["seq"] = json!(0);
    });
    assert_eq!(Chain::default().last(), LeafHash::ZERO);
    vec![
        Case {
            not_understood: 2,
            ..own(
                Case::intact(
                    "newer-format",
                    "a log of format 2, with a kind and a schema of a newer annals: read, never written",
                ),
                &newer,
            )
        },
        own(
            Case::intact(
                "bidi-and-nul",
                "characters that steer a terminal, escaped and signed: an honest log",
            ),
            &strange,
        ),
        own(
            Case::new(
                "bidi-kind",
                "the first event is of a kind that steers a terminal",
                Order,
                Some(0),
            ),
            &foreign,
        ),
        Case::new("empty-file", "a log of no bytes", Nothing, Some(0))
            .without(&["segments", "tile", "blobs"])
            .with(segment(0), ""),
        Case::new("half-an-event", "a log of less than one event", Nothing, Some(0))
            .without(&["segments", "tile", "blobs"])
            .with(segment(0), "{\"actor\":{"),
        Case {
            folder_only: true,
            ..Case::new("no-log", "a folder without a log", Unreadable, None)
        }
        .without(&["segments", "tile", "blobs"]),
    ]
}

/// Every damaged copy, by its folder.
pub(crate) fn all() -> Files {
    let copy = Copy::new();
    let cases = [
        moved(&copy),
        misspelled(&copy),
        signatures(&copy),
        copies(&copy),
        beside(&copy),
        others(),
    ];
    let mut files = Files::new();
    for case in cases.into_iter().flatten() {
        let document = serde_json::to_string_pretty(&case.document()).unwrap();
        files.insert(format!("{}/case.json", case.name), format!("{document}\n").into_bytes());
        for (path, bytes) in case.files {
            let clash = files.insert(format!("{}/{path}", case.name), bytes);
            assert!(clash.is_none(), "two cases are named {}", case.name);
        }
    }
    files
}
