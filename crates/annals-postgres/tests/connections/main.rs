//! Connections to real servers: what is watched, what is refused, what is probed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod line;
mod lock;
mod pooler;
mod servers;
mod tls;
mod watch;

/// Runs a future of a test to its end.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Does what brings a runtime of its own from within a future.
fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join().unwrap())
}
