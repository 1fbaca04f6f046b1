//! The page of the pipeline's rules says what the rules say.

use annals_ci::RULES;

const HEAD: &str = "# Rules of the pipeline\n\nGenerated from `annals-ci`; write it anew with `cargo xtask reference`.\n\n\
What `annals ci validate` and `annals ci test` look for. An error fails the command (exit code 11), a warning does with `--strict`. What a\n\
team allows is written down with its reason, and shown as a note:\n\n\
```toml\n[[ci.allow]]\nrule = \"secret\"\nfile = \"004_roles.sql\"\nreason = \"a role of the tests, on no server of ours\"\n```\n\n\
| rule | | finds | what to do |\n|---|---|---|---|\n";

#[test]
fn the_page_of_rules_is_fresh() {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        let (id, severity) = (rule.id, rule.severity.as_str());
        let cell = |text: &str| text.replace('|', "\\|");
        let (what, remedy) = (cell(rule.what), cell(rule.remedy));
        page.push_str(&format!("| `{id}` | {severity} | {what} | {remedy} |\n"));
    }
    page.push_str(
        "\n`lint` stands for each of the [safety rules](lint-rules.md), as `lint/table-dropped`. A verdict that the target accepts\n\
         (`[targets.<name>.proof]`) is a note.\n",
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/ci-rules.md");
    if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "write it anew with: cargo xtask reference");
}
