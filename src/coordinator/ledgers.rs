//! A shard's ledgers of one internal topic. They follow the metadata.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::{Ledger, StateMachine, partition_of};
use crate::metadata::ImageUpdate;
use crate::model::{ErrorCode, PartitionIndex, ShardId, TopicPartition};
use crate::runtime::{self, Class};
use crate::shard::Shard;

/// The ledgers of one internal topic on one shard.
pub struct Ledgers<M> {
    shard: Rc<Shard>,
    ledgers: RefCell<HashMap<PartitionIndex, Rc<Ledger<M>>>>,
    new_machine: Box<dyn Fn() -> M>,
}

impl<M: StateMachine> Ledgers<M> {
    /// `new_machine` makes the state machine of a partition without records.
    pub fn new(shard: &Rc<Shard>, new_machine: impl Fn() -> M + 'static) -> Ledgers<M> {
        let ledgers = Ledgers { shard: shard.clone(), ledgers: RefCell::default(), new_machine: Box::new(new_machine) };
        ledgers.open_new();
        ledgers
    }

    /// Follows the shard to a newer image: closes the ledgers of deleted partitions, passes the changes to the others,
    /// and loads new partitions.
    pub fn apply_image(&self, update: &ImageUpdate) {
        self.ledgers.borrow_mut().retain(|_, ledger| {
            let stays = !ledger.partition().is_deleted();
            if !stays {
                ledger.close();
            }
            stays
        });
        for ledger in self.all() {
            let update = update.clone();
            runtime::spawn(Class::Foreground, "coordinator image", async move { ledger.image_changed(&update).await });
        }
        self.open_new();
    }

    /// Loads the topic's partitions that this shard serves and that are not loaded yet.
    pub fn open_new(&self) {
        let (image, mut ledgers) = (self.shard.image(), self.ledgers.borrow_mut());
        let Some(topic) = image.topic(M::TOPIC.name()) else { return };
        for partition in 0..topic.partitions.len() as PartitionIndex {
            let id = TopicPartition { topic: topic.id, partition };
            if !ledgers.contains_key(&partition)
                && let Some(led) = self.shard.partition(id)
            {
                ledgers.insert(partition, Ledger::open(&self.shard, led, (self.new_machine)()));
            }
        }
    }

    /// COOR-1: the shard of this node that coordinates a key.
    pub fn owner(&self, key: &str) -> Result<(PartitionIndex, ShardId), ErrorCode> {
        let image = self.shard.image();
        let topic = image.topic(M::TOPIC.name()).ok_or(ErrorCode::NotCoordinator)?;
        let partition = partition_of(key, topic.partitions.len());
        if topic.partitions[partition as usize].leader != Some(self.shard.node) {
            return Err(ErrorCode::NotCoordinator);
        }
        Ok((partition, self.shard.owner(TopicPartition { topic: topic.id, partition })))
    }

    /// The ledger of a key that this shard coordinates.
    pub fn ledger(&self, key: &str) -> Result<Rc<Ledger<M>>, ErrorCode> {
        let (partition, owner) = self.owner(key)?;
        if owner != self.shard.id {
            return Err(ErrorCode::NotCoordinator);
        }
        self.ledgers.borrow().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// The ledger of a partition of this shard, if the partition belongs to the topic.
    pub fn of_partition(&self, id: TopicPartition) -> Option<Rc<Ledger<M>>> {
        let ledgers = self.ledgers.borrow();
        ledgers.get(&id.partition).filter(|ledger| ledger.partition().id == id).cloned()
    }

    /// All ledgers of this shard.
    pub fn all(&self) -> Vec<Rc<Ledger<M>>> {
        self.ledgers.borrow().values().cloned().collect()
    }
}
