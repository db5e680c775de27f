use super::*;
use crate::api::admin::fixture::{World, check_encodes};
use crate::wire::admin::metadata::OPERATIONS_NOT_ASKED;

fn ask(world: &World, version: i16, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let response = answer(&request, &world.at(version));
    check_encodes(&response, version);
    response
}

#[test]
fn the_response_has_the_cluster_id_the_live_brokers_and_a_live_controller() {
    let world = World::nodes(2).without_node(2);
    for version in 0..=2 {
        let response = ask(&world, version, DescribeClusterRequest::default());
        let brokers: Vec<_> = response.brokers.iter().map(|broker| (broker.broker_id, broker.port)).collect();
        assert_eq!((response.cluster_id.as_str(), response.controller_id), ("cluster", 1000));
        assert_eq!(brokers, [(1000, 9093), (1001, 9094)]);
        assert_eq!(
            (response.error_code, response.cluster_authorized_operations),
            (ErrorCode::None, OPERATIONS_NOT_ASKED)
        );
    }
}

#[test]
fn fenced_brokers_are_listed_on_request() {
    let request = DescribeClusterRequest { include_fenced_brokers: true, ..DescribeClusterRequest::default() };
    let response = ask(&World::nodes(2).without_node(2), 2, request);
    let fenced: Vec<_> = response.brokers.iter().map(|broker| (broker.broker_id, broker.is_fenced)).collect();
    assert_eq!(fenced, [(1000, false), (1001, false), (2000, true), (2001, true)]);
}

#[test]
fn controller_endpoints_and_unknown_endpoint_types_are_rejected() {
    for (endpoint_type, code) in
        [(ENDPOINT_CONTROLLERS, ErrorCode::MismatchedEndpointType), (9, ErrorCode::UnsupportedEndpointType)]
    {
        let response =
            ask(&World::nodes(1), 1, DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() });
        assert_eq!((response.error_code, response.brokers.len()), (code, 0));
        assert!(response.error_message.is_some());
    }
}

#[test]
fn authorized_operations_are_sent_on_request() {
    let request =
        DescribeClusterRequest { include_cluster_authorized_operations: true, ..DescribeClusterRequest::default() };
    assert_eq!(ask(&World::nodes(1), 0, request).cluster_authorized_operations, 8096);
}
