//! Asks the shards, and waits for their answers for a bounded time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::shard::{Ask, Beat, Question, ShardFigures};
use crate::runtime::Injector;
use crate::shard::open::{OpenProgress, OpenStep};

/// EDGE-1: the most questions that wait at a shard.
pub const ASKED_MAX: usize = 4;
/// A shard that does not answer within this time hangs: its tasks yield after milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The least time between two snapshots of the counters. More requests share one snapshot.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(50);

/// The way from the edge to one shard.
pub struct ShardLink {
    questions: Injector<Question>,
    asked: Arc<Semaphore>,
    answer_within: Duration,
    progress: Arc<OpenProgress>,
}

impl ShardLink {
    /// `progress` is how far the shard has opened. Questions are sent only while it serves.
    pub fn new(questions: Injector<Question>, progress: Arc<OpenProgress>) -> ShardLink {
        ShardLink { questions, asked: Arc::new(Semaphore::new(ASKED_MAX)), answer_within: ANSWER_WITHIN, progress }
    }

    pub(in crate::edge) fn progress(&self) -> &OpenProgress {
        &self.progress
    }

    /// `None`: the shard does not serve, or does not answer in time.
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        if self.progress.step() != OpenStep::Serving {
            return None;
        }
        let asked = async {
            let _permit = self.asked.clone().acquire_owned().await.ok()?;
            let free = self.asked.available_permits();
            assert!(free < ASKED_MAX, "EDGE-1: this question is one of at most {ASKED_MAX} at its shard");
            let (answer, answered) = oneshot::channel();
            self.questions.send(Question { ask: ask(answer), _permit }).ok()?;
            answered.await.ok()
        };
        timeout(self.answer_within, asked).await.ok().flatten()
    }
}

/// The counters of all shards that answered.
pub(in crate::edge) type Snapshot = Arc<Vec<Box<ShardFigures>>>;

/// All shards of the node.
pub struct Shards {
    links: Vec<ShardLink>,
    /// The latest snapshot, and when it was requested.
    latest: Mutex<Option<(Instant, Snapshot)>>,
}

impl Shards {
    /// In the order of the shards.
    pub fn new(links: Vec<ShardLink>) -> Shards {
        Shards { links, latest: Mutex::new(None) }
    }

    pub(in crate::edge) fn links(&self) -> &[ShardLink] {
        &self.links
    }

    /// The answer of each shard. `None`: it does not answer in time.
    pub(in crate::edge) async fn beats(&self) -> Vec<Option<Beat>> {
        all(self.links.iter().map(|link| link.ask(Ask::Beat))).await
    }

    /// A snapshot that begins after this call.
    pub(in crate::edge) async fn figures(&self) -> Snapshot {
        let arrived = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((begun, snapshot)) = &*latest {
            if *begun >= arrived {
                return snapshot.clone();
            }
            sleep_until(*begun + SNAPSHOT_INTERVAL).await;
        }
        let begun = Instant::now();
        let found = all(self.links.iter().map(|link| link.ask(Ask::Figures))).await;
        let snapshot = Arc::new(found.into_iter().flatten().collect::<Vec<_>>());
        *latest = Some((begun, snapshot.clone()));
        snapshot
    }
}

/// Polls all futures until each is ready.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_ready = true;
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => is_ready = false,
            }
        }
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.expect("each is ready")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::injector;

    #[test]
    fn edge_1_a_shard_that_does_not_answer_gets_few_questions() {
        let (sender, receiver) = injector();
        let progress = Arc::new(OpenProgress::default());
        let link = ShardLink { answer_within: Duration::from_millis(50), ..ShardLink::new(sender, progress.clone()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let beats = || runtime.block_on(all((0..20).map(|_| link.ask(Ask::Beat))));
        assert!(beats().iter().all(Option::is_none));
        assert!(receiver.try_recv().is_none(), "a shard that does not serve gets no question");
        progress.enter(OpenStep::Serving);
        for _ in 0..2 {
            assert!(beats().iter().all(Option::is_none));
        }
        let waiting: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(waiting.len(), ASKED_MAX);
        drop(waiting);
        assert_eq!(link.asked.available_permits(), ASKED_MAX, "questions that the shard drops make room");
    }
}
