//! What is written under a pull request, in GitHub's Markdown.

use crate::report::{Finding, Report, Severity, Tried};

/// The first line: by it the comment of an earlier run is found again.
pub const MARKER: &str = "<!-- annals ci -->";

/// The findings that are shown of each report.
const MAX_FINDINGS: usize = 50;

/// The migrations that are shown.
const MAX_MIGRATIONS: usize = 100;

/// Text of files and servers as text: nothing in it is a mark, a mention, a link or HTML.
fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An empty comment behind them, so that nobody is called and nothing is linked.
            '@' => escaped.push_str("@<!-- -->"),
            '#' => escaped.push_str("#<!-- -->"),
            ':' => escaped.push_str(":<!-- -->"),
            c if annals_migrations::is_hidden(c) => {
                for c in c.escape_unicode().filter(|c| *c != '\\') {
                    escaped.push(c);
                }
            }
            c if c.is_ascii_punctuation() && !matches!(c, '.' | ',' | '/' | '%' | ';') => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "❌",
        Severity::Warning => "⚠️",
        Severity::Note => "ℹ️",
    }
}

fn place(finding: &Finding) -> String {
    let Some(file) = &finding.place.file else { return String::new() };
    let line = finding.place.line.map(|line| format!(" line {line}")).unwrap_or_default();
    format!("{}{line}: ", plain(file))
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn row(migration: &Tried) -> String {
    let compared = |now: u64, earlier: Option<u64>| match earlier {
        Some(earlier) => format!("{} (was {})", duration(now), duration(earlier)),
        None => duration(now),
    };
    let lock = match (&migration.lock, &migration.locked) {
        (Some(mode), Some(relation)) => {
            format!("{} on {}", plain(&mode.to_lowercase()), plain(relation))
        }
        (Some(mode), None) => plain(&mode.to_lowercase()),
        (None, _) => "–".to_owned(),
    };
    let rewrites = match migration.rewrites.is_empty() {
        true => "–".to_owned(),
        false => plain(&migration.rewrites.join(", ")),
    };
    let lost = match migration.lost_rows {
        0 => "–".to_owned(),
        rows => count(rows, "row"),
    };
    let sign = if migration.accepted { "✅" } else { "❌" };
    format!(
        "| {} | {sign} {} | {lock} | {rewrites} | {} | {} | {lost} |\n",
        plain(&migration.id),
        plain(&migration.verdict.replace('_', " ")),
        compared(migration.up_us, migration.earlier_up_us),
        compared(migration.down_us, migration.earlier_down_us),
    )
}

/// All reports as one comment. Whatever stands in files and in messages of servers stays text.
pub fn comment(reports: &[Report], strict: bool) -> String {
    let passed = reports.iter().all(|report| report.passed(strict));
    let mut text = format!("{MARKER}\n");
    let sign = if passed { "✅" } else { "❌" };
    let verdict = if passed { "can be merged" } else { "must not be merged" };
    text.push_str(&format!("### {sign} Database migrations: {verdict}\n\n"));
    for report in reports {
        let counts = report.counts();
        let against =
            report.against.as_deref().map(|against| format!(" against {}", plain(against)));
        let server = report.server_version.as_deref();
        let server = server.map(|version| format!(" on PostgreSQL {}", plain(version)));
        text.push_str(&format!(
            "**{}**{}{}: {}, {}, {}, {}\n\n",
            report.verb.as_str(),
            against.unwrap_or_default(),
            server.unwrap_or_default(),
            count(report.files.len() as u64, "file"),
            count(counts.errors, "error"),
            count(counts.warnings, "warning"),
            count(counts.notes, "note"),
        ));
        if !report.migrations.is_empty() {
            text.push_str("| migration | rollback | lock | rewritten | up | down | lost |\n");
            text.push_str("|---|---|---|---|---|---|---|\n");
            let shown = report.migrations.iter().rev().take(MAX_MIGRATIONS).rev();
            shown.for_each(|migration| text.push_str(&row(migration)));
            let more = report.migrations.len().saturating_sub(MAX_MIGRATIONS);
            if more > 0 {
                text.push_str(&format!("\nand {} before them\n", count(more as u64, "migration")));
            }
            text.push('\n');
        }
        details(report, &mut text);
    }
    text
}

fn details(report: &Report, text: &mut String) {
    if report.findings.is_empty() && report.notes.is_empty() {
        return;
    }
    let bad = report.findings.iter().any(|finding| finding.severity == Severity::Error);
    let open = if bad { " open" } else { "" };
    text.push_str(&format!("<details{open}><summary>what was found</summary>\n\n"));
    for finding in report.findings.iter().take(MAX_FINDINGS) {
        text.push_str(&format!(
            "- {} **{}** {}{}  \n  {}\n",
            mark(finding.severity),
            plain(&finding.rule),
            place(finding),
            plain(&finding.message),
            plain(&finding.remedy),
        ));
        if let Some(reason) = &finding.allowed {
            text.push_str(&format!("  allowed: {}\n", plain(reason)));
        }
    }
    let more = report.findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        text.push_str(&format!("- and {more} more\n"));
    }
    for note in &report.notes {
        text.push_str(&format!("- {}\n", plain(note)));
    }
    text.push_str("\n</details>\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Place, Verb};
    use crate::rules::FILE_REFUSED;

    fn report(message: &str) -> Report {
        let finding =
            Finding::of(&FILE_REFUSED, Place::line("migrations/1_a.sql", Some(2)), message);
        Report {
            verb: Verb::Validate,
            workspace: "shop".into(),
            target: None,
            against: Some("main".into()),
            server_version: None,
            files: vec!["migrations/1_a.sql".into()],
            migrations: Vec::new(),
            findings: vec![finding],
            notes: Vec::new(),
            us: 0,
        }
    }

    #[test]
    fn a_comment_says_whether_it_can_be_merged_and_why_not() {
        let text = comment(&[report("no rollback")], false);
        assert!(
            text.starts_with(
                "<!-- annals ci -->\n### ❌ Database migrations: must not be merged\n"
            )
        );
        assert!(
            text.contains("**validate** against main: 1 file, 1 error, 0 warnings, 0 notes"),
            "{text}"
        );
        assert!(
            text.contains("- ❌ **file\\-refused** migrations/1\\_a.sql line 2: no rollback"),
            "{text}"
        );
        let mut good = report("x");
        good.findings.clear();
        assert!(comment(&[good], true).contains("✅ Database migrations: can be merged"));
    }

    #[test]
    fn nothing_of_a_file_is_markup_or_calls_anybody() {
        let hostile =
            "</details><img src=x> [a](http://b) @everyone #1 `c` **d** ~e~ | f\n\u{202e}g";
        let text = comment(&[report(hostile)], false);
        for mark in
            ["</details><img", "[a](", "@everyone", "#1", "`c`", "**d**", "http://", "\u{202e}"]
        {
            assert!(!text.contains(mark), "{mark} in {text}");
        }
        assert!(text.contains("&lt;/details&gt;"));
        assert!(text.contains("u\\{202e\\}g") || text.contains("u{202e}g"), "{text}");
        let finding = text.lines().find(|line| line.contains("img")).unwrap();
        assert!(finding.contains('f') && finding.contains('g'), "one line: {finding}");
    }
}
