//! Metrics, what names them in the documentation, and the limits of time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use annals_testkit::{Workspace, wait_for};

use crate::bad_input::{NOBODY, applied};
use crate::serve::{Served, configured, quick};

fn metrics(served: &Served) -> String {
    let reply = served.get("/metrics");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(reply.head.contains(kind), "{}", reply.head);
    reply.body
}

/// The value of a sample.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(sample)).collect();
    assert_eq!(found.len(), 1, "{sample}:\n{text}");
    found[0].trim().parse().unwrap()
}

/// Names of all families, as they are declared.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// A workspace in which everything has happened that is counted.
fn eventful() -> (annals_testkit::Server, Workspace) {
    let (server, workspace) = applied(2);
    quick(&workspace);
    workspace.annals("rollback --last 1").run().expect(0);
    workspace.annals("verify").run().expect(0);
    workspace.annals("backup").run().expect(0);
    workspace.annals("backup verify latest").run().expect(0);
    workspace.annals("rollback --emergency --rehearse").run().expect(0);
    workspace.migration("3_wrong", "SELECT 1 / 0;", "SELECT 1;");
    workspace.annals("migrate --to 3").run().expect(4);
    (server, workspace)
}

#[test]
fn metrics_are_open_metrics_and_count_what_the_log_has() {
    let (server, workspace) = eventful();
    let served = Served::of(&workspace);
    let text = metrics(&served);
    let parsed = openmetrics_parser::openmetrics::parse_openmetrics(&text);
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(parsed.families.len(), families(&text).len());
    assert!(text.ends_with("# EOF\n"));
    for (sample, expected) in [
        ("annals_up{target=\"db\"}", 1.0),
        ("annals_log_readable{target=\"db\"}", 1.0),
        ("annals_health_status{target=\"db\",status=\"degraded\"}", 1.0),
        ("annals_health_status{target=\"db\",status=\"ok\"}", 0.0),
        ("annals_migrations_applied{target=\"db\"}", 2.0),
        ("annals_migrations_pending{target=\"db\"}", 1.0),
        ("annals_runs_total{target=\"db\",direction=\"up\",outcome=\"succeeded\"}", 1.0),
        ("annals_runs_total{target=\"db\",direction=\"up\",outcome=\"failed\"}", 1.0),
        ("annals_steps_total{target=\"db\",direction=\"up\",outcome=\"succeeded\"}", 3.0),
        ("annals_steps_total{target=\"db\",direction=\"up\",outcome=\"failed\"}", 1.0),
        ("annals_steps_total{target=\"db\",direction=\"down\",outcome=\"succeeded\"}", 1.0),
        ("annals_run_duration_seconds_count{target=\"db\",direction=\"up\"}", 1.0),
        ("annals_run_duration_seconds_count{target=\"db\",direction=\"down\"}", 1.0),
        ("annals_step_duration_seconds_count{target=\"db\",direction=\"up\"}", 3.0),
        ("annals_backup_duration_seconds_count{target=\"db\"}", 1.0),
        ("annals_verification_duration_seconds_count{target=\"db\"}", 1.0),
        ("annals_backups_usable{target=\"db\"}", 1.0),
        ("annals_integrity_passed{target=\"db\",family=\"history\"}", 1.0),
        ("annals_in_doubt_steps{target=\"db\"}", 0.0),
        ("annals_drift_objects{target=\"db\"}", 0.0),
        ("annals_lock_waits{target=\"db\"}", 0.0),
        ("annals_duration_budget_seconds{target=\"db\",kind=\"rollback\"}", 10.0),
        ("annals_budget_breaches_total{target=\"db\",kind=\"migration\"}", 0.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    let took = value(&text, "annals_duration_last_seconds{target=\"db\",kind=\"backup\"}");
    assert!(took > 0.0 && took < 60.0, "{took}");
    assert!(value(&text, "annals_backup_size_bytes{target=\"db\"}") > 100.0);
    assert!(value(&text, "annals_backup_verified_age_seconds{target=\"db\"}") < 600.0);
    assert!(value(&text, "annals_drill_age_seconds{target=\"db\"}") < 600.0);
    assert!(value(&text, "annals_drill_recovery_seconds{target=\"db\"}") > 0.0);
    assert_eq!(value(&text, "annals_drill_passed{target=\"db\"}"), 1.0);
    let health = served.get("/health/db").json();
    assert_eq!(health["drill"]["result"], "passed");
    assert_eq!(health["drill"]["backup"].as_str().map(str::len), Some(36), "{health}");
    // What is folded from the log is the same after a restart.
    let counted = |text: &str| -> Vec<String> {
        let is_counted = |line: &&str| line.contains("_total") || line.contains("_bucket");
        let mut lines: Vec<String> = text.lines().filter(is_counted).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = counted(&text);
    assert!(before.len() > 40, "{before:?}");
    drop(served);
    let served = Served::of(&workspace);
    assert_eq!(counted(&metrics(&served)), before);
    server.crash();
    let text = wait_for("the target to be down", || {
        let text = metrics(&served);
        text.contains("annals_up{target=\"db\"} 0").then_some(text)
    });
    assert_eq!(counted(&text), before, "the log alone says what was");
    assert!(!text.contains("annals_lock_waits{"), "nobody knows");
}

#[test]
fn every_alert_says_what_is_so_and_how_bad_it_is() {
    let rules = fs::read_to_string(docs("alerts.yml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10, "{rules}");
    let mut seen = BTreeSet::new();
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(seen.insert(name), "{name} stands there twice");
        assert_eq!(alert.matches("expr: ").count(), 1, "{name}");
        let levels = ["severity: critical", "severity: warning"];
        assert!(levels.iter().any(|level| alert.contains(level)), "{name} says not how bad it is");
        assert!(alert.contains("summary: \"") && alert.contains("$labels.target"), "{name}");
    }
    // And the opinion of Prometheus itself, where it is installed.
    let mut promtool = Command::new("promtool");
    match promtool.args(["check", "rules"]).arg(docs("alerts.yml")).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
        }
        Err(_) => eprintln!("promtool is not installed: apt-get install prometheus"),
    }
}

fn docs(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring").join(name)
}

/// Every `annals_…` word in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("annals_")).map(str::to_owned).collect()
}

#[test]
fn dashboard_alerts_and_guide_name_only_metrics_that_are_exported() {
    let (_server, workspace) = eventful();
    configured(&workspace, "[groups.g]\ntables = [\"t1\"]\n");
    let text = metrics(&Served::of(&workspace));
    let exported: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    assert!(exported.len() > 40, "{exported:?}");
    let mut used = BTreeSet::new();
    for file in ["alerts.yml", "grafana.json"] {
        let content = fs::read_to_string(docs(file)).unwrap();
        let named = names(&content);
        assert!(named.len() > 10, "{file} names {named:?}");
        for name in &named {
            assert!(exported.contains(name), "{file} names {name}, which nobody exports");
        }
        used.extend(named);
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(docs("grafana.json")).unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 8);
    // And the reference names every family.
    let reference = docs("../reference/health.md");
    let reference = names(&fs::read_to_string(reference).unwrap());
    for family in families(&text) {
        assert!(reference.contains(&family), "docs/reference/health.md does not name {family}");
    }
}

#[test]
fn a_target_nobody_can_reach_is_measured_too() {
    let workspace = Workspace::with_url(NOBODY);
    let text = metrics(&Served::of(&workspace));
    assert_eq!(value(&text, "annals_up{target=\"db\"}"), 0.0);
    let failing = "annals_health_status{target=\"db\",status=\"failing\"}";
    assert_eq!(value(&text, failing), 1.0);
    openmetrics_parser::openmetrics::parse_openmetrics(&text).unwrap();
}

#[test]
fn what_took_too_long_is_over_budget_in_status_and_metrics() {
    let (server, workspace) = applied(1);
    let fine = workspace.annals("status --performance --json").run().expect(0).json();
    let row = |json: &serde_json::Value, n: usize| json["durations"][n].clone();
    assert_eq!(row(&fine, 0)["what"], "migration");
    assert_eq!(
        (row(&fine, 0)["count"].as_u64(), row(&fine, 0)["within_budget"].as_bool()),
        (Some(1), Some(true))
    );
    assert_eq!(row(&fine, 1)["count"], 0);
    assert_eq!(row(&fine, 1)["within_budget"], serde_json::Value::Null);
    configured(
        &workspace,
        "[budgets]\nmigration = \"500ms\"\nbackup = \"0\"\n[health]\ncache = \"100ms\"\n",
    );
    workspace.migration(
        "2_slow",
        "SELECT pg_sleep(0.7); CREATE TABLE slow (id int);",
        "DROP TABLE slow;",
    );
    workspace.annals("migrate").run().expect(0);
    let told = workspace.annals("status --performance").run().expect(11);
    let told = told.says(&["over budget", "the last migration took", "500 ms", "2_slow"]);
    assert!(told.out.contains("rollback"), "{}", told.out);
    let json = workspace.annals("status --performance --json").run().expect(11).json();
    let migration = row(&json, 0);
    assert_eq!((migration["count"].as_u64(), migration["breaches"].as_u64()), (Some(2), Some(1)));
    assert_eq!(migration["last"]["slowest"]["migration"], "2_slow");
    assert!(migration["last"]["duration_us"].as_u64().unwrap() > 700_000);
    assert_eq!(row(&json, 2)["budget_ms"], serde_json::Value::Null);
    let text = metrics(&Served::of(&workspace));
    assert_eq!(value(&text, "annals_budget_breached{target=\"db\",kind=\"migration\"}"), 1.0);
    assert_eq!(value(&text, "annals_budget_breaches_total{target=\"db\",kind=\"migration\"}"), 1.0);
    assert_eq!(value(&text, "annals_budget_breached{target=\"db\",kind=\"rollback\"}"), 0.0);
    assert!(!text.contains("annals_duration_budget_seconds{target=\"db\",kind=\"backup\"}"));
    // What was asked of the log alone needs no database.
    server.crash();
    workspace.annals("status --performance").run().expect(11);
}
