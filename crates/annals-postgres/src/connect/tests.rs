//! What texts, service files and variables come to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// Reads `text` with these variables and no others.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<ConnectionSpec, SpecError> {
    let find = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    ConnectionSpec::read(text, &find)
}

/// What it comes to, each server as the driver's own URL.
#[track_caller]
fn urls(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let spec = match read(text, variables) {
        Ok(spec) => spec,
        Err(error) => panic!("{text}: {error}"),
    };
    let url = |endpoint: &Endpoint| {
        let url = endpoint.options.to_url_lossy().to_string();
        url.replace("&statement-cache-capacity=100", "")
    };
    spec.endpoints.iter().map(url).collect()
}

#[track_caller]
fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    match read(text, variables) {
        Ok(_) => panic!("{text} is taken"),
        Err(error) => {
            let told = format!("{error} [{}] {error:?}", error.hint());
            assert!(!told.contains("CANARY"), "{told}");
            told
        }
    }
}

#[test]
fn a_url_and_key_value_text_say_the_same() {
    let url = "postgres://ann:p%40ss@db.example:5433/shop?sslmode=require";
    for text in [
        "postgres://ann:p%40ss@db.example:5433/shop?sslmode=require",
        "postgresql://ann:p%40ss@db.example:5433/shop?sslmode=require",
        "postgres://db.example/?user=ann&password=p%40ss&port=5433&dbname=shop&ssl=true",
        "host=db.example port=5433 user=ann password=p@ss dbname=shop sslmode=require",
        "host = db.example  port='5433' user = 'ann' password='p@ss' dbname=sh\\op sslmode=require",
    ] {
        assert_eq!(urls(text, &[]), [url], "{text}");
    }
}

#[test]
fn the_text_stands_above_the_service_and_that_above_the_variables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    let text = "# ours\n[other]\nhost=wrong\n\n[shop]\nhost=service.example\nuser=service\n\
        sslmode=require\n[last]\nport=1\n";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let variables = [
        ("PGSERVICEFILE", file),
        ("PGHOST", "variable.example"),
        ("PGUSER", "variable"),
        ("PGPORT", "6000"),
        ("PGDATABASE", "shop"),
        ("PGAPPNAME", "mine"),
    ];
    let expected = ["postgres://text@service.example:6000/shop?sslmode=require"];
    assert_eq!(urls("service=shop user=text", &variables), expected);
    assert_eq!(urls("postgres://text@/?service=shop", &variables), expected);
    let mut named = variables.to_vec();
    named.push(("PGSERVICE", "shop"));
    assert_eq!(urls("postgres://text@", &named), expected);
    assert_eq!(
        urls("postgres://text@", &variables),
        ["postgres://text@variable.example:6000/shop?sslmode=verify-full"]
    );
}

#[test]
fn service_files_are_looked_for_where_libpq_looks() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let variables = [("HOME", home), ("PGSYSCONFDIR", home)];
    fs::write(folder.path().join("pg_service.conf"), "[system]\nhost=system.example\n").unwrap();
    assert!(urls("service=system", &variables)[0].contains("system.example"));
    fs::write(folder.path().join(".pg_service.conf"), "[own]\nhost=own.example\n").unwrap();
    assert!(urls("service=system", &variables)[0].contains("system.example"));
    assert!(urls("service=own", &variables)[0].contains("own.example"));
    let told = refused("service=nowhere", &variables);
    assert!(
        told.contains("\"nowhere\" is defined in none of") && told.contains(".pg_service.conf")
    );
    let missing = [("PGSERVICEFILE", "/nowhere/services")];
    assert!(refused("service=own", &missing).contains("/nowhere/services: No such file"));
    for (line, why) in [
        ("hst=a", "own.conf:2: \"hst\" is no connection parameter"),
        ("just words", "own.conf:2: is not key=value"),
        ("service=other", "own.conf:2: a service cannot name another"),
        ("channel_binding=require", "own.conf:2: annals cannot do what"),
    ] {
        let file = folder.path().join("own.conf");
        fs::write(&file, format!("[own]\n{line}\n")).unwrap();
        let told = refused("service=own", &[("PGSERVICEFILE", file.to_str().unwrap())]);
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn several_servers_are_tried_in_order() {
    let two = [
        "postgres://ann@a.example:5433/d?sslmode=require",
        "postgres://ann@b.example:5434/d?sslmode=require",
    ];
    for text in [
        "postgres://ann@a.example:5433,b.example:5434/d?sslmode=require",
        "host=a.example,b.example port=5433,5434 user=ann dbname=d sslmode=require",
    ] {
        assert_eq!(urls(text, &[]), two);
    }
    let spec = read("postgres://ann@a.example,[::1]:7/d", &[]).ok().unwrap();
    assert_eq!(spec.address(), "a.example:5432,[::1]:7");
    for (text, why) in [
        ("host=a,b port=1,2,3", "neither one port nor one for each host"),
        ("host=a,b hostaddr=127.0.0.1", "names not as many servers as host"),
        ("host=a target_session_attrs=CANARY", "is one of: any, read-write"),
    ] {
        assert!(refused(text, &[]).contains(why), "{text}");
    }
}

#[test]
fn tls_is_verified_unless_the_server_is_this_machine_or_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    fs::write(&root, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").unwrap();
    let root = root.to_str().unwrap();
    let mode = |text: &str, variables: &[(&str, &str)]| {
        let spec = read(text, variables).unwrap_or_else(|error| panic!("{text}: {error}"));
        format!("{:?}", spec.endpoints[0].options.get_ssl_mode())
    };
    for (text, expected) in [
        ("host=db.example", "VerifyFull"),
        ("host=192.0.2.1", "VerifyFull"),
        ("host=localhost", "Prefer"),
        ("host=127.0.0.1", "Prefer"),
        ("host=::1", "Prefer"),
        ("host=/tmp sslmode=verify-full", "Disable"),
        ("host=localhost hostaddr=192.0.2.1 sslmode=require", "Require"),
        ("hostaddr=192.0.2.1", "VerifyFull"),
        ("host=db.example sslmode=disable", "Disable"),
        ("host=db.example sslmode=allow", "Prefer"),
        ("host=db.example sslmode=prefer", "Prefer"),
        ("host=db.example sslmode=require", "Require"),
        ("host=db.example sslmode=verify-ca", "VerifyFull"),
        ("host=localhost sslrootcert=system", "VerifyFull"),
    ] {
        assert_eq!(mode(text, &[]), expected, "{text}");
    }
    assert_eq!(mode("host=db.example", &[("PGSSLMODE", "require")]), "Require");
    assert_eq!(mode("host=localhost", &[("PGSSLMODE", "verify-full")]), "VerifyFull");
    // As libpq, which verifies then: but the name too.
    let with_root = [("PGSSLROOTCERT", root), ("PGSSLMODE", "require")];
    assert_eq!(mode("host=db.example", &with_root), "VerifyFull");
    let key = folder.path().join("key.pem");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nCANARY\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = format!("host=db.example sslcert={root} sslkey={}", key.display());
    for (text, why) in [
        ("host=h sslmode=CANARY", "is one of: disable, allow"),
        ("host=h sslmode=require sslrootcert=system", "too weak for sslrootcert=system"),
        (
            "host=h sslrootcert=/nowhere/ca.pem",
            "\"sslrootcert\" names /nowhere/ca.pem, which cannot",
        ),
        ("host=h sslrootcert=/dev/null", "in which there is no CERTIFICATE in PEM"),
        ("host=h sslcert=/nowhere/me.pem", "\"sslcert\" needs sslkey too"),
        ("host=h hostaddr=192.0.2.1", "leave it out"),
        ("hostaddr=CANARY", "is no IP address"),
        (exposed.as_str(), "which others may read: chmod 600"),
    ] {
        let told = refused(text, &[]);
        assert!(told.contains(why), "{text}: {told}");
    }
}

#[test]
fn a_password_file_is_used_if_nobody_else_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".pgpass");
    fs::write(&file, "a.example:*:*:*:first\nb.example:5432:ann:ann:second\n").unwrap();
    let home = [("HOME", folder.path().to_str().unwrap())];
    let text = "host=a.example,b.example user=ann sslmode=require";
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let without = [
        "postgres://ann@a.example:5432?sslmode=require",
        "postgres://ann@b.example:5432?sslmode=require",
    ];
    assert_eq!(urls(text, &home), without);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let with = [
        "postgres://ann:first@a.example:5432?sslmode=require",
        "postgres://ann:second@b.example:5432?sslmode=require",
    ];
    assert_eq!(urls(text, &home), with);
    let moved = folder.path().join("passwords");
    fs::rename(&file, &moved).unwrap();
    assert_eq!(urls(text, &[("PGPASSFILE", moved.to_str().unwrap())]), with);
    assert_eq!(urls(&format!("{text} passfile={}", moved.display()), &[]), with);
    let said = urls(&format!("{text} password=said"), &home);
    assert!(said.iter().all(|url| url.contains("ann:said@")), "{said:?}");
}

#[test]
fn options_reach_the_server_as_settings() {
    let text = r"host=/tmp options='-c a.b=1 -cc.d=2 --e.f=g\\ h'";
    let spec = read(text, &[]).ok().unwrap();
    let options = spec.endpoints[0].options.get_options();
    assert_eq!(options, Some(r"-c a.b=1 -c c.d=2 -c e.f=g\ h"));
    assert!(refused("host=/tmp options=CANARY", &[]).contains("is a list of -c name=value"));
}

#[test]
fn how_long_is_waited_is_bounded() {
    let seconds = |text: &str, variables: &[(&str, &str)]| {
        read(text, variables).ok().unwrap().endpoints[0].timeout.as_secs()
    };
    assert_eq!(seconds("host=h", &[]), 10);
    assert_eq!(seconds("host=h", &[("PGCONNECT_TIMEOUT", "3")]), 3);
    assert_eq!(seconds("host=h connect_timeout=4", &[("PGCONNECT_TIMEOUT", "3")]), 4);
    assert_eq!(seconds("host=h connect_timeout=0", &[]), 10);
    assert_eq!(seconds("host=h connect_timeout=-1", &[]), 10);
    assert!(refused("host=h connect_timeout=CANARY", &[]).contains("is no number of seconds"));
}

#[test]
fn what_is_not_understood_is_refused_by_name_and_never_repeated() {
    for (text, why) in [
        ("postgres://ann:CANARY@host:port/db", "no PostgreSQL URL"),
        ("mysql://ann:CANARY@host/db", "no PostgreSQL URL"),
        ("CANARY", "no PostgreSQL URL"),
        ("", "no PostgreSQL URL"),
        ("postgres://ann:pa/CANARY@host/db", "no PostgreSQL URL"),
        ("postgres://ann:12/CANARY@host/db", "no PostgreSQL URL"),
        ("postgres://ann:12?CANARY@host/db", "no PostgreSQL URL"),
        ("postgres://ann:%zzCANARY@host/db", "no PostgreSQL URL"),
        ("host=h password=my CANARY", "no PostgreSQL URL"),
        ("host=h password='CANARY", "no PostgreSQL URL"),
        ("host=h:CANARY password", "no PostgreSQL URL"),
        ("postgres://h/d?pgbouncer=CANARY", "\"pgbouncer\" is no connection parameter"),
        ("host=h gssencmode=require", "\"gssencmode\" asks for [remove it, or give it one of"),
        ("host=h channel_binding=require", "one of: disable, prefer"),
        ("host=h sslpassword=CANARY", "\"sslpassword\" asks for [remove it]"),
        ("host=h port=99999", "\"port\" is no number from 1 to 65535"),
        ("host=h port=CANARY", "\"port\" is no number"),
    ] {
        let told = refused(text, &[]);
        assert!(told.contains(why), "{text}: {told}");
    }
    let told = refused("host=h", &[("PGREQUIREAUTH", "none")]);
    assert!(told.contains("\"PGREQUIREAUTH\" asks for"), "{told}");
    for text in ["host=h application_name=x keepalives=0", "host=h channel_binding=prefer"] {
        assert!(read(text, &[]).is_ok(), "{text}");
    }
}

#[test]
fn a_key_of_supabase_is_no_password() {
    for (key, what) in [
        ("eyJhbGciOiJIUzI1NiJ9.CANARY.c2lnbmF0dXJl", "a JSON Web Token, such as the anon"),
        ("sb_secret_CANARY", "a secret key"),
        ("sb_publishable_CANARY", "a publishable key"),
        ("sbp_CANARY", "an access token"),
    ] {
        let url = format!("postgres://postgres:{key}@db.abc.supabase.co/postgres");
        let told = refused(&url, &[]);
        assert!(told.contains(what) && told.contains("Reset database password"), "{told}");
        let told = refused("host=db.abc.supabase.co", &[("PGPASSWORD", key)]);
        assert!(told.contains(what), "{told}");
    }
    for password in ["eyJnot-a-token", "eyJa.b", "sb_", "a.b.c"] {
        assert!(read("host=h", &[("PGPASSWORD", password)]).is_ok(), "{password}");
    }
}

#[test]
fn a_password_in_a_text_is_noticed() {
    for url in [
        "postgres://a:b@h/d",
        "postgres://h/d?password=x",
        "postgres://h/d?sslmode=disable&password=x",
        "host=h password=x",
        "postgres://a:b@h/d?nonsense",
    ] {
        assert!(ConnectionSpec::url_has_password(url), "{url}");
    }
    for url in ["postgres://a@h:5432/d", "postgres://h:5432/d", "postgres:///d?host=/tmp", "host=h"]
    {
        assert!(!ConnectionSpec::url_has_password(url), "{url}");
    }
}
