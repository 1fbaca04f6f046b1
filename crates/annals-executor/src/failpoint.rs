//! Points of the protocol at which a fault test can end, stop or hold the process.
//!
//! `ANNALS_FAILPOINT=name[:n][=action]` names a point, its n-th occurrence (1 by default) and what
//! happens there: `kill` (by default: as `kill -9`), `stop` (as `kill -STOP`), `panic`, or `pause`.
//! A pause makes the file `arrived` in the folder `ANNALS_FAILPOINT_DIR` and goes on when the file
//! `go` is there. Without the feature `failpoints` there is nothing here.

/// Does what the environment asks for at this point.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let Ok(wanted) = std::env::var("ANNALS_FAILPOINT") else {
        return;
    };
    let (place, action) = wanted.split_once('=').unwrap_or((&wanted, "kill"));
    let (place, nth) = place.split_once(':').unwrap_or((place, "1"));
    if place != name || Ok(SEEN.fetch_add(1, Ordering::SeqCst) + 1) != nth.parse() {
        return;
    }
    match action {
        "kill" => drop(kill_process(getpid(), Signal::KILL)),
        "stop" => drop(kill_process(getpid(), Signal::STOP)),
        "panic" => panic!("the fault test asked for it at {name}"),
        "pause" => pause(),
        other => panic!("a failpoint does kill, stop, panic or pause, not {other:?}"),
    }
}

#[cfg(feature = "failpoints")]
fn pause() {
    let folder = std::env::var_os("ANNALS_FAILPOINT_DIR").expect("a pause has a folder");
    let folder = std::path::PathBuf::from(folder);
    std::fs::write(folder.join("arrived"), "").expect("the folder of a pause is writable");
    while !folder.join("go").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Does nothing: this is not a build for fault tests.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}
