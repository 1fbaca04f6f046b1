//! A TCP proxy before a server that cuts the connection around a commit.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The commit never reaches the server.
    BeforeCommit,
    /// The commit reaches the server; its answer never comes back.
    AfterCommit,
    /// The commit reaches the server; in place of its answer comes that it panics, as of a server
    /// that dies behind the commit.
    Panic,
}

/// An `ErrorResponse` of severity PANIC: message type, length, fields, an end.
fn panic_message() -> Vec<u8> {
    let fields = "SPANIC\0VPANIC\0C53100\0Mcould not write to the log\0\0";
    let length = u32::try_from(fields.len() + 4).expect("a short message");
    [b"E".as_slice(), &length.to_be_bytes(), fields.as_bytes()].concat()
}

/// A proxy on loopback. It cuts one connection, at its n-th `COMMIT`, and passes everything else.
pub struct Proxy {
    port: u16,
}

struct Plan {
    cut: Cut,
    left: AtomicUsize,
}

impl Proxy {
    /// Passes connections on to `port` of 127.0.0.1, cutting at the `nth` commit (from 1).
    pub fn start(port: u16, cut: Cut, nth: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let plan = Arc::new(Plan { cut, left: AtomicUsize::new(nth) });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let plan = Arc::clone(&plan);
                thread::spawn(move || pass(client, server, &plan));
            }
        });
        Self { port: own }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

fn pass(mut client: TcpStream, mut server: TcpStream, plan: &Plan) {
    let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let returning = thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        close(&back);
    });
    let mut buffer = [0; 64 * 1024];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let part = &buffer[..n];
        // The program sends COMMIT as the end of a message.
        let commits = part.ends_with(b"COMMIT\0");
        let hits = commits && plan.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if hits && plan.cut == Cut::BeforeCommit {
            break;
        }
        if hits {
            // The answer must not overtake the cut.
            match plan.cut {
                Cut::Panic => {
                    let _ = client.write_all(&panic_message());
                    let _ = client.shutdown(Shutdown::Write);
                }
                Cut::BeforeCommit | Cut::AfterCommit => close(&client),
            }
            let _ = server.write_all(part);
            // The server reads the commit and acts on it before it notices the end of its input.
            let _ = server.shutdown(Shutdown::Write);
            break;
        }
        if server.write_all(part).is_err() {
            break;
        }
    }
    close(&client);
    if plan.cut == Cut::BeforeCommit {
        close(&server);
    }
    let _ = returning.join();
}
