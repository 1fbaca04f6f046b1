//! The harness's own connections: a session of its own, without anything of annals in between.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

/// One connection.
pub struct Link {
    runtime: tokio::runtime::Runtime,
    connection: Option<PgConnection>,
}

impl Link {
    /// Connects to `url`.
    ///
    /// # Errors
    ///
    /// When nobody answers or the login is refused.
    pub fn open(url: &str) -> Result<Self, sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let connection = runtime.block_on(PgConnection::connect(url))?;
        Ok(Self { runtime, connection: Some(connection) })
    }

    fn connection(&mut self) -> (&tokio::runtime::Runtime, &mut PgConnection) {
        let connection = self.connection.as_mut().expect("it is there until it is dropped");
        (&self.runtime, connection)
    }

    /// Runs SQL by the simple protocol.
    ///
    /// # Errors
    ///
    /// The server's error or the loss of the connection.
    pub fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let (runtime, connection) = self.connection();
        runtime.block_on(connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))))?;
        Ok(())
    }

    /// The first column of every row, as text.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn rows(&mut self, query: &str) -> Result<Vec<String>, sqlx::Error> {
        let (runtime, connection) = self.connection();
        let wrapped = format!("SELECT q.line::text FROM ({query}) q(line)");
        let rows = runtime.block_on(sqlx::query(AssertSqlSafe(wrapped)).fetch_all(connection))?;
        let text = |row| Row::get::<Option<String>, _>(row, 0).unwrap_or_default();
        Ok(rows.iter().map(text).collect())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
    }
}
