//! `drift`, `drift accept`, `drift track`, `drift untrack`.

use annals_operations::{AcceptedDrift, DriftView, DriftedObject, TrackView};
use annals_postgres::Tracking;
use serde::Serialize;

use crate::change::RecoveredRun;
use crate::exit::ExitCode;

/// `annals drift`.
#[derive(Debug, Clone, Serialize)]
pub struct DriftDocument {
    /// `annals.drift/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Whether the live schema is not as expected; none if nothing was compared.
    pub drifted: Option<bool>,
    /// Why nothing was compared.
    pub not_compared: Option<String>,
    /// What differs: each object with its attributes, between which two looks it came to be so, and
    /// who touched it then, where that is written down.
    pub objects: Vec<DriftedObject>,
    /// Fingerprint of the expected schema.
    pub expected: Option<String>,
    /// Fingerprint of the live one.
    pub found: String,
    /// Whether it was news, and was recorded.
    pub recorded: bool,
    /// `on`, `broken`, `hidden` or `off`: whether the target writes down who changes its schema.
    pub tracking: &'static str,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
    /// The process's exit code.
    pub exit_code: u8,
}

/// `annals drift accept`.
#[derive(Debug, Clone, Serialize)]
pub struct DriftAcceptedDocument {
    /// `annals.drift_accepted/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What differed.
    pub objects: Vec<DriftedObject>,
    /// Why nothing was compared.
    pub not_compared: Option<String>,
    /// Major version of the server the expectation was of.
    pub expected_major: Option<u32>,
    /// Fingerprint of what is expected from now on.
    pub expected: String,
    /// Objects in it.
    pub count: usize,
    /// Whether anything was recorded: not if everything was as expected.
    pub recorded: bool,
    /// Events in the log.
    pub log_size: u64,
    /// Runs that were killed earlier and have been settled now.
    pub recovered: Vec<RecoveredRun>,
}

/// `annals drift track` and `untrack`.
#[derive(Debug, Clone, Serialize)]
pub struct TrackDocument {
    /// `annals.drift_track/1`.
    pub format: &'static str,
    /// The target.
    pub target: String,
    /// `on`, `broken`, `hidden` or `off`.
    pub before: &'static str,
    /// The same, now.
    pub tracking: &'static str,
}

fn word(tracking: Tracking) -> &'static str {
    match tracking {
        Tracking::On => "on",
        Tracking::Broken => "broken",
        Tracking::Hidden => "hidden",
        Tracking::Off => "off",
    }
}

impl From<&DriftView> for DriftDocument {
    fn from(view: &DriftView) -> Self {
        let objects = view.objects.clone().unwrap_or_default();
        let code = if objects.is_empty() { ExitCode::Success } else { ExitCode::Drifted };
        Self {
            format: "annals.drift/1",
            target: view.target.clone(),
            drifted: view.objects.as_ref().map(|objects| !objects.is_empty()),
            not_compared: view.not_compared.map(|why| why.to_string()),
            objects,
            expected: view.expected.map(|fingerprint| fingerprint.to_string()),
            found: view.found.to_string(),
            recorded: view.recorded,
            tracking: word(view.tracking),
            log_size: view.log_size,
            recovered: view.recovered.iter().map(RecoveredRun::from).collect(),
            exit_code: code.code(),
        }
    }
}

impl From<&AcceptedDrift> for DriftAcceptedDocument {
    fn from(accepted: &AcceptedDrift) -> Self {
        Self {
            format: "annals.drift_accepted/1",
            target: accepted.target.clone(),
            reason: accepted.reason.clone(),
            objects: accepted.objects.clone(),
            not_compared: accepted.not_compared.map(|why| why.to_string()),
            expected_major: accepted.expected_major,
            expected: accepted.expected.to_string(),
            count: accepted.count,
            recorded: accepted.recorded,
            log_size: accepted.log_size,
            recovered: accepted.recovered.iter().map(RecoveredRun::from).collect(),
        }
    }
}

impl From<&TrackView> for TrackDocument {
    fn from(view: &TrackView) -> Self {
        Self {
            format: "annals.drift_track/1",
            target: view.target.clone(),
            before: word(view.before),
            tracking: word(view.now),
        }
    }
}
