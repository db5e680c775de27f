//! DescribeCluster (key 60): the cluster's id, its brokers and its controller.

use super::context::Context;
use crate::api::operation::Resource;
use crate::model::ErrorCode;
use crate::router::broker::brokers_of;
use crate::wire::admin::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, ENDPOINT_BROKERS, ENDPOINT_CONTROLLERS,
};

pub fn answer(request: &DescribeClusterRequest, context: &Context<'_>) -> DescribeClusterResponse {
    // In Kafka, controllers have their own listeners (KIP-919). Here every listener is a broker's.
    let wrong = match request.endpoint_type {
        ENDPOINT_BROKERS => None,
        ENDPOINT_CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER".into(),
        )),
        other => Some((ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((error_code, message)) = wrong {
        return DescribeClusterResponse {
            error_code,
            error_message: Some(message),
            ..DescribeClusterResponse::default()
        };
    }
    let nodes = context.image.nodes().filter(|node| request.include_fenced_brokers || !node.is_fenced);
    let brokers = nodes.flat_map(|node| brokers_of(node, context.listener)).map(|broker| DescribeClusterBroker {
        broker_id: broker.id.0,
        host: broker.host.into(),
        port: broker.port,
        rack: Some(broker.rack.into()),
        is_fenced: broker.is_fenced,
    });
    let mut response = DescribeClusterResponse {
        cluster_id: context.image.cluster_id.clone(),
        controller_id: context.controller().0,
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = Resource::Cluster.all_authorized();
    }
    response
}

#[cfg(test)]
mod tests;
