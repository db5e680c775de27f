//! A request that changes metadata, on the controller's shard.

use std::rc::Rc;

use crate::api::admin::context::Context;
use crate::api::controller::code_of;
use crate::api::server::Server;
use crate::config::BrokerConfig;
use crate::controller::{Plan, ProposeError};
use crate::metadata::Image;
use crate::model::ErrorCode;

/// The context of a change, besides the request.
pub(in crate::api) struct Change {
    pub server: Rc<Server>,
    /// The name of the listener that the request came in on.
    pub listener: String,
    pub version: i16,
}

impl Change {
    pub fn context<'a>(&'a self, image: &'a Image, config: &'a BrokerConfig) -> Context<'a> {
        let shard = &self.server.shard;
        Context {
            image,
            config,
            node: shard.node,
            shard: shard.id,
            listener: &self.listener,
            version: self.version,
            offline: &self.server.offline,
        }
    }

    /// Proposes the commands that `plan` returns. The response is the plan's, or `refuse_all`'s when the controller
    /// rejects the plan.
    pub async fn make<Q: 'static, A: 'static>(
        self,
        request: Q,
        plan: impl FnOnce(&Q, &Context<'_>) -> Plan<A> + 'static,
        refuse_all: impl FnOnce(&Q, ErrorCode, &str) -> A,
    ) -> A {
        let request = Rc::new(request);
        let change = Rc::new(self);
        match change.clone().propose(request.clone(), plan).await {
            Ok((_, answer)) => answer,
            Err(error) => refuse_all(&request, code_of(&error), &error.to_string()),
        }
    }

    /// Proposes the commands that `plan` returns, and waits until all shards serve the image that it made. Returns that
    /// image.
    pub async fn propose<Q: 'static, R: 'static>(
        self: Rc<Self>,
        request: Rc<Q>,
        plan: impl FnOnce(&Q, &Context<'_>) -> Plan<R> + 'static,
    ) -> Result<(std::sync::Arc<Image>, R), ProposeError> {
        let controller = self.server.controller();
        let changed = controller.change(move |image| {
            let config = self.server.shard.config();
            plan(&request, &self.context(image, &config))
        });
        let changed = changed.await?;
        Ok((changed.0.image, changed.1))
    }
}
