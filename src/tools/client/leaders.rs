//! Requests that go to partition leaders: one request per leader, with retries while leaders move.

use std::collections::BTreeMap;

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;

/// The result that a leader returned for one partition.
pub(super) struct PartitionResult<T> {
    pub partition: i32,
    pub code: ErrorCode,
    pub value: T,
}

impl Client {
    /// Groups `items` by the leader of the partition that `partition_of` returns.
    pub(super) fn by_leader<I>(
        &mut self,
        topic: &str,
        items: impl IntoIterator<Item = I>,
        partition_of: impl Fn(&I) -> i32,
    ) -> Result<BTreeMap<i32, Vec<I>>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<I>> = BTreeMap::new();
        for item in items {
            let leader_id = self.topic(topic)?.partition(partition_of(&item))?.leader_id;
            by_leader.entry(leader_id).or_default().push(item);
        }
        Ok(by_leader)
    }

    /// Calls each leader once for all of its partitions, and returns one value per partition.
    ///
    /// Retries the partitions whose leader moved or failed until the deadline. `action` completes the error message
    /// "cannot `action` of topic-partition", for example "list offsets".
    pub(super) fn call_leaders<T>(
        &mut self,
        topic: &str,
        partitions: &[i32],
        action: &str,
        call: impl Fn(&mut Client, i32, &[i32]) -> Result<Vec<PartitionResult<T>>, ClientError>,
    ) -> Result<BTreeMap<i32, T>, ClientError> {
        let deadline = self.deadline();
        let subject = |partition: i32| format!("cannot {action} of {topic}-{partition}");
        let mut values = BTreeMap::new();
        loop {
            let open = partitions.iter().copied().filter(|partition| !values.contains_key(partition));
            let mut failure = None;
            for (leader_id, partitions) in self.by_leader(topic, open, |partition| *partition)? {
                match call(self, leader_id, &partitions) {
                    Ok(results) => {
                        for PartitionResult { partition, code, value } in results {
                            match ClientError::check(code, None, || subject(partition)) {
                                Ok(()) => _ = values.insert(partition, value),
                                Err(error) if is_transient(code) => failure = Some(error),
                                Err(error) => return Err(error),
                            }
                        }
                    }
                    Err(error) if error.is_connection_lost() => {
                        self.drop_broker(leader_id);
                        failure = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = failure {
                self.forget_topic(topic);
                if may_retry(deadline) {
                    continue;
                }
                return Err(error);
            }
            return match partitions.iter().find(|partition| !values.contains_key(*partition)) {
                None => Ok(values),
                Some(partition) => Err(ClientError::missing_result(subject(*partition))),
            };
        }
    }
}
