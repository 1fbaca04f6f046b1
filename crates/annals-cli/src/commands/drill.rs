//! `annals rollback --emergency --rehearse`.

use annals_api::{DrillDocument, ExitCode};
use annals_operations::{BackupWatcher, DrillOptions, Environment, Failure, drill};

use super::backup::Follows;
use super::progress::Lines;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE};

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    options: &DrillOptions,
) -> Result<ExitCode, Failure> {
    let mut interrupt = signals::listen();
    let (mut lines, mut follows) = (Lines::new(output), Follows::new(output));
    let watching = (&mut lines, &mut follows as &mut dyn BackupWatcher);
    let outcome = drill(environment, options, watching, &mut interrupt).await;
    drop((lines, follows));
    let outcome = outcome?;
    output.show(&DrillDocument::from(&outcome), human);
    Ok(ExitCode::of_drill(&outcome))
}

fn human(document: &DrillDocument) -> String {
    let mut text = format!(
        "backup {} of {}: {} restored and compared {FAINT}· {}{FAINT:#}\n",
        document.backup,
        style::time(&document.taken_at),
        style::count(usize::try_from(document.rows).unwrap_or(usize::MAX), "row"),
        style::duration(document.restore_us),
    );
    for (title, names) in
        [("applied since", &document.applied), ("rolled back", &document.rolled_back)]
    {
        if !names.is_empty() {
            text.push_str(&format!("{title}: {}\n", style::safe(&names.join(", "))));
        }
    }
    if let Some(why) = &document.no_rollback {
        text.push_str(&format!("{NOTE}by the backup{NOTE:#}: {}\n", style::safe(why)));
    }
    for note in &document.notes {
        text.push_str(&format!("{NOTE}note{NOTE:#}: {}\n", style::safe(note)));
    }
    for finding in &document.findings {
        text.push_str(&format!("{NOTE}finding{NOTE:#} {}\n", style::safe(finding)));
    }
    let target = style::safe(&document.target);
    let to = match &document.to_version {
        Some(version) => format!("version {version}"),
        None => "nothing applied".to_owned(),
    };
    text.push_str(&match (&document.failed, document.passed) {
        (Some(reason), _) => format!(
            "{BAD}✗{BAD:#} an emergency of {target} would not have ended well: {}\n\
             {HINT}next{HINT:#}: find the cause before it is needed: annals proof --target {target}\n",
            style::safe(reason)
        ),
        (None, true) => format!(
            "{GOOD}✓{GOOD:#} {target} would be back at {to} and verified, by its {}, after {} \
             {FAINT}· recorded{FAINT:#}\n",
            document.way,
            style::duration(match document.way {
                "backup" => document.restore_us + document.duration_us,
                _ => document.duration_us,
            })
        ),
        (None, false) => format!(
            "{BAD}✗{BAD:#} {target} would be back at {to}, and the verification found something\n"
        ),
    });
    text
}
