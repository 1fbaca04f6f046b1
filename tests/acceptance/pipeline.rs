//! The workflow that `annals init --github` writes: each job's steps, taken out of the YAML and run
//! by bash as a runner would, on real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use annals_testkit::{Annals, Outcome, Server, program};
use saphyr::{LoadableYamlNode, Yaml};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const WORKFLOW: &str = ".github/workflows/database-migrations.yml";

fn load(text: &str) -> Yaml<'_> {
    Yaml::load_from_str(text).expect("it is YAML").remove(0)
}

fn text(yaml: &Yaml<'_>) -> String {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text")).to_owned()
}

/// The pairs of a mapping; none where there is none.
fn pairs(yaml: Option<&Yaml<'_>>) -> Vec<(String, String)> {
    let mapping = yaml.and_then(|yaml| yaml.as_mapping());
    mapping.into_iter().flatten().map(|(key, value)| (text(key), text(value))).collect()
}

fn get<'a, 'b>(yaml: &'a Yaml<'b>, key: &str) -> Option<&'a Yaml<'b>> {
    yaml.as_mapping_get(key)
}

/// A team's repository, its remote, and the machine that runs its jobs.
struct Team {
    folder: tempfile::TempDir,
    /// The folder of the workspace in the repository; empty at its top.
    below: &'static str,
    staging: Server,
    production: Server,
}

impl Drop for Team {
    /// The machine of a job is thrown away, and with it the private server that `ci test` has started there.
    fn drop(&mut self) {
        let workspace = self.path("machine/checkout").join(self.below);
        if workspace.join("annals.toml").exists() {
            let stop =
                Command::new(program()).current_dir(workspace).args(["sandbox", "stop"]).output();
            if !stop.as_ref().is_ok_and(|stop| stop.status.success()) {
                eprintln!("the private server of a job goes on: {stop:?}");
            }
        }
    }
}

/// What came of a job.
struct Job {
    /// The step that failed.
    failed: Option<String>,
    said: String,
}

impl Team {
    fn new(below: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let team = Self { folder, below, staging: Server::start(), production: Server::start() };
        for name in ["shop", "programs", "machine"] {
            fs::create_dir(team.path(name)).unwrap();
        }
        // GitHub's own program is not here: what it is asked for is written down.
        let gh = team.path("programs/gh");
        fs::write(&gh, "#!/bin/sh\nprintf '%s\\n' \"$*\" >> \"$ASKED\"\n").unwrap();
        fs::set_permissions(&gh, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(program(), team.path("programs/annals")).unwrap();
        fs::create_dir_all(team.workspace("")).unwrap();
        team.git("init -q -b main .");
        team.annals("init --github --supabase")
            .expect(0)
            .says(&["production, the latter with required reviewers"]);
        let config = fs::read_to_string(team.workspace("annals.toml")).unwrap();
        fs::write(team.workspace("annals.toml"), config.replace("\"supabase\"", "\"plain\""))
            .unwrap();
        team.migration("001_a", "CREATE TABLE a (id int PRIMARY KEY);", "DROP TABLE a;");
        team.commit("base");
        team.git("clone -q --bare . ../remote");
        team.git("remote add origin ../remote");
        team.git("fetch -q origin");
        team
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the workspace.
    fn workspace(&self, name: &str) -> PathBuf {
        self.path("shop").join(self.below).join(name)
    }

    fn workflow(&self) -> String {
        let folder = self.path("shop/.github/workflows");
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read_to_string(files.remove(0)).unwrap()
    }

    fn git(&self, line: &str) {
        let done = Command::new("git")
            .current_dir(self.path("shop"))
            .args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"])
            .args(line.split(' '))
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "git {line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn commit(&self, what: &str) {
        self.git("add -A");
        self.git(&format!("commit -q -m {what}"));
    }

    fn annals(&self, line: &str) -> Outcome {
        Annals::new(&program(), &self.workspace("")).args(line).run()
    }

    fn migration(&self, id: &str, up: &str, down: &str) {
        fs::write(self.workspace(&format!("migrations/{id}.sql")), up).unwrap();
        fs::write(self.workspace(&format!("rollbacks/{id}_rollback.sql")), down).unwrap();
    }

    fn secret(&self, name: &str) -> String {
        match name {
            "STAGING_DATABASE_URL" => self.staging.url(),
            "PRODUCTION_DATABASE_URL" => self.production.url(),
            "ANNALS_LOG_KEY" => fs::read_to_string(self.workspace("keys/log.key")).unwrap(),
            "ANNALS_BACKUP_KEY" => fs::read_to_string(self.workspace("keys/backup.key")).unwrap(),
            // Set by nobody.
            "ANNALS_STORE_KEY_ID" | "ANNALS_STORE_SECRET" => String::new(),
            other => panic!("no secret {other}"),
        }
    }

    /// What an expression of the workflow stands for.
    fn value(&self, text: &str, event: &BTreeMap<&str, &str>) -> String {
        let mut value = text.to_owned();
        while let Some((before, rest)) = value.split_once("${{") {
            let (expression, behind) = rest.split_once("}}").expect("it ends");
            let expression = expression.trim();
            let real = match expression.split_once('.') {
                Some(("secrets", name)) => self.secret(name).trim_end().to_owned(),
                Some(("vars", "ANNALS_INSTALL")) => "annals --version".to_owned(),
                _ => (*event.get(expression).unwrap_or_else(|| panic!("{expression}"))).to_owned(),
            };
            value = format!("{before}{real}{behind}");
        }
        value
    }

    /// Runs the steps of a job, as a runner does.
    fn job(&self, name: &str, event: &[(&str, &str)]) -> Job {
        let event: BTreeMap<&str, &str> = event.iter().copied().collect();
        let workflow = self.workflow();
        let workflow = load(&workflow);
        let job = get(get(&workflow, "jobs").unwrap(), name).unwrap();
        let checkout = self.path("machine/checkout");
        let _ = fs::remove_dir_all(self.path("machine"));
        fs::create_dir_all(self.path("machine/temp")).unwrap();
        // What `actions/checkout` does.
        self.git("clone -q --no-hardlinks . ../machine/checkout");
        let done = Command::new("git")
            .current_dir(&checkout)
            .args(["fetch", "-q", "../../remote", "+refs/heads/*:refs/remotes/origin/*"])
            .status();
        assert!(done.unwrap().success());
        let files = ["env", "summary"].map(|name| self.path("machine").join(name));
        files.iter().for_each(|file| fs::write(file, "").unwrap());
        let asked = self.path("asked");
        let base = event.get("github.base_ref").copied().unwrap_or_default();
        let path =
            format!("{}:{}", self.path("programs").display(), std::env::var("PATH").unwrap());
        let mut said = String::new();
        let mut failed = None;
        let defaults = get(get(&workflow, "defaults").unwrap(), "run").unwrap();
        let place = get(defaults, "working-directory").map(text).unwrap_or_default();
        for step in get(job, "steps").unwrap().as_sequence().unwrap() {
            let Some(script) = get(step, "run").map(text) else { continue };
            let always = get(step, "if").is_some();
            if failed.is_some() && !always {
                continue;
            }
            let mut command = Command::new("bash");
            command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script]);
            command
                .current_dir(checkout.join(&place))
                .env_clear()
                .env("PATH", &path)
                .env("HOME", self.folder.path());
            command.env("XDG_CACHE_HOME", std::env::temp_dir().join("annals-pipeline-cache"));
            for name in ["ANNALS_PG_BIN", "LD_LIBRARY_PATH", "TMPDIR"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
            let runner = [
                ("GITHUB_BASE_REF", base),
                ("GITHUB_REPOSITORY", "ada/shop"),
                ("GITHUB_SHA", "0123456789012345678901234567890123456789"),
                ("GITHUB_REF", "refs/heads/main"),
            ];
            command.envs(runner).env("GITHUB_ENV", &files[0]).env("GITHUB_STEP_SUMMARY", &files[1]);
            command.env("RUNNER_TEMP", self.path("machine/temp")).env("ASKED", &asked);
            let tables = [get(&workflow, "env"), get(job, "env"), get(step, "env")];
            for (name, value) in tables.into_iter().flat_map(pairs) {
                command.env(name, self.value(&value, &event));
            }
            for line in fs::read_to_string(&files[0]).unwrap().lines() {
                let (name, value) = line.split_once('=').unwrap();
                command.env(name, value);
            }
            let done = command.output().unwrap();
            said.push_str(&String::from_utf8_lossy(&done.stdout));
            said.push_str(&String::from_utf8_lossy(&done.stderr));
            if !done.status.success() && failed.is_none() {
                failed = Some(get(step, "name").map(text).unwrap_or_default());
            }
        }
        Job { failed, said }
    }
}

impl Job {
    #[track_caller]
    fn ends(self, failed: Option<&str>, words: &[&str]) {
        assert_eq!(self.failed.as_deref(), failed, "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "{word}: {}", self.said);
        }
    }
}

const REQUEST: [(&str, &str); 4] = [
    ("github.base_ref", "main"),
    ("github.event.number", "7"),
    ("github.token", "t"),
    ("github.actor", "ada"),
];
const PUSH: [(&str, &str); 3] =
    [("github.event.number", ""), ("github.token", "t"), ("github.actor", "ada")];

#[test]
fn a_change_goes_from_a_request_to_production_and_back() {
    let team = Team::new("");
    team.git("checkout -q -b change");
    // A change that must not be merged stops at the first job, with its place.
    team.migration("002_b", "CREATE ROLE b PASSWORD 'hunter2';", "DROP ROLE b;");
    team.commit("bad");
    let refused = team.job("validation", &REQUEST);
    refused.ends(
        Some("Validate"),
        &["::error file=migrations/002_b.sql,line=1,col=24,title=annals secret::"],
    );
    let asked = fs::read_to_string(team.path("asked")).unwrap();
    assert!(
        asked.contains("repos/ada/shop/code-scanning/sarifs") && asked.contains("-F sarif=@"),
        "{asked}"
    );
    // One whose rollback does not lead back stops at the second, and the request is told.
    team.migration("002_b", "ALTER TABLE a ADD n int;", "SELECT 1;");
    team.commit("lost");
    team.job("validation", &REQUEST).ends(None, &[]);
    team.job("testing", &REQUEST)
        .ends(Some("Test migrations and rollbacks"), &["rollback-differs"]);
    let asked = fs::read_to_string(team.path("asked")).unwrap();
    assert!(asked.contains("pr comment 7 --repo ada/shop --body-file comment.md"), "{asked}");
    let summary = fs::read_to_string(team.path("machine/summary")).unwrap();
    assert!(
        summary.contains("must not be merged") && summary.contains("rollback\\-differs"),
        "{summary}"
    );
    // A good one passes, and is merged.
    team.migration("002_b", "ALTER TABLE a ADD n int;", "ALTER TABLE a DROP n;");
    team.commit("good");
    team.job("validation", &REQUEST).ends(None, &[]);
    team.job("testing", &REQUEST).ends(None, &["2 migrations on PostgreSQL"]);
    team.git("checkout -q main");
    team.git("merge -q change");
    team.job("validation", &PUSH).ends(None, &[]);
    team.job("testing", &PUSH).ends(None, &[]);
    let columns =
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'a'::regclass AND attname = 'n'";
    for (job, server) in [("staging", &team.staging), ("production", &team.production)] {
        let done = team.job(job, &PUSH);
        done.ends(None, &["applied 002_b", "was taken before the run", "passed", "is intact"]);
        assert_eq!(server.value(columns), "1");
        let kept =
            fs::read_dir(team.path(&format!("machine/checkout/backups/{job}"))).unwrap().count();
        assert_eq!(kept, 1, "the sealed backup is there to be kept");
    }
    // One more, which turns out to be wrong before anybody has verified it.
    team.migration("003_c", "ALTER TABLE a ADD wrong int;", "ALTER TABLE a DROP wrong;");
    team.commit("wrong");
    let url = team.production.url();
    let alone = Annals::new(&program(), &team.path("shop"));
    alone.args("migrate --target production").env("PRODUCTION_DATABASE_URL", url).run().expect(0);
    let hostile = "down\"; touch pwned; echo \"$(touch pwned) `touch pwned`";
    let dispatch = [
        ("inputs.target", "production"),
        ("inputs.reason", hostile),
        ("github.actor", "grace"),
        ("github.token", "t"),
    ];
    team.job("emergency", &dispatch)
        .ends(None, &["production is back and verified", "rolled back 003_c"]);
    assert!(!team.path("machine/checkout/pwned").exists());
    let wrong = columns.replace("'n'", "'wrong'");
    assert_eq!(
        (team.production.value(columns), team.production.value(&wrong)),
        ("1".into(), "0".into())
    );
}

#[test]
fn a_workspace_below_the_top_has_a_workflow_of_its_own() {
    let team = Team::new("services/shop db");
    team.git("checkout -q -b change");
    team.migration("002_b", "CREATE ROLE b PASSWORD 'hunter2';", "DROP ROLE b;");
    team.commit("bad");
    // Found where the repository has it, not where the workspace has it.
    team.job("validation", &REQUEST).ends(
        Some("Validate"),
        &["::error file=services/shop db/migrations/002_b.sql,line=1,col=24,title=annals secret::"],
    );
    team.migration("002_b", "ALTER TABLE a ADD n int;", "ALTER TABLE a DROP n;");
    team.commit("good");
    team.job("validation", &REQUEST).ends(None, &[]);
    team.job("testing", &REQUEST).ends(None, &["2 migrations on PostgreSQL"]);
    team.git("checkout -q main");
    team.git("merge -q change");
    team.job("staging", &PUSH).ends(None, &["applied 002_b", "was taken before the run"]);
    let workflow = team.workflow();
    let workflow = load(&workflow);
    let kept = path_of_artifact(&workflow, "staging");
    for folder in kept.lines() {
        assert!(
            team.path("machine/checkout").join(folder).is_dir() || folder.contains("event-store")
        );
        assert!(folder.starts_with("services/shop db/"), "{kept}");
    }
    let push = get(get(&workflow, "on").unwrap(), "push").unwrap();
    let paths: Vec<String> =
        get(push, "paths").unwrap().as_sequence().unwrap().iter().map(text).collect();
    assert!(paths.contains(&"services/shop db/migrations/**".to_owned()), "{paths:?}");
    assert!(paths.contains(&"services/shop db/annals.toml".to_owned()), "{paths:?}");
    // The other two, of the same workspace.
    team.annals("init --gitlab --hook").expect(0).says(&["include: [{ local: .gitlab/"]);
    let folder = team.path("shop/.gitlab");
    let part = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let part = fs::read_to_string(part).unwrap();
    let part = load(&part);
    let mut found = Vec::new();
    scripts(&part, &mut found);
    assert!(found.contains(&"cd \"services/shop db\"".to_owned()), "{found:?}");
    team.migration("003_c", "SELEC 1;", "SELECT 1;");
    team.git("add -A");
    let path = format!("{}:{}", team.path("programs").display(), std::env::var("PATH").unwrap());
    let commit = Command::new("git")
        .current_dir(team.path("shop"))
        .args(["-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "-m", "bad"])
        .env("HOME", team.folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(!commit.status.success());
    let said = String::from_utf8_lossy(&[commit.stdout, commit.stderr].concat()).into_owned();
    assert!(said.contains("migrations/003_c.sql"), "{said}");
}

/// What a job keeps.
fn path_of_artifact(workflow: &Yaml<'_>, job: &str) -> String {
    let job = get(get(workflow, "jobs").unwrap(), job).unwrap();
    let steps = get(job, "steps").unwrap().as_sequence().unwrap();
    let kept = steps.iter().find_map(|step| get(get(step, "with")?, "path"));
    text(kept.unwrap())
}

/// Every expression that stands in a text.
fn expressions(text: &str) -> Vec<String> {
    let parts = text.split("${{").skip(1).filter_map(|part| part.split_once("}}"));
    parts.map(|(expression, _)| expression.trim().to_owned()).collect()
}

#[test]
fn the_workflow_is_sound() {
    let text_of = fs::read_to_string(Path::new(REPOSITORY).join(WORKFLOW)).unwrap();
    let workflow = load(&text_of);
    assert_eq!(pairs(get(&workflow, "permissions")), [], "none for all");
    let inputs =
        get(get(get(&workflow, "on").unwrap(), "workflow_dispatch").unwrap(), "inputs").unwrap();
    let inputs: BTreeSet<String> =
        inputs.as_mapping().unwrap().keys().map(|key| format!("inputs.{}", text(key))).collect();
    let jobs = get(&workflow, "jobs").unwrap().as_mapping().unwrap();
    let names: BTreeSet<String> = jobs.keys().map(text).collect();
    let known_job = [
        "if",
        "needs",
        "runs-on",
        "timeout-minutes",
        "permissions",
        "environment",
        "concurrency",
        "env",
        "steps",
    ];
    let known_step = ["name", "uses", "with", "env", "run", "if"];
    for (name, job) in jobs {
        let name = text(name);
        let keys =
            |yaml: &Yaml<'_>| yaml.as_mapping().unwrap().keys().map(text).collect::<Vec<_>>();
        assert!(keys(job).iter().all(|key| known_job.contains(&&**key)), "{name}: {:?}", keys(job));
        assert!(
            get(job, "permissions").is_some() && get(job, "timeout-minutes").is_some(),
            "{name}"
        );
        if let Some(needs) = get(job, "needs") {
            assert!(names.contains(&text(needs)), "{name}");
        }
        let may_write =
            pairs(get(job, "permissions")).into_iter().filter(|(_, level)| level == "write");
        let may_write: Vec<String> = may_write.map(|(what, _)| what).collect();
        let expected: &[&str] = match &*name {
            "validation" => &["security-events"],
            "testing" => &["pull-requests"],
            _ => &[],
        };
        assert_eq!(may_write, expected, "{name}");
        // A secret of a target is given to a job that waits for its environment only.
        if pairs(get(job, "env")).iter().any(|(_, value)| value.contains("secrets.")) {
            assert!(
                get(job, "environment").is_some() && get(job, "concurrency").is_some(),
                "{name}"
            );
        }
        for step in get(job, "steps").unwrap().as_sequence().unwrap() {
            assert!(keys(step).iter().all(|key| known_step.contains(&&**key)), "{:?}", keys(step));
            if let Some(action) = get(step, "uses").map(text) {
                let (_, commit) = action.split_once('@').unwrap();
                assert!(
                    commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{action}"
                );
            }
            if let Some(script) = get(step, "run").map(text) {
                assert_eq!(expressions(&script), Vec::<String>::new(), "{name}: {script}");
            }
        }
    }
    for expression in expressions(&text_of) {
        let known = inputs.contains(&expression)
            || ["secrets.", "vars.", "github."].iter().any(|begin| expression.starts_with(begin))
            || expression == "!cancelled()";
        assert!(known, "{expression}");
    }
}

#[test]
fn the_workflow_of_this_repository_is_the_one_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| Annals::new(&program(), folder.path()).args(line).run();
    for part in ["annals.toml", "migrations", "rollbacks"] {
        let from = Path::new(REPOSITORY).join(part);
        let done = Command::new("cp").arg("-R").arg(from).arg(folder.path()).status();
        assert!(done.unwrap().success());
    }
    run("init --github").expect(0).says(&[WORKFLOW]);
    let written = fs::read_to_string(folder.path().join(WORKFLOW)).unwrap();
    let here = fs::read_to_string(Path::new(REPOSITORY).join(WORKFLOW)).unwrap();
    assert_eq!(written, here, "write it anew with: annals init --github");
    // Again it is there already; another one is left alone.
    run("init --github").expect(0).says(&["is there already"]);
    fs::write(folder.path().join(WORKFLOW), "mine").unwrap();
    run("init --github").expect(0).says(&["left alone"]);
    assert_eq!(fs::read_to_string(folder.path().join(WORKFLOW)).unwrap(), "mine");
    let none = tempfile::tempdir().unwrap();
    let run = |line: &str| Annals::new(&program(), none.path()).args(line).run();
    run("init").expect(0);
    run("init --github").expect(3).says(&["[targets.staging]", "event_store = \"postgres\""]);
    run("init --hook").expect(3).says(&["not a git repository"]);
}

#[test]
fn a_hook_lets_no_commit_through_that_would_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let path =
            format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("git");
        command.current_dir(folder.path()).env("HOME", folder.path()).env("PATH", path);
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.com"]).args(arguments);
        command.output().unwrap()
    };
    let run = |line: &str| Annals::new(&program(), folder.path()).args(line).run();
    assert!(git(&["init", "-q", "."]).status.success());
    run("init . --hook").expect(0).says(&[".git/hooks/pre-commit"]);
    assert!(git(&["add", "-A"]).status.success());
    assert!(git(&["commit", "-q", "-m", "base"]).status.success());
    fs::write(folder.path().join("migrations/1_a.sql"), "SELEC 1;").unwrap();
    git(&["add", "-A"]);
    let refused = git(&["commit", "-q", "-m", "bad"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(said.contains("migrations/1_a.sql"), "{said}");
    fs::write(folder.path().join("migrations/1_a.sql"), "SELECT 1;").unwrap();
    fs::write(folder.path().join("rollbacks/1_a_rollback.sql"), "SELECT 1;").unwrap();
    git(&["add", "-A"]);
    assert!(git(&["commit", "-q", "-m", "good"]).status.success());
    // Somebody's own hook is left alone.
    fs::write(folder.path().join(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
    run("init --hook").expect(0).says(&["left alone"]);
}

/// Every script of a YAML document: strings and lists of them below `script` and `before_script`.
fn scripts(yaml: &Yaml<'_>, found: &mut Vec<String>) {
    for (key, value) in yaml.as_mapping().into_iter().flatten() {
        match (key.as_str(), value.as_sequence()) {
            (Some("script" | "before_script"), Some(lines)) => found.extend(lines.iter().map(text)),
            _ => scripts(value, found),
        }
    }
}

#[test]
fn the_part_for_gitlab_is_yaml_whose_scripts_bash_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| Annals::new(&program(), folder.path()).args(line).run();
    run("init --gitlab").expect(0).says(&[".gitlab/database-migrations.yml", "include:"]);
    let written =
        fs::read_to_string(folder.path().join(".gitlab/database-migrations.yml")).unwrap();
    let part = load(&written);
    let mut found = Vec::new();
    scripts(&part, &mut found);
    assert!(found.len() >= 6, "{found:?}");
    for script in &found {
        let read = Command::new("bash").args(["-n", "-c", script]).output().unwrap();
        assert!(read.status.success(), "{script}: {}", String::from_utf8_lossy(&read.stderr));
    }
    let all = found.join("\n");
    for command in
        ["ci validate", "ci test", "migrate", "verify", "log verify", "rollback --emergency"]
    {
        assert!(all.contains(&format!("annals {command}")), "{command}");
    }
    let hooks = fs::read_to_string(Path::new(REPOSITORY).join(".pre-commit-hooks.yaml")).unwrap();
    let hook = load(&hooks);
    assert_eq!(
        get(&hook.as_sequence().unwrap()[0], "entry").map(text).unwrap(),
        "annals ci validate"
    );
}
