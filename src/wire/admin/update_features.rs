//! UpdateFeatures (key 57), versions 0 to 2: changes the finalized levels of features (KIP-584).

use crate::model::ErrorCode;

/// As `upgrade_type`: the level may only rise.
pub const UPGRADE: i8 = 1;
/// As `upgrade_type`: the level may sink if no metadata is lost.
pub const SAFE_DOWNGRADE: i8 = 2;
/// As `upgrade_type`: the level may sink.
pub const UNSAFE_DOWNGRADE: i8 = 3;

message! {
    request UpdateFeaturesRequest of UpdateFeatures {
        /// How long the broker may wait until the change is recorded.
        timeout_ms: i32, 0+, default = 60_000;
        feature_updates: Vec<FeatureUpdateKey>, 0+;
        /// True: check the change without making it.
        validate_only: bool, 1+;
    }

    /// The new level of one feature.
    part FeatureUpdateKey {
        feature: String, 0+;
        /// A level below 1 disables the feature.
        max_version_level: i16, 0+;
        allow_downgrade: bool, 0-0;
        upgrade_type: i8, 1+, default = UPGRADE;
    }

    response UpdateFeaturesResponse of UpdateFeatures {
        throttle_time_ms: i32, 0+;
        /// An error of the whole request: no feature was changed.
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
        results: Vec<UpdatableFeatureResult>, 0-1, ignorable = true;
    }

    /// The result for one feature.
    part UpdatableFeatureResult {
        feature: String, 0+;
        error_code: ErrorCode, 0+;
        /// Null without an error.
        error_message: Option<String>, 0+;
    }
}
