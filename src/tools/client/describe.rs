//! Describes the cluster: the features and APIs of a broker, the metadata quorum, and the log directories.

use super::{Client, ClientError};
use crate::model::ErrorCode;
use crate::wire::ApiKey;
use crate::wire::admin::api_versions::ApiVersionsResponse;
use crate::wire::admin::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
};
use crate::wire::admin::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedQuorum, METADATA_TOPIC, QuorumPartition, QuorumTopic,
};

impl Client {
    /// The APIs and features of the bootstrap broker.
    pub fn api_versions(&mut self) -> Result<ApiVersionsResponse, ClientError> {
        let version = self.bootstrap.version(ApiKey::ApiVersions, i16::MAX)?;
        self.bootstrap.fetch_versions(version)
    }

    /// The state of the metadata log. `None` from a broker without DescribeQuorum.
    pub fn quorum(&mut self) -> Result<Option<DescribedQuorum>, ClientError> {
        let partitions = vec![QuorumPartition { partition_index: 0 }];
        let topics = vec![QuorumTopic { topic_name: METADATA_TOPIC.into(), partitions }];
        let response: DescribeQuorumResponse = match self.bootstrap.call(&DescribeQuorumRequest { topics }) {
            Err(ClientError::NoCommonVersion { .. }) => return Ok(None),
            response => response?,
        };
        let subject = || "cannot describe the quorum".to_owned();
        ClientError::check(response.error_code, response.error_message, subject)?;
        let quorum = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let quorum = quorum.ok_or_else(|| ClientError::missing_result(subject()))?;
        ClientError::check(quorum.error_code, quorum.error_message.clone(), subject)?;
        Ok(Some(quorum))
    }

    /// The log directories of a broker, with all partitions of these topics; no topics: all.
    pub fn log_dirs(
        &mut self,
        broker_id: i32,
        topics: &[(String, Vec<i32>)],
    ) -> Result<Vec<DescribeLogDirsResult>, ClientError> {
        let asked = topics
            .iter()
            .map(|(topic, partitions)| DescribableLogDirTopic { topic: topic.clone(), partitions: partitions.clone() });
        let request = DescribeLogDirsRequest { topics: (!topics.is_empty()).then(|| asked.collect()) };
        let response: DescribeLogDirsResponse = self.broker(broker_id)?.call(&request)?;
        let subject = || format!("cannot describe the log directories of broker {broker_id}");
        ClientError::check(response.error_code, None, subject)?;
        for directory in &response.results {
            let is_offline = directory.error_code == ErrorCode::KafkaStorageError;
            ClientError::check(if is_offline { ErrorCode::None } else { directory.error_code }, None, subject)?;
        }
        Ok(response.results)
    }
}
