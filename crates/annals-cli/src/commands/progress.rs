//! A run as it goes: a line for each step as it ends, and a word about what takes long.

use std::time::{Duration, Instant};

use annals_api::settled_steps;
use annals_events::{Direction, ReconciledAs, RecordedError, Timestamp};
use annals_migrations::{PlannedStatement, PlannedStep};
use annals_operations::{Advance, Blocker, Progress};

use super::backup::pace;
use crate::output::Output;
use crate::style::{self, BAD, FAINT, GOOD, NOTE};

/// Without a terminal, one line in so much time says how far a long statement is.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Follows a run.
pub(crate) struct Lines<'a> {
    output: &'a Output,
    /// The step, its place and when it began.
    place: String,
    began: Instant,
    /// The statement under way, where statements are counted.
    statement: String,
    /// When it was last said how far it is.
    said: Instant,
    /// Who was last said to be in the way.
    blockers: Vec<i32>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let now = Instant::now();
        Self {
            output,
            place: String::new(),
            began: now,
            statement: String::new(),
            said: now,
            blockers: Vec::new(),
        }
    }

    fn show(&self, what: &str, part: Option<(u64, u64)>) {
        let parts = [self.place.as_str(), self.statement.as_str(), what];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.output.screen().bar(&parts.join(" · "), part);
    }

    fn end(&mut self) {
        self.output.screen().clear();
        self.output.screen().stop_listening();
        self.blockers.clear();
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// How far it is, in words.
fn far(by: &Advance<'_>) -> String {
    match by.total {
        Some(total) if total > 0 => {
            let percent = u128::from(by.done) * 100 / u128::from(total);
            format!("{} {percent} % ({} of {total} {})", by.what, by.done, by.unit)
        }
        _ if by.done > 0 => format!("{} {} {}", by.what, by.done, by.unit),
        _ => by.what.to_owned(),
    }
}

impl Progress for Lines<'_> {
    fn recovered(&mut self, by: &str, began: Timestamp, steps: &[(String, ReconciledAs)]) {
        self.output.recovered_run(by, &began.to_string(), &settled_steps(steps));
    }

    fn backing_up(&mut self, done: u64, total: u64) {
        if done == 0 {
            (self.began, self.said) = (Instant::now(), Instant::now());
        }
        // What a table takes is not what its rows are as text.
        let part = (total > 0).then_some((done.min(total), total));
        let text = pace("backup", (done, total), self.began.elapsed());
        self.output.screen().bar(&text, part);
        if !self.output.screen().has_bar() && self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            self.output.say(&format!("  {FAINT}… {text}{FAINT:#}"));
        }
    }

    fn step_started(&mut self, step: &PlannedStep, at: usize, of: usize) {
        self.end();
        self.place = format!("{}/{of} {}", at + 1, step.id());
        self.statement.clear();
        (self.began, self.said) = (Instant::now(), Instant::now());
        self.show("", None);
        self.output.screen().listen();
    }

    fn statement_started(&mut self, statement: &PlannedStatement, at: usize, of: usize) {
        let line = style::first_line(&statement.sql, 64);
        self.output.say(&format!("  {FAINT}{at}/{of} {line}{FAINT:#}"));
        self.statement = format!("statement {at} of {of}");
        (self.began, self.said) = (Instant::now(), Instant::now());
        self.show("", None);
    }

    fn step_succeeded(&mut self, step: &PlannedStep, duration_us: u64) {
        self.end();
        let did = match step.direction {
            Direction::Up => "applied",
            Direction::Down => "rolled back",
        };
        let time = style::duration(duration_us);
        self.output.say(&format!("  {GOOD}✓{GOOD:#} {did} {}  {FAINT}{time}{FAINT:#}", step.id()));
    }

    fn step_failed(&mut self, step: &PlannedStep, _error: &RecordedError) {
        self.end();
        self.output.say(&format!("  {BAD}✗{BAD:#} {}", step.id()));
    }

    fn in_doubt(&mut self, step: &PlannedStep) {
        self.end();
        self.output.say(&format!(
            "  {NOTE}?{NOTE:#} {}: the connection was lost around its commit; asking the target",
            step.id()
        ));
    }

    fn blocked(&mut self, step: &PlannedStep, by: &[Blocker]) {
        let pids: Vec<i32> = by.iter().map(|blocker| blocker.pid).collect();
        if pids == self.blockers {
            return;
        }
        self.blockers = pids;
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        if names.is_empty() {
            self.show("", None);
            return;
        }
        let names = style::safe(&names.join("; "));
        self.output.say(&format!("  {NOTE}waits{NOTE:#} {}: blocked by {names}", step.id()));
        self.show(&format!("blocked by {names}"), None);
    }

    fn retrying(&mut self, step: &PlannedStep, attempt: u32, of: u32, pause: Duration) {
        self.blockers.clear();
        let pause = style::duration(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        self.output.say(&format!(
            "  {NOTE}again{NOTE:#} {}: rolled back; attempt {attempt} of {of} in {pause}",
            step.id()
        ));
        self.show(&format!("attempt {attempt} of {of}"), None);
    }

    fn advanced(&mut self, step: &PlannedStep, by: &Advance<'_>) {
        let part = by.total.filter(|total| *total > 0).map(|total| (by.done, total));
        self.show(&far(by), part);
        if !self.output.screen().has_bar() && self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            let so_long = self.began.elapsed().as_secs();
            let far = style::safe(&far(by));
            self.output.say(&format!("  {FAINT}… {}: {far}, {so_long} s{FAINT:#}", step.id()));
        }
    }

    fn notice(&mut self, severity: &str, message: &str) {
        self.output.say(&format!("{NOTE}{severity}{NOTE:#}: {}", style::safe(message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_has_a_percentage_where_there_is_a_total() {
        let advance = |done, total| Advance { what: "scanning", done, total, unit: "blocks" };
        assert_eq!(far(&advance(45, Some(200))), "scanning 22 % (45 of 200 blocks)");
        assert_eq!(far(&advance(45, None)), "scanning 45 blocks");
        assert_eq!(far(&advance(0, Some(0))), "scanning");
    }
}
