//! The pages of exit codes and checks say what the code says.

use annals_api::ExitCode;
use annals_integrity::{Check, CheckFamily, Severity};

const HEAD: &str = "# Exit codes\n\nGenerated from `annals-api`; write it anew with `cargo xtask reference`.\n\n\
| code | name | meaning |\n|---|---|---|\n";

#[test]
fn the_page_of_exit_codes_is_fresh() {
    let mut page = HEAD.to_owned();
    for (code, meaning) in ExitCode::ALL {
        page.push_str(&format!("| {} | {code:?} | {} |\n", code.code(), meaning.trim()));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/exit-codes.md");
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "write it anew with: cargo xtask reference");
}

const CHECKS_HEAD: &str = "# Checks

Generated from `annals-integrity`; write it anew with `cargo xtask reference`.

`annals verify` makes the checks below. With `--quick` it looks at the catalog only; by default it also \
reads what can be read in bounded time (foreign keys, sequences, constraints that are not validated); \
with `--full` it reads all data. `--only` chooses families. A family is passed when all its checks of the \
level were made and none found an error, failed when one did, else not checked: what a role may not see, \
what an extension is missing for and what the time did not suffice for is listed with the reason, and \
never counts as passed. Data is never passed without reading rows.

Each query is a read-only transaction of its own, takes no lock stronger than `ACCESS SHARE`, and reads \
past the indexes where they are what is to be checked. Tables of more than 1 GiB are read in parts \
(PostgreSQL 14 and later), so that no snapshot is held for long; where the time budget cuts that short, \
the rows and the share that were looked at are told. Evidence is counts and places: keys only where they \
are numbers or UUIDs.

The exit code is 0 when there are at most warnings (with `--strict`: notes), else 11.
";

#[test]
fn the_page_of_checks_is_fresh() {
    let mut page = CHECKS_HEAD.to_owned();
    for family in CheckFamily::ALL {
        page.push_str(&format!("\n## {}\n", family.as_str()));
        for check in Check::all().filter(|check| check.family == family) {
            let severity = match check.severity {
                Severity::Note => "Note",
                Severity::Warning => "Warning",
                Severity::Error => "Error",
            };
            page.push_str(&format!(
                "\n### {}\n\n{severity}, from level {} on: {}.\n\n- Remedy: {}.\n- Such a damage: `{}`\n",
                check.id,
                check.level.as_str(),
                check.looks_at,
                check.remedy,
                check.damage
            ));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/checks.md");
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "write it anew with: cargo xtask reference");
}
