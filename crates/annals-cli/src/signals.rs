//! Ctrl-C and SIGTERM: the first asks for a stop, the second ends the process.

use annals_api::ExitCode;
use annals_operations::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for signals for as long as the process lives.
pub(crate) fn listen() -> Interrupt {
    let (handle, interrupt) = Interrupt::new();
    let both = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupted), Ok(mut terminated)) = both else {
        return interrupt;
    };
    tokio::spawn(async move {
        either(&mut interrupted, &mut terminated).await;
        handle.request();
        eprintln!("stopping: waiting for the server to cancel and roll back (again: stop at once)");
        either(&mut interrupted, &mut terminated).await;
        // As a kill: whatever was under way is settled from evidence by the next command.
        std::process::exit(i32::from(ExitCode::Interrupted.code()));
    });
    interrupt
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}
