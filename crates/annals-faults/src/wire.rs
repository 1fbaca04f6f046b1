//! The network between annals and the server: a proxy that resets, cuts and swallows on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCommit {
    /// It passes.
    Passes,
    /// The n-th (from 1) never reaches the server.
    NeverArrives(usize),
    /// The n-th reaches the server; its answer does not come back.
    NeverAnswered(usize),
}

#[derive(Debug)]
struct State {
    at_commit: AtCommit,
    seen: usize,
    cut: bool,
    open: Vec<Open>,
}

/// A connection: both ends, and whether they are being reset.
#[derive(Debug)]
struct Open {
    ends: [TcpStream; 2],
    reset: Arc<AtomicBool>,
}

/// A proxy on loopback.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Wire {
    /// Passes connections on to `port` of 127.0.0.1.
    pub fn start(port: u16, at_commit: AtCommit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let state = State { at_commit, seen: 0, cut: false, open: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let (Ok(one), Ok(other)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let reset = Arc::new(AtomicBool::new(false));
                let open = Open { ends: [one, other], reset: Arc::clone(&reset) };
                shared.lock().expect("no thread panics in between").open.push(open);
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(client, server, &state, &reset));
            }
        });
        Self { port: own, state }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a commit was cut off.
    pub fn has_cut(&self) -> bool {
        self.state.lock().expect("no thread panics in between").cut
    }

    /// Resets every connection: both ends get a TCP reset, nothing else.
    pub fn reset(&self) {
        let mut state = self.state.lock().expect("no thread panics in between");
        for open in state.open.drain(..) {
            open.reset.store(true, Ordering::SeqCst);
            for end in &open.ends {
                // Closed in this way, a socket sends a reset. Who reads it wakes and closes it.
                let _ = rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Read);
            }
        }
    }
}

/// Whether `part` holds a query message that ends a transaction of annals.
fn commits(part: &[u8]) -> bool {
    part.windows(7).any(|window| window == b"COMMIT\0")
}

fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    state: &Mutex<State>,
    reset: &Arc<AtomicBool>,
) {
    let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let end = |stream: &TcpStream, how| {
        if !reset.load(Ordering::SeqCst) {
            let _ = stream.shutdown(how);
        }
    };
    let is_reset = Arc::clone(reset);
    let returning = thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        if !is_reset.load(Ordering::SeqCst) {
            let _ = back.shutdown(Shutdown::Both);
        }
    });
    let mut buffer = [0; 64 * 1024];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let part = &buffer[..n];
        if commits(part) && is_to_be_cut(state) {
            let _ = client.shutdown(Shutdown::Both);
            let plan = state.lock().expect("no thread panics in between").at_commit;
            if matches!(plan, AtCommit::NeverAnswered(_)) {
                let _ = server.write_all(part);
                // The server reads the commit and acts before it notices the end of its input.
                let _ = server.shutdown(Shutdown::Write);
            } else {
                let _ = server.shutdown(Shutdown::Both);
            }
            break;
        }
        if server.write_all(part).is_err() {
            break;
        }
    }
    end(&client, Shutdown::Both);
    end(&server, Shutdown::Write);
    let _ = returning.join();
}

fn is_to_be_cut(state: &Mutex<State>) -> bool {
    let mut state = state.lock().expect("no thread panics in between");
    state.seen += 1;
    let nth = match state.at_commit {
        AtCommit::Passes => return false,
        AtCommit::NeverArrives(nth) | AtCommit::NeverAnswered(nth) => nth,
    };
    state.cut |= state.seen == nth;
    state.seen == nth
}
