//! Topics made and unmade, and their settings.

use super::{Client, ClientError, Connection};
use crate::model::{ErrorCode, TopicId};
use crate::wire::ApiKey;
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

/// A topic to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    pub name: String,
    /// `None` is the broker's default.
    pub partitions: Option<i32>,
    /// `None` is the broker's default.
    pub replication_factor: Option<i16>,
    pub configs: Vec<(String, String)>,
}

/// One setting of a topic, as the broker tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSetting {
    pub name: String,
    /// `None` for what the broker keeps to itself.
    pub value: Option<String>,
    /// Set on this topic, as opposed to a default of whatever kind.
    pub is_own: bool,
}

impl Client {
    /// Creates a topic. Answers its partition count as far as the broker tells it (CreateTopics v5).
    pub fn create_topic(&mut self, new: &NewTopic) -> Result<Option<i32>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let connection = self.controller()?;
        // Before version 4 there is no word for "the default".
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
        let answer: CreateTopicsResponse = connection.call(&request)?;
        let told = answer.topics.into_iter().find(|told| told.name == new.name);
        let told = told.ok_or_else(|| left_out(format!("cannot create topic {:?}", new.name)))?;
        ClientError::check(told.error_code, told.error_message, || format!("cannot create topic {:?}", new.name))?;
        Ok((told.num_partitions > 0).then_some(told.num_partitions))
    }

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
        let answer: DeleteTopicsResponse = connection.call(&request)?;
        self.forget_topic(name);
        let told = answer.responses.into_iter().next();
        let told = told.ok_or_else(|| left_out(format!("cannot delete topic {name:?}")))?;
        match told.error_code {
            ErrorCode::UnknownTopicOrPartition => Err(ClientError::UnknownTopic { topic: name.to_string() }),
            code => ClientError::check(code, told.error_message, || format!("cannot delete topic {name:?}")),
        }
    }

    /// Gives a topic settings of its own, and takes others back to their defaults.
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
        let answer: IncrementalAlterConfigsResponse = self.controller()?.call(&request)?;
        let subject = || format!("cannot change the settings of topic {name:?}");
        let told = answer.responses.into_iter().next().ok_or_else(|| left_out(subject()))?;
        match told.error_code {
            ErrorCode::UnknownTopicOrPartition => Err(ClientError::UnknownTopic { topic: name.to_string() }),
            code => ClientError::check(code, told.error_message, subject),
        }
    }

    /// All settings of a topic, by name.
    pub fn topic_settings(&mut self, name: &str) -> Result<Vec<TopicSetting>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: name.to_string(),
                configuration_keys: None,
            }],
            ..Default::default()
        };
        let answer: DescribeConfigsResponse = self.bootstrap.call(&request)?;
        let subject = || format!("cannot read the settings of topic {name:?}");
        let told = answer.results.into_iter().next().ok_or_else(|| left_out(subject()))?;
        ClientError::check(told.error_code, told.error_message, subject)?;
        let mut settings: Vec<_> = told
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

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// The broker that carries out changes: the controller where metadata names one that can be reached.
    fn controller(&mut self) -> Result<&mut Connection, ClientError> {
        self.refresh(None)?;
        let controller_id = self.cluster.controller_id;
        if self.cluster.brokers.contains_key(&controller_id) && self.broker(controller_id).is_ok() {
            return self.broker(controller_id);
        }
        Ok(&mut self.bootstrap)
    }
}

fn left_out(subject: String) -> ClientError {
    let message = Some("the broker's answer says nothing about it".into());
    ClientError::Refused { subject, code: ErrorCode::UnknownServerError, message }
}
