//! Commits proposals one at a time: plan on the newest image, append, flush, publish.
//!
//! A separate task owns the log. A proposal therefore completes and is published even if its proposer is dropped
//! half-way, such as when its connection closes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::Plan;
use super::changes;
use super::entry::{self, BadEntry, Payload};
pub use super::store::{ExpectedLog, OpenError};
use super::store::{SnapshotError, Store};
use crate::metadata::{Command, CommandRejected, Delta, Image, apply};
use crate::model::{Distribution, Histogram};
use crate::runtime::sync::{Notify, oneshot};
use crate::runtime::{self, Class, clock};

/// The term of a quorum of one: its only node leads from the start.
const TERM_ALONE: u64 = 1;

/// A change that is on stable storage.
#[derive(Clone, PartialEq, Debug)]
pub struct Committed {
    /// The image after the change.
    pub image: Arc<Image>,
    /// The changes since the previous image.
    pub delta: Arc<Delta>,
}

/// Why a proposal was not committed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// The commands do not apply to the current image. Nothing was written.
    #[error(transparent)]
    Rejected(#[from] CommandRejected),
    /// It is unknown whether the log holds the change. The next start finds out.
    #[error("the metadata log failed: {0}")]
    Failed(Arc<str>),
}

/// A handle to the controller, for its own thread. Clones share one controller.
#[derive(Clone)]
pub struct Controller {
    state: Rc<ControllerState>,
}

/// A controller, and the report of opening its log.
pub struct Opened {
    /// Ready for proposals.
    pub controller: Controller,
    /// The bytes that were cut off the end of the log: their number, and why they are not an entry. Almost always they
    /// are a torn write, which was never acknowledged. Damage to the last entry looks the same.
    pub torn: Option<(u64, BadEntry)>,
}

/// The state that the handles and the writer task share.
struct ControllerState {
    /// The term of every entry that this controller appends.
    term: u64,
    image: RefCell<Arc<Image>>,
    queue: RefCell<VecDeque<Job>>,
    arrived: Notify,
    watchers: RefCell<Vec<Watcher>>,
    /// From the plan of a change until it is on stable storage.
    commits: Histogram,
}

type Watcher = Box<dyn FnMut(&Committed)>;
/// Plans on the newest image; returns the commands and the callback for the result.
type Job = Box<dyn FnOnce(&Image) -> (Vec<Command>, Done)>;
type Done = Box<dyn FnOnce(Result<Committed, ProposeError>)>;

impl Controller {
    /// Opens the metadata log in `dir`. Creates one if there is none and none is expected.
    pub async fn open(dir: &Path, expected: Option<&ExpectedLog>) -> Result<Opened, OpenError> {
        let (store, recovered) = Store::open(dir, expected).await?;
        let state = Rc::new(ControllerState {
            term: recovered.term.max(TERM_ALONE),
            image: RefCell::new(Arc::new(recovered.image)),
            queue: RefCell::default(),
            arrived: Notify::new(),
            watchers: RefCell::default(),
            commits: Histogram::default(),
        });
        let stored_index = state.image.borrow().index;
        let writer = Writer { store, term: state.term, stored_index, failed: None };
        drop(runtime::spawn(Class::Foreground, "controller", writer.run(state.clone())));
        Ok(Opened { controller: Controller { state }, torn: recovered.torn })
    }

    /// The newest published image.
    pub fn image(&self) -> Arc<Image> {
        self.state.image.borrow().clone()
    }

    /// The term in which this node leads.
    pub fn term(&self) -> u64 {
        self.state.term
    }

    /// The times from the plan of a change until it was on stable storage.
    pub fn commits(&self) -> Distribution {
        self.state.commits.read()
    }

    /// Calls `watcher` for each later commit, in the order of the log, before the proposer gets its result.
    pub fn watch(&self, watcher: impl FnMut(&Committed) + 'static) {
        self.state.watchers.borrow_mut().push(Box::new(watcher));
    }

    /// Commits these commands, all or none.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        self.propose_plan(move |_| Plan { commands, answer: () }).await.map(|(committed, ())| committed)
    }

    /// Commits the commands that `plan` returns. `plan` reads the image that they will be applied to (CTRL-2). If it
    /// returns none, nothing is written.
    pub async fn propose_plan<R: 'static>(
        &self,
        plan: impl FnOnce(&Image) -> Plan<R> + 'static,
    ) -> Result<(Committed, R), ProposeError> {
        let (sender, receiver) = oneshot();
        let job = move |image: &Image| {
            let Plan { commands, answer } = plan(image);
            // The proposer may have been dropped by then; the change stays committed.
            let done: Done = Box::new(move |result| drop(sender.send(result.map(|committed| (committed, answer)))));
            (commands, done)
        };
        self.state.queue.borrow_mut().push_back(Box::new(job));
        self.state.arrived.notify_all();
        receiver.await.unwrap_or_else(|_| Err(ProposeError::Failed("the controller has stopped".into())))
    }
}

/// The task that plans, appends and publishes.
struct Writer {
    store: Store,
    term: u64,
    /// The index of the last entry on stable storage.
    stored_index: u64,
    /// Why the log failed, if it did (CTRL-3).
    failed: Option<Arc<str>>,
}

impl Writer {
    /// Runs until the runtime stops.
    async fn run(mut self, state: Rc<ControllerState>) {
        loop {
            let job = state.queue.borrow_mut().pop_front();
            let Some(job) = job else {
                state.arrived.notified().await;
                continue;
            };
            let (image, begun) = (state.image.borrow().clone(), clock::now());
            let (commands, done) = job(&image);
            let result = self.commit(&image, commands).await;
            assert!(Arc::ptr_eq(&image, &state.image.borrow()), "CTRL-2: the image changed during a commit");
            if let Ok(committed) = &result
                && committed.image.index > image.index
            {
                let index = committed.image.index;
                assert!(index == self.stored_index, "CTRL-1: entry {index} is published before it is stored");
                state.commits.observe(begun.elapsed());
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
        assert!(index == self.stored_index + 1, "CTRL-2: {index} is not the next index");
        let payload = Payload::Commands(commands);
        let entry = entry::encode(index, self.term, &payload);
        if let Err(error) = self.store.append(entry).await {
            return Err(self.fail(&error));
        }
        self.stored_index = index;
        if let Payload::Commands(commands) = &payload {
            changes::log(image, &next, commands);
        }
        Ok(Committed { image: Arc::new(next), delta: Arc::new(delta) })
    }

    async fn snapshot_if_due(&mut self, state: &ControllerState) {
        if self.failed.is_none() && self.store.is_snapshot_due() {
            let image = state.image.borrow().clone();
            match self.store.snapshot(&image, self.term).await {
                Ok(()) => {}
                Err(SnapshotError { error, is_final: true }) => drop(self.fail(&error)),
                Err(SnapshotError { error, is_final: false }) => {
                    tracing::warn!("could not finish a snapshot of the metadata, so the log keeps growing: {error}");
                }
            }
        }
    }

    fn fail(&mut self, error: &std::io::Error) -> ProposeError {
        assert!(self.failed.is_none(), "CTRL-3: the log was written after it had failed");
        let why: Arc<str> = error.to_string().into();
        tracing::error!("the metadata log failed and rejects changes until a restart: {why}");
        self.failed = Some(why.clone());
        ProposeError::Failed(why)
    }
}

#[cfg(test)]
mod tests;
