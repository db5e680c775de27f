//! Admin requests: what only reads is answered on the connection's shard, what changes metadata at the controller's.
//!
//! A change is answered when every shard of the node serves the image that it made (statement 34: Metadata right behind
//! a CreateTopics knows the topic, and a Produce right behind that finds it).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::admin::{
    alter_configs, create_partitions, create_topics, delete_topics, describe_cluster, describe_configs,
    describe_topic_partitions, find_coordinator, incremental_alter_configs, list_config_resources, metadata,
};
use crate::api::txn::init_producer_id::{self, ProducerIds};
use crate::api::{Context, Header, Origin, Outcome, Server};
use crate::controller::{Committed, Controller, Plan, ProposeError};
use crate::metadata::{Command, Image};
use crate::model::{ErrorCode, ProducerId, ShardId};
use crate::router::message::{AdminRequest, Reply, Request};
use crate::runtime::sync::Notify;
use crate::runtime::{self, Class};
use crate::wire::admin::alter_configs::AlterConfigsRequest;
use crate::wire::admin::create_partitions::CreatePartitionsRequest;
use crate::wire::admin::create_topics::CreateTopicsRequest;
use crate::wire::admin::delete_topics::DeleteTopicsRequest;
use crate::wire::admin::describe_cluster::DescribeClusterRequest;
use crate::wire::admin::describe_configs::DescribeConfigsRequest;
use crate::wire::admin::describe_topic_partitions::DescribeTopicPartitionsRequest;
use crate::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::admin::incremental_alter_configs::IncrementalAlterConfigsRequest;
use crate::wire::admin::list_config_resources::ListConfigResourcesRequest;
use crate::wire::admin::metadata::MetadataRequest;
use crate::wire::frame::{self, RequestHeader};
use crate::wire::{ApiKey, Malformed, Message, Reader};

/// The controller's seat: on one shard of the node.
pub struct Seat {
    controller: Controller,
    producer_ids: RefCell<ProducerIds>,
    /// Images on their way to the shards, oldest first, and whether they lack topics that the one before had.
    unpublished: RefCell<VecDeque<(Arc<Image>, bool)>>,
    arrived: Notify,
    published: Cell<u64>,
    published_moved: Notify,
}

impl Seat {
    /// Takes the seat; every image from now on goes to all shards.
    pub fn take(server: &Rc<Server>, controller: Controller) -> Rc<Seat> {
        let seat = Rc::new(Seat {
            published: Cell::new(controller.image().index),
            controller,
            producer_ids: RefCell::default(),
            unpublished: RefCell::default(),
            arrived: Notify::new(),
            published_moved: Notify::new(),
        });
        let watching = Rc::downgrade(&seat);
        seat.controller.watch(move |committed: &Committed| {
            if let Some(seat) = watching.upgrade() {
                let lacks_topics = !committed.delta.topics_deleted.is_empty();
                seat.unpublished.borrow_mut().push_back((committed.image.clone(), lacks_topics));
                seat.arrived.notify_all();
            }
        });
        runtime::spawn(Class::Foreground, "image publisher", seat.clone().publish(server.clone()));
        seat
    }

    /// Hands images to the shards, one after the other. Of several that wait, the newest is enough, but none in which a topic
    /// has gone is passed over: the next may have another of its name, whose directory is the same.
    async fn publish(self: Rc<Self>, server: Rc<Server>) {
        loop {
            let mut next = None;
            while let Some((image, lacks_topics)) = self.unpublished.borrow_mut().pop_front() {
                next = Some(image);
                if lacks_topics {
                    break;
                }
            }
            let Some(image) = next else {
                self.arrived.notified().await;
                continue;
            };
            let others = (0..server.shard.shards).map(ShardId).filter(|shard| *shard != server.shard.id);
            let calls: Vec<_> = others.map(|shard| server.router.call(shard, Request::Apply(image.clone()))).collect();
            if let Err(error) = server.apply_image(image.clone()).await {
                tracing::error!("a metadata change could not be carried out here: {error}");
            }
            for call in calls {
                if let Reply::Applied(Err(why)) = call.reply().await {
                    tracing::error!("a metadata change could not be carried out on another shard: {why}");
                }
            }
            self.published.set(image.index);
            self.published_moved.notify_all();
        }
    }

    async fn published(&self, index: u64) {
        while self.published.get() < index {
            self.published_moved.notified().await;
        }
    }

    /// Proposes, and waits until all shards have the outcome.
    async fn change<R: 'static>(
        &self,
        plan: impl FnOnce(&Image) -> Plan<R> + 'static,
    ) -> Result<(Committed, R), ProposeError> {
        let (committed, answer) = self.controller.propose_plan(plan).await?;
        self.published(committed.image.index).await;
        Ok((committed, answer))
    }
}

/// The answer of a request that only reads; `None`: it is for the controller.
pub(in crate::api) fn answer_here(
    server: &Rc<Server>,
    origin: &Origin,
    key: ApiKey,
    reader: &mut Reader<'_>,
    header: Header,
) -> Result<Option<Outcome>, Malformed> {
    let image = server.shard.image();
    let context = Context {
        image: &image,
        config: &server.shard.config,
        node: server.shard.node,
        listener: &origin.listener,
        version: header.version,
    };
    let outcome = match key {
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(reader, header.version)?;
            if !metadata::missing(&request, &context).is_empty() {
                return Ok(None);
            }
            Outcome::of(&metadata::answer(&request, &context, &Vec::new()), &header)
        }
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::decode(reader, header.version)?;
            if find_coordinator::missing(&request, &context).is_some() {
                return Ok(None);
            }
            Outcome::of(&find_coordinator::answer(&request, &context), &header)
        }
        ApiKey::DescribeCluster => {
            let request = DescribeClusterRequest::decode(reader, header.version)?;
            Outcome::of(&describe_cluster::answer(&request, &context), &header)
        }
        ApiKey::DescribeTopicPartitions => {
            let request = DescribeTopicPartitionsRequest::decode(reader, header.version)?;
            Outcome::of(&describe_topic_partitions::answer(&request, &context), &header)
        }
        ApiKey::DescribeConfigs => {
            let request = DescribeConfigsRequest::decode(reader, header.version)?;
            Outcome::of(&describe_configs::answer(&request, &context), &header)
        }
        ApiKey::ListConfigResources => {
            let request = ListConfigResourcesRequest::decode(reader, header.version)?;
            Outcome::of(&list_config_resources::answer(&request, &context), &header)
        }
        _ => return Ok(None),
    };
    Ok(Some(outcome))
}

/// Carries out a request that changes metadata; the answer is a whole frame, or why the connection is to be closed.
pub(in crate::api) async fn answer_at_controller(
    server: &Rc<Server>,
    request: AdminRequest,
) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(&request.frame);
    let header = RequestHeader::decode(&mut reader).map_err(|refused| refused.to_string())?;
    let key = header.api.key;
    let header = Header { version: header.version, correlation_id: header.correlation_id };
    let seat = server.seat.borrow().clone().expect("requests that change metadata go to the controller's shard");
    let change = Change { server: server.clone(), seat, listener: request.listener, version: header.version };
    let malformed = |error: Malformed| format!("malformed request: {error}");
    match key {
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut reader, header.version).map_err(malformed)?;
            encode(&change.auto_create(request).await, &header)
        }
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::decode(&mut reader, header.version).map_err(malformed)?;
            encode(&change.find_coordinator(request).await, &header)
        }
        ApiKey::CreateTopics => {
            let request = CreateTopicsRequest::decode(&mut reader, header.version).map_err(malformed)?;
            let plan = |request: &CreateTopicsRequest, context: &Context<'_>| {
                create_topics::plan(request, context, &mut runtime::random_u64)
            };
            encode(&change.make(request, plan, create_topics::refuse_all).await, &header)
        }
        ApiKey::DeleteTopics => {
            let request = DeleteTopicsRequest::decode(&mut reader, header.version).map_err(malformed)?;
            encode(&change.make(request, delete_topics::plan, delete_topics::refuse_all).await, &header)
        }
        ApiKey::CreatePartitions => {
            let request = CreatePartitionsRequest::decode(&mut reader, header.version).map_err(malformed)?;
            let plan = |request: &CreatePartitionsRequest, context: &Context<'_>| {
                create_partitions::plan(request, context, &mut runtime::random_u64)
            };
            encode(&change.make(request, plan, create_partitions::refuse_all).await, &header)
        }
        ApiKey::IncrementalAlterConfigs => {
            let request = IncrementalAlterConfigsRequest::decode(&mut reader, header.version).map_err(malformed)?;
            let refuse_all = incremental_alter_configs::refuse_all;
            encode(&change.make(request, incremental_alter_configs::plan, refuse_all).await, &header)
        }
        ApiKey::AlterConfigs => {
            let request = AlterConfigsRequest::decode(&mut reader, header.version).map_err(malformed)?;
            encode(&change.make(request, alter_configs::plan, alter_configs::refuse_all).await, &header)
        }
        _ => Err(format!("{key:?} does not change metadata")),
    }
}

fn encode<M: Message>(message: &M, header: &Header) -> Result<Vec<u8>, String> {
    frame::encode_response(message, header.version, header.correlation_id)
        .map_err(|error| format!("the answer cannot be encoded: {error}"))
}

/// One request's change of the metadata.
struct Change {
    server: Rc<Server>,
    seat: Rc<Seat>,
    listener: String,
    version: i16,
}

impl Change {
    fn context<'a>(&'a self, image: &'a Image) -> Context<'a> {
        let shard = &self.server.shard;
        Context { image, config: &shard.config, node: shard.node, listener: &self.listener, version: self.version }
    }

    async fn make<Q: 'static, A: 'static>(
        self,
        request: Q,
        plan: impl FnOnce(&Q, &Context<'_>) -> Plan<A> + 'static,
        refuse_all: impl FnOnce(&Q, ErrorCode, &str) -> A,
    ) -> A {
        let request = Rc::new(request);
        let change = Rc::new(self);
        let (asked, planner) = (request.clone(), change.clone());
        match change.seat.change(move |image| plan(&asked, &planner.context(image))).await {
            Ok((_, answer)) => answer,
            Err(error) => refuse_all(&request, code_of(&error), &error.to_string()),
        }
    }

    async fn auto_create(self, request: MetadataRequest) -> crate::wire::admin::metadata::MetadataResponse {
        let request = Rc::new(request);
        let change = Rc::new(self);
        let (asked, planner) = (request.clone(), change.clone());
        let changed = change.seat.change(move |image| {
            let names = metadata::missing(&asked, &planner.context(image));
            metadata::plan(&names, image, &planner.server.shard.config, &mut runtime::random_u64)
        });
        let (image, not_created) = match changed.await {
            Ok((committed, not_created)) => (committed.image, not_created),
            Err(error) => {
                tracing::warn!("topics were asked for and could not be created: {error}");
                (change.seat.controller.image(), Vec::new())
            }
        };
        metadata::answer(&request, &change.context(&image), &not_created)
    }

    async fn find_coordinator(self, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let request = Rc::new(request);
        let change = Rc::new(self);
        let (asked, planner) = (request.clone(), change.clone());
        let plan =
            move |image: &Image| find_coordinator::plan(&asked, &planner.context(image), &mut runtime::random_u64);
        let image = match change.seat.change(plan).await {
            Ok((committed, ())) => committed.image,
            Err(error) => {
                tracing::error!("a coordinator was asked for and its topic could not be created: {error}");
                change.seat.controller.image()
            }
        };
        find_coordinator::answer(&request, &change.context(&image))
    }
}

/// A producer id that nobody has; on the controller's shard.
pub(in crate::api) async fn producer_id(server: &Rc<Server>) -> Result<ProducerId, ErrorCode> {
    let seat = server.seat.borrow().clone().expect("producer ids are asked for at the controller's shard");
    loop {
        if let Some(id) = seat.producer_ids.borrow_mut().take() {
            return Ok(id);
        }
        let command = Command::AllocateProducerIds { node: server.shard.node, count: init_producer_id::BLOCK };
        match seat.controller.propose(vec![command]).await {
            Ok(committed) => {
                let (_, block) = committed.delta.producer_ids.clone().expect("the command allocates a block");
                seat.producer_ids.borrow_mut().add(block);
            }
            Err(error) => {
                tracing::error!("no producer ids: {error}");
                return Err(code_of(&error));
            }
        }
    }
}

/// See [`Server::reserve_producer_ids`]; on the controller's shard.
pub(in crate::api) async fn reserve_producer_ids(server: &Rc<Server>, highest: ProducerId) -> Result<(), String> {
    let seat = server.seat.borrow().clone().expect("producer ids are reserved at the controller's shard");
    loop {
        let missing = highest.saturating_add(1) - seat.controller.image().next_producer_id;
        if missing <= 0 {
            return Ok(());
        }
        let count = u32::try_from(missing).unwrap_or(u32::MAX);
        let command = Command::AllocateProducerIds { node: server.shard.node, count };
        // The block is nobody's.
        seat.controller.propose(vec![command]).await.map_err(|error| error.to_string())?;
    }
}

fn code_of(error: &ProposeError) -> ErrorCode {
    match error {
        ProposeError::Rejected(_) => ErrorCode::InvalidRequest,
        ProposeError::Failed(_) => ErrorCode::KafkaStorageError,
    }
}
