//! ListConfigResources (key 74): the resources that have configs: topics, brokers, and groups with settings of their
//! own. Client metrics and broker loggers have none here.

use super::context::Context;
use crate::model::ErrorCode;
use crate::router::broker::live_brokers;
use crate::wire::admin::describe_configs::{RESOURCE_BROKER, RESOURCE_TOPIC};
use crate::wire::admin::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse, RESOURCE_BROKER_LOGGER,
    RESOURCE_CLIENT_METRICS, RESOURCE_GROUP,
};

pub fn answer(request: &ListConfigResourcesRequest, context: &Context<'_>) -> ListConfigResourcesResponse {
    let known: &[i8] = match context.version {
        0 => &[RESOURCE_CLIENT_METRICS],
        _ => &[RESOURCE_TOPIC, RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP],
    };
    let wanted = if request.resource_types.is_empty() { known } else { &request.resource_types };
    if wanted.iter().any(|resource_type| !known.contains(resource_type)) {
        let error_code = ErrorCode::UnsupportedVersion;
        return ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() };
    }
    let mut config_resources = Vec::new();
    if wanted.contains(&RESOURCE_TOPIC) {
        let names = context.image.topics().map(|topic| topic.name.to_string());
        let resource = |resource_name| ConfigResource { resource_name, resource_type: RESOURCE_TOPIC };
        config_resources.extend(names.map(resource));
    }
    if wanted.contains(&RESOURCE_BROKER) {
        let ids = live_brokers(context.image, context.listener).map(|broker| broker.id.0.to_string());
        let resource = |resource_name| ConfigResource { resource_name, resource_type: RESOURCE_BROKER };
        config_resources.extend(ids.map(resource));
    }
    if wanted.contains(&RESOURCE_GROUP) {
        let names = context.image.groups().map(|known| known.group.clone());
        config_resources
            .extend(names.map(|resource_name| ConfigResource { resource_name, resource_type: RESOURCE_GROUP }));
    }
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::admin::fixture::{World, check_encodes};
    use crate::metadata::Command;

    fn ask(version: i16, resource_types: &[i8]) -> (ErrorCode, Vec<(i8, String)>) {
        let mut world = World::nodes(1).topic("b", &[&[1]]).topic("a", &[&[1]]);
        let own = ("consumer.session.timeout.ms".to_owned(), Some("50000".to_owned()));
        world.run(&Command::SetGroupConfig { group: "g".into(), changes: vec![own] });
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
        let answer = answer(&request, &world.at(version));
        check_encodes(&answer, version);
        let resources = answer.config_resources.into_iter();
        (answer.error_code, resources.map(|resource| (resource.resource_type, resource.resource_name)).collect())
    }

    #[test]
    fn topics_brokers_and_groups_with_own_settings_have_configs() {
        let named = |resource_type, names: &[&str]| -> Vec<(i8, String)> {
            names.iter().map(|name| (resource_type, name.to_string())).collect()
        };
        let topics = named(RESOURCE_TOPIC, &["a", "b"]);
        let brokers = named(RESOURCE_BROKER, &["1000", "1001"]);
        let groups = named(RESOURCE_GROUP, &["g"]);
        assert_eq!(ask(1, &[]), (ErrorCode::None, [topics.clone(), brokers.clone(), groups.clone()].concat()));
        assert_eq!(ask(1, &[RESOURCE_GROUP]), (ErrorCode::None, groups));
        assert_eq!(ask(1, &[RESOURCE_TOPIC]), (ErrorCode::None, topics));
        assert_eq!(ask(1, &[RESOURCE_BROKER, RESOURCE_BROKER]), (ErrorCode::None, brokers));
        for none in [RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS] {
            assert_eq!(ask(1, &[none]), (ErrorCode::None, vec![]));
        }
        assert_eq!(ask(1, &[RESOURCE_TOPIC, 77]), (ErrorCode::UnsupportedVersion, vec![]));
        assert_eq!(ask(0, &[]), (ErrorCode::None, vec![]));
    }
}
