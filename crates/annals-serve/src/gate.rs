//! Who is answered: what stands before every address.
//!
//! A web page may let a browser ask this machine for anything, under a name of its own that leads
//! here (DNS rebinding): what a request asks for must be one of our names. A token is compared in
//! constant time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::connections::Peer;
use crate::options::{ServeError, ServeOptions};
use crate::routes::refusal;

/// What a request must show.
pub(crate) struct Gate {
    /// A key of this process, and the code of the token under it.
    token: Option<(hmac::Key, hmac::Tag)>,
    hosts: Vec<String>,
}

impl Gate {
    pub(crate) fn new(options: &ServeOptions) -> Result<Self, ServeError> {
        let token = match options.read_token()? {
            None => None,
            Some(token) => {
                let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                    .map_err(|_| ServeError::Random)?;
                let tag = hmac::sign(&key, token.as_bytes());
                Some((key, tag))
            }
        };
        let mut hosts: Vec<String> =
            options.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let ip = options.listen.ip();
        if ip.is_loopback() {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        if !ip.is_unspecified() {
            hosts.push(match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        }
        Ok(Self { token, hosts })
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request asks for one of our names: in its line, where it names one there, and in
    /// its one `Host`.
    fn is_for_us(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else { return false };
        let in_line = uri.authority().map(|authority| authority.as_str());
        let Ok(host) = host.to_str() else { return false };
        std::iter::once(host).chain(in_line).all(|name| self.is_ours(name))
    }

    fn is_ours(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let without_port = match name.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => name.as_str(),
        };
        self.hosts.iter().any(|host| host == without_port)
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some((key, tag)) = &self.token else { return true };
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, token)) = given.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        // Codes of equal length are compared, whatever was given; comparing takes equally long.
        let same = hmac::verify(key, token.trim().as_bytes(), tag.as_ref()).is_ok();
        scheme.eq_ignore_ascii_case("bearer") && same
    }
}

/// Lets a request through, or says why not; notes it either way.
pub(crate) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    // What stands behind a question mark, and headers, may be secrets of somebody: not noted.
    let path: String = request.uri().path().chars().take(200).collect();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
    let mut response = match gate.refuse(&request) {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    tracing::info!(
        peer = peer.unwrap_or_default(),
        %method,
        path,
        status = response.status().as_u16(),
        us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

impl Gate {
    fn refuse(&self, request: &Request) -> Option<Response> {
        if !self.is_for_us(request.uri(), request.headers()) {
            let hint = "ask for its address, or name the host with --host";
            let what = "this server has no such name";
            return Some(refusal(StatusCode::MISDIRECTED_REQUEST, what, Some(hint)));
        }
        if !self.is_allowed(request.headers()) {
            let hint = "send the header: Authorization: Bearer <token>";
            let mut refused =
                refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong", Some(hint));
            let bearer = HeaderValue::from_static("Bearer");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            return Some(refused);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let what = "nothing can be changed here: GET and HEAD alone are answered";
            let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, what, None);
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(refused);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(listen: &str, token: Option<&str>, hosts: &[&str]) -> Gate {
        Gate::new(&ServeOptions {
            listen: listen.parse().unwrap(),
            tls: None,
            token_file: None,
            token: token.map(str::to_owned),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        })
        .unwrap()
    }

    fn asks(gate: &Gate, uri: &str, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        gate.is_for_us(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn a_request_asks_for_one_of_our_names() {
        let gate = gate("127.0.0.1:8009", None, &["Metrics.example"]);
        for host in ["127.0.0.1:8009", "localhost", "LOCALHOST:1", "[::1]:8009", "metrics.example"]
        {
            assert!(asks(&gate, "/health", &[host]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8009",
            "",
            ":8009",
            "::1",
            "localhost:x",
        ] {
            assert!(!asks(&gate, "/health", &[host]), "{host}");
        }
        assert!(!asks(&gate, "/health", &[]));
        assert!(!asks(&gate, "/health", &["localhost", "localhost"]));
        assert!(!asks(&gate, "http://evil.example/health", &["localhost"]));
        assert!(asks(&gate, "http://localhost/health", &["localhost"]));
    }

    #[test]
    fn on_every_address_no_name_is_ours_by_itself() {
        let gate = gate("0.0.0.0:8009", Some("0123456789abcdef"), &["db.example"]);
        assert!(asks(&gate, "/", &["db.example:8009"]));
        assert!(!asks(&gate, "/", &["0.0.0.0:8009"]));
        assert!(!asks(&gate, "/", &["localhost:8009"]));
    }

    #[test]
    fn a_token_is_that_token() {
        let gate = gate("127.0.0.1:8009", Some("0123456789abcdef"), &[]);
        let shows = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, value.parse().unwrap());
            gate.is_allowed(&headers)
        };
        assert!(shows("Bearer 0123456789abcdef") && shows("bearer 0123456789abcdef"));
        let wrong = [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeff",
            "Basic 0123456789abcdef",
            "Bearer ",
            "Bearer",
            "0123456789abcdef",
        ];
        for wrong in wrong {
            assert!(!shows(wrong), "{wrong}");
        }
        assert!(!gate.is_allowed(&HeaderMap::new()));
    }
}
