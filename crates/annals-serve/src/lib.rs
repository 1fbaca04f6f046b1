//! Health, metrics and the timeline over HTTP, for probes, dashboards and people.
//!
//! Nothing here writes, takes a lock, or decides what is wrong: it answers what
//! `annals_operations::Monitor` says, as documents of `annals-api`. Off this machine nobody is
//! answered without TLS and a token.

mod cache;
mod connections;
mod gate;
mod metrics;
mod options;
mod routes;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use annals_operations::Monitor;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use options::{ServeError, ServeOptions};

/// A server that listens, and answers nobody yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    has_token: bool,
}

impl Server {
    /// Checks the options and begins to listen.
    ///
    /// # Errors
    ///
    /// See [`ServeError`]; nobody can connect then.
    pub async fn bind(monitor: Monitor, options: &ServeOptions) -> Result<Self, ServeError> {
        options.check()?;
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let gate = gate::Gate::new(options)?;
        let has_token = gate.has_token();
        let listen = |source| ServeError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let router = routes::router(Arc::new(monitor), gate);
        Ok(Self { listener, address, tls, router, has_token })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Whether a token is asked for.
    pub fn has_token(&self) -> bool {
        self.has_token
    }

    /// Answers until `stop` comes, then finishes what was begun, for a few seconds at most.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        connections::serve(self.listener, self.tls, self.router, stop).await;
    }
}
