//! Traces as the messages of OTLP.

use annals_projections::{RunTrace, Span, SpanAttributes, SpanStatus, SpanValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;

/// Spans of one message: with 2 KB each a message stays far below the 20 MB collectors take.
const SPANS_OF_A_MESSAGE: usize = 512;

/// The traces, in messages that are sent one after the other.
pub(crate) fn messages(
    traces: &[RunTrace],
    resource: &[(String, String)],
) -> Vec<ExportTraceServiceRequest> {
    let spans: Vec<otlp::Span> =
        traces.iter().flat_map(|trace| trace.spans.iter().map(|span| one(trace, span))).collect();
    spans.chunks(SPANS_OF_A_MESSAGE).map(|spans| message(spans.to_vec(), resource)).collect()
}

fn message(spans: Vec<otlp::Span>, resource: &[(String, String)]) -> ExportTraceServiceRequest {
    let attributes =
        resource.iter().map(|(name, value)| pair(name, Value::StringValue(value.clone())));
    let scope = InstrumentationScope {
        name: "annals".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![otlp::ResourceSpans {
            resource: Some(Resource { attributes: attributes.collect(), ..Resource::default() }),
            scope_spans: vec![otlp::ScopeSpans {
                scope: Some(scope),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn one(trace: &RunTrace, span: &Span) -> otlp::Span {
    let events = span.moments.iter().map(|moment| otlp::span::Event {
        time_unix_nano: nanos(moment.at.micros()),
        name: moment.name.to_owned(),
        attributes: attributes(&moment.attributes),
        ..otlp::span::Event::default()
    });
    let (code, message) = match &span.status {
        SpanStatus::Unset => (otlp::status::StatusCode::Unset, String::new()),
        SpanStatus::Ok => (otlp::status::StatusCode::Ok, String::new()),
        SpanStatus::Error(why) => (otlp::status::StatusCode::Error, why.clone()),
    };
    let is_in_the_target = span.attributes.iter().any(|(name, _)| *name == "db.system.name");
    let kind = match is_in_the_target && span.parent.is_some() {
        true => otlp::span::SpanKind::Client,
        false => otlp::span::SpanKind::Internal,
    };
    otlp::Span {
        trace_id: trace.run.0.as_bytes().to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        // Sampled.
        flags: 1,
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: nanos(span.start.micros()),
        end_time_unix_nano: nanos(span.end.micros()),
        attributes: attributes(&span.attributes),
        events: events.collect(),
        status: Some(otlp::Status { message, code: code.into() }),
        ..otlp::Span::default()
    }
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or_default().saturating_mul(1000)
}

fn attributes(all: &SpanAttributes) -> Vec<KeyValue> {
    let pairs = all.iter().map(|(name, value)| {
        let value = match value {
            SpanValue::Text(text) => Value::StringValue(text.clone()),
            SpanValue::Number(n) => Value::IntValue(i64::try_from(*n).unwrap_or(i64::MAX)),
        };
        pair(name, value)
    });
    pairs.collect()
}

fn pair(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
