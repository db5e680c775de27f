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
    Ok(Pending::Now(Outcome::of(server, &response, &header)))
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
    match (expected_broker(message, node, image)?, origin.broker) {
        (Some(expected), Some(own)) if expected != own => Err(ErrorCode::RebootstrapRequired),
        _ => Ok(()),
    }
}

/// The broker of this node that the client expects, if it expects one (KIP-1242).
///
/// # Errors
/// If the client expects another node. The address belonged to that node when the client received it.
pub(in crate::api) fn expected_broker(
    message: &ApiVersionsRequest,
    node: NodeId,
    image: &Image,
) -> Result<Option<BrokerId>, ErrorCode> {
    let Some(cluster_id) = &message.cluster_id else { return Ok(None) };
    let expected = BrokerId(message.node_id);
    let is_here = *cluster_id == image.cluster_id && node_of(image, expected).is_some_and(|of| of.id == node);
    if is_here { Ok(Some(expected)) } else { Err(ErrorCode::RebootstrapRequired) }
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
