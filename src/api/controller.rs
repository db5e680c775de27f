//! The controller as the APIs see it: on the shard that runs it, with the images that are not published yet.
//!
//! A change is answered when every shard of the node serves the image that it made. By statement 34 a Metadata request
//! right after CreateTopics knows the topic, and a Produce request after that finds it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::txn::producer_ids::{BLOCK, ProducerIds};
use crate::controller::{Committed, Controller, Plan, ProposeError};
use crate::metadata::{Command, Image, ImageUpdate};
use crate::model::{Distribution, ErrorCode, NodeId, ProducerId, ShardId};
use crate::runtime::sync::Notify;

/// The shard that runs the node's controller.
pub const CONTROLLER: ShardId = ShardId(0);

/// The controller, its producer ids, and the queue of images to publish.
pub(in crate::api) struct LocalController {
    controller: Controller,
    producer_ids: RefCell<ProducerIds>,
    /// The commits that the shards do not serve yet, oldest first.
    unpublished: RefCell<VecDeque<Committed>>,
    arrived: Notify,
    /// The index of the newest image that all shards serve.
    published: Cell<u64>,
    published_moved: Notify,
}

impl LocalController {
    /// Queues every image that the controller commits from now on.
    pub fn watch(controller: Controller) -> Rc<LocalController> {
        let local = Rc::new(LocalController {
            published: Cell::new(controller.image().index),
            controller,
            producer_ids: RefCell::default(),
            unpublished: RefCell::default(),
            arrived: Notify::new(),
            published_moved: Notify::new(),
        });
        let watching = Rc::downgrade(&local);
        local.controller.watch(move |committed: &Committed| {
            if let Some(local) = watching.upgrade() {
                local.unpublished.borrow_mut().push_back(committed.clone());
                local.arrived.notify_all();
            }
        });
        local
    }

    pub fn image(&self) -> Arc<Image> {
        self.controller.image()
    }

    /// The term in which this node leads.
    pub fn term(&self) -> u64 {
        self.controller.term()
    }

    /// The times from the plan of a change until it was on stable storage.
    pub fn commits(&self) -> Distribution {
        self.controller.commits()
    }

    /// Waits for the next update to publish. It leads to the newest image, but never past an image that deletes a
    /// topic. The next image may have a new topic of that name, which uses the same directory.
    pub async fn next_unpublished(&self) -> ImageUpdate {
        while self.unpublished.borrow().is_empty() {
            self.arrived.notified().await;
        }
        let mut update = ImageUpdate { from: self.published.get(), image: Arc::default(), deltas: Vec::new() };
        while let Some(Committed { image, delta }) = self.unpublished.borrow_mut().pop_front() {
            let deletes_topics = !delta.topics_deleted.is_empty();
            update.image = image;
            update.deltas.push(delta);
            if deletes_topics {
                break;
            }
        }
        update
    }

    /// All shards serve the image of the update.
    pub fn published(&self, update: &ImageUpdate) {
        let (from, to) = (update.from, update.image.index);
        let is_next = from == self.published.get() && to - from == update.deltas.len() as u64;
        assert!(is_next, "API-1: images are published in the order of their commits, {from} to {to}");
        self.published.set(to);
        self.published_moved.notify_all();
    }

    /// Proposes a change, and waits until all shards serve the image that it made.
    pub async fn change<R: 'static>(
        &self,
        plan: impl FnOnce(&Image) -> Plan<R> + 'static,
    ) -> Result<(Committed, R), ProposeError> {
        let (committed, answer) = self.controller.propose_plan(plan).await?;
        while self.published.get() < committed.image.index {
            self.published_moved.notified().await;
        }
        Ok((committed, answer))
    }

    /// Returns a producer id that was never given to a producer.
    pub async fn producer_id(&self, node: NodeId) -> Result<ProducerId, ErrorCode> {
        loop {
            if let Some(id) = self.producer_ids.borrow_mut().take() {
                return Ok(id);
            }
            match self.controller.propose(vec![Command::AllocateProducerIds { node, count: BLOCK }]).await {
                Ok(committed) => {
                    let (_, block) = committed.delta.producer_ids.clone().expect("the command allocates a block");
                    self.producer_ids.borrow_mut().add(block);
                }
                Err(error) => {
                    tracing::error!("cannot allocate producer ids: {error}");
                    return Err(code_of(&error));
                }
            }
        }
    }

    /// Allocates all producer ids up to `highest` and gives them to no producer.
    pub async fn reserve_producer_ids(&self, node: NodeId, highest: ProducerId) -> Result<(), ProposeError> {
        loop {
            let missing = highest.saturating_add(1) - self.controller.image().next_producer_id;
            if missing <= 0 {
                return Ok(());
            }
            let count = u32::try_from(missing).unwrap_or(u32::MAX);
            self.controller.propose(vec![Command::AllocateProducerIds { node, count }]).await?;
        }
    }
}

/// The error code of a change that the controller did not make.
pub(in crate::api) fn code_of(error: &ProposeError) -> ErrorCode {
    match error {
        ProposeError::Rejected(_) => ErrorCode::InvalidRequest,
        ProposeError::Failed(_) => ErrorCode::KafkaStorageError,
    }
}

#[cfg(test)]
mod tests;
