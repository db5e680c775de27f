//! ApiVersions (key 18): the APIs, versions and features of this broker.

use super::features::FEATURES;
use crate::api::outcome::Outcome;
use crate::api::pending::Pending;
use crate::api::request::{ClientRequest, Origin};
use crate::metadata::Image;
use crate::model::{BrokerId, ErrorCode, NodeId};
use crate::router::broker::node_of;
use crate::wire::Malformed;
use crate::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature};

pub(in crate::api) fn start(mut request: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let message: ApiVersionsRequest = request.decode()?;
    let (server, header) = (request.server, request.header);
    let image = server.shard.image();
    let mut response = match check(&message, header.version, request.origin, server.node(), &image) {
        Ok(()) => ApiVersionsResponse::advertise(header.version, supported(), image.index as i64, finalized()),
        Err(error_code) => ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() },
    };
    if response.finalized_features.is_empty() {
        response.finalized_features_epoch = -1;
    }
    Ok(Pending::Now(Outcome::of(&response, &header)))
}

fn check(
    message: &ApiVersionsRequest,
    version: i16,
    origin: &Origin,
    node: NodeId,
    image: &Image,
) -> Result<(), ErrorCode> {
    if !message.is_valid(version) {
        return Err(ErrorCode::InvalidRequest);
    }
    // KIP-1242: the address belongs to another broker than the client means, so its metadata is out of date.
    let Some(cluster_id) = &message.cluster_id else { return Ok(()) };
    let expected = BrokerId(message.node_id);
    let is_here = match origin.broker {
        Some(broker) => broker == expected,
        None => node_of(image, expected).is_some_and(|of| of.id == node),
    };
    if *cluster_id == image.cluster_id && is_here { Ok(()) } else { Err(ErrorCode::RebootstrapRequired) }
}

fn supported() -> Vec<SupportedFeature> {
    let features = FEATURES.iter();
    features
        .map(|feature| SupportedFeature {
            name: feature.name.into(),
            min_version: feature.lowest,
            max_version: feature.highest,
        })
        .collect()
}

fn finalized() -> Vec<FinalizedFeature> {
    let features = FEATURES.iter().map(|feature| FinalizedFeature {
        name: feature.name.into(),
        max_version_level: feature.highest,
        min_version_level: feature.highest,
    });
    features.collect()
}
