//! Creates topics, and looks up leaders and coordinators, before a load starts.

use std::time::Duration;

use tidemill::model::ErrorCode;
use tidemill::tools::client::admin::NewTopic;
use tidemill::tools::client::{Client, ClientConfig};
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::support::wait_for;
use super::talk::Talk;

const DEADLINE: Duration = Duration::from_secs(30);

fn client(bootstrap: &str) -> Client {
    Client::connect(ClientConfig { bootstrap: bootstrap.into(), ..ClientConfig::default() }).expect("a broker")
}

/// Creates a topic and waits until the broker knows it.
pub fn create(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let new = NewTopic { name: topic.into(), partitions: Some(partitions), replication_factor: None, configs };
    client(bootstrap).create_topic(&new).expect("created");
    // Kafka responds before its brokers know the topic.
    wait_for("the new topic is known", DEADLINE, || client(bootstrap).topic(topic).is_ok().then_some(()));
}

/// Deletes a topic.
pub fn delete(bootstrap: &str, topic: &str) {
    client(bootstrap).delete_topic(topic).expect("deleted");
}

/// The address of the leader of each partition.
pub fn leaders(bootstrap: &str, topic: &str) -> Vec<String> {
    let mut client = client(bootstrap);
    let topic = client.topic(topic).expect("the topic has leaders").clone();
    let address = |leader: i32| client.cluster().brokers[&leader].address();
    topic.partitions.iter().map(|partition| address(partition.leader_id)).collect()
}

/// The address of the coordinator of each of `keys`, which are groups or transactional ids.
pub fn coordinators(bootstrap: &str, key_type: i8, keys: &[String]) -> Vec<String> {
    let mut talk = Talk::to(bootstrap);
    let request = FindCoordinatorRequest { key_type, coordinator_keys: keys.to_vec(), ..Default::default() };
    // The first request creates the internal topic.
    wait_for("every key has a coordinator", DEADLINE, || {
        let response: FindCoordinatorResponse = talk.call(&request, 6);
        let find = |key: &String| {
            let found = response.coordinators.iter().find(|found| found.key == *key).expect("one result for each key");
            (found.error_code == ErrorCode::None).then(|| format!("{}:{}", found.host, found.port))
        };
        keys.iter().map(find).collect()
    })
}

/// Retries `call` while the coordinator is loading or completes an earlier transaction. Panics on other errors.
pub fn retried<R>(mut call: impl FnMut() -> (ErrorCode, R)) -> R {
    use ErrorCode::{ConcurrentTransactions, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let retriable = [ConcurrentTransactions, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator];
    loop {
        match call() {
            (ErrorCode::None, response) => return response,
            (error, _) if retriable.contains(&error) => std::thread::sleep(Duration::from_millis(1)),
            (error, _) => panic!("rejected: {error}"),
        }
    }
}
