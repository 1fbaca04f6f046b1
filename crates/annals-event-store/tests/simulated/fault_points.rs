//! Every place where a disk can fail the log, one by one: not done, done all the same, no room,
//! power lost before and after; then the log is reopened, verified and goes on.

use crate::disk::{Fault, Keep, Lies, SimDisk};
use crate::witness::{Outcome, Verdict, Witness, layout};

/// Something a log does, and the operations it asks of the disk for it, in order.
struct Scenario {
    prepare: fn(&mut Witness) -> Verdict,
    act: fn(&mut Witness) -> Verdict<Outcome>,
    points: &'static [&'static str],
}

/// What the process is after the fault.
#[derive(Debug, Clone, Copy)]
enum Then {
    Restart,
    LosePower(Keep),
}

fn done(outcome: Outcome) -> Verdict {
    if outcome == Outcome::Done { Ok(()) } else { Err("failed without a fault".to_owned()) }
}

fn prepared(scenario: &Scenario) -> Witness {
    let mut witness = Witness::new(SimDisk::new(0, Lies::default()));
    (scenario.prepare)(&mut witness).unwrap();
    witness.disk.take_trace();
    witness
}

/// The operations of `scenario` without a fault, named within the folder of the log.
fn points(scenario: &Scenario) -> Vec<String> {
    let mut witness = prepared(scenario);
    done((scenario.act)(&mut witness).unwrap()).unwrap();
    let root = layout().root().display().to_string();
    let short = |line: String| {
        line.replace(&format!("{root}/"), "").replace(&root, ".").replace("0000000000000000", "")
    };
    witness.disk.take_trace().into_iter().map(short).collect()
}

/// The fault at one point, and what comes after it.
fn survive(scenario: &Scenario, point: usize, fault: Fault, then: Then) -> Verdict {
    let mut witness = prepared(scenario);
    witness.disk.arm(point, fault);
    (scenario.act)(&mut witness)?;
    match then {
        Then::LosePower(keep) => witness.lose_power(keep),
        Then::Restart if witness.disk.is_off() => witness.lose_power(Keep::Some),
        Then::Restart => witness.lose_process(),
    }
    for n in 0..2 {
        done(witness.start()?)?;
        witness.read()?;
        witness.pass(1_000);
        let more = witness.facts(2, 0);
        done(witness.append(&[more])?)?;
        done(witness.put_blob(b"plan")?)?;
        if n == 0 {
            done(witness.publish()?)?;
        }
        witness.lose_power(Keep::Nothing);
    }
    done(witness.start()?)
}

fn check(scenario: &Scenario) {
    assert_eq!(points(scenario), scenario.points);
    let faults = [
        Fault::Error,
        Fault::ErrorThoughDone,
        Fault::NoRoom,
        Fault::PowerBefore,
        Fault::PowerAfter,
    ];
    let thens = [
        Then::Restart,
        Then::LosePower(Keep::Nothing),
        Then::LosePower(Keep::Everything),
        Then::LosePower(Keep::Some),
    ];
    for (at, point) in scenario.points.iter().enumerate() {
        for fault in faults {
            for then in thens {
                if let Err(broken) = survive(scenario, at, fault, then) {
                    panic!("{point}: {fault:?}, {then:?}: {broken}");
                }
            }
        }
    }
}

fn nothing(_: &mut Witness) -> Verdict {
    Ok(())
}

fn an_open_log(witness: &mut Witness) -> Verdict {
    done(witness.start()?)?;
    witness.pass(1_000);
    let facts = witness.facts(3, 0);
    done(witness.append(&[facts])?)
}

fn a_closed_log(witness: &mut Witness) -> Verdict {
    an_open_log(witness)?;
    witness.close();
    Ok(())
}

fn a_torn_log(witness: &mut Witness) -> Verdict {
    an_open_log(witness)?;
    let facts = witness.facts(3, 0);
    witness.tear(&facts, 700);
    Ok(())
}

fn a_full_segment(witness: &mut Witness) -> Verdict {
    an_open_log(witness)?;
    let facts = witness.facts(20, 58_000);
    done(witness.append(&[facts])?)
}

fn a_log_with_a_blob(witness: &mut Witness) -> Verdict {
    an_open_log(witness)?;
    done(witness.put_blob(b"plan")?)?;
    witness.close();
    done(witness.start()?)
}

fn append(witness: &mut Witness) -> Verdict<Outcome> {
    witness.pass(1_000);
    let requests = [witness.facts(2, 0), witness.facts(1, 2_000)];
    witness.append(&requests)
}

#[test]
fn beginning_a_log_survives_every_fault() {
    check(&Scenario {
        prepare: nothing,
        act: Witness::start,
        points: &[
            "open /",
            "fsync /",
            "open /w",
            "mkdir /w/logs",
            "fsync /w",
            "open /w/logs",
            "mkdir .",
            "fsync /w/logs",
            "lock lock",
            "read checkpoint",
            "mkdir .segments.new",
            "open .",
            "fsync .",
            "open .",
            "create .checkpoint.tmp",
            "write .checkpoint.tmp",
            "fsync .checkpoint.tmp",
            "rename checkpoint",
            "fsync .",
            "open .segments.new",
            "create .segments.new/.0000.jsonl.tmp",
            "write .segments.new/.0000.jsonl.tmp",
            "fsync .segments.new/.0000.jsonl.tmp",
            "rename .segments.new/0000.jsonl",
            "fsync .segments.new",
            "open .",
            "rename segments",
            "fsync .",
            "open segments/0000.jsonl",
        ],
    });
}

#[test]
fn opening_a_log_survives_every_fault() {
    check(&Scenario {
        prepare: a_closed_log,
        act: Witness::start,
        points: &[
            "lock lock",
            "read checkpoint",
            "list segments",
            "read segments/0000.jsonl",
            "open .",
            "fsync .",
            "open segments",
            "create segments/.0000.jsonl.tmp",
            "read segments/0000.jsonl",
            "write segments/.0000.jsonl.tmp",
            "fsync segments/.0000.jsonl.tmp",
            "rename segments/0000.jsonl",
            "fsync segments",
            "open segments/0000.jsonl",
        ],
    });
}

#[test]
fn opening_a_log_with_a_torn_tail_survives_every_fault() {
    check(&Scenario {
        prepare: a_torn_log,
        act: Witness::start,
        points: &[
            "lock lock",
            "read checkpoint",
            "list segments",
            "read segments/0000.jsonl",
            "open .",
            "fsync .",
            "open /w/logs",
            "fsync /w/logs",
            "open .",
            "mkdir quarantine",
            "fsync .",
            "open quarantine",
            "create quarantine/.tail-5-4840d1d4ba1d.tmp",
            "write quarantine/.tail-5-4840d1d4ba1d.tmp",
            "fsync quarantine/.tail-5-4840d1d4ba1d.tmp",
            "rename quarantine/tail-5-4840d1d4ba1d",
            "fsync quarantine",
            "open segments",
            "create segments/.0000.jsonl.tmp",
            "read segments/0000.jsonl",
            "write segments/.0000.jsonl.tmp",
            "write segments/.0000.jsonl.tmp",
            "fsync segments/.0000.jsonl.tmp",
            "rename segments/0000.jsonl",
            "fsync segments",
            "open segments/0000.jsonl",
        ],
    });
}

#[test]
fn appending_survives_every_fault() {
    check(&Scenario {
        prepare: an_open_log,
        act: append,
        points: &["write segments/0000.jsonl", "fdatasync segments/0000.jsonl"],
    });
}

#[test]
fn writing_twice_before_a_sync_survives_every_fault() {
    check(&Scenario {
        prepare: an_open_log,
        act: |witness| {
            let facts = [witness.facts(1, 700), witness.facts(2, 5_000)];
            witness.write_twice(facts)
        },
        points: &[
            "write segments/0000.jsonl",
            "write segments/0000.jsonl",
            "fdatasync segments/0000.jsonl",
        ],
    });
}

#[test]
fn appending_behind_a_full_segment_survives_every_fault() {
    check(&Scenario {
        prepare: a_full_segment,
        act: append,
        points: &[
            "chmod segments/0000.jsonl",
            "open segments",
            "create segments/.0024.jsonl.tmp",
            "fsync segments/.0024.jsonl.tmp",
            "rename segments/0024.jsonl",
            "fsync segments",
            "open segments/0024.jsonl",
            "write segments/0024.jsonl",
            "fdatasync segments/0024.jsonl",
        ],
    });
}

#[test]
fn publishing_a_checkpoint_survives_every_fault() {
    check(&Scenario {
        prepare: an_open_log,
        act: Witness::publish,
        points: &[
            "open .",
            "create .checkpoint.tmp",
            "write .checkpoint.tmp",
            "fsync .checkpoint.tmp",
            "rename checkpoint",
            "fsync .",
        ],
    });
}

#[test]
fn storing_the_first_blob_survives_every_fault() {
    check(&Scenario {
        prepare: an_open_log,
        act: |witness| witness.put_blob(b"plan"),
        points: &[
            "open /w/logs",
            "fsync /w/logs",
            "open .",
            "mkdir blobs",
            "fsync .",
            "open blobs",
            "mkdir blobs/sha256",
            "fsync blobs",
            "read blobs/sha256/64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525",
            "open blobs/sha256",
            "create blobs/sha256/.64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525.tmp",
            "write blobs/sha256/.64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525.tmp",
            "fsync blobs/sha256/.64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525.tmp",
            "rename blobs/sha256/64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525",
            "fsync blobs/sha256",
        ],
    });
}

#[test]
fn storing_a_blob_again_survives_every_fault() {
    check(&Scenario {
        prepare: a_log_with_a_blob,
        act: |witness| witness.put_blob(b"plan"),
        points: &[
            "open blobs",
            "fsync blobs",
            "read blobs/sha256/64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525",
            "open blobs/sha256",
            "fsync blobs/sha256",
        ],
    });
}
