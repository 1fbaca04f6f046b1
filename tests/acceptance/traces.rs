//! Traces: what a collector is sent is what the log says, and no collector is no reason to fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use annals_testkit::{Server, Workspace};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value as Json;

use crate::bad_input::fresh;

/// How a collector answers.
#[derive(Clone, Copy)]
enum Answers {
    /// With this status line.
    With(&'static str),
    /// Never: what it was sent is read, and nothing follows.
    Never,
}

/// One request: its head in lower case, its body.
type Request = (String, Vec<u8>);

/// A collector on loopback that keeps what it was sent.
struct Collector {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    /// The answers are given in this order; the last one to all that follow.
    fn start(answers: &[Answers]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answers) = (Arc::clone(&requests), answers.to_vec());
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                while let Some(request) = read(&mut connection) {
                    let at = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(request);
                        kept.len() - 1
                    };
                    match answers[at.min(answers.len() - 1)] {
                        Answers::With(status) => {
                            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                            connection.write_all(answer.as_bytes()).unwrap();
                        }
                        Answers::Never => break,
                    }
                }
                silent.push(connection);
            }
        });
        Self { port, requests }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// All spans it was sent, and what is said of who sent them.
    fn spans(&self) -> (BTreeMap<String, String>, Vec<Span>) {
        let (mut resource, mut spans) = (BTreeMap::new(), Vec::new());
        for (_, body) in self.requests() {
            let message = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for of in message.resource_spans {
                resource = said(&of.resource.unwrap().attributes);
                spans.extend(of.scope_spans.into_iter().flat_map(|of| of.spans));
            }
        }
        (resource, spans)
    }
}

/// The next request of a connection; none at its end.
fn read(connection: &mut TcpStream) -> Option<Request> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().trim().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
            }
        }
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

fn said(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |pair: &KeyValue| {
        let value = match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        (pair.key.clone(), value)
    };
    attributes.iter().map(pair).collect()
}

/// The one span of this name.
#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans {name}");
    span
}

/// The events of the log of `db`.
fn events(workspace: &Workspace) -> Vec<Json> {
    let text = fs::read_to_string(workspace.segment()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The event a span says it comes from.
fn event_of<'a>(events: &'a [Json], span: &Span) -> &'a Json {
    let seq: usize = said(&span.attributes)["annals.log.seq"].parse().unwrap();
    &events[seq]
}

fn micros(event: &Json) -> u64 {
    let text = event["recorded_at"].as_str().unwrap();
    let time: annals_events::Timestamp = text.parse().unwrap();
    u64::try_from(time.micros()).unwrap() * 1000
}

/// Code of a status: 0 nothing is said, 1 well, 2 not well.
fn code(span: &Span) -> i32 {
    span.status.as_ref().unwrap().code
}

fn with_backup(workspace: &Workspace) {
    let config = fs::read_to_string(workspace.path("annals.toml")).unwrap();
    let wanted = "[targets.db]\nbackup = \"full\"";
    workspace.write("annals.toml", config.replace("[targets.db]", wanted));
}

fn scene() -> (Server, Workspace) {
    let (server, workspace) = fresh();
    workspace.tables(2);
    (server, workspace)
}

#[test]
fn a_run_is_one_trace_and_each_span_is_what_the_log_says() {
    let (_server, workspace) = scene();
    with_backup(&workspace);
    workspace.migration(
        "3_outside",
        "-- annals: transaction=off\nCREATE INDEX CONCURRENTLY i ON t1 (id);\n",
        "DROP INDEX i;",
    );
    workspace.annals("backup").run().expect(0);
    let collector = Collector::start(&[Answers::With("200 OK")]);
    let command = workspace.annals("migrate --json").arg(format!("--otlp={}", collector.url()));
    let document = command.run().expect(0).json();
    let (resource, spans) = collector.spans();
    assert_eq!(resource["service.name"], "annals");
    let (head, _) = &collector.requests()[0];
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let events = events(&workspace);

    // One trace, named as the run.
    let run = document["run"]["run"].as_str().unwrap();
    let bytes = uuid::Uuid::parse_str(run).unwrap();
    assert!(spans.iter().all(|span| span.trace_id == bytes.as_bytes()));
    let root = named(&spans, "migrate db");
    assert!(root.parent_span_id.is_empty());
    let of_run = said(&root.attributes);
    let started = event_of(&events, root);
    assert_eq!(started["kind"], "run_started");
    assert_eq!(of_run["annals.run"], run);
    assert_eq!(of_run["annals.plan.hash"], started["data"]["plan"].as_str().unwrap());
    assert_eq!(of_run["annals.actor"], "tester");
    assert_eq!(of_run["annals.target"], "db");
    assert_eq!(of_run["annals.direction"], "up");
    assert_eq!((of_run["annals.steps"].as_str(), of_run["annals.steps.done"].as_str()), ("3", "3"));
    assert_eq!((of_run["annals.outcome"].as_str(), code(root)), ("succeeded", 1));

    // A span a step, as long as the log says.
    for (name, mode) in [
        ("up 1_t1", "transactional"),
        ("up 2_t2", "transactional"),
        ("up 3_outside", "statement_by_statement"),
    ] {
        let step = named(&spans, name);
        let begun = event_of(&events, step);
        assert_eq!(begun["kind"], "step_started");
        let done = events.iter().find(|event| {
            event["kind"] == "step_succeeded" && event["data"]["step"] == begun["data"]["step"]
        });
        let done = done.unwrap();
        let of_step = said(&step.attributes);
        assert_eq!(step.parent_span_id, root.span_id);
        assert_eq!((of_step["annals.mode"].as_str(), code(step)), (mode, 1));
        assert_eq!(of_step["annals.status"], "succeeded");
        assert_eq!(of_step["annals.version"], begun["data"]["version"].as_str().unwrap());
        assert_eq!(of_step["annals.transaction"], done["data"]["transaction"].as_str().unwrap());
        assert_eq!(step.start_time_unix_nano, micros(begun));
        let took = step.end_time_unix_nano - step.start_time_unix_nano;
        assert_eq!(took, done["data"]["duration_us"].as_u64().unwrap() * 1000);
    }
    let outside = named(&spans, "up 3_outside");
    assert_eq!(named(&spans, "statement 1").parent_span_id, outside.span_id);

    // What came before the first step, and the backup in it.
    let prepare = named(&spans, "prepare");
    assert_eq!(prepare.parent_span_id, root.span_id);
    assert_eq!(prepare.start_time_unix_nano, root.start_time_unix_nano);
    let backup = named(&spans, "backup");
    assert_eq!(backup.parent_span_id, prepare.span_id);
    let taken = event_of(&events, backup);
    assert_eq!(
        said(&backup.attributes)["annals.backup"],
        taken["data"]["backup"].as_str().unwrap()
    );
    assert_eq!(backup.end_time_unix_nano, micros(taken));

    // Every part lies in its parent, and no two spans have one name.
    let by_id: BTreeMap<&[u8], &Span> =
        spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    assert_eq!(by_id.len(), spans.len());
    for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
        let parent = by_id[span.parent_span_id.as_slice()];
        assert!(parent.start_time_unix_nano <= span.start_time_unix_nano, "{}", span.name);
        assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{}", span.name);
    }

    // And back, by the variables.
    let before = spans.len();
    let command = workspace.annals("rollback --last 1");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).run().expect(0);
    let (_, spans) = collector.spans();
    let root = named(&spans[before..], "rollback db");
    assert_eq!(said(&root.attributes)["annals.direction"], "down");
    named(&spans[before..], "down 3_outside");
    // Nothing to do is no run, and no run is no trace.
    let asked = collector.requests().len();
    workspace.annals("rollback --to 2").arg(format!("--otlp={}", collector.url())).run().expect(0);
    assert_eq!(collector.requests().len(), asked);
}

#[test]
fn a_step_that_failed_says_why_with_its_code() {
    let (_server, workspace) = scene();
    workspace.migration("3_wrong", "SELECT 1;\nSELECT 1 / 0;", "SELECT 1;");
    let collector = Collector::start(&[Answers::With("200 OK")]);
    let command = workspace.annals("migrate").arg(format!("--otlp={}", collector.url()));
    command.run().expect(4);
    let (_, spans) = collector.spans();
    let step = named(&spans, "up 3_wrong");
    let of_step = said(&step.attributes);
    assert_eq!((code(step), of_step["annals.status"].as_str()), (2, "failed"));
    assert_eq!(of_step["db.response.status_code"], "22012");
    assert_eq!(step.status.as_ref().unwrap().message, "division by zero");
    let exception = said(&step.events[0].attributes);
    assert_eq!(step.events[0].name, "exception");
    assert_eq!(exception["exception.message"], "division by zero");
    assert_eq!(exception["code.line.number"], "2");
    let root = named(&spans, "migrate db");
    assert_eq!((code(root), said(&root.attributes)["annals.steps.done"].as_str()), (2, "2"));
    assert_eq!(code(named(&spans, "up 2_t2")), 1);
}

#[test]
fn the_trace_of_a_killed_run_is_sent_when_it_is_settled() {
    let (_server, workspace) = scene();
    let collector = Collector::start(&[Answers::With("200 OK")]);
    let command = workspace.annals("migrate").env("ANNALS_FAILPOINT", "after_commit:2");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).run().expect(-1);
    assert!(collector.requests().is_empty());
    // Whoever settles it tells it.
    let command = workspace.annals("status");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).run().expect(0);
    let (_, spans) = collector.spans();
    let root = named(&spans, "migrate db");
    assert_eq!(said(&root.attributes)["annals.outcome"], "interrupted");
    assert_eq!(said(&named(&spans, "up 1_t1").attributes)["annals.status"], "succeeded");
    let settled = named(&spans, "up 2_t2");
    assert_eq!(said(&settled.attributes)["annals.status"], "took_effect");
    assert_eq!(code(settled), 1);
    assert_eq!(collector.requests().len(), 1);
}

#[test]
fn no_collector_is_one_line_and_nothing_else() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let silent = Collector::start(&[Answers::Never]);
    let refusing = Collector::start(&[Answers::With("403 Forbidden")]);
    for (port, why) in [
        (nobody, "cannot be reached"),
        (silent.port, "did not answer within 300 ms"),
        (refusing.port, "answered 403"),
    ] {
        let (_server, workspace) = scene();
        workspace.migration("3_wrong", "SELECT 1 / 0;", "SELECT 1;");
        for (line, exit) in [("migrate --to 2", 0), ("migrate", 4)] {
            let command = workspace.annals(line).arg(format!("--otlp=http://127.0.0.1:{port}"));
            let ended = command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "300").run().expect(exit);
            let warnings: Vec<&str> =
                ended.err.lines().filter(|line| line.starts_with("warning")).collect();
            assert_eq!(warnings.len(), 1, "{}", ended.err);
            assert!(warnings[0].contains(why), "{}", warnings[0]);
            assert!(warnings[0].contains("the trace of this run was not sent"), "{}", warnings[0]);
        }
        workspace.annals("log verify").run().expect(0);
    }
    assert_eq!((silent.requests().len(), refusing.requests().len()), (2, 2));
}

#[test]
fn while_a_collector_is_silent_the_target_is_free() {
    let (server, workspace) = scene();
    let silent = Collector::start(&[Answers::Never]);
    let command = workspace.annals("migrate").arg(format!("--otlp={}", silent.url()));
    let waiting = command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "10000").start();
    annals_testkit::wait_for("a trace on its way", || silent.requests().pop());
    let sessions = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals/%'";
    annals_testkit::wait_for("the end of its session", || {
        server.rows(sessions).is_empty().then_some(())
    });
    let of_another = workspace.annals("rollback --last 1").run().expect(0);
    assert!(!of_another.err.contains("waiting"), "{}", of_another.err);
    waiting.signal("KILL");
    waiting.wait();
}

#[test]
fn a_busy_collector_is_asked_again_and_gets_the_headers() {
    let (_server, workspace) = scene();
    let collector =
        Collector::start(&[Answers::With("503 Service Unavailable"), Answers::With("200 OK")]);
    let command = workspace.annals("migrate");
    let command = command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url() + "/in");
    let ended =
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret").run().expect(0);
    assert!(!ended.err.contains("warning"), "{}", ended.err);
    let requests = collector.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].1, requests[1].1);
    for (head, _) in &requests {
        assert!(head.starts_with("post /in http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer s3cret"), "{head}");
    }
}

#[test]
fn a_wrong_address_is_refused_when_it_was_asked_for_and_told_when_it_was_found() {
    let (_server, workspace) = scene();
    let refused = workspace.annals("migrate --otlp=http://u:s3cret@h").run().expect(3);
    assert!(refused.err.contains("--otlp"), "{}", refused.err);
    assert!(!refused.err.contains("s3cret"), "{}", refused.err);
    assert!(!workspace.path("event-store/db").exists());
    let command = workspace.annals("migrate");
    let told = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret").run().expect(0);
    assert!(told.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", told.err);
    assert!(!told.err.contains("s3cret"), "{}", told.err);
}
