//! A network that fails: it swallows, holds half of a connection open, resets, delays.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to a connection, or to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Nothing passes any more, on any connection, and none is closed, until the network is healed.
    BlackHole,
    /// Nothing passes any more on this connection, and it is not closed; others are as before.
    DeadConnection,
    /// The server's side is closed; the client is not told.
    HalfOpen,
    /// Both sides are reset.
    Reset,
    /// The message is late by so much.
    Delay(Duration),
}

/// When it happens, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// From the first connection on.
    Once,
    /// At the n-th commit, from 1.
    Commit(usize),
    /// At the first message in which this stands.
    Text(&'static str),
}

/// When a network fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// What happens.
    pub trouble: Trouble,
    /// When.
    pub at: At,
    /// Whether the message it happens at still reaches the server.
    pub arrives: bool,
}

/// A network on loopback before a server.
pub struct Network {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    failing: Failing,
    commits: AtomicUsize,
    spent: AtomicBool,
    dark: AtomicBool,
    healed: AtomicBool,
    sent: Mutex<Vec<u8>>,
}

/// What has become of one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Silent,
    HalfOpen,
    Closed,
    Reset,
}

impl Network {
    /// A network that passes everything.
    pub fn sound(port: u16) -> Self {
        Self::before(port, Failing { trouble: Trouble::None, at: At::Once, arrives: true })
    }

    /// A network before `port` of 127.0.0.1.
    pub fn before(port: u16, failing: Failing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            failing,
            commits: AtomicUsize::new(0),
            spent: AtomicBool::new(failing.at == At::Once),
            dark: AtomicBool::new(failing.at == At::Once && failing.trouble == Trouble::BlackHole),
            healed: AtomicBool::new(false),
            sent: Mutex::new(Vec::new()),
        });
        let of_all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let shared = Arc::clone(&of_all);
                thread::spawn(move || pass(&client, &server, &shared));
            }
        });
        Self { port: own, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the trouble: what was swallowed is lost, and its connections are closed.
    pub fn heal(&self) {
        self.shared.healed.store(true, Ordering::SeqCst);
        self.shared.dark.store(false, Ordering::SeqCst);
    }

    /// Whether the trouble has begun.
    pub fn has_failed(&self) -> bool {
        self.shared.spent.load(Ordering::SeqCst)
    }

    /// Everything clients have sent.
    pub fn sent(&self) -> Vec<u8> {
        self.shared.sent.lock().expect("nobody panics while holding it").clone()
    }
}

impl Shared {
    /// Whether the trouble begins with this part of what a client sends.
    fn begins_at(&self, part: &[u8]) -> bool {
        let hit = match self.failing.at {
            At::Once => false,
            // A simple query whose last statement it is.
            At::Commit(nth) => {
                part.ends_with(b"COMMIT\0")
                    && self.commits.fetch_add(1, Ordering::SeqCst) + 1 == nth
            }
            At::Text(text) => part.windows(text.len()).any(|window| window == text.as_bytes()),
        };
        hit && !self.spent.swap(true, Ordering::SeqCst)
    }
}

fn pass(client: &TcpStream, server: &TcpStream, shared: &Shared) {
    let fate = Mutex::new(Fate::Open);
    for stream in [client, server] {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
        let _ = stream.set_nodelay(true);
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(server, client, &fate, shared, false));
        pump(client, server, &fate, shared, true);
    });
    if *fate.lock().expect("nobody panics while holding it") == Fate::Reset {
        for stream in [client, server] {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

/// Passes on what comes from `from`, until the connection's fate is another.
fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    fate: &Mutex<Fate>,
    shared: &Shared,
    of_client: bool,
) {
    let now = || *fate.lock().expect("nobody panics while holding it");
    let set = |new| *fate.lock().expect("nobody panics while holding it") = new;
    let mut buffer = [0; 64 * 1024];
    loop {
        if shared.dark.load(Ordering::SeqCst) && now() == Fate::Open {
            set(Fate::Silent);
        }
        match now() {
            Fate::Open => {}
            Fate::Silent | Fate::HalfOpen if !shared.healed.load(Ordering::SeqCst) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            Fate::Silent | Fate::HalfOpen | Fate::Closed => {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            Fate::Reset => return,
        }
        let part = match from.read(&mut buffer) {
            Ok(n @ 1..) => &buffer[..n],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Ok(_) | Err(_) => {
                if now() == Fate::Open {
                    set(Fate::Closed);
                }
                continue;
            }
        };
        if of_client {
            shared.sent.lock().expect("nobody panics while holding it").extend_from_slice(part);
            if shared.begins_at(part) {
                // The answer must not be faster than what swallows it.
                match shared.failing.trouble {
                    Trouble::None | Trouble::Delay(_) => {}
                    Trouble::BlackHole => {
                        set(Fate::Silent);
                        shared.dark.store(true, Ordering::SeqCst);
                    }
                    Trouble::DeadConnection | Trouble::HalfOpen | Trouble::Reset => {
                        set(Fate::Silent);
                    }
                }
                if shared.failing.arrives {
                    let _ = to.write_all(part);
                }
                match shared.failing.trouble {
                    Trouble::None | Trouble::BlackHole | Trouble::DeadConnection => {}
                    Trouble::HalfOpen => {
                        set(Fate::HalfOpen);
                        let _ = to.shutdown(Shutdown::Both);
                    }
                    Trouble::Reset => set(Fate::Reset),
                    Trouble::Delay(late) => {
                        thread::sleep(late);
                        if !shared.failing.arrives {
                            let _ = to.write_all(part);
                        }
                    }
                }
                continue;
            }
        }
        // Between reading and now the network may have gone dark.
        if now() == Fate::Open && !shared.dark.load(Ordering::SeqCst) && to.write_all(part).is_err()
        {
            set(Fate::Closed);
        }
    }
}
