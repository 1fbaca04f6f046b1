//! The page of safety rules says what the rules say.

use annals_lint::RULES;

const HEAD: &str = "# Safety rules\n\nGenerated from `annals-lint`; write it anew with `cargo xtask reference`.\n\n\
`annals plan` says which of them a plan meets. They are advice: a plan is carried out all the same.\n\
What is done to a table that the same plan creates is harmless and not mentioned.\n";

#[test]
fn the_page_of_rules_is_fresh() {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        page.push_str(&format!(
            "\n## {}\n\n{}: {}.\n\nInstead: {}.\n\n```sql\n-- found\n{};\n-- not found\n{};\n```\n",
            rule.id,
            rule.risk.as_str(),
            rule.effect,
            rule.instead,
            rule.bad,
            rule.good
        ));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/lint-rules.md");
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "write it anew with: cargo xtask reference");
}
