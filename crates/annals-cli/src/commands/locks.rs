//! `annals locks`.

use annals_api::{
    ExitCode, HolderDocument, LocksDocument, LogLockDocument, OpenRunDocument, SessionDocument,
};
use annals_operations::{Environment, Failure, locks};

use super::target::TargetArguments;
use crate::output::Output;
use crate::style::{self, FAINT, HINT, NOTE, STRONG};

/// Show who is at work on a target, since when, whom it waits for and whom it keeps waiting
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let view = locks(environment, arguments.target.name()).await?;
    output.show(&LocksDocument::from(&view), human);
    Ok(ExitCode::Success)
}

fn session(session: &SessionDocument) -> String {
    let Some(pid) = session.pid else {
        return "a prepared transaction (see pg_prepared_xacts)".to_owned();
    };
    let mut words = vec![format!("role {}", session.user)];
    if !session.application.is_empty() {
        words.push(session.application.clone());
    }
    words.extend(session.state.clone());
    words.extend(session.query_age_s.map(|age| format!("query {age} s")));
    words.extend(session.transaction_age_s.map(|age| format!("transaction {age} s")));
    style::safe(&format!("backend {pid} ({})", words.join(", ")))
}

fn sessions(title: &str, list: &[SessionDocument]) -> String {
    let lines =
        list.iter().map(|other| format!("  {NOTE}{title:<10}{NOTE:#} {}\n", session(other)));
    lines.collect()
}

fn holder(holder: &HolderDocument) -> String {
    let from = holder.client.as_deref().unwrap_or("a socket");
    let since = match (&holder.since, holder.session_age_s) {
        (Some(since), Some(age)) => format!("since {}, for {age} s", style::time(since)),
        _ => "since when is not visible to this role".to_owned(),
    };
    let mut text = format!(
        "  {STRONG}held by{STRONG:#}    {}\n             {FAINT}{since}, from {from}{FAINT:#}\n",
        session(&holder.session)
    );
    if let Some(waits) = &holder.waits {
        text.push_str(&format!("  {:<10} {}\n", "waits", style::safe(waits)));
    }
    text + &sessions("waits for", &holder.waits_for) + &sessions("blocks", &holder.blocks)
}

fn run_line(run: &OpenRunDocument, at_work: bool) -> String {
    let fate = if at_work { "under way" } else { "cut short; the next command settles it" };
    let mut text = format!(
        "  {:<10} {} {} by {} on {}, {} of {} steps done {FAINT}· {fate}{FAINT:#}\n",
        "run",
        run.run,
        run.direction,
        style::safe(&run.by),
        style::safe(&run.host),
        run.steps_done,
        run.steps
    );
    for step in &run.at {
        let mode = match (step.mode, step.statement) {
            ("transactional", _) => "one transaction".to_owned(),
            (_, Some(at)) => format!("statement {at} of {}", step.statements),
            (_, None) => format!("statement by statement, {} of them", step.statements),
        };
        text.push_str(&format!("  {:<10} {}, {mode}\n", "step", style::safe(&step.step)));
    }
    text
}

fn log_lock(lock: &LogLockDocument) -> String {
    let name = style::safe(lock.holder.as_deref().unwrap_or("a process"));
    let who = match lock.held {
        Some(true) => name,
        Some(false) => "nobody".to_owned(),
        None => format!("{name}, unless it has ended"),
    };
    format!("  {:<10} {who} {FAINT}({}){FAINT:#}\n", "log", lock.place)
}

fn human(document: &LocksDocument) -> String {
    let mut text = format!(
        "{STRONG}{}{STRONG:#}  the lock of workspace {}\n",
        document.target, document.workspace
    );
    match &document.holder {
        Some(found) => text.push_str(&holder(found)),
        None => text.push_str(&format!("  {STRONG}held by{STRONG:#}    nobody\n")),
    }
    if let Some(run) = &document.run {
        text.push_str(&run_line(run, document.holder.is_some()));
    }
    if let Some(reason) = &document.log_unread {
        text.push_str(&format!("  {NOTE}{:<10}{NOTE:#} {}\n", "log unread", style::safe(reason)));
    }
    text.push_str(&document.log_lock.as_ref().map(log_lock).unwrap_or_default());
    let waits = document.holder.as_ref().is_some_and(|holder| !holder.waits_for.is_empty());
    if waits {
        text.push_str(&format!(
            "{HINT}next{HINT:#}: wait, or end the session in the way with SELECT \
             pg_terminate_backend(<backend>): that is your decision, annals never does it\n"
        ));
    }
    text
}
