//! What is said while a command works: lines, what the server says of a file's SQL, and on a
//! terminal a bar below them.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::layer::Context;

use crate::style::{self, FAINT, NOTE};

/// So many messages of the server are shown of one step; of the rest the number is said.
const MAX_NOTICES: usize = 20;

/// So many characters are shown of one of them.
const MAX_NOTICE_CHARS: usize = 400;

/// Where the driver brings what the server says beside its answers.
const NOTICES: &str = "sqlx::postgres::notice";

/// Standard error while a command works.
pub(crate) struct Screen {
    /// Nothing is said: the only words are a document.
    silent: bool,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    bar: Option<ProgressBar>,
    /// Messages of the server since somebody listens for them.
    heard: Option<usize>,
}

impl Screen {
    pub(crate) fn new(silent: bool) -> Arc<Self> {
        Arc::new(Self { silent, live: Mutex::default() })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says a line, above the bar if there is one.
    pub(crate) fn say(&self, text: &str) {
        if self.silent {
            return;
        }
        let write = || {
            let _ = writeln!(anstream::stderr(), "{text}");
        };
        let bar = self.live().bar.clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Whether there is a terminal to show a bar on.
    pub(crate) fn has_bar(&self) -> bool {
        !self.silent && std::io::stderr().is_terminal()
    }

    /// Shows how far it is: of a total, or only that it goes on.
    pub(crate) fn bar(&self, message: &str, part: Option<(u64, u64)>) {
        if !self.has_bar() {
            return;
        }
        let mut live = self.live();
        let bar = live.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let template = match part {
            Some((done, total)) => {
                bar.set_length(total);
                bar.set_position(done.min(total));
                "  {spinner} [{bar:24}] {percent:>3}% {wide_msg}"
            }
            None => "  {spinner} {elapsed} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(style::safe(message));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.live().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// From now on, what the server says beside its answers is shown.
    pub(crate) fn listen(&self) {
        self.live().heard = Some(0);
    }

    /// No more; what was not shown is counted.
    pub(crate) fn stop_listening(&self) {
        let heard = self.live().heard.take().unwrap_or_default();
        if heard > MAX_NOTICES {
            self.say(&format!(
                "  {FAINT}… and {} more of the server's messages{FAINT:#}",
                heard - MAX_NOTICES
            ));
        }
    }

    fn hear(&self, severity: &str, message: &str) {
        let place = {
            let mut live = self.live();
            let Some(heard) = live.heard.as_mut() else { return };
            *heard += 1;
            *heard
        };
        if place > MAX_NOTICES {
            return;
        }
        let cut: String = message.chars().take(MAX_NOTICE_CHARS).collect();
        let dots = if cut.len() < message.len() { "…" } else { "" };
        self.say(&format!("  {NOTE}{severity}{NOTE:#}: {}{dots}", style::safe(&cut)));
    }
}

/// Brings the server's messages from the driver to the screen.
pub(crate) struct Notices(pub(crate) Arc<Screen>);

impl Notices {
    /// What it listens to.
    pub(crate) fn filter() -> Targets {
        Targets::new().with_target(NOTICES, LevelFilter::TRACE)
    }
}

impl<S: tracing::Subscriber> Layer<S> for Notices {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // As the driver maps the server's severities.
        let severity = match *event.metadata().level() {
            tracing::Level::ERROR | tracing::Level::WARN => "warning",
            tracing::Level::INFO => "notice",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "info",
        };
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.hear(severity, &message.0);
    }
}

/// Shows what a command has to warn of beside its result, as a line a person reads.
pub(crate) struct Warnings(pub(crate) Arc<Screen>);

impl Warnings {
    /// What it listens to: warnings of annals' own parts.
    pub(crate) fn filter() -> FilterFn {
        FilterFn::new(|metadata| {
            *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("annals")
        })
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut warning = Warning::default();
        event.record(&mut warning);
        let Warning { message, fields } = warning;
        self.0.say(&format!(
            "{NOTE}warning{NOTE:#}: {}{}",
            style::safe(&message),
            style::safe(&fields)
        ));
    }
}

/// The message of a warning, and its fields behind it.
#[derive(Default)]
struct Warning {
    message: String,
    fields: String,
}

impl Visit for Warning {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            // Why it came to that.
            "fault" | "refused" | "error" => self.fields += &format!(": {value:?}"),
            name => self.fields += &format!(" ({name} {value:?})"),
        }
    }
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0 = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
