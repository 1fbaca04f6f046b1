//! A report in the forms other tools read: SARIF 2.1.0, GitHub's annotations, `JUnit`.

use serde_json::{Value, json};

use crate::report::{Finding, Report, Severity, Tried, Verb};
use crate::rules::{RULES, Rule};

/// As SARIF 2.1.0 (OASIS, 2020), one run. `version` is that of annals.
pub fn sarif(report: &Report, version: &str) -> String {
    let mut ids: Vec<&str> = report.findings.iter().map(|finding| &*finding.rule).collect();
    ids.sort_unstable();
    ids.dedup();
    let described = |id: &str| RULES.iter().copied().find(|rule| rule.id == family(id));
    let rules: Vec<Value> = ids.iter().map(|id| sarif_rule(id, described(id))).collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let index = ids.iter().position(|id| *id == finding.rule);
            sarif_result(finding, index.unwrap_or_default())
        })
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "annals", "version": version, "rules": rules } },
            "automationDetails": { "id": format!("annals/ci-{}/", report.verb.as_str()) },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// The rule in our table; `lint/table-dropped` is of `lint`.
fn family(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

fn sarif_rule(id: &str, rule: Option<&Rule>) -> Value {
    let text = |text: Option<&str>| json!({ "text": text.unwrap_or(id) });
    json!({
        "id": id,
        "shortDescription": text(rule.map(|rule| rule.what)),
        "help": text(rule.map(|rule| rule.remedy)),
        "defaultConfiguration": { "level": level(rule.map_or(Severity::Warning, |r| r.severity)) },
    })
}

const fn level(severity: Severity) -> &'static str {
    severity.as_str()
}

fn sarif_result(finding: &Finding, index: usize) -> Value {
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": format!("{}. {}", finding.message, sentence(&finding.remedy)) },
    });
    if let Some(file) = &finding.place.file {
        let mut location = json!({ "artifactLocation": { "uri": uri(file) } });
        if let Some(line) = finding.place.line {
            location["region"] = json!({ "startLine": line.max(1) });
            if let Some(column) = finding.place.column {
                location["region"]["startColumn"] = column.max(1).into();
            }
        }
        result["locations"] = json!([{ "physicalLocation": location }]);
    }
    if let Some(reason) = &finding.allowed {
        result["suppressions"] = json!([{ "kind": "external", "justification": reason }]);
    }
    result
}

/// With a capital letter in front and a full stop behind.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let begin = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{begin}{}.", chars.as_str().trim_end_matches('.'))
}

/// A relative path as a relative URI (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into());
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// As commands of GitHub's workflows, one line a finding: they become annotations of the files.
pub fn github(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let kind = match finding.severity {
            Severity::Note => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut properties = Vec::new();
        if let Some(file) = &finding.place.file {
            properties.push(format!("file={}", property(file)));
        }
        if let Some(line) = finding.place.line {
            properties.push(format!("line={line}"));
        }
        if let Some(column) = finding.place.column {
            properties.push(format!("col={column}"));
        }
        properties.push(format!("title={}", property(&format!("annals {}", finding.rule))));
        let mut message = format!("{}\n{}", finding.message, finding.remedy);
        if let Some(reason) = &finding.allowed {
            message.push_str(&format!("\nallowed: {reason}"));
        }
        text.push_str(&format!("::{kind} {}::{}\n", properties.join(","), data(&message)));
    }
    text
}

/// As the toolkit of GitHub's actions escapes what stands behind `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As it escapes a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// As a `JUnit` report: a case for each file that was read, or each migration that was tried.
pub fn junit(report: &Report) -> String {
    let name = format!("annals ci {}", report.verb.as_str());
    let mut cases: Vec<(String, f64, Vec<&Finding>)> = match report.verb {
        Verb::Validate => report.files.iter().map(|file| (file.clone(), 0.0, Vec::new())).collect(),
        Verb::Test => report.migrations.iter().map(tried).collect(),
    };
    for finding in &report.findings {
        let of = |case: &&mut (String, f64, Vec<&Finding>)| {
            finding.place.file.as_deref().is_some_and(|file| match report.verb {
                Verb::Validate => case.0 == file,
                Verb::Test => {
                    let file = crate::report::name_of(file);
                    file.strip_prefix(&*case.0)
                        .is_some_and(|rest| matches!(rest, ".sql" | "_rollback.sql"))
                }
            })
        };
        match cases.iter_mut().find(of) {
            Some(case) => case.2.push(finding),
            None => {
                let of = finding.place.file.clone().unwrap_or_else(|| report.workspace.clone());
                cases.push((of, 0.0, vec![finding]));
            }
        }
    }
    let failed = cases.iter().filter(|(_, _, found)| found.iter().any(|f| is_failure(f))).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" \
         tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{}\">\n",
        xml(&name),
        cases.len(),
        seconds(report.us),
    );
    for (case, time, findings) in &cases {
        let head = format!(
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{time:.6}\"",
            xml(&name),
            xml(case)
        );
        if findings.is_empty() {
            text.push_str(&format!("{head}/>\n"));
            continue;
        }
        text.push_str(&format!("{head}>\n"));
        let (failures, others): (Vec<&&Finding>, Vec<&&Finding>) =
            findings.iter().partition(|finding| is_failure(finding));
        // A case has one failure: the first is its message, all are its text.
        if let Some(first) = failures.first() {
            let all: Vec<String> = failures.iter().map(|finding| line_of(finding)).collect();
            text.push_str(&format!(
                "      <failure type=\"{}\" message=\"{}\">{}</failure>\n",
                xml(&first.rule),
                xml(&first.message),
                xml(&all.join("\n"))
            ));
        }
        if !others.is_empty() {
            let all: Vec<String> = others.iter().map(|finding| line_of(finding)).collect();
            text.push_str(&format!("      <system-out>{}</system-out>\n", xml(&all.join("\n"))));
        }
        text.push_str("    </testcase>\n");
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn tried(migration: &Tried) -> (String, f64, Vec<&Finding>) {
    let us = migration.up_us.saturating_add(migration.down_us);
    (migration.id.clone(), us as f64 / 1e6, Vec::new())
}

fn is_failure(finding: &Finding) -> bool {
    finding.severity == Severity::Error
}

fn line_of(finding: &Finding) -> String {
    let mut place = finding.place.file.clone().unwrap_or_default();
    if let Some(line) = finding.place.line {
        place.push_str(&format!(":{line}"));
    }
    if let Some(column) = finding.place.column {
        place.push_str(&format!(":{column}"));
    }
    let (severity, rule) = (finding.severity.as_str(), &finding.rule);
    let place = if place.is_empty() { place } else { format!("{place}: ") };
    format!("{place}{severity} [{rule}] {}\n  next: {}", finding.message, finding.remedy)
}

fn seconds(us: u64) -> String {
    format!("{:.3}", us as f64 / 1e6)
}

/// Text in XML 1.0; characters it cannot hold are shown as `\u{…}`.
fn xml(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push_str(&c.escape_unicode().to_string());
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Place;
    use crate::rules::{FILE_REFUSED, SECRET, SLOWER};

    fn report(verb: Verb) -> Report {
        let place =
            Place { file: Some("migrations/1 ä,b.sql".into()), line: Some(3), column: Some(7) };
        let mut allowed = Finding::of(&SECRET, place.clone(), "a password").as_note();
        allowed.allowed = Some("it is the test's".into());
        let migration = Tried {
            id: "2_c".into(),
            verdict: "exact".into(),
            accepted: true,
            lock: None,
            locked: None,
            rewrites: Vec::new(),
            up_us: 1_500_000,
            down_us: 500_000,
            earlier_up_us: None,
            earlier_down_us: None,
            lost_rows: 0,
            test_rows: None,
        };
        Report {
            verb,
            workspace: "shop".into(),
            target: None,
            against: None,
            server_version: None,
            files: vec!["migrations/1 ä,b.sql".into(), "migrations/2_c.sql".into()],
            migrations: vec![migration],
            findings: vec![
                Finding::of(&FILE_REFUSED, place, "50% <of> \"it\"\n& \u{1b}more"),
                Finding::of(&SLOWER, Place::file("migrations/2_c.sql"), "slow"),
                allowed,
                Finding::of(&SLOWER, Place::default(), "all of it"),
            ],
            notes: Vec::new(),
            us: 1_234_567,
        }
    }

    #[test]
    fn sarif_has_what_its_readers_ask_for() {
        let text = sarif(&report(Verb::Validate), "1.2.3");
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["version"], "2.1.0");
        let run = &document["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!((rules.len(), results.len()), (3, 4));
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            assert!(result["message"]["text"].as_str().unwrap().ends_with('.'));
        }
        let location = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "migrations/1%20%C3%A4%2Cb.sql");
        assert_eq!(location["region"], json!({ "startLine": 3, "startColumn": 7 }));
        assert!(results[1]["locations"][0]["physicalLocation"].get("region").is_none());
        assert_eq!(results[2]["suppressions"][0]["justification"], "it is the test's");
        assert!(results[3].get("locations").is_none());
    }

    #[test]
    fn annotations_cannot_be_broken_out_of() {
        let text = github(&report(Verb::Validate));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[0],
            format!(
                "::error file=migrations/1 ä%2Cb.sql,line=3,col=7,title=annals file-refused::50%25 <of> \
                 \"it\"%0A& \u{1b}more%0A{}",
                FILE_REFUSED.remedy
            )
        );
        assert!(
            lines[1].starts_with("::warning file=migrations/2_c.sql,title=annals slower::slow%0A")
        );
        assert!(
            lines[2].starts_with("::notice ") && lines[2].ends_with("%0Aallowed: it is the test's")
        );
        assert!(lines[3].starts_with("::warning title=annals slower::all of it%0A"));
    }

    #[test]
    fn junit_counts_files_and_escapes() {
        let text = junit(&report(Verb::Validate));
        assert!(text.contains("tests=\"3\" failures=\"1\""), "{text}");
        assert!(text.contains("name=\"migrations/1 ä,b.sql\" time=\"0.000000\">"), "{text}");
        assert!(
            text.contains("message=\"50% &lt;of&gt; &quot;it&quot;&#10;&amp; \\u{1b}more\""),
            "{text}"
        );
        assert!(
            text.contains("name=\"migrations/2_c.sql\" time=\"0.000000\">\n      <system-out>"),
            "{text}"
        );
        assert!(text.contains("name=\"shop\""), "{text}");
        assert!(!text.contains('\u{1b}'));
        let text = junit(&report(Verb::Test));
        assert!(
            text.contains(
                "name=\"2_c\" time=\"2.000000\">\n      <system-out>migrations/2_c.sql: warning"
            ),
            "{text}"
        );
    }
}
