//! What was answered a moment ago is answered again: probes cannot load a database.
//!
//! Of many who ask the same at once, one look answers all. A look goes on when whoever asked has
//! gone, so asking and going does not make more of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Slot;

type Slots<Q, A> = HashMap<Q, Arc<Slot<Option<(Instant, A)>>>>;

/// Answers, each for a while.
pub(crate) struct Cache<Q, A> {
    fresh: Duration,
    slots: Mutex<Slots<Q, A>>,
}

impl<Q, A> Cache<Q, A>
where
    Q: Eq + Hash,
    A: Clone + Send + 'static,
{
    pub(crate) fn new(fresh: Duration) -> Self {
        Self { fresh, slots: Mutex::default() }
    }

    /// The answer to `question`, that of a moment ago or what `look` gives. Questions must be few:
    /// each is kept.
    ///
    /// # Errors
    ///
    /// When `look` ends without an answer, which only a bug does.
    pub(crate) async fn answer<L>(&self, question: Q, look: L) -> Result<A, tokio::task::JoinError>
    where
        L: Future<Output = A> + Send + 'static,
    {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(|broken| broken.into_inner());
            Arc::clone(slots.entry(question).or_default())
        };
        let fresh = self.fresh;
        tokio::spawn(async move {
            let mut kept = slot.lock().await;
            if let Some((at, answer)) = kept.as_ref()
                && at.elapsed() < fresh
            {
                return answer.clone();
            }
            let answer = look.await;
            *kept = Some((Instant::now(), answer.clone()));
            answer
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn of_many_who_ask_at_once_one_looks() {
        runtime().block_on(async {
            let cache = Arc::new(Cache::new(Duration::from_secs(60)));
            let looks = Arc::new(AtomicUsize::new(0));
            let asked: Vec<_> = (0..100)
                .map(|n| {
                    let (cache, looks) = (Arc::clone(&cache), Arc::clone(&looks));
                    tokio::spawn(async move {
                        let look = async move {
                            tokio::task::yield_now().await;
                            looks.fetch_add(1, Ordering::SeqCst)
                        };
                        cache.answer(n % 2, look).await.unwrap()
                    })
                })
                .collect();
            for task in asked {
                assert!(task.await.unwrap() < 2);
            }
            assert_eq!(looks.load(Ordering::SeqCst), 2, "one for each question");
        });
    }

    #[test]
    fn a_look_goes_on_when_nobody_waits_for_it() {
        runtime().block_on(async {
            let cache = Arc::new(Cache::new(Duration::from_secs(60)));
            let (go, gone) = tokio::sync::oneshot::channel::<()>();
            let first = tokio::spawn({
                let cache = Arc::clone(&cache);
                async move { cache.answer("q", async { gone.await.map_or(0, |()| 1) }).await }
            });
            tokio::task::yield_now().await;
            first.abort();
            assert!(first.await.is_err());
            go.send(()).unwrap();
            assert_eq!(cache.answer("q", async { 2 }).await.unwrap(), 1);
        });
    }

    #[test]
    fn an_old_answer_is_looked_for_anew() {
        runtime().block_on(async {
            let cache = Cache::new(Duration::ZERO);
            assert_eq!(cache.answer("q", async { 1 }).await.unwrap(), 1);
            assert_eq!(cache.answer("q", async { 2 }).await.unwrap(), 2);
        });
    }
}
