//! Each damage in a database of its own.

use std::collections::BTreeSet;

use annals_events::CheckLevel;
use annals_integrity::Check;
use annals_postgres::{CheckLimits, check_names};

use crate::cases::CASES;
use crate::files;
use crate::ground::{Asked, Ground, found};

#[test]
fn the_table_of_checks_and_what_is_made_agree() {
    let made = check_names();
    let of_log: &[&str] = &["schema.missing", "schema.unexpected", "schema.changed"];
    let table: BTreeSet<&str> = Check::all()
        .filter(|check| check.family != annals_integrity::CheckFamily::History)
        .map(|check| check.id)
        .filter(|id| !of_log.contains(id))
        .collect();
    assert_eq!(made, table);
}

#[test]
fn every_check_has_a_damage_it_is_found_by() {
    let cases: BTreeSet<&str> = CASES.iter().map(|case| case.check).chain(files::CHECKS).collect();
    let missing: Vec<&str> =
        check_names().into_iter().filter(|name| !cases.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn each_damage_is_found_and_nothing_else() {
    let ground = Ground::new();
    let major = ground.major();
    let mut asked = Asked::at(CheckLevel::Full);
    let sound = ground.check("sound", &asked);
    assert_eq!(sound.seen, []);
    // Only what this version has no means for.
    let unmade: Vec<&str> = sound.unmade.iter().map(|unmade| unmade.check).collect();
    assert_eq!(unmade, if major < 14 { vec!["data.heap"] } else { vec![] });
    assert_eq!(sound.made, check_names());

    let mut wrong = Vec::new();
    for (at, case) in CASES.iter().enumerate().filter(|(_, case)| case.since <= major) {
        let database = format!("case_{at}");
        ground.copy(&database);
        ground.sql(&database, case.damage);
        asked.level = case.level;
        asked.limits = CheckLimits { prepared_s: 0, ..CheckLimits::default() };
        let report = ground.check(&database, &asked);
        let mut expected: Vec<(&str, &str)> =
            case.subjects.iter().map(|subject| (case.check, *subject)).collect();
        expected.extend(case.besides);
        expected.sort_unstable();
        let evidence: Vec<&str> = report
            .seen
            .iter()
            .filter(|seen| seen.check == case.check)
            .map(|seen| seen.evidence.as_str())
            .collect();
        if found(&report) != expected || !evidence.iter().any(|text| text.contains(case.says)) {
            wrong.push(format!(
                "{} by {}\n  found {:#?}\n  not made {:?}\n  expected {expected:?}, saying {:?}",
                case.check, case.damage, report.seen, report.unmade, case.says
            ));
        }
        if !case.repair.is_empty() {
            ground.sql(&database, case.repair);
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
