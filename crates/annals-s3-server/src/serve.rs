//! The server process: somebody else's S3, our listener.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

/// Whom the server knows.
pub(crate) const ACCESS_KEY_ID: &str = "annals-test-only";
/// The secret of it; for tests on loopback, and nothing else.
pub(crate) const SECRET_ACCESS_KEY: &str = "test-only-secret-access-key";

/// What the server says before its address.
pub(crate) const LISTENS: &str = "the S3 server listens on ";

/// The folder of the buckets, below the server's own.
pub(crate) const BUCKETS: &str = "buckets";

/// The server's certificate, in its folder.
pub(crate) const CERTIFICATE: &str = "server.pem";

#[derive(Clone)]
struct Server {
    s3: S3Service,
    one_put: Arc<Mutex<()>>,
}

impl Server {
    async fn converse<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let answer = service_fn(move |request: Request<Incoming>| {
            let Self { s3, one_put } = self.clone();
            async move {
                let turn = match *request.method() {
                    Method::PUT => Some(one_put.lock().await),
                    _ => None,
                };
                let answer = Service::call(&s3, request).await;
                drop(turn);
                answer
            }
        });
        // A client that goes away is no concern of the server's.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer)
            .await;
    }
}

/// Ends the process with its input: so it goes with the test, also with one that was killed.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a key can be drawn");
    std::fs::write(folder.join(CERTIFICATE), made.cert.pem()).expect("the folder is ours");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("certificate and key fit");
    TlsAcceptor::from(Arc::new(config))
}

/// Serves the buckets in `folder` until the process ends.
pub(crate) fn serve(folder: &Path, port: u16, encrypted: bool) {
    end_with_input();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let acceptor = encrypted.then(|| acceptor(folder));
    let files = FileSystem::new(folder.join(BUCKETS)).expect("the folder is there");
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    let server = Server { s3: builder.build(), one_put: Arc::default() };
    let all = tokio::task::LocalSet::new();
    all.block_on(&runtime, async move {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        println!("\n{LISTENS}{address}");
        io::stdout().flush().expect("the test listens");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.set_nodelay(true).expect("TCP has the option");
            tokio::task::spawn_local(accept(server.clone(), acceptor.clone(), stream));
        }
    });
}

async fn accept(server: Server, acceptor: Option<TlsAcceptor>, stream: TcpStream) {
    match acceptor {
        None => server.converse(stream).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                server.converse(stream).await;
            }
        }
    }
}
