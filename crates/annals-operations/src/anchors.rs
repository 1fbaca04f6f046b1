//! Anchors: outside places that hold a copy of the log.

use std::collections::HashMap;

use annals_anchor::{Anchor, AnchorError, AnchorPlace, Limits, Receipt};
use annals_event_store::EventStore;
use annals_events::{CheckpointAnchored, Event};
use annals_integrity::KeptNote;
use annals_keys::{Checkpoint, KeyRing};

use crate::environment::Environment;
use crate::error::{AnchorFailure, Failure, LogFailure};
use crate::exhibit::FolderExhibit;
use crate::home::LogHome;
use crate::open::Opened;
use crate::targets::Target;
use crate::workspace::Workspace;

/// What became of publishing to one anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The anchor's name in the workspace.
    pub anchor: String,
    /// Where it is.
    pub place: String,
    /// Events it holds now; none if it could not be published to.
    pub size: Option<u64>,
    /// Why not, and what to do.
    pub problem: Option<String>,
}

/// An anchor of a target: its name, and where this target's copy lies in it.
fn places(workspace: &Workspace, target: &Target) -> Vec<(String, AnchorPlace)> {
    let config = workspace.config();
    let named = config.targets.get(&target.name).map(|target| target.anchors.as_slice());
    let place = |name: &String| {
        let place = match &config.anchors[name] {
            AnchorPlace::Directory { path } => AnchorPlace::Directory {
                path: workspace.folder().join(path).join(target.origin.as_str()),
            },
            AnchorPlace::S3(place) => {
                let mut place = place.clone();
                let prefix = [place.prefix.as_str(), target.origin.as_str()];
                place.prefix = prefix.join("/").trim_start_matches('/').to_owned();
                AnchorPlace::S3(place)
            }
        };
        (name.clone(), place)
    };
    named.unwrap_or_default().iter().map(place).collect()
}

fn reach(
    environment: &Environment,
    name: &str,
    place: &AnchorPlace,
) -> Result<Anchor, AnchorFailure> {
    let failed = |error| AnchorFailure { anchor: name.to_owned(), error };
    if let AnchorPlace::Directory { path } = place {
        // The root must be there: a disk that is not mounted is not made up for.
        let root = path.ancestors().nth(2).filter(|root| root.is_dir());
        let root = root.ok_or_else(|| AnchorError::NoPlace { place: path.display().to_string() });
        let made = root.and_then(|_| {
            std::fs::create_dir_all(path).map_err(|source| AnchorError::Io {
                place: path.display().to_string(),
                act: "create",
                path: String::new(),
                source,
            })
        });
        made.map_err(failed)?;
    }
    let variables: HashMap<String, String> = environment.variables.clone();
    Anchor::open(place, &variables, Limits::default()).map_err(failed)
}

async fn publish_to(
    environment: &Environment,
    (name, place): (&str, &AnchorPlace),
    exhibit: &FolderExhibit,
    ring: &KeyRing,
) -> Result<Receipt, AnchorFailure> {
    let anchor = reach(environment, name, place)?;
    let open = |note: &[u8]| Checkpoint::open(note, ring);
    let published = anchor.publish(exhibit, &open).await;
    published.map_err(|error| AnchorFailure { anchor: name.to_owned(), error })
}

/// The signed heads a target's anchors hold, to compare with its log. An anchor that cannot be
/// asked is named in the second list.
pub(crate) async fn kept_heads(
    environment: &Environment,
    workspace: &Workspace,
    target: &Target,
) -> (Vec<KeptNote>, Vec<String>) {
    let (mut kept, mut silent) = (Vec::new(), Vec::new());
    for (name, place) in places(workspace, target) {
        let read = match reach(environment, &name, &place) {
            Ok(anchor) => anchor
                .read_checkpoint()
                .await
                .map_err(|error| AnchorFailure { anchor: name.clone(), error }),
            Err(error) => Err(error),
        };
        match read {
            Ok(Some(note)) => kept.push(KeptNote { name: format!("anchor {name}"), note }),
            Ok(None) => {}
            Err(error) => silent.push(error.to_string()),
        }
    }
    (kept, silent)
}

impl Opened<'_> {
    /// Publishes the signed head to every anchor of the target, and records what they hold now.
    ///
    /// An anchor that contradicts the log is an error; one that cannot be reached is told in the
    /// result.
    pub(crate) async fn anchor(
        &mut self,
        environment: &Environment,
        workspace: &Workspace,
        target: &Target,
    ) -> Result<Vec<Anchored>, Failure> {
        let places = places(workspace, target);
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let exhibit = self.exhibit(target).await?;
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        for (name, place) in &places {
            let published = publish_to(environment, (name, place), &exhibit, self.ring()).await;
            let outcome = |size, problem| Anchored {
                anchor: name.clone(),
                place: place.to_string(),
                size,
                problem,
            };
            match published {
                Ok(receipt) => {
                    // It holds all of it now; but somebody or something had emptied it.
                    let recorded = self.book().anchored.get(name).copied().unwrap_or(0);
                    if receipt.since_size < recorded {
                        let problem = format!(
                            "the anchor {name:?} held only {} events, the log says {recorded}: it was \
                             emptied, replaced, or is not mounted. It was filled again; find out why",
                            receipt.since_size
                        );
                        outcomes.push(outcome(None, Some(problem)));
                        continue;
                    }
                    if self.book().anchored.get(name) != Some(&receipt.size) {
                        let fact = CheckpointAnchored {
                            anchor: name.clone(),
                            kind: receipt.kind.to_owned(),
                            root: receipt.root,
                            size: receipt.size,
                        };
                        events.push(Event::from(fact));
                    }
                    outcomes.push(outcome(Some(receipt.size), None));
                }
                Err(failure) if failure.contradicts() => {
                    self.record_anchored(events).await?;
                    return Err(failure.into());
                }
                Err(failure) => {
                    let next = failure.error.next_step();
                    outcomes.push(outcome(None, Some(format!("{failure}; {next}"))));
                }
            }
        }
        self.record_anchored(events).await?;
        Ok(outcomes)
    }

    async fn record_anchored(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        self.record(events).await?;
        self.publish().await?;
        Ok(())
    }

    /// The log as it is shown outside, up to its signed head.
    async fn exhibit(&mut self, target: &Target) -> Result<FolderExhibit, Failure> {
        let log = &self.recorder.log;
        debug_assert_eq!(log.signed(), log.head().size, "invariant: only what is signed is shown");
        exhibit_of(&target.home(), self.ring()).await
    }

    /// Before a run: at least as many anchors as the policy asks for hold all that is signed.
    pub(crate) async fn require_anchors(
        &mut self,
        environment: &Environment,
        workspace: &Workspace,
        target: &Target,
    ) -> Result<(), Failure> {
        let required = workspace.config().require_anchors;
        // Whatever the policy: an anchor that contradicts the log stops before anything is written.
        let outcomes = self.anchor(environment, workspace, target).await?;
        let holding = outcomes.iter().filter(|outcome| outcome.size.is_some()).count();
        if holding >= required {
            return Ok(());
        }
        let problems = outcomes.into_iter().filter_map(|outcome| outcome.problem).collect();
        Err(Failure::FewAnchors { target: target.name.clone(), holding, required, problems })
    }
}

/// A log as it is shown outside, up to its signed head.
pub(crate) async fn exhibit_of(home: &LogHome, ring: &KeyRing) -> Result<FolderExhibit, Failure> {
    let folder = home.folder().await?;
    let files = annals_event_store::LogFiles::find(&folder.layout).map_err(LogFailure::from)?;
    let place = home.place();
    let Some(note) = files.checkpoint else {
        return Err(annals_event_store::OpenError::NeverSigned { place }.into());
    };
    let checkpoint = Checkpoint::open(&note, ring)
        .map_err(|source| annals_event_store::OpenError::Checkpoint { place, source })?;
    Ok(FolderExhibit::new(folder, note, checkpoint).map_err(LogFailure::from)?)
}
