//! Creates, grows, alters and deletes topics, and reads their settings.

use super::{Client, ClientError, Connection};
use crate::model::{ErrorCode, TopicId};
use crate::wire::ApiKey;
use crate::wire::admin::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic};
use crate::wire::admin::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::admin::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::admin::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, RESOURCE_TOPIC, SOURCE_DYNAMIC_TOPIC,
};
use crate::wire::admin::incremental_alter_configs::{
    DELETE, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    IncrementalAlterableConfig, SET,
};

/// The parameters of a new topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    /// Up to 249 characters of `[a-zA-Z0-9._-]`; the broker checks it.
    pub name: String,
    /// `None` is the broker's default.
    pub partitions: Option<i32>,
    /// `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Topic settings as name and value.
    pub configs: Vec<(String, String)>,
}

/// One setting of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSetting {
    /// Kafka's name, such as `retention.ms`.
    pub name: String,
    /// `None` for a sensitive value, which the broker does not return.
    pub value: Option<String>,
    /// Whether the value is set on this topic. Otherwise it is a default.
    pub is_own: bool,
}

impl Client {
    /// Creates a topic. Returns the broker's note, if the new topic differs from the request.
    pub fn create_topic(&mut self, new: &NewTopic) -> Result<Option<String>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let connection = self.controller()?;
        // Before CreateTopics v4, a request cannot leave these values to the broker.
        let has_defaults = connection.version(ApiKey::CreateTopics, i16::MAX)? >= 4;
        let unset = if has_defaults { -1 } else { 1 };
        let configs = new
            .configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) });
        let topic = CreatableTopic {
            name: new.name.clone(),
            num_partitions: new.partitions.unwrap_or(unset),
            replication_factor: new.replication_factor.unwrap_or(unset as i16),
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms, validate_only: false };
        let response: CreateTopicsResponse = connection.call(&request)?;
        let subject = || format!("cannot create topic {:?}", new.name);
        let created = response.topics.into_iter().find(|topic| topic.name == new.name);
        let created = created.ok_or_else(|| ClientError::missing_result(subject()))?;
        let message = created.error_message.filter(|message| !message.is_empty());
        ClientError::check(created.error_code, message.clone(), subject)?;
        Ok(message)
    }

    /// Adds partitions to a topic. `count` is the new total.
    pub fn create_partitions(&mut self, name: &str, count: i32) -> Result<(), ClientError> {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: self.timeout_ms(), validate_only: false };
        let response: CreatePartitionsResponse = self.controller()?.call(&request)?;
        self.forget_topic(name);
        let subject = || format!("cannot add partitions to topic {name:?}");
        let result = response.results.into_iter().next().ok_or_else(|| ClientError::missing_result(subject()))?;
        check_topic(name, result.error_code, result.error_message, subject)
    }

    /// Deletes a topic and its records.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let timeout_ms = self.timeout_ms();
        let connection = self.controller()?;
        let by_name = DeleteTopicState { name: Some(name.to_string()), topic_id: TopicId::ZERO };
        let mut request = DeleteTopicsRequest { timeout_ms, ..Default::default() };
        if connection.version(ApiKey::DeleteTopics, i16::MAX)? >= 6 {
            request.topics = vec![by_name];
        } else {
            request.topic_names = vec![name.to_string()];
        }
        let response: DeleteTopicsResponse = connection.call(&request)?;
        self.forget_topic(name);
        let subject = || format!("cannot delete topic {name:?}");
        let result = response.responses.into_iter().next().ok_or_else(|| ClientError::missing_result(subject()))?;
        check_topic(name, result.error_code, result.error_message, subject)
    }

    /// Sets the settings in `set` on a topic, and resets those in `unset` to their defaults.
    pub fn alter_topic(&mut self, name: &str, set: &[(String, String)], unset: &[String]) -> Result<(), ClientError> {
        let set = set.iter().map(|(name, value)| IncrementalAlterableConfig {
            name: name.clone(),
            config_operation: SET,
            value: Some(value.clone()),
        });
        let unset = unset.iter().map(|name| IncrementalAlterableConfig {
            name: name.clone(),
            config_operation: DELETE,
            value: None,
        });
        let resource = IncrementalAlterConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: name.to_string(),
            configs: set.chain(unset).collect(),
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let response: IncrementalAlterConfigsResponse = self.controller()?.call(&request)?;
        let subject = || format!("cannot change the settings of topic {name:?}");
        let result = response.responses.into_iter().next().ok_or_else(|| ClientError::missing_result(subject()))?;
        check_topic(name, result.error_code, result.error_message, subject)
    }

    /// All settings of a topic, sorted by name.
    pub fn topic_settings(&mut self, name: &str) -> Result<Vec<TopicSetting>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.to_string(),
                configuration_keys: None,
            }],
            ..Default::default()
        };
        let response: DescribeConfigsResponse = self.bootstrap.call(&request)?;
        let subject = || format!("cannot read the settings of topic {name:?}");
        let result = response.results.into_iter().next().ok_or_else(|| ClientError::missing_result(subject()))?;
        ClientError::check(result.error_code, result.error_message, subject)?;
        let mut settings: Vec<_> = result
            .configs
            .into_iter()
            .map(|entry| TopicSetting {
                name: entry.name,
                value: entry.value,
                is_own: entry.config_source == SOURCE_DYNAMIC_TOPIC,
            })
            .collect();
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(settings)
    }

    /// The controller, which carries out changes. Falls back to the bootstrap broker if it cannot be reached.
    fn controller(&mut self) -> Result<&mut Connection, ClientError> {
        self.refresh(None)?;
        let controller_id = self.cluster.controller_id;
        if self.cluster.brokers.contains_key(&controller_id) && self.broker(controller_id).is_ok() {
            return self.broker(controller_id);
        }
        Ok(&mut self.bootstrap)
    }
}

/// As [`ClientError::check`], but a missing topic is [`ClientError::UnknownTopic`], which has a better hint.
fn check_topic(
    name: &str,
    code: ErrorCode,
    message: Option<String>,
    subject: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    match code {
        ErrorCode::UnknownTopicOrPartition => Err(ClientError::UnknownTopic { topic: name.to_string() }),
        code => ClientError::check(code, message, subject),
    }
}
