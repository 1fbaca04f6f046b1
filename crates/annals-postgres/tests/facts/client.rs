//! A conversation with a server whose statements may block, beside others of the same test.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use annals_testkit::{Server, wait_for};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, raw_sql};

/// How a message ended: the first column of every row, or why not.
pub(crate) type Answer = Result<Vec<String>, Trouble>;

/// Why a message did not succeed.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The server said no.
    Refused {
        /// SQLSTATE.
        code: String,
        /// In its words.
        message: String,
    },
    /// The connection broke.
    Lost(String),
}

impl Trouble {
    /// The SQLSTATE, if the server sent one.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Lost(_) => "",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "{message} (SQLSTATE {code})"),
            Self::Lost(reason) => write!(f, "the connection was lost: {reason}"),
        }
    }
}

/// One session. Each message is sent by the simple protocol as it stands: several statements in it
/// are one implicit transaction.
pub(crate) struct Client {
    /// Process id of its backend.
    pub(crate) pid: i32,
    orders: Sender<(String, Sender<Answer>)>,
}

/// A message that was sent and has not been answered yet.
pub(crate) struct Pending {
    sql: String,
    answer: Receiver<Answer>,
}

/// After this long a test that waits for an answer is stuck.
const LIMIT: Duration = Duration::from_secs(100);

fn first_column(row: &PgRow) -> String {
    let value = row.try_get_raw(0).unwrap();
    value.as_str().map(str::to_owned).unwrap_or_default()
}

fn trouble(error: &sqlx::Error) -> Trouble {
    match error.as_database_error() {
        Some(error) => Trouble::Refused {
            code: error.code().unwrap_or_default().into_owned(),
            message: error.message().to_owned(),
        },
        None => Trouble::Lost(error.to_string()),
    }
}

fn converse(url: &str, pid: &Sender<i32>, orders: &Receiver<(String, Sender<Answer>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = PgConnectOptions::from_str(url).unwrap().disable_statement_logging();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let own = raw_sql("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        pid.send(first_column(&own).parse().unwrap()).unwrap();
        while let Ok((sql, answer)) = orders.recv() {
            let rows = raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
            // Nobody has to wait for an answer.
            let _ = answer.send(match rows {
                Ok(rows) => Ok(rows.iter().map(first_column).collect()),
                Err(error) => Err(trouble(&error)),
            });
        }
        let _ = connection.close().await;
    });
}

impl Client {
    /// A session of the superuser.
    pub(crate) fn new(server: &Server) -> Self {
        Self::at(&server.url())
    }

    /// A session of another role.
    pub(crate) fn of_role(server: &Server, role: &str) -> Self {
        Self::at(&server.url().replace("//postgres@", &format!("//{role}@")))
    }

    /// A session at a URL.
    pub(crate) fn at(url: &str) -> Self {
        let (orders, received) = channel();
        let (pid_to, pid) = channel();
        let url = url.to_owned();
        std::thread::spawn(move || converse(&url, &pid_to, &received));
        Self { pid: pid.recv_timeout(LIMIT).expect("a session begins"), orders }
    }

    /// Sends a message without waiting for its answer.
    pub(crate) fn start(&self, sql: &str) -> Pending {
        let (to, answer) = channel();
        self.orders.send((sql.to_owned(), to)).expect("the session lives");
        Pending { sql: sql.to_owned(), answer }
    }

    /// Sends a message and waits for its answer.
    pub(crate) fn run(&self, sql: &str) -> Answer {
        self.start(sql).answer()
    }

    /// Sends a message that has to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, sql: &str) -> Vec<String> {
        self.run(sql).unwrap_or_else(|trouble| panic!("{sql}: {trouble}"))
    }

    /// Sends a message that has to give one row.
    #[track_caller]
    pub(crate) fn value(&self, sql: &str) -> String {
        let rows = self.ok(sql);
        assert_eq!(rows.len(), 1, "{sql} gave {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// Sends a message that the server has to refuse with this SQLSTATE; gives its words.
    #[track_caller]
    pub(crate) fn refused(&self, sql: &str, code: &str) -> String {
        self.start(sql).refused(code)
    }

    /// What a backend waits for, as `type:event`; empty when it works or has ended.
    pub(crate) fn sees_waiting(&self, pid: i32) -> String {
        let query = "SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity WHERE pid =";
        self.ok(&format!("{query} {pid} AND state = 'active'")).pop().unwrap_or_default()
    }

    /// Looks until a backend waits for `event`, such as `Lock:relation`.
    pub(crate) fn until_waiting(&self, pid: i32, event: &str) {
        wait_for(event, || (self.sees_waiting(pid) == event).then_some(()));
    }

    /// Looks until a query gives `expected`.
    pub(crate) fn until(&self, query: &str, expected: &str) {
        wait_for(query, || (self.value(query) == expected).then_some(()));
    }
}

impl Pending {
    /// Waits for the answer.
    pub(crate) fn answer(self) -> Answer {
        self.answer.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no answer to {}", self.sql))
    }

    /// Waits for success.
    #[track_caller]
    pub(crate) fn ok(self) -> Vec<String> {
        let sql = self.sql.clone();
        self.answer().unwrap_or_else(|trouble| panic!("{sql}: {trouble}"))
    }

    /// Waits for a refusal with this SQLSTATE; gives the server's words.
    #[track_caller]
    pub(crate) fn refused(self, code: &str) -> String {
        let sql = self.sql.clone();
        match self.answer() {
            Err(Trouble::Refused { code: found, message }) if found == code => message,
            other => panic!("{sql}: expected SQLSTATE {code}, got {other:?}"),
        }
    }
}

/// The server's major version.
pub(crate) fn major(client: &Client) -> u32 {
    let number: u32 = client.value("SHOW server_version_num").parse().unwrap();
    number / 10_000
}
