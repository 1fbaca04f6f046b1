//! A server with the store in it, and a role for each kind of user.

use annals_conformance::{Clock, Home, Stored, Writers};
use annals_event_store::{OpenError, OpenOptions};
use annals_event_store_postgres::{Limits, LogReader, PgLog, install};
use annals_events::{
    Chain, CompactRange, Digest, Draft, LeafHash, Origin, Recorded, Scanner, Seq, decode,
};
use annals_keys::{Checkpoint, SecretKey};
use annals_postgres::ConnectionSpec;
use annals_testkit::{Server, ServerOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// A database with the store. Logs are written by `app`, who is a member of `annals_writer` and
/// nothing else, and read by `auditor`, a member of `annals_reader`.
pub(crate) struct PgHome {
    pub(crate) url: String,
    /// How writers get there.
    pub(crate) writer: ConnectionSpec,
    /// How long they wait.
    pub(crate) limits: Limits,
}

/// The roles that are not annals' own.
const PEOPLE: &str = "CREATE ROLE app LOGIN; GRANT annals_writer TO app; \
    CREATE ROLE auditor LOGIN; GRANT annals_reader TO auditor; CREATE ROLE stranger LOGIN";

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Limits under which a test of a lost server does not take long.
pub(crate) fn limits() -> Limits {
    Limits { settle_ms: 5_000, idle_ms: 4_000, ..Limits::default() }
}

/// Installs the store as the superuser and lets people in.
pub(crate) fn prepare(server: &Server) -> PgHome {
    let home = PgHome::at(&server.url());
    runtime().block_on(async {
        install(&home.spec_of("postgres")).await.unwrap();
        home.run(PEOPLE).await;
    });
    home
}

/// Runs `case` on a fresh server.
pub(crate) fn in_database(case: impl AsyncFnOnce(&PgHome)) {
    on_server(ServerOptions::default(), case);
}

pub(crate) fn on_server(options: ServerOptions, case: impl AsyncFnOnce(&PgHome)) {
    let server = Server::start_with(options);
    let home = prepare(&server);
    runtime().block_on(case(&home));
}

impl PgHome {
    /// The same database by another value.
    pub(crate) fn again(&self) -> Self {
        Self::at(&self.url)
    }

    pub(crate) fn at(url: &str) -> Self {
        let writer = ConnectionSpec::from_url(&url.replacen("postgres@", "app@", 1)).unwrap();
        Self { url: url.to_owned(), writer, limits: limits() }
    }

    pub(crate) fn url_of(&self, user: &str) -> String {
        self.url.replacen("postgres@", &format!("{user}@"), 1)
    }

    pub(crate) fn spec_of(&self, user: &str) -> ConnectionSpec {
        ConnectionSpec::from_url(&self.url_of(user)).unwrap()
    }

    /// A plain connection, as `user` makes it with any client.
    pub(crate) async fn connect(&self, user: &str) -> PgConnection {
        PgConnection::connect(&self.url_of(user)).await.unwrap()
    }

    /// Runs SQL as `user`; SQLSTATE and message of what is refused.
    pub(crate) async fn try_as(&self, user: &str, sql: &str) -> Result<(), String> {
        let mut connection = self.connect(user).await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        let _ = connection.close().await;
        done.map(drop).map_err(|error| match error {
            sqlx::Error::Database(error) => {
                format!("{} {}", error.code().unwrap_or_default(), error.message())
            }
            other => other.to_string(),
        })
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn run(&self, sql: &str) {
        self.try_as("postgres", sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs SQL as the superuser, past the tripwires.
    pub(crate) async fn run_past_tripwires(&self, sql: &str) {
        let tables = ["log_head", "log_event", "log_checkpoint", "log_blob"];
        let each = |what: &str| {
            let sql = tables.map(|table| format!("ALTER TABLE annals.{table} {what} TRIGGER ALL;"));
            sql.concat()
        };
        self.run(&format!("BEGIN; {} {sql}; {} COMMIT", each("DISABLE"), each("ENABLE"))).await;
    }

    /// The first column of the first row, as text.
    pub(crate) async fn value(&self, query: &str) -> String {
        let mut connection = self.connect("postgres").await;
        let sql = format!("SELECT q.v::text FROM ({query}) q(v)");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await;
        let value = row.unwrap_or_else(|error| panic!("{query}: {error}"));
        let _ = connection.close().await;
        value.try_get::<Option<String>, _>(0).unwrap().unwrap_or_default()
    }
}

/// Bytes as SQL.
pub(crate) fn bytea(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("decode('{}', 'hex')", digits.concat())
}

/// The head row that fits `lines`, as SQL.
fn head_row(lines: &[Vec<u8>]) -> String {
    let mut tree = CompactRange::default();
    let mut leaf = LeafHash::ZERO;
    for line in lines {
        leaf = LeafHash::of_line(line);
        tree.push(leaf);
    }
    let last = lines.last().and_then(|line| decode(line).ok());
    let recorded_at = match (last, lines.is_empty()) {
        (Some(last), _) => last.recorded_at.micros().to_string(),
        (None, true) => "NULL".to_owned(),
        (None, false) => "coalesce(recorded_at, 1)".to_owned(),
    };
    format!(
        "size = {}, leaf = {}, edge = {}, recorded_at = {recorded_at}",
        lines.len(),
        bytea(leaf.as_bytes()),
        bytea(&tree.edge().concat())
    )
}

impl Home for PgHome {
    type Store = PgLog;
    const WRITERS: Writers = Writers::Many;
    const CLOCK: Clock = Clock::Own;

    async fn name(&self) -> String {
        let identifier = "SELECT system_identifier FROM pg_control_system()";
        format!("postgres:{}/postgres", self.value(identifier).await)
    }

    async fn create(
        &self,
        origin: &Origin,
        first: &Draft,
        key: &SecretKey,
        _options: &OpenOptions<'_>,
    ) -> Result<(PgLog, Recorded), OpenError> {
        PgLog::create(&self.writer, origin, first, key, self.limits).await
    }

    async fn open(
        &self,
        origin: &Origin,
        options: &OpenOptions<'_>,
        visit: &mut dyn FnMut(&Recorded),
    ) -> Result<PgLog, OpenError> {
        PgLog::open(&self.writer, origin, self.limits, options, visit).await
    }

    async fn stored(&self, origin: &Origin) -> Stored {
        let mut reader = LogReader::connect(&self.spec_of("auditor"), limits()).await.unwrap();
        let mut log = reader.log(origin).await.unwrap();
        let mut lines = Vec::new();
        log.lines(Seq(0), &mut |_, line| lines.push(line.to_vec())).await.unwrap();
        Stored { lines, note: log.checkpoint().map(<[u8]>::to_vec) }
    }

    async fn replace_lines(&self, origin: &Origin, lines: &[Vec<u8>]) {
        let mut sql = format!("DELETE FROM annals.log_event WHERE origin = '{origin}';");
        for (seq, line) in lines.iter().enumerate() {
            // An id stands in a line at a known place, even in one that is no event any more.
            let text = String::from_utf8_lossy(line);
            let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36));
            let taken = lines[..seq].iter().any(|other| other == line);
            let fallback = format!("00000000-0000-0000-0000-{seq:012}");
            let id = id.filter(|_| !taken).unwrap_or(&fallback);
            sql += &format!(
                "INSERT INTO annals.log_event (origin, seq, id, line, leaf) \
                 VALUES ('{origin}', {seq}, '{id}', {}, {});",
                bytea(line),
                bytea(LeafHash::of_line(line).as_bytes())
            );
        }
        let head = head_row(lines);
        sql += &format!("UPDATE annals.log_head SET {head} WHERE origin = '{origin}'");
        self.run_past_tripwires(&sql).await;
    }

    async fn replace_note(&self, origin: &Origin, note: Option<&[u8]>) {
        let mut sql = format!("DELETE FROM annals.log_checkpoint WHERE origin = '{origin}'");
        if let Some(note) = note {
            let size = Checkpoint::claimed(note).map_or(1, |checkpoint| checkpoint.size);
            sql += &format!(
                "; INSERT INTO annals.log_checkpoint (origin, number, size, note) \
                 VALUES ('{origin}', 0, {size}, {})",
                bytea(note)
            );
        }
        self.run_past_tripwires(&sql).await;
    }

    async fn replace_blob(&self, _origin: &Origin, digest: &Digest, content: Option<&[u8]>) {
        let digest = bytea(digest.as_bytes());
        let mut sql = format!("DELETE FROM annals.log_blob WHERE digest = {digest}");
        if let Some(content) = content {
            let content = bytea(content);
            sql += &format!("; INSERT INTO annals.log_blob VALUES ({digest}, {content})");
        }
        self.run_past_tripwires(&sql).await;
    }
}

/// The chain over `lines`.
pub(crate) fn chain_over(lines: &[Vec<u8>]) -> Chain {
    let mut scanner = Scanner::new(&[]);
    for line in lines {
        let mut line = line.clone();
        line.push(b'\n');
        scanner.feed(&line, &mut |_, _| {}).unwrap();
    }
    scanner.finish().chain
}
