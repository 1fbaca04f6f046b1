//! `drift track` and `drift untrack`: whether the target writes down who changes its schema.

use annals_executor::Interrupt;
use annals_postgres::Tracking;

use crate::drift::give_up;
use crate::environment::Environment;
use crate::error::{Failure, TargetFailure};
use crate::open;
use crate::targets::Target;
use crate::workspace::Workspace;

/// Whether DDL is written down.
#[derive(Debug)]
pub struct TrackView {
    /// The target.
    pub target: String,
    /// Before.
    pub before: Tracking,
    /// Now.
    pub now: Tracking,
}

/// Lets the target write down who changes its schema.
///
/// # Errors
///
/// When the role may not create event triggers.
pub async fn drift_track(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<TrackView, Failure> {
    switch(environment, target, Tracking::On, interrupt).await
}

/// Stops that, and removes what was written down.
///
/// # Errors
///
/// When the role may not remove event triggers.
pub async fn drift_untrack(
    environment: &Environment,
    target: Option<&str>,
    interrupt: &mut Interrupt,
) -> Result<TrackView, Failure> {
    switch(environment, target, Tracking::Off, interrupt).await
}

async fn switch(
    environment: &Environment,
    target: Option<&str>,
    to: Tracking,
    interrupt: &mut Interrupt,
) -> Result<TrackView, Failure> {
    let workspace = Workspace::find(&environment.folder)?;
    let target = Target::resolve(environment, &workspace, target)?;
    let mut opened =
        open::open(environment, &workspace, &target, "annals/drift", interrupt).await?;
    let switched = async {
        let before = opened.session.tracking().await.map_err(open::fault(&target))?;
        let done = match to {
            Tracking::On => {
                // It lives in the schema of the ledger.
                opened.session.install_ledger().await?;
                opened.session.track().await
            }
            _ => opened.session.untrack().await,
        };
        let name = target.name.clone();
        done.map_err(|error| TargetFailure::Track { target: name, error })?;
        let now = opened.session.tracking().await.map_err(open::fault(&target))?;
        Ok::<_, Failure>(TrackView { target: target.name.clone(), before, now })
    };
    match switched.await {
        Ok(view) => {
            opened.publish().await?;
            opened.close().await;
            Ok(view)
        }
        Err(refused) => Err(give_up(opened, refused).await?),
    }
}
