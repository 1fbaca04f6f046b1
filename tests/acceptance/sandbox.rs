//! The private PostgreSQL and the tour on it.

use std::fs;
use std::path::Path;

use annals_testkit::{Annals, program, wait_for};

/// A folder whose sandboxes live in it too, so that nothing outlives the test.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        // Short, for the socket; open like /tmp, for the server's user.
        let folder = tempfile::Builder::new().prefix("annals-place-").tempdir_in("/tmp").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        Self(folder)
    }

    fn annals(&self, folder: &Path, line: &str) -> Annals {
        Annals::new(&program(), folder).env("ANNALS_SANDBOX_DIR", self.0.path()).args(line)
    }

    fn workspace(&self) -> std::path::PathBuf {
        let folder = self.0.path().join("w");
        self.annals(self.0.path(), "init w --supabase").run().expect(0);
        folder
    }

    /// Folders of sandboxes that are there.
    fn sandboxes(&self) -> usize {
        let entries = fs::read_dir(self.0.path()).unwrap().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("annals-")).count()
    }
}

fn is_alive(pid: u64) -> bool {
    // A zombie nobody has collected yet is dead.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z")
}

#[test]
fn a_sandbox_starts_by_itself_stays_and_is_gone_when_asked() {
    let place = Place::new();
    let workspace = place.workspace();
    let run = |line: &str| place.annals(&workspace, line).run();
    let created = run("create first --json").expect(0).json();
    fs::write(
        workspace.join(created["migration"].as_str().unwrap()),
        "CREATE TABLE first (id uuid, o uuid REFERENCES auth.users);",
    )
    .unwrap();
    fs::write(workspace.join(created["rollback"].as_str().unwrap()), "DROP TABLE first;").unwrap();
    run("migrate --sandbox").expect(0).says(&["1 step of 1"]);
    run("status --sandbox").expect(0).says(&["1 applied, 0 pending"]);
    let found = run("sandbox start --json").expect(0).json();
    let pid = found["pid"].as_u64().unwrap();
    assert!(is_alive(pid) && found["platform"] == "supabase");
    run("sandbox url").expect(0).says(&["postgres://postgres@"]);
    let mut psql = place.annals(&workspace, "sandbox psql -- -X -A -t -c");
    psql = psql.arg("select count(*) from first");
    assert_eq!(psql.run().expect(0).out.trim(), "0");

    // A server that died comes back with its data.
    annals_testkit::kill(pid, "KILL");
    wait_for("the server to die", || (!is_alive(pid)).then_some(()));
    run("status --sandbox").expect(0).says(&["1 applied, 0 pending"]);
    let again = run("sandbox start --json").expect(0).json()["pid"].as_u64().unwrap();
    assert_ne!(again, pid);

    run("sandbox stop").expect(0).says(&["gone"]);
    wait_for("the server to go", || (!is_alive(again)).then_some(()));
    assert_eq!(place.sandboxes(), 0);
    run("sandbox stop").expect(0).says(&["there was no sandbox"]);
    run("status --sandbox").expect(0).says(&["0 applied, 1 pending"]);
    run("sandbox stop").expect(0);
}

#[test]
fn without_a_server_the_message_has_the_line_that_installs_one() {
    let place = Place::new();
    let workspace = place.workspace();
    let nothing = tempfile::tempdir().unwrap();
    let run = place.annals(&workspace, "status --sandbox").env("ANNALS_PG_BIN", nothing.path());
    run.run()
        .expect(12)
        .says(&["no PostgreSQL server is installed", "apt-get install -y postgresql"]);
}

#[test]
fn another_version_is_taken_where_the_wanted_one_is_not_installed_and_that_is_said() {
    let place = Place::new();
    let workspace = place.workspace();
    let run = |line: &str| place.annals(&workspace, line).run();
    let found = run("sandbox start --major 99 --json").expect(0).json();
    assert_eq!(found["wanted_major"], 99);
    let version = found["server_version"].as_str().unwrap();
    let major = version.split('.').next().unwrap();
    for words in ["no PostgreSQL 99 is installed; installed: ", major, "postgresql-99"] {
        assert!(found["note"].as_str().unwrap().contains(words), "{found}");
    }
    // It runs; another version than it has is only told.
    run("sandbox start --major 98").expect(0).says(&["set up before", "annals sandbox stop"]);
    let same = run(&format!("sandbox start --json --major {major}")).expect(0).json();
    assert_eq!((&same["note"], &same["pid"]), (&serde_json::Value::Null, &found["pid"]));
    run("sandbox stop").expect(0);

    let config = fs::read_to_string(workspace.join("annals.toml")).unwrap();
    let change = |from: &str, to: &str| {
        fs::write(workspace.join("annals.toml"), config.replace(from, to)).unwrap();
    };
    change("[sandbox]\n", "[sandbox]\nmajor = 97\nservers = { 97 = \"/nowhere\" }\n");
    run("sandbox start").expect(0).says(&["PostgreSQL 97 is wanted (sandbox.major)"]);
    run("sandbox stop").expect(0);
    change("[sandbox]\n", "[sandbox]\nlike = \"nobody\"\n");
    run("sandbox start").expect(3).says(&["sandbox.like", "there is no target \"nobody\""]);
}

#[test]
fn a_start_that_is_killed_leaves_a_whole_sandbox_or_none() {
    let place = Place::new();
    let workspace = place.workspace();
    // Without a template there is more to interrupt.
    let start = |with_cache: bool| {
        let line = place.annals(&workspace, "sandbox start");
        if with_cache { line } else { line.env("XDG_CACHE_HOME", "").env("HOME", "") }
    };
    let sandbox = || {
        let entries = fs::read_dir(place.0.path()).unwrap().flatten();
        let mut folders = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("annals-sandbox-"));
        folders.next().map(|folder| folder.path())
    };
    let (mut whole, mut none) = (0, 0);
    let points = ["data", "data/global", "data/base/1", "data/postgresql.auto.conf", "server.log"];
    for (with_cache, point) in
        [false, true].into_iter().flat_map(|cache| points.map(|point| (cache, point)))
    {
        let running = start(with_cache).start();
        wait_for("the point to kill it at", || {
            sandbox().is_some_and(|folder| folder.join(point).exists()).then_some(())
        });
        running.signal("KILL");
        let _ = running.wait();
        wait_for("a whole sandbox, or none", || match sandbox() {
            None => {
                none += 1;
                Some(())
            }
            Some(folder) => folder.join("ready").exists().then(|| whole += 1),
        });
        place.annals(&workspace, "sandbox stop").run().expect(0);
        assert_eq!(place.sandboxes(), 0);
    }
    assert!(none > 5, "{none} of {} were interrupted", none + whole);
}

#[test]
fn a_folder_of_somebody_else_is_not_taken_for_a_sandbox() {
    let place = Place::new();
    let workspace = place.workspace();
    let found = place.annals(&workspace, "sandbox start --json").run().expect(0).json();
    let folder = found["folder"].as_str().unwrap().to_owned();
    place.annals(&workspace, "sandbox stop").run().expect(0);
    fs::write(&folder, "a file in its place").unwrap();
    place.annals(&workspace, "sandbox start").run().expect(7).says(&["belongs to another user"]);
}

#[test]
fn the_tour_ends_well_and_leaves_a_folder_that_still_speaks() {
    let place = Place::new();
    let home = place.0.path();
    let tour = place.annals(home, "demo tour --json").run().expect(0).json();
    assert_eq!(tour["format"], "annals.demo/1");
    assert!(tour["commands"].as_array().unwrap().len() >= 15);
    assert_eq!(place.sandboxes(), 0, "the tour's server is gone with its folder");
    let folder = home.join("tour");
    place.annals(&folder, "log verify").run().expect(0).says(&["is intact"]);
    place.annals(&folder, "state --at-seq 10").run().expect(0).says(&["after event 10"]);
    place.annals(home, "demo tour").run().expect(3).says(&["is there already"]);
}

#[test]
fn a_killed_tour_takes_its_server_with_it() {
    let place = Place::new();
    let tour = place.annals(place.0.path(), "demo tour").start();
    let segment = place.0.path().join("tour/event-store/demo/segments/00000000000000000000.jsonl");
    wait_for("the tour to migrate", || segment.exists().then_some(()));
    assert_eq!(place.sandboxes(), 1);
    tour.signal("KILL");
    tour.wait().expect(-1);
    wait_for("the server's folder to go", || (place.sandboxes() == 0).then_some(()));
}

#[test]
fn of_several_commands_at_once_one_sets_the_sandbox_up() {
    let place = Place::new();
    let workspace = place.workspace();
    fs::write(workspace.join("migrations/1_a.sql"), "CREATE TABLE a ();").unwrap();
    fs::write(workspace.join("rollbacks/1_a_rollback.sql"), "DROP TABLE a;").unwrap();
    let running: Vec<_> =
        (0..4).map(|_| place.annals(&workspace, "migrate --sandbox").start()).collect();
    let applied = running.into_iter().map(|run| run.wait().expect(0));
    assert_eq!(applied.filter(|outcome| outcome.out.contains("1 step of 1")).count(), 1);
    place.annals(&workspace, "sandbox stop").run().expect(0);
}

#[test]
fn a_stale_process_id_stops_nobody_elses_server() {
    let place = Place::new();
    let workspace = place.workspace();
    let other = place.0.path().join("other");
    place.annals(place.0.path(), "init other").run().expect(0);
    let start = |folder: &Path| place.annals(folder, "sandbox start --json").run().expect(0).json();
    let (ours, theirs) = (start(&workspace), start(&other));
    let pid_file = format!("{}/data/postmaster.pid", ours["folder"].as_str().unwrap());
    annals_testkit::kill(ours["pid"].as_u64().unwrap(), "KILL");
    let text = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", theirs["pid"])).unwrap();
    place.annals(&workspace, "sandbox stop").run().expect(0);
    assert!(is_alive(theirs["pid"].as_u64().unwrap()), "the other server was stopped");
    place.annals(&other, "sandbox stop").run().expect(0);
}
