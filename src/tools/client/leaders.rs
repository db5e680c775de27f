//! Questions that each partition's leader answers for it.

use std::collections::BTreeMap;

use super::produce::is_transient;
use super::{Client, ClientError, may_retry};
use crate::model::ErrorCode;

/// What a leader says of one partition.
pub(super) struct PartitionResult<A> {
    pub partition: i32,
    pub code: ErrorCode,
    pub answer: A,
}

impl Client {
    /// Asks the leaders of these partitions, each for all of its own at once, and again where a leader has moved or is gone,
    /// until every partition has its answer or time is up. `to_do` says what cannot be done if it cannot ("list offsets").
    pub(super) fn ask_leaders<A>(
        &mut self,
        topic: &str,
        partitions: &[i32],
        to_do: &str,
        ask: impl Fn(&mut Client, i32, &[i32]) -> Result<Vec<PartitionResult<A>>, ClientError>,
    ) -> Result<BTreeMap<i32, A>, ClientError> {
        let deadline = self.deadline();
        let subject = |partition: i32| format!("cannot {to_do} of {topic}-{partition}");
        let mut answers = BTreeMap::new();
        loop {
            let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            for &partition in partitions.iter().filter(|partition| !answers.contains_key(*partition)) {
                let leader_id = self.topic(topic)?.partition(partition)?.leader_id;
                by_leader.entry(leader_id).or_default().push(partition);
            }
            let mut failure = None;
            for (leader_id, partitions) in by_leader {
                match ask(self, leader_id, &partitions) {
                    Ok(told) => {
                        for PartitionResult { partition, code, answer } in told {
                            match ClientError::check(code, None, || subject(partition)) {
                                Ok(()) => _ = answers.insert(partition, answer),
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
            return match partitions.iter().find(|partition| !answers.contains_key(*partition)) {
                None => Ok(answers),
                Some(partition) => Err(ClientError::Refused {
                    subject: subject(*partition),
                    code: ErrorCode::UnknownServerError,
                    message: Some("the broker's answer leaves this partition out".into()),
                }),
            };
        }
    }
}
