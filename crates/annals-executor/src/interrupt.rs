//! A request to stop, seen at every point where stopping is safe.

use tokio::sync::watch;

/// Asks for a stop.
#[derive(Debug, Clone)]
pub struct InterruptHandle(watch::Sender<bool>);

/// Sees the request.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl InterruptHandle {
    /// Asks for a stop; asking twice changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Interrupt {
    /// A pair: who asks, who sees.
    pub fn new() -> (InterruptHandle, Self) {
        let (sender, receiver) = watch::channel(false);
        (InterruptHandle(sender), Self(receiver))
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until a stop is asked for; for ever if nobody can ask any more.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
