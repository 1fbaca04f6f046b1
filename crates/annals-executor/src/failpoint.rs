//! Points of the protocol at which a fault test can end the process.

/// Ends the process as `kill -9` would when `ANNALS_FAILPOINT` is `name`, or `name:n` and this is
/// the n-th time. Without the feature `failpoints` there is nothing here.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &str) {
    use std::sync::Mutex;
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let Ok(wanted) = std::env::var("ANNALS_FAILPOINT") else {
        return;
    };
    let (wanted, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted != name {
        return;
    }
    let mut seen = SEEN.lock().expect("no thread panics while it counts");
    seen.push(name.to_owned());
    if Ok(seen.len()) == nth.parse() {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn hit(_name: &str) {}
