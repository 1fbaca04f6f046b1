//! Connections: so many, for so long, and with so much to say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at a time; others wait in the queue of the listener.
const MOST_CONNECTIONS: usize = 128;

/// The longest greeting of TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The longest wait for the head of a request, the first and each later one.
const HEAD: Duration = Duration::from_secs(5);

/// The longest life of a connection, whoever does not read what it has asked for.
const LIFE: Duration = Duration::from_secs(120);

/// How long what was begun may take when a stop was asked for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bytes of the head of a request, at most.
const MOST_HEAD: usize = 16 * 1024;

/// Headers in it, at most.
const MOST_HEADERS: usize = 64;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Answers on `listener` until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = watch::channel(false);
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        // Room first: who cannot be served is not let in.
        let next = async {
            let room = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((room, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = next => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Some((room, accepted)) = accepted else { break };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                // Out of files, say: it does not help to ask again at once.
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, router, stopped) = (tls.clone(), router.clone(), stopped.clone());
        open.spawn(async move {
            converse(stream, peer, tls, router, stopped).await;
            drop(room);
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    let _ = timeout(LAST_WORDS, async { while open.join_next().await.is_some() {} }).await;
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => answer(stream, peer, router, stopped).await,
        Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => answer(stream, peer, router, stopped).await,
            Ok(Err(error)) => tracing::info!(%peer, "no TLS: {error}"),
            Err(_) => tracing::info!(%peer, "no TLS in time"),
        },
    }
}

async fn answer<S>(
    stream: S,
    peer: SocketAddr,
    router: axum::Router,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(axum::Extension(Peer(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let life = sleep(LIFE);
    tokio::pin!(life);
    let mut is_leaving = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, "a connection broke off: {error}");
                }
                return;
            }
            _ = stopped.wait_for(|stop| *stop), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut life => return,
        }
    }
}
