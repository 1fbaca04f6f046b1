//! HTTP for a store: rustls with ring, no proxy, no redirect, and an end to every wait.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderValue, USER_AGENT};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep};

use crate::limits::Limits;

/// Speaks HTTP to one store.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: legacy::Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
    limits: Limits,
}

/// Whom a store's certificate must come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// Nobody: the store is on loopback and is not encrypted.
    Unencrypted,
    /// Whom the system trusts.
    System,
    /// The authorities in this PEM file, and no others.
    Bundle(&'a Path),
}

fn tls(trust: Trust<'_>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match trust {
        Trust::Unencrypted => builder.with_root_certificates(RootCertStore::empty()),
        Trust::System => builder
            .with_native_roots()
            .map_err(|error| format!("the system's certificate authorities: {error}"))?,
        Trust::Bundle(path) => builder.with_root_certificates(bundle(path)?),
    };
    Ok(builder.with_no_client_auth())
}

fn bundle(path: &Path) -> Result<RootCertStore, String> {
    let failed = |error: &dyn Error| format!("AWS_CA_BUNDLE {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("AWS_CA_BUNDLE {} holds no certificate", path.display()));
    }
    Ok(roots)
}

impl Connection {
    /// Prepares to speak to a store.
    pub(crate) fn new(trust: Trust<'_>, limits: Limits) -> Result<Self, String> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_millis(limits.connect_timeout_ms)));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(trust)?);
        let builder = match trust {
            Trust::Unencrypted => builder.https_or_http(),
            Trust::System | Trust::Bundle(_) => builder.https_only(),
        };
        let connector = builder.enable_http1().wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, limits })
    }
}

impl HttpConnector for Connection {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// The answer did not come, or not fast enough.
#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct TooSlow;

fn lost(error: legacy::Error) -> HttpError {
    // Only a connection that never was is surely a request that was not carried out.
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
    HttpError::new(kind, error)
}

#[async_trait]
impl HttpService for Connection {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let agent = HeaderValue::from_static(concat!("annals/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let allowed = self.limits.transfer(request.body().content_length() as u64);
        match tokio::time::timeout(allowed, self.client.request(request)).await {
            Err(_) => Err(HttpError::new(HttpErrorKind::Timeout, TooSlow)),
            Ok(Err(error)) => Err(lost(error)),
            Ok(Ok(answer)) => {
                let limits = self.limits.clone();
                Ok(answer.map(|body| HttpResponseBody::new(PacedBody::new(body, limits))))
            }
        }
    }
}

/// An answer's body that must keep coming at the slowest rate that is waited for.
struct PacedBody {
    body: Incoming,
    limits: Limits,
    began: Instant,
    received_bytes: u64,
    patience: Pin<Box<Sleep>>,
}

impl PacedBody {
    fn new(body: Incoming, limits: Limits) -> Self {
        let began = Instant::now();
        let patience = Box::pin(tokio::time::sleep_until(began + limits.transfer(0)));
        Self { body, limits, began, received_bytes: 0, patience }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.received_bytes += length as u64;
                let until = this.began + this.limits.transfer(this.received_bytes);
                this.patience.as_mut().reset(until);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Interrupted, error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this
                .patience
                .as_mut()
                .poll(context)
                .map(|()| Some(Err(HttpError::new(HttpErrorKind::Timeout, TooSlow)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
