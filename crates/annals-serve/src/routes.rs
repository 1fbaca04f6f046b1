//! Addresses, and what each answers.

use std::sync::Arc;
use std::time::Duration;

use annals_api::{
    HealthDocument, LivenessDocument, NotServedDocument, PerformanceDocument, ReasonDocument,
    TablesDocument, TimelineDocument,
};
use annals_operations::{Failure, Monitor, Named, Standing};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use tokio::time::timeout;

use crate::cache::Cache;
use crate::gate::{Gate, pass};
use crate::metrics;

const JSON: &str = "application/json";

/// What is looked for, and kept for a while. All of them are named in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Health(String),
    Tables(String),
    Performance(String),
    Group(String),
    Timeline(String),
    Metrics,
}

/// A response, ready to be given again.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Arc<str>,
}

struct Shared {
    monitor: Arc<Monitor>,
    cache: Cache<Question, Answer>,
    patience: Duration,
}

type On = State<Arc<Shared>>;

/// Every address, behind `gate`.
pub(crate) fn router(monitor: Arc<Monitor>, gate: Gate) -> Router {
    let settings = monitor.settings();
    let shared = Arc::new(Shared {
        cache: Cache::new(Duration::from_millis(settings.cache_ms)),
        // A look that finds log and ledger apart looks once more.
        patience: Duration::from_millis(3 * settings.timeout_ms + 1_000),
        monitor,
    });
    Router::new()
        .route("/livez", get(async || json(StatusCode::OK, &LivenessDocument::LIVE)))
        .route("/readyz", get(ready))
        .route("/health", get(default_health))
        .route("/health/{name}", get(health))
        .route("/health/{name}/tables", get(tables))
        .route("/health/{name}/performance", get(performance))
        .route("/timeline", get(default_timeline))
        .route("/timeline/{name}", get(timeline))
        .route("/metrics", get(all_metrics))
        .fallback(unknown)
        .with_state(shared)
        .layer(axum::middleware::from_fn_with_state(Arc::new(gate), pass))
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text<T: Serialize>(document: &T) -> String {
    let json = serde_json::to_string_pretty(document);
    json.expect("documents have string keys only") + "\n"
}

fn json<T: Serialize>(status: StatusCode, document: &T) -> Response {
    response(status, JSON, text(document))
}

/// An error as a document.
pub(crate) fn refusal(status: StatusCode, what: &str, hint: Option<&str>) -> Response {
    json(status, &NotServedDocument::new(what, hint.map(str::to_owned)))
}

impl Answer {
    fn of<T: Serialize>(standing: Standing, document: &T) -> Self {
        // What is degraded still works: a probe must not take it away.
        let status = match standing {
            Standing::Ok | Standing::Degraded => StatusCode::OK,
            Standing::Failing => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, kind: JSON, body: text(document).into() }
    }

    fn of_failure(failure: &Failure) -> Self {
        let document = NotServedDocument::new(failure.to_string(), failure.hint());
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: JSON, body: text(&document).into() }
    }
}

/// Nobody knows how it stands: that is not well.
#[derive(Serialize)]
struct Silence {
    format: &'static str,
    status: &'static str,
    reasons: Vec<ReasonDocument>,
}

impl Shared {
    async fn answer(&self, question: Question) -> Response {
        let look = look(Arc::clone(&self.monitor), question.clone());
        match timeout(self.patience, self.cache.answer(question, look)).await {
            Ok(Ok(answer)) => {
                response(answer.status, answer.kind, Body::from(answer.body.to_string()))
            }
            Ok(Err(error)) => {
                tracing::error!("a look ended without an answer: {error}");
                let what = "something unexpected; please report it";
                refusal(StatusCode::INTERNAL_SERVER_ERROR, what, None)
            }
            Err(_) => {
                let status = Standing::Failing.as_str();
                let reason = ReasonDocument {
                    area: "serve",
                    status,
                    reason: format!("no answer within {} ms", self.patience.as_millis()),
                    next: None,
                };
                let silence = Silence { format: "annals.silence/1", status, reasons: vec![reason] };
                json(StatusCode::SERVICE_UNAVAILABLE, &silence)
            }
        }
    }

    fn unknown_name(&self, name: &str) -> Response {
        let known = self.monitor.names().join(", ");
        let what = format!("there is no target and no group {name:?}");
        refusal(StatusCode::NOT_FOUND, &what, Some(&format!("there are {known}")))
    }

    /// The target that is meant, or why there is none.
    fn target(&self, name: &str) -> Result<String, Response> {
        match self.monitor.named(name) {
            Some(Named::Target(target)) => Ok(target),
            Some(Named::Group(_)) => {
                let what = format!("{name:?} is a group of tables, and no target");
                let hint = format!("ask for /health/{name}");
                Err(refusal(StatusCode::NOT_FOUND, &what, Some(&hint)))
            }
            None => Err(self.unknown_name(name)),
        }
    }

    fn default_target(&self) -> Result<String, Response> {
        self.monitor.default_target().map(str::to_owned).ok_or_else(|| {
            let what = "annals.toml has no default_target";
            let hint = format!("name one: {}", self.monitor.names().join(", "));
            refusal(StatusCode::NOT_FOUND, what, Some(&hint))
        })
    }
}

async fn look(monitor: Arc<Monitor>, question: Question) -> Answer {
    let answered = match &question {
        Question::Health(name) => monitor
            .health(name)
            .await
            .map(|view| Answer::of(view.standing, &HealthDocument::from(&view))),
        Question::Tables(name) => monitor
            .tables(name)
            .await
            .map(|view| Answer::of(view.standing, &TablesDocument::from(&view))),
        Question::Group(name) => monitor
            .group(name)
            .await
            .map(|view| Answer::of(view.standing, &TablesDocument::from(&view))),
        Question::Performance(name) => monitor
            .performance(name)
            .await
            .map(|view| Answer::of(view.standing, &PerformanceDocument::from(&view))),
        Question::Timeline(name) => monitor
            .timeline(name)
            .await
            .map(|view| Answer::of(Standing::Ok, &TimelineDocument::from(&view))),
        Question::Metrics => {
            let body = metrics::text(&monitor.metrics().await).into();
            Ok(Answer { status: StatusCode::OK, kind: metrics::CONTENT_TYPE, body })
        }
    };
    answered.unwrap_or_else(|failure| Answer::of_failure(&failure))
}

async fn ready(State(shared): On) -> Response {
    let trouble = shared.monitor.check_ready().err().map(|error| error.to_string());
    let status = match trouble {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &LivenessDocument::ready(trouble))
}

async fn default_health(State(shared): On) -> Response {
    match shared.default_target() {
        Ok(name) => shared.answer(Question::Health(name)).await,
        Err(refused) => refused,
    }
}

async fn health(State(shared): On, Path(name): Path<String>) -> Response {
    match shared.monitor.named(&name) {
        Some(Named::Target(target)) => shared.answer(Question::Health(target)).await,
        Some(Named::Group(group)) => shared.answer(Question::Group(group)).await,
        None => shared.unknown_name(&name),
    }
}

async fn tables(State(shared): On, Path(name): Path<String>) -> Response {
    match shared.target(&name) {
        Ok(target) => shared.answer(Question::Tables(target)).await,
        Err(refused) => refused,
    }
}

async fn performance(State(shared): On, Path(name): Path<String>) -> Response {
    match shared.target(&name) {
        Ok(target) => shared.answer(Question::Performance(target)).await,
        Err(refused) => refused,
    }
}

async fn default_timeline(State(shared): On) -> Response {
    match shared.default_target() {
        Ok(name) => shared.answer(Question::Timeline(name)).await,
        Err(refused) => refused,
    }
}

async fn timeline(State(shared): On, Path(name): Path<String>) -> Response {
    match shared.target(&name) {
        Ok(target) => shared.answer(Question::Timeline(target)).await,
        Err(refused) => refused,
    }
}

async fn all_metrics(State(shared): On) -> Response {
    shared.answer(Question::Metrics).await
}

async fn unknown() -> Response {
    let hint = "there are /livez, /readyz, /health, /health/<target>, /health/<target>/tables, \
                /health/<target>/performance, /health/<group>, /timeline, /timeline/<target>, \
                /metrics";
    refusal(StatusCode::NOT_FOUND, "there is nothing at this address", Some(hint))
}
