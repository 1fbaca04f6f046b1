//! A real streaming standby of a test's server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::{Connection, Row};

use crate::annals::wait_for;
use crate::pooler::as_owner_of;
use crate::server::{Server, binaries, open_to_pass};

/// A standby that replays what its primary does; it ends with this value.
pub struct Standby {
    child: Child,
    folder: tempfile::TempDir,
}

impl Standby {
    /// Copies `primary` while it works, and follows it.
    pub fn of(primary: &Server) -> Self {
        let folder = tempfile::Builder::new().prefix("annals-standby-").tempdir_in("/tmp");
        let folder = folder.expect("a temporary folder can be made");
        open_to_pass(folder.path());
        let data = folder.path().join("data");
        copy_of(primary, &data, folder.path());
        let settings = format!(
            "listen_addresses = ''\nport = 5432\nunix_socket_directories = '{}'\n\
             primary_conninfo = 'host={} port={} user=postgres'\n",
            folder.path().display(),
            primary.folder().display(),
            primary.socket_port()
        );
        let path = data.join("postgresql.auto.conf");
        let before = fs::read_to_string(&path).expect("the copy has settings");
        fs::write(&path, before + &settings).expect("the copy is ours");
        let log = fs::File::create(folder.path().join("log")).expect("the folder is ours");
        let mut serve = Command::new(binaries().program("postgres"));
        serve.arg("-D").arg(&data).current_dir("/").env("LC_ALL", "C");
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        as_owner_of(&mut serve, folder.path());
        let child = serve.spawn().unwrap_or_else(|error| panic!("postgres: {error}"));
        let standby = Self { child, folder };
        let pid_file = data.join("postmaster.pid");
        wait_for("the standby to be ready", || {
            let text = fs::read_to_string(&pid_file).ok()?;
            // Lines of `src/include/utils/pidfile.h`; a hot standby says `standby` first.
            matches!(text.lines().nth(7)?.trim(), "ready" | "standby").then_some(())
        });
        standby
    }

    /// A URL by its socket.
    pub fn url(&self) -> String {
        let folder = self.folder.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{folder}:5432/postgres")
    }

    /// Waits until it has replayed all that `primary` has done by now.
    pub fn catches_up(&self, primary: &Server) {
        let position = primary.value("SELECT pg_current_wal_insert_lsn()");
        let behind = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= ";
        primary.sql("SELECT pg_switch_wal()");
        wait_for("the standby to catch up", || {
            primary.rows(&format!("{behind} '{position}'::pg_lsn")).pop()
        });
    }

    /// Ends the stream: what the primary commits from here on, this standby will not have.
    ///
    /// A paused replay would not do: promotion replays whatever was received.
    pub fn stop_replay(&self) {
        self.run("ALTER SYSTEM SET primary_conninfo = ''");
        self.run("SELECT pg_reload_conf()");
        let receivers = "SELECT count(*)::text FROM pg_stat_wal_receiver";
        wait_for("the end of the stream", || (self.value(receivers) == "0").then_some(()));
    }

    /// Lets it take over: a primary on a timeline of its own.
    pub fn promote(&self) {
        self.run("SELECT pg_promote(false)");
        let over = "SELECT pg_is_in_recovery()::text";
        wait_for("the end of recovery", || (self.value(over) == "false").then_some(()));
    }

    /// Does something with a connection of its own, as soon as there can be one.
    fn with<T>(&self, work: impl AsyncFnOnce(&mut sqlx::PgConnection) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let connect = || runtime.block_on(sqlx::PgConnection::connect(&self.url())).ok();
        let mut connection = wait_for("a connection to the standby", connect);
        runtime.block_on(async {
            let done = work(&mut connection).await;
            let _ = connection.close().await;
            done
        })
    }

    /// The first column of every row, as text.
    pub fn rows(&self, query: &str) -> Vec<String> {
        self.with(async |connection| {
            let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(connection).await;
            let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
            let text = |row: &sqlx::postgres::PgRow| row.get::<Option<String>, _>(0);
            rows.iter().map(|row| text(row).unwrap_or_default()).collect()
        })
    }

    /// The single value a query gives.
    pub fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{query} gave {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// Runs a statement and wants it to succeed.
    pub fn run(&self, sql: &str) {
        self.with(async |connection| {
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        });
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A base backup of `primary` in `data`, made with the functions for it: `pg_basebackup` must be of
/// the server's own version, and is not there with every server.
fn copy_of(primary: &Server, data: &Path, owned: &Path) {
    let (start, stop) = match primary.major() {
        15.. => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
        _ => ("pg_start_backup('standby', true, false)", "pg_stop_backup(false, false)"),
    };
    let copy = "umask 077 && mkdir \"$2\" && \
        tar -C \"$1\" -cf - --exclude './postmaster.*' --exclude './pg_wal/*' \
            --exclude './pg_replslot/*' --exclude './pg_stat_tmp/*' . | tar -C \"$2\" -xf -";
    let mut command = Command::new("sh");
    command.args(["-c", copy, "sh"]).arg(primary.folder().join("data")).arg(data);
    command.current_dir("/").env("LC_ALL", "C");
    as_owner_of(&mut command, owned);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let label: String = runtime
        .expect("a runtime can be built")
        .block_on(async {
            // The backup ends with the session that began it.
            let mut session = sqlx::PgConnection::connect(&primary.url()).await?;
            let start = format!("SELECT {start}::text");
            sqlx::query(sqlx::AssertSqlSafe(start)).execute(&mut session).await?;
            let output = command.output()?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let stop = format!("SELECT labelfile FROM {stop}");
            let label =
                sqlx::query_scalar(sqlx::AssertSqlSafe(stop)).fetch_one(&mut session).await?;
            session.close().await?;
            Ok::<String, sqlx::Error>(label)
        })
        .unwrap_or_else(|error| panic!("a base backup: {error}"));
    for (name, text) in [("backup_label", label.as_str()), ("standby.signal", "")] {
        let path = data.join(name);
        fs::write(&path, text).expect("the copy is ours");
        let owner = data.metadata().expect("the copy is there");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))
            .expect("who runs the test may hand a file over");
    }
}
