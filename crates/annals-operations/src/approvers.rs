//! `keys approver`: the list of approvers: added to, signed by a quorum, admitted by a log.

use std::collections::BTreeSet;
use std::path::PathBuf;

use annals_approvals::{APPROVERS, Approvers, approvers_message, encode_signature};
use annals_event_store::EventStore;
use annals_events::{ApproversChanged, Digest, ListSignature, canonical_json};
use annals_executor::Interrupt;
use annals_keys::VerifierKey;
use serde::{Deserialize, Serialize};

use crate::approvals::{approvers_path, list_problems, pinned, read_file};
use crate::approve::{Signer, hand};
use crate::config::check_name;
use crate::environment::Environment;
use crate::error::{Failure, LogFailure};
use crate::home::BlobReader;
use crate::logs::ReadLog;
use crate::open;
use crate::planfile::write_whole;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Where signatures wait until there are enough of them.
const SIGNATURES_FILE: &str = "approvers.signatures";

const SIGNATURES_FORMAT: &str = "annals.approvers_signatures/1";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    after: Digest,
    before: Digest,
    format: String,
    signatures: Vec<ListSignature>,
}

/// Where the key of a new approver comes from.
#[derive(Debug, Clone)]
pub enum ApproverSource {
    /// The file `annals keys generate approver` has made.
    Generated,
    /// A file with a public key, of annals or of SSH.
    File(PathBuf),
}

/// Somebody who is to be put on the list.
#[derive(Debug, Clone)]
pub struct NewApprover {
    /// The name.
    pub name: String,
    /// The key.
    pub source: ApproverSource,
    /// What the person is trusted with.
    pub roles: Vec<String>,
    /// What else the person is called where a log says who did something.
    pub actors: Vec<String>,
}

/// The list, and how it stands to a log.
#[derive(Debug, Clone)]
pub struct ApproversView {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub list: Approvers,
    /// The target whose log was asked; none where no log was.
    pub target: Option<String>,
    /// SHA-256 of the list that log says counts.
    pub in_log: Option<Digest>,
    /// Who has signed the change from that list to this one.
    pub signers: Vec<String>,
    /// How many must.
    pub quorum: usize,
    /// What is wrong with how the log came by its list, or with signatures.
    pub problems: Vec<String>,
    /// Whether this command has changed something.
    pub changed: bool,
}

fn argument(subject: impl Into<String>, reason: impl Into<String>) -> Failure {
    Failure::Argument { subject: subject.into(), reason: reason.into() }
}

fn quoted(text: &str) -> String {
    // A string of JSON is one of TOML.
    serde_json::Value::from(text).to_string()
}

/// Puts somebody on the list. What the logs say counts does not change by it.
///
/// # Errors
///
/// When the key cannot be read, or the list would make no sense.
pub fn approver_add(
    environment: &Environment,
    new: &NewApprover,
) -> Result<ApproversView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    check_name("approver", &new.name)?;
    let keys = workspace.folder().join(&workspace.config().folders.keys);
    let source = match &new.source {
        ApproverSource::Generated => keys.join("approvers").join(format!("{}.pub", new.name)),
        ApproverSource::File(path) => environment.folder.join(path),
    };
    if matches!(new.source, ApproverSource::Generated) && !source.exists() {
        let reason = format!(
            "there is no {}; make the key with: annals keys generate approver {}; or name one there is \
             with --public-key, of annals or of SSH",
            source.display(),
            new.name
        );
        return Err(argument(format!("the public key of {}", new.name), reason));
    }
    let bytes = read_file(&source)?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let key = match text.starts_with("ssh-") {
        true => VerifierKey::from_ssh(&new.name, &text).map(|key| key.to_ssh()),
        false => text.parse::<VerifierKey>().map(|key| key.to_string()),
    };
    let key = key.map_err(|error| argument(source.display().to_string(), error.to_string()))?;
    let path = approvers_path(&workspace);
    let before = match path.exists() {
        true => String::from_utf8_lossy(&read_file(&path)?).into_owned(),
        false => {
            "# Who may approve. A change counts when a quorum of the people who are on it has\n\
                  # signed it: annals keys approver sign, then annals keys approver admit.\n\
                  quorum = 1\n"
                .to_owned()
        }
    };
    let words =
        |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let text = format!(
        "{before}\n[[approver]]\nname = {}\nactors = [{}]\nroles = [{}]\nkeys = [{}]\n",
        quoted(&new.name),
        words(&new.actors),
        words(&new.roles),
        quoted(&key)
    );
    let list = Approvers::parse(&text)
        .map_err(|error| argument(path.display().to_string(), error.to_string()))?;
    write_whole(&path, text.trim_end().as_bytes())?;
    // What is written ends in one line feed.
    let list =
        Approvers { digest: Digest::of(format!("{}\n", text.trim_end()).as_bytes()), ..list };
    let (quorum, problems) = (list.quorum, Vec::new());
    let (target, in_log, signers) = (None, None, Vec::new());
    Ok(ApproversView { path, list, target, in_log, signers, quorum, problems, changed: true })
}

/// The list a log says counts, and what is wrong with how it came by it.
async fn in_log(
    workspace: &Workspace,
    target: &Target,
    pinned: &Approvers,
) -> Result<(Option<Approvers>, Vec<String>), Failure> {
    if !target.home().exists().await? {
        return Ok((None, Vec::new()));
    }
    let book = ReadLog::of_target(target)?.book().await?;
    let Some(change) = book.register.list().cloned() else { return Ok((None, Vec::new())) };
    let mut blobs = BlobReader::of(&target.home()).await?;
    let bytes = blobs.get(&change.list).await.map_err(LogFailure::from)?;
    blobs.close().await;
    let text = String::from_utf8_lossy(&bytes);
    let list = Approvers::parse(&text)
        .map_err(|error| argument("the list in the log", error.to_string()))?;
    let problems = list_problems(workspace, target, &book.register, pinned).await?;
    Ok((Some(list), problems))
}

fn signatures_path(workspace: &Workspace) -> PathBuf {
    approvers_path(workspace).with_file_name(SIGNATURES_FILE)
}

fn read_signatures(
    workspace: &Workspace,
    before: &Digest,
    after: &Digest,
) -> Result<Vec<ListSignature>, Failure> {
    let path = signatures_path(workspace);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let stored: Signatures = serde_json::from_slice(&read_file(&path)?).map_err(|error| {
        argument(path.display().to_string(), format!("holds no signatures: {error}"))
    })?;
    let fits = stored.before == *before && stored.after == *after;
    Ok(if fits { stored.signatures } else { Vec::new() })
}

fn needs_list(list: Option<(Approvers, Vec<u8>)>) -> Result<(Approvers, Vec<u8>), Failure> {
    list.ok_or_else(|| Failure::NotApproved {
        what: "nobody may approve yet".to_owned(),
        reasons: vec!["there is no keys/approvers.toml".to_owned()],
        hint: "make it with: annals keys approver add <name>".to_owned(),
    })
}

/// Shows the list, and how it stands to the log of a target.
///
/// # Errors
///
/// When there is none, or the log cannot be read.
pub async fn approver_list(
    environment: &Environment,
    target: Option<&str>,
) -> Result<ApproversView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let (list, _) = needs_list(pinned(&workspace)?)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let (known, problems) = in_log(&workspace, &target, &list).await?;
    let mut view = ApproversView {
        path: approvers_path(&workspace),
        quorum: known.as_ref().map_or(list.quorum, |known| known.quorum),
        in_log: known.as_ref().map(|known| known.digest),
        list,
        target: Some(target.name),
        signers: Vec::new(),
        problems,
        changed: false,
    };
    if let Some(known) = known.filter(|known| known.digest != view.list.digest) {
        let after = view.list.digest;
        let waiting = read_signatures(&workspace, &known.digest, &after)?;
        let (signers, problems) = known.signers(&workspace.config().workspace, &after, &waiting);
        view.signers = signers.into_iter().collect();
        view.problems.extend(problems);
    }
    Ok(view)
}

/// Signs the change from the list a log knows to the list in the file.
///
/// # Errors
///
/// When nothing was changed, or the signer is not on the list that counts.
pub async fn approver_sign(
    environment: &Environment,
    target: Option<&str>,
    signer: &Signer,
) -> Result<ApproversView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let (list, _) = needs_list(pinned(&workspace)?)?;
    let resolved = Target::resolve(environment, &workspace, target)?;
    let (known, _) = in_log(&workspace, &resolved, &list).await?;
    let Some(known) = known.filter(|known| known.digest != list.digest) else {
        let reason = "is the list the log knows, or the log knows none: there is nothing to sign";
        return Err(argument(approvers_path(&workspace).display().to_string(), reason));
    };
    let (mut hand, key, person) = hand(environment, &workspace, &known, signer)?;
    let name = &workspace.config().workspace;
    let message = approvers_message(name, &known.digest, &list.digest, &person.name);
    let signature = encode_signature(&hand.sign(APPROVERS, &message)?);
    let mut signatures = read_signatures(&workspace, &known.digest, &list.digest)?;
    signatures.retain(|signed| signed.approver != person.name);
    let (approver, key) = (person.name.clone(), key.to_string());
    signatures.push(ListSignature { approver, key, signature });
    let stored = Signatures {
        after: list.digest,
        before: known.digest,
        format: SIGNATURES_FORMAT.to_owned(),
        signatures,
    };
    let value = serde_json::to_value(&stored).expect("its keys are strings");
    let text = canonical_json(&value).expect("invariant: signatures have no large numbers");
    write_whole(&signatures_path(&workspace), text.as_bytes())?;
    let view = approver_list(environment, target).await?;
    Ok(ApproversView { changed: true, ..view })
}

/// Records in the log of a target that the list in the file counts from now on: the first one on
/// this command's word, every later one on the signatures of a quorum of the one before.
///
/// # Errors
///
/// When there are not enough signatures.
pub async fn approver_admit(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<ApproversView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let (list, bytes) = needs_list(pinned(&workspace)?)?;
    let resolved = Target::resolve(environment, &workspace, target)?;
    let (known, problems) = in_log(&workspace, &resolved, &list).await?;
    let chain_is_broken = problems.iter().any(|problem| problem.starts_with("event "));
    if known.as_ref().is_some_and(|known| known.digest == list.digest) && !chain_is_broken {
        return approver_list(environment, target).await;
    }
    let mut signatures = Vec::new();
    if let Some(known) = &known {
        signatures = read_signatures(&workspace, &known.digest, &list.digest)?;
        let name = &workspace.config().workspace;
        let (who, problems) = known.signers(name, &list.digest, &signatures);
        signatures.retain(|signed| who.contains(&signed.approver));
        if who.len() < known.quorum {
            return Err(few(&resolved.name, known, &who, problems));
        }
    }
    let mut opened =
        open::open(environment, &workspace, &resolved, "annals/keys", interrupt).await?;
    opened.say_what_was_found();
    let now_known = opened.book().register.list().map(|change| change.list.digest);
    if now_known != known.as_ref().map(|known| known.digest) {
        opened.close().await;
        let reason = "the log has another list meanwhile; run the command again";
        return Err(argument(approvers_path(&workspace).display().to_string(), reason));
    }
    let blob = opened.recorder.log.put_blob(&bytes).await.map_err(LogFailure::from)?;
    let changed = ApproversChanged {
        approvers: list.people.len() as u64,
        before: known.map(|known| known.digest),
        list: blob,
        signatures,
    };
    opened.record(vec![changed.into()]).await?;
    opened.publish().await?;
    opened.close().await;
    let view = approver_list(environment, target).await?;
    Ok(ApproversView { changed: true, ..view })
}

fn few(
    target: &str,
    known: &Approvers,
    who: &BTreeSet<String>,
    mut reasons: Vec<String>,
) -> Failure {
    if !who.is_empty() {
        let names: Vec<&str> = who.iter().map(String::as_str).collect();
        reasons.push(format!("signed by {}", names.join(", ")));
    }
    let missing = known.people.iter().filter(|person| !who.contains(&person.name));
    let missing: Vec<&str> = missing.map(|person| person.name.as_str()).collect();
    reasons.push(format!("could sign it: {}", missing.join(", ")));
    Failure::NotApproved {
        what: format!(
            "the list of approvers was changed, and {} of {} have signed that",
            who.len(),
            known.quorum
        ),
        reasons,
        hint: format!("nothing was recorded; sign it: annals keys approver sign --target {target}"),
    }
}
