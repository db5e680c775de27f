//! ApiVersions (key 18): the APIs, versions and features of this broker.

use crate::api::outcome::Outcome;
use crate::api::pending::Pending;
use crate::api::request::ClientRequest;
use crate::model::ErrorCode;
use crate::wire::Malformed;
use crate::wire::admin::api_versions::{ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature};

pub(in crate::api) fn start(mut request: ClientRequest<'_>) -> Result<Pending, Malformed> {
    let message: ApiVersionsRequest = request.decode()?;
    let (server, header) = (request.server, request.header);
    let mut response = match message.is_valid(header.version) {
        true => {
            let epoch = server.shard.image().index as i64;
            ApiVersionsResponse::advertise(header.version, supported(), epoch, finalized())
        }
        false => ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..ApiVersionsResponse::default() },
    };
    if response.finalized_features.is_empty() {
        response.finalized_features_epoch = -1;
    }
    Ok(Pending::Now(Outcome::of(&response, &header)))
}

/// The features that a cluster finalizes, with the lowest and highest level that this broker supports.
const FEATURES: &[(&str, i16, i16)] = &[
    // Level 1 is KIP-848: the coordinator assigns partitions.
    ("group.version", 0, 1),
    // Level 2 is KIP-890: the end of a transaction bumps the epoch, and a Produce request adds its partitions.
    ("transaction.version", 0, 2),
];

fn supported() -> Vec<SupportedFeature> {
    let features = FEATURES.iter();
    features
        .map(|&(name, min_version, max_version)| SupportedFeature { name: name.into(), min_version, max_version })
        .collect()
}

/// The finalized levels: the highest ones, because no cluster has older brokers.
fn finalized() -> Vec<FinalizedFeature> {
    let features = FEATURES.iter().map(|&(name, _, level)| FinalizedFeature {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
    });
    features.collect()
}
