//! The state of one shard that its connections need to answer requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::api::controller::LocalController;
use crate::api::data::fetch_session;
use crate::api::figures::{Level, RequestCounters};
use crate::api::offline::Offline;
use crate::controller::Controller;
use crate::coordinator::Ledgers;
use crate::coordinator::group::Groups;
use crate::coordinator::txn::{PreparedQueue, Settings, Transactions};
use crate::disk::StorageError;
use crate::metadata::{Image, ImageUpdate, Topic};
use crate::model::{ErrorCode, NodeId, PartitionIndex, ShardId, TopicPartition};
use crate::router::Router;
use crate::router::message::ShardRequest;
use crate::runtime::{self, Class, Permits};
use crate::shard::Shard;

/// With more requests in their first stage the shard is pressed: most of them wait, and may hold a receive buffer each.
const STARTING_MAX: usize = 16;

/// Lives on its shard's thread. All fields that only `api` uses are private to it.
pub struct Server {
    /// The shard on whose thread the server runs.
    pub shard: Rc<Shard>,
    /// Sends requests to other shards.
    pub router: Rc<Router>,
    /// Counts the requests of this shard's connections.
    pub requests: RequestCounters,
    /// The controller, on the shard that runs it.
    pub(in crate::api) controller: RefCell<Option<Rc<LocalController>>>,
    /// Permits for bytes of other shards' records in responses that are not sent yet.
    pub(in crate::api) copies: Permits,
    /// Permits for bytes of batches that are being sent to other shards.
    crossing: Permits,
    /// As `crossing`, for batches of transactions. They may have to wait for a coordinator, and other batches may not.
    crossing_in_transactions: Permits,
    /// Requests that are in their first stage.
    pub(in crate::api) starting: Level,
    /// The shard that a fetch from several shards reads first. It moves on with each fetch, so that no shard starves.
    pub(in crate::api) rotation: Cell<usize>,
    pub(in crate::api) fetch_sessions: RefCell<fetch_session::Cache>,
    /// The transactional ids that this shard coordinates.
    pub(in crate::api) transactions: Ledgers<Transactions>,
    /// Transactions whose end is decided and whose markers are not written yet.
    pub(in crate::api) prepared: Rc<PreparedQueue>,
    /// The groups that this shard coordinates.
    pub(in crate::api) groups: Ledgers<Groups>,
    /// The partitions of all shards that could not be created.
    pub(in crate::api) offline: Offline,
}

impl Server {
    pub(in crate::api) fn new(shard: Rc<Shard>, router: Rc<Router>) -> Server {
        let config = shard.config();
        let slots = config.fetch_session_slots as usize;
        let shared_memory = config.shared_memory();
        let copies = Permits::new(shared_memory / 16);
        let crossing = Permits::new(shared_memory / 32);
        let crossing_in_transactions = Permits::new(shared_memory / 32);
        let fetch_sessions = RefCell::new(fetch_session::Cache::new(shard.id, shard.shards, slots));
        let prepared = Rc::new(PreparedQueue::default());
        let settings = Rc::new(Settings::of(&config));
        let for_machines = prepared.clone();
        let transactions = Ledgers::new(&shard, move || Transactions::new(settings.clone(), for_machines.clone()));
        let config = shard.live_config();
        let groups = Ledgers::new(&shard, move || Groups::new(config.clone(), runtime::random_u64));
        Server {
            shard,
            router,
            requests: RequestCounters::default(),
            controller: RefCell::new(None),
            copies,
            crossing,
            crossing_in_transactions,
            starting: Level::default(),
            rotation: Cell::new(0),
            fetch_sessions,
            transactions,
            prepared,
            groups,
            offline: Offline::default(),
        }
    }

    /// Runs the controller on this shard. Each image that the controller commits from now on goes to all shards.
    pub fn run_controller(self: &Rc<Self>, controller: Controller) {
        let controller = LocalController::watch(controller);
        *self.controller.borrow_mut() = Some(controller.clone());
        let server = self.clone();
        runtime::spawn(Class::Foreground, "image publisher", async move {
            loop {
                let update = controller.next_unpublished().await;
                server.publish(&update).await;
                controller.published(&update);
            }
        });
    }

    /// The controller of a shard that runs it.
    pub(in crate::api) fn controller(&self) -> Rc<LocalController> {
        self.controller.borrow().clone().expect("controller requests are sent to the controller's shard")
    }

    /// Applies an image on every shard of the node.
    async fn publish(&self, update: &ImageUpdate) {
        let calls: Vec<_> =
            self.other_shards().map(|shard| self.router.call(shard, ShardRequest::Apply(update.clone()))).collect();
        self.apply_image(update).await;
        for call in calls {
            call.reply().await;
        }
    }

    /// Applies a newer image. On return the shard serves the image's partitions and has closed all others. All shards
    /// know those that could not be created.
    pub async fn apply_image(&self, update: &ImageUpdate) {
        self.shard.apply_image(update).await;
        self.announce_offline().await;
        self.transactions.apply_image(update);
        self.groups.apply_image(update);
    }

    /// Returns true if the first stage of a request might have to wait, for example for memory.
    pub fn is_pressed(&self) -> bool {
        self.shard.is_pressed()
            || self.crossing.is_contended()
            || self.crossing_in_transactions.is_contended()
            || self.starting.count() >= STARTING_MAX
    }

    /// The permits for batches that are being sent to other shards.
    pub(in crate::api) fn crossing(&self, is_transactional: bool) -> &Permits {
        if is_transactional { &self.crossing_in_transactions } else { &self.crossing }
    }

    /// Stops the shard gracefully.
    pub async fn stop(&self) -> Result<(), Arc<StorageError>> {
        self.shard.stop().await
    }

    pub(in crate::api) fn node(&self) -> NodeId {
        self.shard.node
    }

    pub(in crate::api) fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.shard.id;
        (0..self.shard.shards).map(ShardId).filter(move |shard| *shard != own)
    }

    /// The shard of this node that serves a partition, if this node leads it.
    pub(in crate::api) fn locate(
        &self,
        image: &Image,
        topic: &Topic,
        partition: PartitionIndex,
    ) -> Result<(TopicPartition, ShardId), ErrorCode> {
        let Some(state) = topic.partition(partition) else { return Err(ErrorCode::UnknownTopicOrPartition) };
        debug_assert!(image.topic_by_id(topic.id).is_some());
        if state.leader != Some(self.node()) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let id = TopicPartition { topic: topic.id, partition };
        Ok((id, self.shard.owner(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::run;

    #[test]
    fn many_requests_in_their_first_stage_press_the_shard() {
        run("first-stages", 1, |server, _| async move {
            let mut stages: Vec<_> = (1..STARTING_MAX).map(|_| server.starting.enter()).collect();
            assert!(!server.is_pressed(), "{} may wait with a receive buffer each", stages.len());
            stages.push(server.starting.enter());
            assert!(server.is_pressed());
            drop(stages);
            assert!(!server.is_pressed());
        });
    }

    #[test]
    fn transactions_that_wait_leave_other_batches_their_share() {
        run("crossing", 1, |server, _| async move {
            let of_transactions = server.crossing(true);
            let _held = of_transactions.acquire(of_transactions.total()).await;
            assert!(server.crossing(false).try_acquire(1 << 20).is_some());
        });
    }
}
