//! The settings of the broker that this shard is. They are replaced when one changes at run time (KIP-226).

use std::cell::RefCell;
use std::rc::Rc;

use super::Shard;
use crate::config::BrokerConfig;
use crate::config::dynamic::{self, Resolved};
use crate::metadata::Image;
use crate::model::{NodeId, ShardId};

/// The current settings of a shard. Clones see the same ones.
#[derive(Clone)]
pub struct LiveConfig(Rc<RefCell<Rc<BrokerConfig>>>);

impl LiveConfig {
    /// Starts with these settings.
    pub fn new(config: BrokerConfig) -> LiveConfig {
        LiveConfig(Rc::new(RefCell::new(Rc::new(config))))
    }

    /// The settings at this moment. They never change; a later call may return others.
    pub fn read(&self) -> Rc<BrokerConfig> {
        self.0.borrow().clone()
    }

    fn replace(&self, config: BrokerConfig) {
        *self.0.borrow_mut() = Rc::new(config);
    }
}

/// The settings of a shard's broker: those of the image precede those in `config`.
pub(super) fn resolve(config: &BrokerConfig, image: &Image, node: NodeId, shard: ShardId) -> BrokerConfig {
    let broker = image.node(node).map(|node| node.broker_id(shard));
    let of_one = broker.and_then(|broker| image.broker_overrides(Some(broker)));
    let Resolved { config, ignored } = dynamic::resolve(config, image.broker_overrides(None), of_one);
    for name in ignored {
        tracing::warn!("shard {}: the value of {name} that was set at run time contradicts the configuration", shard.0);
    }
    config
}

impl Shard {
    /// The settings at this moment. A request uses one value throughout.
    pub fn config(&self) -> Rc<BrokerConfig> {
        self.config.read()
    }

    /// For readers that outlive a change.
    pub fn live_config(&self) -> LiveConfig {
        self.config.clone()
    }

    /// Takes over the settings of an image. Returns whether any has changed.
    pub(super) fn change_config(&self, image: &Image) -> bool {
        let before = self.config();
        let after = resolve(&before, image, self.node, self.id);
        let has_changed = *before != after;
        if has_changed {
            self.config.replace(after);
            self.config_changed.notify_all();
        }
        has_changed
    }
}
