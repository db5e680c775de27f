//! Images and contexts for the tests of this directory.

use super::context::Context;
use crate::api::offline::Offline;
use crate::config::{BrokerConfig, dynamic, load};
use crate::metadata::apply::tests::{create_command, image_with_nodes, run};
use crate::metadata::{Command, Image, apply};
use crate::model::{NodeId, ShardId};
use crate::wire::{Message, frame};

/// A cluster as node 1 sees it, and its configuration. By default nodes have two shards and direct routing.
#[derive(Clone)]
pub(crate) struct World {
    pub image: Image,
    pub config: BrokerConfig,
    pub offline: Offline,
}

impl World {
    /// Nodes 1..=count.
    pub fn nodes(count: i32) -> World {
        World { image: image_with_nodes(count), config: BrokerConfig::default(), offline: Offline::default() }
    }

    pub fn set(mut self, settings: &[&str]) -> World {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).into()).collect();
        self.config = load(None, &settings).unwrap();
        self
    }

    /// Adds a topic, with one list of nodes for each partition.
    pub fn topic(mut self, name: &str, replicas: &[&[i32]]) -> World {
        self.run(&create_command(&self.image, name, replicas));
        self
    }

    pub fn without_node(mut self, node: i32) -> World {
        self.run(&Command::NodeStopped { node: NodeId(node), incarnation: 1 });
        self
    }

    pub fn run(&mut self, command: &Command) {
        self.image = run(&self.image, command).0;
        self.follow_image();
    }

    /// As shard 0 does.
    fn follow_image(&mut self) {
        let of_one = self.image.broker_overrides(self.at(0).broker());
        self.config = dynamic::resolve(&self.config, self.image.broker_overrides(None), of_one).config;
    }

    pub fn at(&self, version: i16) -> Context<'_> {
        Context {
            image: &self.image,
            config: &self.config,
            node: NodeId(1),
            shard: ShardId(0),
            listener: "PLAINTEXT",
            version,
            offline: &self.offline,
        }
    }

    /// Applies committed commands.
    pub fn commit(&mut self, commands: &[Command]) {
        if !commands.is_empty() {
            self.image = apply(&self.image, self.image.index + 1, commands).unwrap().0;
            self.follow_image();
        }
    }
}

/// A deterministic sequence of numbers.
pub(crate) fn numbers() -> impl FnMut() -> u64 {
    let mut state = 7u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    }
}

/// Asserts that a response can be encoded at a version.
pub(crate) fn check_encodes<M: Message>(response: &M, version: i16) {
    if let Err(unencodable) = frame::encode_response(response, version, 1) {
        panic!("{unencodable}");
    }
}
