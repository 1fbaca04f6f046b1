//! The page of exit codes says what the code says.

use annals_api::ExitCode;

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
