//! ApiVersions (key 18), versions 0 to 5: the first request of every client. Only this API is answered at an
//! unknown version.

use crate::model::ErrorCode;
use crate::wire::{API_TABLE, ApiKey, frame};

message! {
    request ApiVersionsRequest of ApiVersions {
        /// The name of the client library (KIP-511).
        client_software_name: String, 3+, ignorable = true;
        client_software_version: String, 3+, ignorable = true;
        /// The cluster that the client expects here; null disables the check (KIP-1242).
        cluster_id: Option<String>, 5+, ignorable = true;
        /// The broker that the client expects here; -1 without a cluster id.
        node_id: i32, 5+, default = -1, ignorable = true;
    }

    response ApiVersionsResponse of ApiVersions {
        error_code: ErrorCode, 0+;
        /// The served APIs, in ascending order of their keys.
        api_keys: Vec<ApiVersion>, 0+;
        throttle_time_ms: i32, 1+, ignorable = true;
        /// The features that this broker can enable (KIP-584).
        supported_features: Vec<SupportedFeature>, 3+, tag = 0, ignorable = true;
        /// Rises with each change of `finalized_features`; -1: unknown.
        finalized_features_epoch: i64, 3+, tag = 1, default = -1, ignorable = true;
        /// The features that are enabled in the cluster.
        finalized_features: Vec<FinalizedFeature>, 3+, tag = 2, ignorable = true;
        /// Only a ZooKeeper cluster sets it; this broker never does.
        zk_migration_ready: bool, 3+, tag = 3, ignorable = true;
    }

    /// One API and its versions, both ends inclusive.
    part ApiVersion {
        api_key: i16, 0+;
        min_version: i16, 0+;
        max_version: i16, 0+;
    }

    /// One feature and the levels that the broker supports, both ends inclusive.
    part SupportedFeature {
        name: String, 3+;
        min_version: i16, 3+;
        max_version: i16, 3+;
    }

    /// One feature and the levels that the cluster agreed on, both ends inclusive.
    part FinalizedFeature {
        name: String, 3+;
        max_version_level: i16, 3+;
        min_version_level: i16, 3+;
    }
}

impl ApiVersionsRequest {
    /// From v3 on, the client's name and version must match `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`. A mismatch is
    /// answered with INVALID_REQUEST (KIP-511). From v5 on, the same holds for a cluster id without a node id and for
    /// the reverse (KIP-1242).
    pub fn is_valid(&self, version: i16) -> bool {
        let is_software_word = |text: &str| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            ends(text.chars().next())
                && ends(text.chars().next_back())
                && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
        };
        let names_both = self.cluster_id.is_some() == (self.node_id != -1);
        (version < 5 || names_both)
            && (version < 3
                || (is_software_word(&self.client_software_name) && is_software_word(&self.client_software_version)))
    }
}

impl ApiVersionsResponse {
    /// All APIs of the table, and the cluster's features as `version` can represent them.
    pub fn advertise(
        version: i16,
        mut supported_features: Vec<SupportedFeature>,
        finalized_features_epoch: i64,
        mut finalized_features: Vec<FinalizedFeature>,
    ) -> ApiVersionsResponse {
        if version < 4 {
            // KAFKA-17492: clients that send these versions fail on a minimum of 0.
            supported_features.retain(|feature| feature.min_version > 0);
        }
        // A feature at level 0 is disabled.
        finalized_features.retain(|feature| feature.max_version_level > 0);
        ApiVersionsResponse {
            api_keys: API_TABLE
                .iter()
                .map(|api| ApiVersion { api_key: api.key.code(), min_version: api.min, max_version: api.max })
                .collect(),
            supported_features,
            finalized_features_epoch,
            finalized_features,
            ..ApiVersionsResponse::default()
        }
    }
}

/// The response frame to an ApiVersions request of an unknown version (KIP-511). It is encoded as version 0, which
/// every client can read, and lists only the versions of ApiVersions, so that the client can retry.
pub fn unsupported_version(correlation_id: i32) -> Vec<u8> {
    let api = ApiKey::ApiVersions.api();
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![ApiVersion { api_key: api.key.code(), min_version: api.min, max_version: api.max }],
        ..ApiVersionsResponse::default()
    };
    frame::encode_response(&response, 0, correlation_id).expect("version 0 holds this")
}
