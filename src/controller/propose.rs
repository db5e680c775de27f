//! Proposals, one after the other: plan on the newest image, append, flush, publish.
//!
//! A task of its own owns the log, so that a proposer that goes away half-way (its connection closed) leaves nothing half-done:
//! what was begun is finished and published all the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::Plan;
use super::entry::{self, BadEntry, Payload};
pub use super::store::OpenError;
use super::store::{SnapshotError, Store};
use crate::metadata::{Command, Delta, Image, Rejected, apply};
use crate::runtime::sync::{Notify, oneshot};
use crate::runtime::{self, Class};

/// The term of a quorum of one: it has led since the beginning.
const TERM_ALONE: u64 = 1;

/// A change that is on stable storage.
#[derive(Clone, PartialEq, Debug)]
pub struct Committed {
    pub image: Arc<Image>,
    pub delta: Arc<Delta>,
}

/// Why a proposal came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Whether the change is in the log is not known; a restart will tell.
    #[error("the metadata log failed: {0}")]
    Failed(Arc<str>),
}

/// The controller, as its thread uses it; clones are the same controller.
#[derive(Clone)]
pub struct Controller {
    state: Rc<State>,
}

/// A controller, and what opening its log found.
pub struct Opened {
    pub controller: Controller,
    /// A torn write at the end of the log that was cut off: how many bytes, and what was wrong with them.
    pub torn: Option<(u64, BadEntry)>,
}

struct State {
    image: RefCell<Arc<Image>>,
    queue: RefCell<VecDeque<Job>>,
    arrived: Notify,
    watchers: RefCell<Vec<Watcher>>,
}

type Watcher = Box<dyn FnMut(&Committed)>;
/// Plans on the image it is given; then gets told how it went.
type Job = Box<dyn FnOnce(&Image) -> (Vec<Command>, Done)>;
type Done = Box<dyn FnOnce(Result<Committed, ProposeError>)>;

impl Controller {
    /// Opens the metadata log in `dir`, or begins one.
    pub async fn open(dir: &Path) -> Result<Opened, OpenError> {
        let (store, recovered) = Store::open(dir).await?;
        let state = Rc::new(State {
            image: RefCell::new(Arc::new(recovered.image)),
            queue: RefCell::default(),
            arrived: Notify::new(),
            watchers: RefCell::default(),
        });
        let writer = Writer { store, term: recovered.term.max(TERM_ALONE), failed: None };
        drop(runtime::spawn(Class::Foreground, "controller", writer.run(state.clone())));
        Ok(Opened { controller: Controller { state }, torn: recovered.torn })
    }

    /// The newest published image.
    pub fn image(&self) -> Arc<Image> {
        self.state.image.borrow().clone()
    }

    /// `watcher` is told of everything that is published from now on, before its proposer is, in order.
    pub fn watch(&self, watcher: impl FnMut(&Committed) + 'static) {
        self.state.watchers.borrow_mut().push(Box::new(watcher));
    }

    /// Makes these changes, all or none.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        self.propose_plan(move |_| Plan { commands, answer: () }).await.map(|(committed, ())| committed)
    }

    /// Makes the changes that `plan` decides on, looking at the image they will be applied to (CTRL-2). None is fine too:
    /// then nothing is written.
    pub async fn propose_plan<R: 'static>(
        &self,
        plan: impl FnOnce(&Image) -> Plan<R> + 'static,
    ) -> Result<(Committed, R), ProposeError> {
        let (sender, receiver) = oneshot();
        let job = move |image: &Image| {
            let Plan { commands, answer } = plan(image);
            // The proposer may be gone by then; the change stands.
            let done: Done = Box::new(move |result| drop(sender.send(result.map(|committed| (committed, answer)))));
            (commands, done)
        };
        self.state.queue.borrow_mut().push_back(Box::new(job));
        self.state.arrived.notify_all();
        receiver.await.unwrap_or_else(|_| Err(ProposeError::Failed("the controller has stopped".into())))
    }
}

/// The end of the log, and the task that writes there.
struct Writer {
    store: Store,
    term: u64,
    /// CTRL-3
    failed: Option<Arc<str>>,
}

impl Writer {
    /// Works until its runtime ends.
    async fn run(mut self, state: Rc<State>) {
        loop {
            let job = state.queue.borrow_mut().pop_front();
            let Some(job) = job else {
                state.arrived.notified().await;
                continue;
            };
            let image = state.image.borrow().clone();
            let (commands, done) = job(&image);
            let result = self.commit(&image, commands).await;
            if let Ok(committed) = &result
                && committed.image.index > image.index
            {
                *state.image.borrow_mut() = committed.image.clone();
                state.watchers.borrow_mut().iter_mut().for_each(|watcher| watcher(committed));
            }
            done(result);
            self.snapshot_if_due(&state).await;
        }
    }

    async fn commit(&mut self, image: &Arc<Image>, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        if let Some(why) = &self.failed {
            return Err(ProposeError::Failed(why.clone()));
        }
        if commands.is_empty() {
            return Ok(Committed { image: image.clone(), delta: Arc::default() });
        }
        let index = image.index + 1;
        let (next, delta) = apply(image, index, &commands)?;
        // CTRL-1: flushed first, published after.
        let entry = entry::encode(index, self.term, &Payload::Commands(commands));
        if let Err(error) = self.store.append(entry).await {
            return Err(self.fail(&error));
        }
        Ok(Committed { image: Arc::new(next), delta: Arc::new(delta) })
    }

    async fn snapshot_if_due(&mut self, state: &State) {
        if self.failed.is_none() && self.store.is_snapshot_due() {
            let image = state.image.borrow().clone();
            match self.store.snapshot(&image, self.term).await {
                Ok(()) => {}
                Err(SnapshotError { error, is_final: true }) => drop(self.fail(&error)),
                Err(SnapshotError { error, is_final: false }) => {
                    tracing::warn!("a snapshot of the metadata could not be finished; the log grows on: {error}");
                }
            }
        }
    }

    fn fail(&mut self, error: &std::io::Error) -> ProposeError {
        let why: Arc<str> = error.to_string().into();
        tracing::error!("the metadata log failed and takes no more changes until a restart: {why}");
        self.failed = Some(why.clone());
        ProposeError::Failed(why)
    }
}

#[cfg(test)]
mod tests;
