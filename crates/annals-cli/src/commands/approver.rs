//! `annals keys approver`.

use std::path::PathBuf;

use annals_api::{ApproversDocument, ExitCode};
use annals_operations::{
    ApproverSource, ApproversView, Environment, Failure, NewApprover, approver_add, approver_admit,
    approver_list, approver_sign,
};

use super::approve::SignerArguments;
use super::target::TargetArguments;
use crate::output::Output;
use crate::signals;
use crate::style::{self, BAD, FAINT, GOOD, HINT, NOTE, STRONG};

/// Who may approve: the list in keys/approvers.toml
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Put somebody on the list; it counts when a log has admitted it
    Add {
        /// Who
        name: String,
        /// The public key, of annals or of SSH; by default the one annals keys generate has made
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        /// What the person is trusted with (may be repeated)
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// What else the person is called where a log says who did something (may be repeated)
        #[arg(long, value_name = "ACTOR")]
        actor: Vec<String>,
    },
    /// Show the list, and how it stands to the log of a target
    List {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Sign the change from the list the log knows to the list in the file
    Sign {
        #[command(flatten)]
        signer: SignerArguments,
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Let the list count from now on: the first one on your word, a change on a quorum's signatures
    Admit {
        #[command(flatten)]
        target: TargetArguments,
    },
}

pub(crate) async fn run(
    environment: &Environment,
    output: &Output,
    command: &Command,
) -> Result<ExitCode, Failure> {
    let view: ApproversView = match command {
        Command::Add { name, public_key, role, actor } => {
            let source = match public_key {
                Some(path) => ApproverSource::File(path.clone()),
                None => ApproverSource::Generated,
            };
            let (name, roles, actors) = (name.clone(), role.clone(), actor.clone());
            approver_add(environment, &NewApprover { name, source, roles, actors })?
        }
        Command::List { target } => approver_list(environment, target.name()).await?,
        Command::Sign { signer, target } => {
            approver_sign(environment, target.name(), &signer.signer()).await?
        }
        Command::Admit { target } => {
            approver_admit(environment, target.name(), &mut signals::listen()).await?
        }
    };
    output.show(&ApproversDocument::from(&view), human);
    Ok(ExitCode::Success)
}

fn human(document: &ApproversDocument) -> String {
    let path = style::safe(&document.path);
    let mut text =
        format!("{STRONG}{path}{STRONG:#}  {FAINT}{}{FAINT:#}\n", &document.digest[..12]);
    for person in &document.approvers {
        let roles = match person.roles.as_slice() {
            [] => String::new(),
            roles => format!("  {}", style::safe(&roles.join(", "))),
        };
        let signed = if person.has_signed { "  has signed the change" } else { "" };
        text.push_str(&format!(
            "  {:<20}{roles}{FAINT}  {}{signed}{FAINT:#}\n",
            style::safe(&person.name),
            style::count(person.keys.len(), "key")
        ));
    }
    let target = document.target.as_deref().unwrap_or_default();
    text.push_str(&match document.standing {
        "admitted" => format!("{GOOD}✓{GOOD:#} the log of {target} says that this list counts\n"),
        "not_admitted" => format!(
            "{NOTE}not admitted{NOTE:#}: the log of {target} knows {}; {} of {} have signed the \
             change\n{HINT}next{HINT:#}: annals keys approver {} --target {target}\n",
            if document.in_log.is_some() { "another list" } else { "none" },
            document.signers.len(),
            if document.in_log.is_some() { document.quorum } else { 0 },
            match document.in_log.is_some() && document.signers.len() < document.quorum {
                true => "sign",
                false => "admit",
            },
        ),
        _ => format!("{HINT}next{HINT:#}: annals keys approver admit --target <name>\n"),
    });
    for problem in &document.problems {
        text.push_str(&format!("{BAD}wrong{BAD:#}: {}\n", style::safe(problem)));
    }
    text
}
