//! Ctrl-C, SIGTERM and a closed terminal: the first asks for a stop, the second ends the process.

use annals_api::ExitCode;
use annals_operations::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for signals for as long as the process lives.
pub(crate) fn listen() -> Interrupt {
    let (handle, interrupt) = Interrupt::new();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok([mut first, mut second, mut third]) = kinds
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|signals| <[Signal; 3]>::try_from(signals).expect("one for each kind"))
    else {
        return interrupt;
    };
    tokio::spawn(async move {
        any(&mut first, &mut second, &mut third).await;
        handle.request();
        eprintln!("stopping: waiting for the server to cancel and roll back (again: stop at once)");
        any(&mut first, &mut second, &mut third).await;
        // As a kill: whatever was under way is settled from evidence by the next command.
        std::process::exit(i32::from(ExitCode::Interrupted.code()));
    });
    interrupt
}

/// Waits for one of these signals: the asked-for end of a command that has no other.
pub(crate) async fn stop() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok([mut first, mut second, mut third]) = kinds
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|signals| <[Signal; 3]>::try_from(signals).expect("one for each kind"))
    else {
        // Without a handler the signal ends the process itself.
        return std::future::pending().await;
    };
    any(&mut first, &mut second, &mut third).await;
}

async fn any(first: &mut Signal, second: &mut Signal, third: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        _ = third.recv() => {}
    }
}
