//! Clusters that are copied instead of made.

use std::fs;

use annals_postgres::Platform;

use crate::{Place, session, start, value};

const IDENTITY: &str = "SELECT system_identifier FROM pg_control_system()";

#[test]
fn a_copy_is_a_server_of_its_own() {
    let place = Place::new();
    let made = place.start("made", Platform::Plain);
    assert_eq!(place.cached().len(), 1);
    let copied = place.start("copied", Platform::Plain);
    let plain = place.start_with("plain", Platform::Plain, None);
    assert_eq!(place.cached().len(), 1, "a second one was made");
    place.run(async {
        let mut identities = Vec::new();
        for sandbox in [&made, &copied, &plain] {
            let mut session = session(&sandbox.spec()).await;
            session.run("CREATE TABLE t AS SELECT 1 AS x; CHECKPOINT").await.unwrap();
            identities.push(value(&mut session, IDENTITY).await);
            session.close().await;
        }
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), 3, "two servers with one identity");
    });
    // A copy that was changed has changed no other one.
    let again = place.start("again", Platform::Plain);
    place.run(async {
        let mut session = session(&again.spec()).await;
        assert_eq!(value(&mut session, "to_regclass('t')").await, "");
        session.close().await;
    });
}

#[test]
fn a_copy_survives_a_crash_of_its_server() {
    let place = Place::new();
    drop(place.start("first", Platform::Plain));
    let folder = place.folder.path().join("kept");
    let binaries = crate::binaries();
    let options = annals_postgres::sandbox::SandboxOptions {
        folder: &folder,
        binaries: &binaries,
        platform: Platform::Plain,
        lifetime: annals_postgres::sandbox::Lifetime::UntilStopped,
        tcp_port: None,
        settings: &[],
        cache: Some(&place.cache()),
        lock: None,
    };
    use annals_postgres::sandbox::Sandbox;
    place.run(async {
        let sandbox = Sandbox::start(&options).await.unwrap();
        let mut first = session(&sandbox.spec()).await;
        first.run("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x").await.unwrap();
        let pid = sandbox.server_pid().unwrap();
        annals_testkit::kill(u64::try_from(pid).unwrap(), "KILL");
        annals_testkit::wait_for("the server to die", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z")).then_some(())
        });
        // Its WAL is read from the checkpoint of the template on: the identity in it must fit.
        let sandbox = Sandbox::find(&folder).unwrap().expect("it is still there");
        let mut again = session(&sandbox.spec()).await;
        assert_eq!(value(&mut again, "SELECT count(*) FROM t").await, "1000");
        again.close().await;
    });
    assert!(Sandbox::stop(&folder).unwrap());
}

#[test]
fn of_several_at_once_one_makes_the_template() {
    let place = Place::new();
    let (parent, cache) = (place.folder.path(), place.cache());
    std::thread::scope(|scope| {
        let start = |at: usize| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let name = format!("s{at}");
            let started = start(parent, &name, Platform::Supabase, Some(&cache));
            runtime.unwrap().block_on(started).map(drop)
        };
        let all: Vec<_> = (0..3).map(|at| scope.spawn(move || start(at))).collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(place.cached().len(), 1, "{:?}", place.cached());
}

#[test]
fn what_a_crash_left_in_the_cache_is_replaced() {
    let place = Place::new();
    drop(place.start("first", Platform::Plain));
    let name = place.cached().remove(0);
    let template = place.cache().join(&name);
    let (family, _) = name.rsplit_once('-').unwrap();
    let unfinished = place.cache().join(format!(".{family}.new"));

    // Half made, under the name it has until it is whole.
    fs::rename(&template, &unfinished).unwrap();
    fs::remove_file(unfinished.join("complete")).unwrap();
    drop(place.start("second", Platform::Plain));
    assert_eq!(place.cached(), [name.as_str()]);

    // Damaged under its name: a file is missing, a file is short, what identifies it is altered, and,
    // since the machine was started anew, a file has another content.
    let damage: [&dyn Fn(); 4] = [
        &|| fs::remove_file(template.join("data/global/pg_filenode.map")).unwrap(),
        &|| fs::write(template.join("data/postgresql.conf"), "").unwrap(),
        &|| {
            let path = template.join("data/global/pg_control");
            let mut control = fs::read(&path).unwrap();
            control[20] ^= 1;
            fs::write(&path, control).unwrap();
        },
        &|| {
            let path = template.join("data/pg_ident.conf");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replacen('#', "!", 1)).unwrap();
            fs::write(template.join("boot"), "another").unwrap();
        },
    ];
    for (at, damage) in damage.iter().enumerate() {
        damage();
        drop(place.start(&format!("third{at}"), Platform::Plain));
        assert_eq!(place.cached(), [name.as_str()]);
        let kept = fs::read_to_string(template.join("data/pg_ident.conf")).unwrap();
        assert!(kept.starts_with('#'), "a damaged template is still there");
    }
}

#[test]
fn without_a_usable_cache_there_is_a_sandbox_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.cache()).unwrap();
    fs::set_permissions(place.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    for platform in [Platform::Plain, Platform::Supabase] {
        let sandbox = place.start("s", platform);
        place.run(async {
            let mut session = session(&sandbox.spec()).await;
            assert_eq!(value(&mut session, "SELECT 1").await, "1");
            session.close().await;
        });
    }
    assert!(place.cached().is_empty(), "a folder others may write in was used");
}
