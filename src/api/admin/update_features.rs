//! UpdateFeatures (key 57): every feature is at its highest level and stays there. An update to that level changes
//! nothing; every other update is rejected.

use super::context::Context;
use super::features::FEATURES;
use crate::model::ErrorCode;
use crate::router::broker::first_broker;
use crate::wire::admin::update_features::{
    FeatureUpdateKey, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE, UPGRADE, UpdatableFeatureResult, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};

pub fn answer(request: &UpdateFeaturesRequest, context: &Context<'_>) -> UpdateFeaturesResponse {
    let refused = request.feature_updates.iter().find_map(|update| refusal(update, context));
    let Some(message) = refused else {
        let results = request.feature_updates.iter().map(|update| result(update, ErrorCode::None, None));
        return UpdateFeaturesResponse { results: results.collect(), ..UpdateFeaturesResponse::default() };
    };
    UpdateFeaturesResponse {
        error_code: ErrorCode::InvalidUpdateVersion,
        error_message: Some(format!(
            "The update failed for all features since the following feature had an error: {message}"
        )),
        ..UpdateFeaturesResponse::default()
    }
}

fn result(update: &FeatureUpdateKey, error_code: ErrorCode, error_message: Option<String>) -> UpdatableFeatureResult {
    UpdatableFeatureResult { feature: update.feature.clone(), error_code, error_message }
}

/// Why the update is rejected, in Kafka's words where it would reject the update as well.
fn refusal(update: &FeatureUpdateKey, context: &Context<'_>) -> Option<String> {
    let level = update.max_version_level;
    let upgrade_type = match context.version {
        0 if update.allow_downgrade => SAFE_DOWNGRADE,
        0 => UPGRADE,
        _ => update.upgrade_type,
    };
    let feature = FEATURES.iter().find(|feature| feature.name == update.feature);
    let controller = context.image.node(context.node).map_or(-1, |node| first_broker(node).0);
    let why = match feature {
        _ if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&upgrade_type) => {
            "The controller does not support the given upgrade type.".into()
        }
        _ if level < 0 => "A feature version cannot be less than 0.".into(),
        None if level == 0 => format!("Feature {} not found.", update.feature),
        None => format!("Local controller {controller} does not support this feature."),
        Some(feature) if !(feature.lowest..=feature.highest).contains(&level) => {
            format!("Local controller {controller} only supports versions {}-{}", feature.lowest, feature.highest)
        }
        Some(feature) if level == feature.highest => return None,
        Some(_) if upgrade_type == UPGRADE => {
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade."
                .into()
        }
        Some(_) => "Tidemill runs every feature at its highest level.".into(),
    };
    Some(format!("Invalid update version {level} for feature {}. {why}", update.feature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};

    fn ask(version: i16, feature: &str, level: i16, upgrade_type: i8) -> UpdateFeaturesResponse {
        let update = FeatureUpdateKey {
            feature: feature.into(),
            max_version_level: level,
            allow_downgrade: version == 0 && upgrade_type == SAFE_DOWNGRADE,
            upgrade_type,
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..UpdateFeaturesRequest::default() };
        let response = answer(&request, &World::nodes(1).at(version));
        check_encodes(&response, version);
        response
    }

    #[test]
    fn an_update_to_the_finalized_level_succeeds() {
        for feature in FEATURES {
            for version in 0..=2 {
                let response = ask(version, feature.name, feature.highest, UPGRADE);
                assert_eq!((response.error_code, response.results.len()), (ErrorCode::None, 1), "{}", feature.name);
            }
        }
    }

    #[test]
    fn every_other_update_is_rejected_with_its_reason() {
        for (feature, level, upgrade_type, why) in [
            ("group.version", 2, UPGRADE, "Local controller 1000 only supports versions 0-1"),
            ("group.version", 0, UPGRADE, "Can't downgrade"),
            ("group.version", 0, SAFE_DOWNGRADE, "highest level"),
            ("share.version", 1, UPGRADE, "does not support this feature"),
            ("share.version", 0, UPGRADE, "not found"),
            ("group.version", -1, UPGRADE, "less than 0"),
        ] {
            for version in 0..=2 {
                let response = ask(version, feature, level, upgrade_type);
                assert_eq!(response.error_code, ErrorCode::InvalidUpdateVersion);
                let message = response.error_message.unwrap();
                assert!(message.contains(why), "{message}");
            }
        }
        assert_eq!(ask(1, "group.version", 1, 9).error_code, ErrorCode::InvalidUpdateVersion);
    }
}
