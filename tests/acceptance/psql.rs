//! The same files by psql and by annals: as many statements, the same effects.

use std::collections::BTreeMap;
use std::process::Command;

use annals_testkit::{Server, Workspace};

/// Runs a file with psql; what it printed, a line for each statement that gives no rows.
pub(crate) fn psql(server: &Server, file: &std::path::Path) -> Vec<String> {
    let output = Command::new("psql")
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-d", &server.url(), "-f"])
        .arg(file)
        .env("PGCLIENTENCODING", "UTF8")
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("psql cannot be run ({error}); install it: apt-get install postgresql-client")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let failed = text(&output.stderr);
    assert!(output.status.success(), "psql: {failed}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Parts of files, each with `#` for a number of its own; from which version on.
const PARTS: &[(&str, u32)] = &[
    ("INSERT INTO log VALUES (#, 'a;''b''; --');\n", 0),
    ("INSERT INTO log VALUES (#, 'two\nlines;\n/* ');", 0),
    ("INSERT INTO log VALUES (#, E'it\\'s; \\\\'), (#, e''';''' /* ; */);\r\n", 0),
    ("insert into log values (#, U&'d\\0061t\\+000061;'); ", 0),
    ("INSERT INTO log VALUES (#, B'01'::text || X'1F'::text || ';');\n", 0),
    ("INSERT INTO log VALUES (#, $$;'\"--$$), (#, $a$;$b$;$$;$a b$;$a$);\n", 0),
    ("INSERT INTO log SELECT #, $été$;$été$ AS \"a;\"\"b\";;\n;", 0),
    ("INSERT INTO log SELECT #, a$b$ FROM (SELECT 'x;') AS größe(a$b$);\n", 0),
    (
        "/* ; /* ' */ $$ ; */ INSERT INTO log -- ; '\n VALUES (# - -1 * 1 /* ; */ - 1, ';' -- $$\n);",
        0,
    ),
    ("INSERT INTO log VALUES (#, 'first'\n  ' second;');\n", 0),
    ("INSERT INTO log VALUES (#, 'nothing behind it'); -- ; INSERT INTO log VALUES (#, 'x');\n", 0),
    ("-- only ; a ' comment\r\n/**/ /* ; /* */ */\n", 0),
    (
        "CREATE RULE r# AS ON UPDATE TO log DO INSTEAD (INSERT INTO log VALUES (#, 'rule;'); \
         DELETE FROM log WHERE n < 0;);\nUPDATE log SET n = n WHERE false;\n",
        0,
    ),
    (
        "CREATE FUNCTION f#() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN $x$;$x$; END $f$;\n\
         INSERT INTO log SELECT #, f#();\n",
        0,
    ),
    (
        "CREATE FUNCTION g#() RETURNS text BEGIN ATOMIC SELECT CASE WHEN true THEN ';' END; SELECT \
         CASE 1 WHEN 2 THEN 'a' ELSE (SELECT CASE WHEN false THEN 'b' ELSE 'c;' END) END; END;\n\
         INSERT INTO log SELECT #, g#();\n",
        140_000,
    ),
    (
        "CREATE OR REPLACE PROCEDURE p#() LANGUAGE sql BEGIN /* ; */ ATOMIC INSERT INTO log VALUES \
         (#, 'p;'); END;\nCALL p#();\n",
        140_000,
    ),
    ("COPY log FROM stdin;\n#\ta;'b\n#\t$$ /* \\N -- \\\\.\n\\.\n", 0),
    ("COPY log (n, what) FROM STDIN WITH (FORMAT csv); -- ;\n#,\"a;\"\"b\n;'c\"\n\\.\n", 0),
    ("COPY log FROM stdin;\n\\.\nDO $do$ BEGIN INSERT INTO log VALUES (#, ';'); END; $do$;", 0),
    ("\tWITH a AS (SELECT #::int AS n) INSERT INTO log SELECT n, (SELECT ';') FROM a;\n", 0),
];

/// Whether psql and the server agree on csv data: 18 and later take the `\.` of an older psql for
/// a row.
fn agree_on_csv(version: u32) -> bool {
    let output = Command::new("psql").arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = text.split_whitespace().nth(2).and_then(|word| word.split('.').next());
    version < 180_000 || major.unwrap().parse::<u32>().unwrap() >= 18
}

/// The state is the seed of the next number (xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

/// A file of so many parts; each `#` of a part is the same number.
fn file(state: &mut u64, version: u32, parts: usize) -> String {
    let csv = agree_on_csv(version);
    let may_stand = |part: &str, since| since <= version && (csv || !part.contains("csv"));
    let known: Vec<_> = PARTS.iter().filter(|(part, since)| may_stand(part, *since)).collect();
    let mut text = String::from(if next(state).is_multiple_of(2) { "\u{feff}" } else { "" });
    for n in 1..=parts {
        let (part, _) = known[next(state) % known.len()];
        text.push_str(&part.replace('#', &n.to_string()));
    }
    text.push_str(if next(state).is_multiple_of(2) {
        "INSERT INTO log VALUES (0, 'last')"
    } else {
        "-- end"
    });
    text
}

const RESET: &str = "DROP TABLE IF EXISTS log CASCADE; CREATE TABLE log (n int, what text);
    DO $$ DECLARE routine text; BEGIN FOR routine IN SELECT oid::regprocedure FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace LOOP EXECUTE 'DROP ROUTINE ' || routine; END LOOP;
    END $$";

/// Everything a file can have done.
fn effects(server: &Server, version: u32) -> Vec<String> {
    let body = if version < 140_000 { "prosrc" } else { "pg_get_function_sqlbody(oid)" };
    server.rows(&format!(
        "(SELECT concat_ws('|', 'row', n, what) FROM log) UNION ALL \
         (SELECT concat_ws('|', 'routine', proname, prosrc, {body}) FROM pg_proc \
         WHERE pronamespace = 'public'::regnamespace) UNION ALL \
         (SELECT concat_ws('|', 'rule', rulename, definition) FROM pg_rules \
         WHERE tablename = 'log') ORDER BY 1"
    ))
}

#[test]
fn psql_and_annals_find_the_same_statements_and_do_the_same() {
    let server = Server::start();
    let workspace = Workspace::new(&server);
    let version: u32 =
        server.value("SELECT current_setting('server_version_num')").parse().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for k in 1..=24_usize {
        let text = file(&mut state, version, 4 + k * 2);
        let id = format!("{k}_file");
        workspace.migration(&id, &text, "SELECT 1;");
        server.sql(RESET);
        let tags = psql(&server, &workspace.path(&format!("migrations/{id}.sql")));
        let by_psql = effects(&server, version);
        server.sql(RESET);
        let plan = workspace.annals("plan --json").run().expect(0).json();
        let statements = plan["steps"][0]["statements"].as_array().unwrap().len();
        assert_eq!(statements, tags.len(), "{text}\n{tags:?}");
        // Everything was taken away by hand.
        workspace.annals("migrate --allow-drift").run().expect(0);
        assert_eq!(effects(&server, version), by_psql, "{text}");
        *seen.entry(statements).or_default() += by_psql.len();
    }
    println!("statements of a file, and what they left: {seen:?}");
    assert!(seen.keys().sum::<usize>() > 500, "{seen:?}");
}
