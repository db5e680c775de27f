//! UnregisterBroker (key 64): removes no broker. Each one belongs to a node, and a cluster is the node that runs it.

use super::context::Context;
use crate::model::{BrokerId, ErrorCode};
use crate::router::broker;
use crate::wire::admin::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub fn answer(request: &UnregisterBrokerRequest, context: &Context<'_>) -> UnregisterBrokerResponse {
    let id = request.broker_id;
    let (error_code, message) = match broker::node_of(context.image, BrokerId(id)) {
        None => (ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered")),
        // Java's tools report this code as a cluster that cannot remove brokers.
        Some(node) => (ErrorCode::UnsupportedVersion, format!("Broker {id} is part of node {}.", node.id.0)),
    };
    UnregisterBrokerResponse { error_code, error_message: Some(message), ..UnregisterBrokerResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};

    #[test]
    fn no_broker_is_unregistered() {
        for (broker_id, expected) in [
            (1000, ErrorCode::UnsupportedVersion),
            (1002, ErrorCode::BrokerIdNotRegistered),
            (-1, ErrorCode::BrokerIdNotRegistered),
        ] {
            let response = answer(&UnregisterBrokerRequest { broker_id }, &World::nodes(1).at(0));
            check_encodes(&response, 0);
            assert_eq!(response.error_code, expected, "{broker_id}");
        }
    }
}
