//! The pages of `docs/guide/`, followed as they stand: each command of a page is typed into one
//! shell, and what it prints is what the page says. A block that another test looks at closer is
//! named with that test, so that none is forgotten.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use annals_s3_server::{BUCKET, S3Server};
use annals_testkit::{Page, Server, ServerOptions, Shell, program, wait_for};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A page that is being followed.
struct Guide {
    page: Page,
    shell: Shell,
    done: Vec<bool>,
    folder: tempfile::TempDir,
    /// Blocks that should be others: what stands there, and what should.
    corrections: Vec<(String, String)>,
}

impl Guide {
    /// `docs/guide/<name>` in a shell that stands in a fresh folder.
    fn open(name: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = program().parent().unwrap().to_owned();
        let variables = [variables, &[("ANNALS_ACTOR", "ada")]].concat();
        let shell = Shell::new(folder.path(), &programs, &variables);
        let page = Page::read(&Path::new(REPOSITORY).join("docs/guide").join(name));
        let done = page.blocks().iter().map(|block| block.language != "console").collect();
        Self { page, shell, done, folder, corrections: Vec::new() }
    }

    /// `docs/guide/<name>` in a shell that stands in the repository.
    fn of_the_repository(name: &str) -> Self {
        let mut guide = Self::open(name, &[]);
        guide.shell.run(&format!("cd '{REPOSITORY}'"));
        let private = format!("{}/", guide.folder.path().display());
        guide.shell.says("/tmp/", &private);
        guide
    }

    /// Follows the blocks under a heading, whose world is part of the repository.
    #[track_caller]
    fn exactly(&mut self, heading: &str) {
        for at in self.under(heading) {
            let block = &self.page.blocks()[at];
            if let Some(text) = self.shell.follow_exactly(block) {
                self.corrections.push((block.text.clone(), text));
            }
            self.done[at] = true;
        }
    }

    /// The page says what was printed; where it shall be brought up to date, it is.
    #[track_caller]
    fn corrected(&mut self) {
        let path = Path::new(REPOSITORY).join("docs/guide").join(self.page.name());
        if std::env::var_os("ANNALS_UPDATE_GOLDEN").is_some() {
            let mut text = std::fs::read_to_string(&path).unwrap();
            for (was, is) in self.corrections.drain(..) {
                text = text.replacen(&was, &is, 1);
            }
            std::fs::write(&path, text).unwrap();
        }
        if let Some((was, is)) = self.corrections.first() {
            panic!(
                "{} says\n{was}\nbut here it is\n{is}\n(ANNALS_UPDATE_GOLDEN=1 writes it; read it before you keep it)",
                path.display()
            );
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Follows the blocks under a heading.
    fn section(&mut self, heading: &str) {
        for nth in 0..self.under(heading).len() {
            self.block(heading, nth);
        }
    }

    /// Follows the `nth` block under a heading, from 0.
    #[track_caller]
    fn block(&mut self, heading: &str, nth: usize) {
        let at = self.under(heading)[nth];
        let block = &self.page.blocks()[at];
        if let Err((wrong, text)) = self.shell.follow(&self.page, block) {
            eprintln!("{}\n", wrong.join("\n\n"));
            self.corrections.push((block.text.clone(), text));
        }
        self.done[at] = true;
    }

    /// Types the lines of the blocks of `sh` under a heading, with what cannot be typed as it stands
    /// replaced; each ends well.
    #[track_caller]
    fn type_in(&mut self, heading: &str, replaced: &[(&str, &str)]) {
        let blocks = self.page.blocks().iter();
        let blocks = blocks.filter(|block| block.heading == heading && block.language == "sh");
        let text: String = blocks.map(|block| block.text.as_str()).collect();
        assert!(!text.is_empty(), "the page has no block of sh under {heading:?}");
        for line in text.lines().filter(|line| !line.is_empty()) {
            let line = replaced.iter().fold(line.to_owned(), |line, (is, by)| line.replace(is, by));
            let printed = self.shell.run(&line);
            assert_eq!(self.shell.run("echo $?").trim(), "0", "{line}\n{printed}");
        }
    }

    /// The blocks of `console` under a heading.
    #[track_caller]
    fn under(&self, heading: &str) -> Vec<usize> {
        let blocks = self.page.blocks().iter().enumerate();
        let found: Vec<usize> = blocks
            .filter(|(_, block)| block.heading == heading && block.language == "console")
            .map(|(at, _)| at)
            .collect();
        assert!(!found.is_empty(), "the page has no block under {heading:?}");
        found
    }

    /// The text of the first block of `language` under a heading.
    #[track_caller]
    fn text(&self, heading: &str, language: &str) -> String {
        let mut blocks = self.page.blocks().iter();
        let found = blocks.find(|b| b.heading == heading && b.language == language);
        found.unwrap_or_else(|| panic!("no block of {language} under {heading:?}")).text.clone()
    }

    /// What is left is exactly what other tests look at: heading and test.
    #[track_caller]
    fn rest(mut self, elsewhere: &[(&str, &str)]) {
        self.corrected();
        let left = self.page.blocks().iter().zip(&self.done).filter(|(_, done)| !**done);
        let mut left: Vec<&str> = left.map(|(block, _)| &*block.heading).collect();
        left.dedup();
        let named: Vec<&str> = elsewhere.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(left, named, "not followed, and those that another test follows");
        for (_, test) in elsewhere {
            let (file, name) = test.split_once("::").unwrap();
            let path = format!("{REPOSITORY}/tests/acceptance/{file}.rs");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {name}(")), "{path} has no {name}");
        }
    }
}

/// The small program for auditors, built as it is now, beside `annals`.
fn build_verifier() {
    // A run of all tests has built it; with its features alone everything below it is built once more.
    let built = program().with_file_name("annals-verify");
    let newest = newest_source(&Path::new(REPOSITORY).join("crates"));
    if built.metadata().and_then(|built| built.modified()).is_ok_and(|built| built > newest) {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    let target = program().parent().unwrap().parent().unwrap().to_owned();
    build.args(["build", "--quiet", "--locked", "--package", "annals-verify", "--target-dir"]);
    let status = build.arg(target).current_dir(REPOSITORY).status().unwrap();
    assert!(status.success(), "annals-verify is built");
}

/// When the last source below a folder was changed.
fn newest_source(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let times = entries.map(|path| match path.is_dir() {
        true => newest_source(&path),
        false => path.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[test]
fn the_incident_guide_is_true() {
    let mut guide = Guide::of_the_repository("incident.md");
    for heading in [
        "What was true at 16:30?",
        "1. Can the log be trusted",
        "2. The state then",
        "3. Step by step",
        "4. What changed between two moments",
        "5. Everything about one thing",
        "6. At a kept head",
        "7. An emergency",
        "8. For other tools",
        "9. The schema then",
    ] {
        guide.exactly(heading);
    }
    guide.rest(&[
        ("A failover that lost commits", "failover::a_loss_is_recorded_as_it_was_shown_and_then_the_migrations_are_pending_again"),
        ("The server was upgraded, or the database moved", "upgrade::a_database_on_an_upgraded_server_is_gone_on_with_once_somebody_says_so"),
        ("The log is lost", "adopt::a_lost_log_is_taken_over_and_the_old_one_can_append_no_more"),
    ]);
}

#[test]
fn the_auditors_guide_is_true() {
    build_verifier();
    let mut guide = Guide::of_the_repository("auditor.md");
    for heading in [
        "1. What you need",
        "2. The verdict",
        "3. What damage looks like",
        "5. Forks, and their evidence",
        "6. Retired keys",
        "7. One event",
        "8. Without our program",
    ] {
        guide.exactly(heading);
    }
    // By hand: a script, and behind it what it prints; the second goes on where the first ended.
    let pairs = guide.page.blocks().windows(2).map(|pair| (&pair[0], &pair[1]));
    let hand = pairs.filter(|(script, out)| script.language == "bash" && out.language.is_empty());
    let hand: Vec<_> = hand.map(|(script, out)| (script.text.clone(), out.text.clone())).collect();
    assert_eq!(hand.len(), 2);
    let private = format!("{}/", guide.folder.path().display());
    for (script, shown) in hand {
        let printed = guide.shell.run(&script.replace("/tmp/", &private));
        if printed != shown {
            guide.corrections.push((shown, printed));
        }
    }
    guide.exactly("10. What was done");
    guide.rest(&[("4. Anchors", "copies::the_target_keeps_the_signed_heads_and_tells_a_cut_log")]);
}

/// Writes a migration and its rollback into the workspace `shop`.
fn migration(guide: &Guide, id: &str, up: &str, down: &str) {
    guide.write(&format!("shop/migrations/{id}.sql"), up);
    guide.write(&format!("shop/rollbacks/{id}_rollback.sql"), down);
}

fn away(guide: &Guide, id: &str) {
    std::fs::remove_file(guide.path(&format!("shop/migrations/{id}.sql"))).unwrap();
    std::fs::remove_file(guide.path(&format!("shop/rollbacks/{id}_rollback.sql"))).unwrap();
}

/// The id of the only migration whose name ends so.
fn named(guide: &Guide, end: &str) -> String {
    let files = std::fs::read_dir(guide.path("shop/migrations")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut found = names.filter_map(|name| name.strip_suffix(".sql").map(str::to_owned));
    found.find(|name| name.ends_with(end)).unwrap()
}

#[test]
fn the_engineers_guide_is_true() {
    let server = Server::start_with(ServerOptions { tcp: true, ..Default::default() });
    server.sql("CREATE DATABASE shop");
    let url = server.url();
    let url = format!("{}/shop", url.rsplit_once('/').unwrap().0);
    let mut guide = Guide::open("engineer.md", &[("URL", &url)]);
    let folder = guide.folder.path().display().to_string();
    guide.shell.says("/srv", &folder);
    guide.shell.says("/run/postgresql", &server.folder().display().to_string());
    guide.section("A workspace");

    guide.section("Write");
    migration(
        &guide,
        &named(&guide, "_create_customers"),
        "CREATE TABLE customers (\n  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n  \
         name text NOT NULL\n);\n",
        "DROP TABLE customers;\n",
    );
    guide.shell.run("sleep 1.1; annals create 'Add orders'");
    migration(
        &guide,
        &named(&guide, "_add_orders"),
        "CREATE TABLE orders (\n  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n  \
         customer_id bigint NOT NULL REFERENCES customers\n);\n",
        "DROP TABLE orders;\n",
    );
    guide.section("Look, then do");
    guide.section("Roll back");
    guide.shell.run("annals migrate");
    guide.section("Verify");

    // The proof that is shown is that of the migrations of this repository.
    guide.shell.run(&format!(
        "mkdir ../agents && cd ../agents && cp -R '{REPOSITORY}'/{{migrations,rollbacks,annals.toml}} ."
    ));
    guide.shell.run("annals sandbox start");
    guide.section("Prove the way back");
    guide.shell.run("annals sandbox stop; cd ../shop");

    let targets = guide.text("Targets", "toml");
    let config = std::fs::read_to_string(guide.path("shop/annals.toml")).unwrap();
    guide.write("shop/annals.toml", &format!("{config}\n{targets}"));
    guide.shell.says("postgres://migrator@db.example.com:5432/shop", &url);
    guide.section("Targets");

    guide
        .shell
        .run("annals sandbox psql -- -c 'CREATE TABLE a (id int); INSERT INTO a VALUES (1), (1)'");
    guide.shell.run("annals drift accept --reason 'a table for the guide'");
    migration(
        &guide,
        "20261201_000000_fails",
        "-- Each a once.\n\nALTER TABLE a ADD UNIQUE (id);\n",
        "ALTER TABLE a DROP CONSTRAINT a_id_key;\n",
    );
    guide.block("When a step fails", 0);
    away(&guide, "20261201_000000_fails");
    migration(&guide, "20261201_120000_slow", "SELECT pg_sleep(3);\n", "SELECT 1;\n");
    guide.shell.run("( annals migrate & sleep 1.5; kill -9 $!; wait ) 2> /dev/null");
    guide.block("When a step fails", 1);

    migration(&guide, "003_early", "SELECT 1;\n", "SELECT 1;\n");
    guide.section("Out of order");
    away(&guide, "003_early");

    migration(
        &guide,
        "20261202_000000_index_orders_concurrently",
        &guide.text("Outside a transaction", "sql"),
        "-- annals: transaction=off\n\nDROP INDEX CONCURRENTLY a_id_idx;\n\
         DROP INDEX CONCURRENTLY orders_customer_id_idx;\n",
    );
    guide.block("Outside a transaction", 0);
    guide.shell.run("annals sandbox psql -- -c 'DELETE FROM a'");
    guide.block("Outside a transaction", 1);
    guide.shell.run("annals sandbox psql -- -c 'CREATE TABLE events (what text) PARTITION BY LIST (what); CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1); CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2)'");
    migration(
        &guide,
        "20261204_000000_index_events",
        "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY events_by_what ON events (what);\n",
        "-- annals: transaction=off\nDROP INDEX CONCURRENTLY events_by_what;\n",
    );
    guide.block("Outside a transaction", 2);
    away(&guide, "20261204_000000_index_events");
    guide.shell.run("annals drift accept --reason 'tables for the guide'");

    guide.section("The sandbox");

    // From here on production is what is meant where nothing is said.
    let config = std::fs::read_to_string(guide.path("shop/annals.toml")).unwrap();
    let config = config.replace("default_target = \"sandbox\"", "default_target = \"production\"");
    guide.write("shop/annals.toml", &config);
    for id in ["20261201_120000_slow", "20261202_000000_index_orders_concurrently"] {
        away(&guide, id);
    }
    guide.shell.run("annals migrate");
    guide.section("The schema as a value");
    guide.shell.run("psql \"$URL\" -Xqc 'CREATE ROLE migrator SUPERUSER LOGIN' -c \"CREATE ROLE ada SUPERUSER LOGIN PASSWORD 'guide'\"");
    // Somebody else, from another machine.
    let far = format!("postgres://ada:guide@127.0.0.1:{}/shop", server.tcp_port());
    guide.shell.says("10.0.0.7", "127.0.0.1");
    let by_hand = |guide: &mut Guide, sql: &str| {
        let done = guide.shell.run(&format!("psql '{far}' -Xqc \"{sql}\""));
        assert_eq!(done, "");
    };
    by_hand(
        &mut guide,
        "ALTER TABLE orders ADD COLUMN note text; CREATE INDEX orders_total ON orders (note)",
    );
    guide.shell.run("annals drift accept --reason 'an index for the guide'");
    by_hand(&mut guide, "DROP INDEX orders_total; ALTER TABLE orders ALTER note SET DEFAULT ''");
    guide.shell.run("sleep 1.1; annals create 'Add notes'");
    migration(
        &guide,
        &named(&guide, "_add_notes"),
        "CREATE TABLE notes (id int PRIMARY KEY);\n",
        "DROP TABLE notes;\n",
    );
    guide.block("Drift", 0);
    by_hand(
        &mut guide,
        "CREATE INDEX orders_total ON orders (note); ALTER TABLE orders ALTER note DROP DEFAULT",
    );
    guide.shell.run("annals drift");
    let track = guide.shell.run("annals drift track");
    assert!(track.contains("annals.ddl_log"), "{track}");
    by_hand(&mut guide, "DROP INDEX orders_total");
    guide.block("Drift", 1);
    by_hand(&mut guide, "CREATE INDEX orders_total ON orders (note)");

    std::fs::create_dir(guide.path("vault")).unwrap();
    let anchors = guide.text("Anchors", "toml");
    guide.write("shop/annals.toml", &config.replace(&targets, &anchors));
    guide.block("Anchors", 0);
    guide.shell.run("annals log anchor --target production");
    guide.write(
        "shop/annals.toml",
        &format!("{}\n[policy]\nrequire_anchors = 1\n", config.replace(&targets, &anchors)),
    );
    std::fs::remove_dir_all(guide.path("vault")).unwrap();
    guide.shell.run("sleep 1.1; annals create 'Add more'");
    migration(
        &guide,
        &named(&guide, "_add_more"),
        "CREATE TABLE more (id int PRIMARY KEY);\n",
        "DROP TABLE more;\n",
    );
    guide.block("Anchors", 1);
    guide.write("shop/annals.toml", &config);
    guide.section("The key");
    guide.section("Where the log lives");
    guide.rest(&[
        ("Backfills", "backfill::a_backfill_is_stopped_between_two_batches"),
        ("A busy database", "harmless::a_run_goes_on_when_the_blocker_leaves"),
        ("A database that has a past", "adopt::a_baseline_that_is_killed_anywhere_is_settled"),
    ]);
}

/// The workspace `shop` with a target `production`, migrations `1_customers` and `2_orders`, and
/// rows.
fn shop(guide: &mut Guide, server: &Server, keys: &str) -> String {
    let folder = guide.folder.path().display().to_string();
    guide.shell.says("/srv", &folder);
    guide.shell.run("annals init shop && cd shop && rm annals.toml");
    let config = format!(
        "workspace = \"shop\"\ndefault_target = \"production\"\ndefault_backup = \"off\"\n\n\
         [targets.production]\nurl_env = \"SHOP_PRODUCTION_URL\"\n{keys}\n"
    );
    guide.write("shop/annals.toml", &config);
    for (id, table) in [("1_customers", "customers"), ("2_orders", "orders")] {
        let up = format!("CREATE TABLE {table} (id int PRIMARY KEY);\n");
        migration(guide, id, &up, &format!("DROP TABLE {table};\n"));
    }
    let migrated = guide.shell.run("annals migrate");
    assert!(migrated.contains("2 steps of 2"), "{migrated}");
    server.sql("INSERT INTO customers SELECT n FROM generate_series(1, 1000) n");
    config
}

#[test]
fn the_guide_to_backups_is_true() {
    let server = Server::start();
    let store = S3Server::start("backup_store::s3_server");
    let url = server.url();
    let variables = [
        ("SHOP_PRODUCTION_URL", &*url),
        ("SHOP_BACKUP_PASSPHRASE", "correct horse battery staple"),
    ];
    let mut guide = Guide::open("backups.md", &variables);
    let config = shop(&mut guide, &server, "");
    guide.shell.run("annals backup");

    let recipients = guide.text("Do not lose the key", "toml");
    guide.write("shop/annals.toml", &format!("{config}\n{recipients}"));
    guide.section("Do not lose the key");
    guide.write("shop/annals.toml", &config);
    guide.shell.run("annals backup rekey --all");
    guide.section("Replace a key");

    // One from before a migration, one that was verified, one behind it.
    guide.write("shop/annals.toml", &format!("{config}backup = \"full\"\n"));
    migration(&guide, "3_notes", "CREATE TABLE notes (id int);\n", "DROP TABLE notes;\n");
    guide.shell.run("annals migrate");
    guide.write("shop/annals.toml", &config);
    guide.shell.run("annals backup; annals backup verify latest --deep; annals backup");
    guide.section("What may go");

    migration(
        &guide,
        "4_lines",
        "CREATE TABLE lines (id int PRIMARY KEY);\n",
        "DROP TABLE lines;\n",
    );
    guide.shell.run("annals migrate");
    guide.block("Less than everything", 0);
    guide.write("shop/annals.toml", &format!("{config}backup = \"external\"\n"));
    migration(&guide, "5_more", "CREATE TABLE more (id int PRIMARY KEY);\n", "DROP TABLE more;\n");
    guide.block("Less than everything", 1);
    guide.write("shop/annals.toml", &config);

    guide.shell.run("( ANNALS_FAILPOINT=backup_named annals backup ) 2> /dev/null");
    guide.section("A backup the log does not know");

    let keys = guide.text("Keep them elsewhere", "toml").replace("shop-backups/annals", BUCKET);
    let place = format!("endpoint = \"{}\"\nallow_http = true\n", store.endpoint());
    guide.write("shop/annals.toml", &format!("{config}\n{keys}{place}"));
    let known = S3Server::variables();
    let known: Vec<String> = known.iter().map(|(name, value)| format!("{name}={value}")).collect();
    guide.shell.says("AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…", &known.join(" "));
    guide.shell.says("s3://shop-backups/annals", &format!("s3://{BUCKET}"));
    guide.section("Keep them elsewhere");

    guide.rest(&[]);
}

/// A project on Supabase, beside the shop: a backup, and what came since. The shell is in it.
fn on_supabase(guide: &mut Guide) -> Server {
    let server = Server::start_with(ServerOptions { supabase: true, ..Default::default() });
    guide.shell.run(&format!("export BAZAAR_URL='{}'; cd ..; annals init bazaar", server.url()));
    let config = "workspace = \"bazaar\"\ndefault_target = \"production\"\n\n[targets.production]\n\
                  url_env = \"BAZAAR_URL\"\nplatform = \"supabase\"\n";
    guide.write("bazaar/annals.toml", config);
    guide.write(
        "bazaar/migrations/1_orders.sql",
        "CREATE TABLE public.orders (id int PRIMARY KEY, owner uuid REFERENCES auth.users (id));\n\
         CREATE TABLE public.profiles (id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE);\n\
         CREATE FUNCTION public.sign_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             $$ BEGIN INSERT INTO public.profiles VALUES (NEW.id); RETURN NEW; END $$;\n\
         CREATE TRIGGER on_sign_up AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.sign_up();\n",
    );
    guide.write(
        "bazaar/rollbacks/1_orders_rollback.sql",
        "DROP FUNCTION public.sign_up() CASCADE;\nDROP TABLE public.profiles, public.orders;\n",
    );
    guide.shell.run("cd bazaar; annals migrate");
    server.sql(
        "INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 200); \
         INSERT INTO public.orders SELECT row_number() OVER (), id FROM auth.users, generate_series(1, 5)",
    );
    guide.shell.run("annals backup; annals create carts");
    guide.shell.run("echo 'CREATE TABLE carts (id int);' > migrations/*_carts.sql");
    guide.shell.run("echo 'DROP TABLE carts;' > rollbacks/*_carts_rollback.sql; annals migrate");
    server.sql("DELETE FROM public.orders WHERE id > 600; INSERT INTO carts VALUES (1), (2)");
    server
}

#[test]
fn the_guide_to_restoring_is_true() {
    let server = Server::start();
    server.sql("CREATE DATABASE shop");
    let url = server.url().rsplit_once('/').unwrap().0.to_owned() + "/shop";
    let mut guide = Guide::open("restoring.md", &[("SHOP_PRODUCTION_URL", &url)]);
    guide.shell.run("annals init shop && cd shop && rm annals.toml");
    let config = "workspace = \"shop\"\ndefault_target = \"production\"\n\n[targets.production]\n\
                  url_env = \"SHOP_PRODUCTION_URL\"\n";
    guide.write("shop/annals.toml", config);
    for (id, table) in [("1_customers", "customers"), ("2_orders", "orders")] {
        let up = format!("CREATE TABLE {table} (id int PRIMARY KEY, note text);\n");
        migration(&guide, id, &up, &format!("DROP TABLE {table};\n"));
    }
    let psql = |guide: &mut Guide, sql: &str| {
        let said = guide.shell.run(&format!("psql -X \"$SHOP_PRODUCTION_URL\" -c '{sql}'"));
        assert!(!said.contains("ERROR"), "{said}");
    };
    guide.shell.run("annals migrate");
    psql(&mut guide, "INSERT INTO orders SELECT n FROM generate_series(1, 1000) n");
    psql(&mut guide, "INSERT INTO customers SELECT n FROM generate_series(1, 200) n");
    guide.shell.run("annals backup; annals create add_carts");
    let carts = named(&guide, "_add_carts");
    migration(&guide, &carts, "CREATE TABLE carts (id int);\n", "DROP TABLE carts;\n");
    guide.shell.run("annals migrate");
    psql(&mut guide, "DELETE FROM orders WHERE id > 600; INSERT INTO carts VALUES (1), (2)");
    // Somebody is at the till.
    let till = "( PGAPPNAME=till psql -X \"$SHOP_PRODUCTION_URL\" -c 'SELECT pg_sleep(600)' ) \
                > /dev/null 2>&1 &";
    guide.shell.run(till);
    let there = "SELECT pid FROM pg_stat_activity WHERE application_name = 'till'";
    wait_for("somebody at the till", || server.rows(there).pop());
    guide.section("In the place of the target");

    let supabase = on_supabase(&mut guide);
    guide.section("In the target itself, as on Supabase");
    guide.shell.run("cd ../shop");
    drop(supabase);

    psql(
        &mut guide,
        "DELETE FROM orders WHERE id > 600; UPDATE orders SET note = 1 WHERE id < 4; \
         INSERT INTO orders VALUES (5000)",
    );
    guide.section("Rows of some tables");
    guide.rest(&[]);
}

#[test]
fn the_operators_guide_is_true() {
    let server = Server::start();
    let url = server.url();
    let mut guide = Guide::open("operator.md", &[("SHOP_PRODUCTION_URL", &url)]);
    let staging = "\n[targets.staging]\nurl_env = \"SHOP_PRODUCTION_URL\"\n";
    let config = shop(&mut guide, &server, staging);
    let health = guide.text("Probes", "toml");
    let health = health.replace("public.agents", "customers").replace("public.tasks", "orders");
    guide.write("shop/annals.toml", &format!("{config}\n{health}"));
    server.sql(&guide.text("Start it", "sql").replace('…', "secret"));
    guide
        .shell
        .run("annals rollback --last 1; annals backup; annals backup verify --deep; annals verify");
    away(&guide, "2_orders");
    migration(&guide, "004_add_quota", "SELECT 1;\n", "SELECT 1;\n");
    // It stays in the foreground: here it goes behind, and what it says when it listens is read.
    guide.shell.run("annals serve --listen 127.0.0.1:0 > said 2>&1 &");
    guide.shell.run("for n in {1..100}; do grep -q try said && break; sleep 0.1; done");
    let said = guide.shell.run("cat said");
    let address = said.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
    guide.shell.says("127.0.0.1:8009", address);
    let begin = guide.under("Start it")[0];
    let shown = guide.page.blocks()[begin].text.replace("$ annals serve\n", "");
    assert_eq!(guide.shell.compare(&shown, &said), Ok(()));
    guide.done[begin] = true;
    guide.section("Probes");
    guide.shell.run("kill %1; wait");

    guide.section("Limits of time");
    guide.rest(&[(
        "For other machines",
        "serve::off_this_machine_nobody_listens_without_tls_and_a_token",
    )]);
}

#[test]
fn the_approvers_guide_is_true() {
    let server = Server::start();
    let url = server.url();
    let mut guide = Guide::open("approver.md", &[("SHOP_PRODUCTION_URL", &url)]);
    let config = shop(&mut guide, &server, "");
    guide.shell.run("ssh-keygen -q -t ed25519 -N '' -f ben_id_ed25519");
    let policy = guide.text("Once: who may approve", "toml");
    guide.write("shop/annals.toml", &format!("{config}\n{policy}"));
    let pending = |guide: &mut Guide, id: &str| {
        let table = format!("CREATE TABLE t{} (id int PRIMARY KEY);\n", &id[..1]);
        migration(guide, id, &table, &format!("DROP TABLE t{};\n", &id[..1]));
    };
    guide.type_in("Once: who may approve", &[]);

    guide.shell.run("export ANNALS_ACTOR=eve");
    pending(&mut guide, "3_more");
    // Nobody is there to be asked.
    guide.type_in("Each time", &[("# or", "--yes # or")]);
    assert!(guide.shell.run("annals status").contains("0 pending"));

    pending(&mut guide, "4_more");
    guide.shell.run("annals proof; annals plan --out other.json");
    let approved =
        guide.shell.run("annals approve other.json --key ~/ada.key --yes --json | jq -r .approval");
    guide.type_in("Taking it back", &[("<approval>", approved.trim())]);
    let refused = guide.shell.run("annals migrate --plan other.json");
    assert_eq!(guide.shell.run("echo $?").trim(), "19", "{refused}");

    guide.shell.run("annals keys generate approver cyd; annals keys approver add cyd --role dba");
    guide.type_in("Changing who may approve", &[]);

    guide.type_in("When nobody can be reached", &[("annals approve --review <run>", "true")]);
    let run = guide.shell.run("jq -r 'select(.kind == \"break_glass_used\") | .data.run' event-store/production/segments/*");
    guide.shell.run("export ANNALS_ACTOR=ben");
    guide.type_in(
        "When nobody can be reached",
        &[("annals migrate", "true"), ("<run>", run.trim())],
    );
    guide.rest(&[]);
}

#[test]
fn the_guide_to_the_pipeline_is_true() {
    let mut guide = Guide::open("pipeline.md", &[]);
    let folder = guide.folder.path().display().to_string();
    guide.shell.says("/srv", &folder);
    guide.shell.run("git init -q -b main shop && cd shop");
    guide.section("Set it up");
    guide.block("A change", 0);
    migration(
        &guide,
        &named(&guide, "_create_customers"),
        "CREATE TABLE customers (id int PRIMARY KEY);\n",
        "DROP TABLE customers;\n",
    );
    guide.block("A change", 1);
    guide.shell.run("annals sandbox stop");
    let sql = guide.text("What a mistake looks like", "console");
    let sql = sql.lines().nth(1).unwrap();
    migration(&guide, "20261122_210900_add_app", &format!("{sql}\n"), "DROP ROLE app;\n");
    guide.section("What a mistake looks like");
    guide.rest(&[]);
}
