//! Faults in front of a server: requests that are lost, answers that are lost or others.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// One request, as the front sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// How many came before it.
    pub number: usize,
    /// What it does.
    pub method: Method,
    /// Path and query.
    pub path: String,
}

impl Seen {
    /// Whether it writes the object whose path ends so.
    pub fn puts(&self, end: &str) -> bool {
        self.method == Method::PUT && self.path.ends_with(end)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It reaches the server, and the answer comes back.
    Pass,
    /// It never reaches the server.
    Instead(Answer),
    /// It reaches the server and is carried out; its answer never comes back.
    Behind(Answer),
}

/// What the client gets in place of the server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This status and body.
    Status(u16, String),
    /// A lost connection.
    Cut,
    /// The first half of the server's own answer, then a lost connection. Only behind a request.
    Half,
    /// Nothing, for as long as the client waits.
    Silence,
}

/// An HTTP server on loopback that passes requests on, or not. It goes with the test's process.
pub struct Front {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

type Decide = dyn Fn(&Seen) -> Fate + Send + Sync;
type Upstream = Client<HttpConnector, Full<Bytes>>;

struct Passing {
    upstream: SocketAddr,
    client: Upstream,
    decide: Box<Decide>,
    count: Arc<AtomicUsize>,
}

impl Front {
    /// Passes requests on to `upstream` as `decide` says.
    pub fn start(
        upstream: SocketAddr,
        decide: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let count = Arc::new(AtomicUsize::new(0));
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(tcp);
        let decide = Box::new(decide);
        let passing = Passing { upstream, client, decide, count: Arc::clone(&count) };
        std::thread::spawn(move || listen(listener, Arc::new(passing)));
        Self { address, count }
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn listen(listener: std::net::TcpListener, passing: Arc<Passing>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(async move {
        listener.set_nonblocking(true).expect("a socket can be polled");
        let listener = TcpListener::from_std(listener).expect("a listener stays one");
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("TCP has the option");
            let passing = Arc::clone(&passing);
            tokio::spawn(async move {
                let answer = service_fn(|request| pass(&passing, request));
                // An error here is a cut that was asked for.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

async fn pass(passing: &Passing, request: Request<Incoming>) -> io::Result<Response<Part>> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let number = passing.count.fetch_add(1, Ordering::SeqCst);
    let seen = Seen { number, method: request.method().clone(), path };
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let fate = (passing.decide)(&seen);
    if let Fate::Instead(answer) = fate {
        return instead(answer, None).await;
    }
    parts.uri = format!("http://{}{}", passing.upstream, seen.path).parse::<Uri>().expect("a URI");
    let request = Request::from_parts(parts, Full::new(body));
    let Ok(answered) = passing.client.request(request).await else { return Err(cut()) };
    let (parts, body) = answered.into_parts();
    let Ok(body) = body.collect().await else { return Err(cut()) };
    let answered = Response::from_parts(parts, body.to_bytes());
    match fate {
        Fate::Behind(answer) => instead(answer, Some(answered)).await,
        _ => Ok(answered.map(Part::whole)),
    }
}

async fn instead(answer: Answer, answered: Option<Response<Bytes>>) -> io::Result<Response<Part>> {
    match answer {
        Answer::Status(status, body) => {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut answer = Response::new(Part::whole(Bytes::from(body)));
            *answer.status_mut() = status;
            Ok(answer)
        }
        Answer::Cut => Err(cut()),
        Answer::Half => answered.map(|answered| answered.map(Part::half)).ok_or_else(cut),
        Answer::Silence => {
            let forever: Infallible = std::future::pending().await;
            match forever {}
        }
    }
}

/// A body, or the beginning of one.
struct Part {
    bytes: Option<Bytes>,
    length: u64,
    is_cut: bool,
}

impl Part {
    fn whole(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { bytes: Some(bytes), length, is_cut: false }
    }

    fn half(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { bytes: Some(bytes.slice(..bytes.len() / 2)), length, is_cut: true }
    }
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = match self.bytes.take() {
            Some(bytes) => Some(Ok(Frame::data(bytes))),
            None if self.is_cut => Some(Err(cut())),
            None => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && !self.is_cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
