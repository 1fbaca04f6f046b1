//! What is measured of every target, for whoever draws curves of it.

use std::sync::Arc;

use annals_postgres::Activity;

use crate::durations::{self, DurationRow};
use crate::health::{HealthView, Monitor};

/// One target.
#[derive(Debug, Clone)]
pub struct TargetMetrics {
    /// Its health.
    pub health: HealthView,
    /// What goes on there; none where it does not answer.
    pub activity: Option<Activity>,
    /// How long things took, against their limits.
    pub durations: Vec<DurationRow>,
}

impl Monitor {
    /// Measures every target, all of them at once.
    pub async fn metrics(self: Arc<Self>) -> Vec<TargetMetrics> {
        let tasks: Vec<_> = self
            .targets()
            .into_iter()
            .map(|name| {
                let monitor = Arc::clone(&self);
                tokio::spawn(async move { monitor.measure(&name).await })
            })
            .collect();
        let mut measured = Vec::new();
        for task in tasks {
            match task.await {
                Ok(target) => measured.extend(target),
                Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
            }
        }
        measured
    }

    async fn measure(&self, name: &str) -> Option<TargetMetrics> {
        // A configured target always resolves, or says so when it is asked for by name.
        let (health, activity) = tokio::join!(self.health(name), self.activity(name));
        let health = health.ok()?;
        let budgets = &self.settings().budgets;
        let durations = health.facts.as_ref();
        let durations = durations.map(|facts| durations::rows(&facts.durations, budgets));
        Some(TargetMetrics { health, activity, durations: durations.unwrap_or_default() })
    }
}
