//! Sends the traces of runs to an OpenTelemetry collector: OTLP over HTTP, protobuf.
//!
//! Nothing here reads the environment or makes a span: settings are asked of the caller, spans come from
//! events. Nothing is waited for longer than one bound for all of it.

mod client;
mod message;
mod settings;

pub use client::{SendError, Sent};
pub use settings::{Collector, SettingError};
