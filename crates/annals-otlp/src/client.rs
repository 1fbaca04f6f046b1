//! One POST after the other, with an end to all of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_projections::RunTrace;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, sleep, timeout};

use crate::message::messages;
use crate::settings::Collector;

/// The longest answer that is read, in bytes: what is expected has a few hundred.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The first pause before a message is offered again.
const PAUSE_MS: u64 = 200;

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Spans the collector has taken.
    pub spans: usize,
}

/// Why not all of it arrived.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody could be spoken to.
    #[error("the collector {place} cannot be reached: {reason}")]
    Unreachable {
        /// The collector.
        place: String,
        /// Why.
        reason: String,
    },
    /// It did not answer.
    #[error("the collector {place} did not answer within {ms} ms")]
    TooSlow {
        /// The collector.
        place: String,
        /// How long all of it was given, in milliseconds.
        ms: u64,
    },
    /// It said no.
    #[error("the collector {place} answered {status}")]
    Refused {
        /// The collector.
        place: String,
        /// Its status.
        status: StatusCode,
    },
    /// It left spans out.
    #[error("the collector {place} did not take {spans} spans: {reason}")]
    Partial {
        /// The collector.
        place: String,
        /// How many.
        spans: i64,
        /// In its words.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("the collector {place} cannot be spoken to over TLS: {reason}")]
    Tls {
        /// The collector.
        place: String,
        /// Why.
        reason: String,
    },
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Collector {
    /// Sends `traces`; what can be sent again later by whoever asks again is not kept.
    ///
    /// # Errors
    ///
    /// When anything of it was not taken within the time there is.
    pub async fn send(&self, traces: &[RunTrace]) -> Result<Sent, SendError> {
        let until = Instant::now() + self.timeout;
        let client = self.client()?;
        let mut spans = 0;
        for message in messages(traces, &self.resource) {
            let body = Bytes::from(message.encode_to_vec());
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, self.offer(&client, body)).await {
                Ok(offered) => offered?,
                Err(_) => {
                    let ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
                    return Err(SendError::TooSlow { place: self.place(), ms });
                }
            }
            let scopes = message.resource_spans.iter().flat_map(|of| &of.scope_spans);
            spans += scopes.map(|of| of.spans.len()).sum::<usize>();
        }
        Ok(Sent { spans })
    }

    fn client(&self) -> Result<Http, SendError> {
        let tls = tls(self.certificate.as_deref());
        let tls = tls.map_err(|reason| SendError::Tls { place: self.place(), reason })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Offers one message until it is taken or refused for good.
    async fn offer(&self, client: &Http, body: Bytes) -> Result<(), SendError> {
        let mut pause = Duration::from_millis(PAUSE_MS);
        loop {
            let mut request =
                Request::post(&self.uri).body(Full::new(body.clone())).map_err(|error| {
                    SendError::Unreachable { place: self.place(), reason: error.to_string() }
                })?;
            let agent = HeaderValue::from_static(concat!("annals/", env!("CARGO_PKG_VERSION")));
            request.headers_mut().extend(self.headers.clone());
            request.headers_mut().insert(USER_AGENT, agent);
            let protobuf = HeaderValue::from_static("application/x-protobuf");
            request.headers_mut().insert(CONTENT_TYPE, protobuf);
            let answer = client.request(request).await.map_err(|error| SendError::Unreachable {
                place: self.place(),
                reason: cause(&error),
            })?;
            let status = answer.status();
            // Those the specification lets be tried again.
            if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
                let asked = answer.headers().get(RETRY_AFTER).and_then(|value| {
                    value.to_str().ok()?.parse::<u64>().ok().map(Duration::from_secs)
                });
                let wait = asked.unwrap_or(pause);
                if wait >= self.timeout {
                    return Err(SendError::Refused { place: self.place(), status });
                }
                sleep(wait).await;
                pause *= 2;
                continue;
            }
            if status != StatusCode::OK {
                return Err(SendError::Refused { place: self.place(), status });
            }
            let answer = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let answer = answer.map_err(|error| SendError::Unreachable {
                place: self.place(),
                reason: error.to_string(),
            })?;
            return self.read(answer.to_bytes());
        }
    }

    /// What an answer of success says; one that is no message of OTLP says nothing else.
    fn read(&self, answer: Bytes) -> Result<(), SendError> {
        let read = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        match read.partial_success {
            Some(partial) if partial.rejected_spans > 0 => Err(SendError::Partial {
                place: self.place(),
                spans: partial.rejected_spans,
                reason: partial.error_message.chars().take(200).collect(),
            }),
            _ => Ok(()),
        }
    }
}

/// The innermost cause: what lies around it says only that something was sent.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn tls(certificate: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match certificate {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => builder
            .with_native_roots()
            .map_err(|error| format!("the system's certificate authorities: {error}"))?,
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let failed = |error: String| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {error}");
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(failed("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}
