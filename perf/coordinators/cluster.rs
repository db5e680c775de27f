//! Where to send what: topics are made, coordinators and leaders are found, as a client does before its work begins.

use std::time::Duration;

use tidemill::model::ErrorCode;
use tidemill::tools::client::admin::NewTopic;
use tidemill::tools::client::{Client, ClientConfig};
use tidemill::wire::admin::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::support::wait_for;
use super::talk::Talk;

const SOON: Duration = Duration::from_secs(30);

fn client(bootstrap: &str) -> Client {
    Client::connect(ClientConfig { bootstrap: bootstrap.into(), ..ClientConfig::default() }).expect("a broker")
}

pub fn create(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let new = NewTopic { name: topic.into(), partitions: Some(partitions), replication_factor: None, configs };
    client(bootstrap).create_topic(&new).expect("created");
    // Kafka answers before all of it knows the topic.
    wait_for("the new topic is known", SOON, || client(bootstrap).topic(topic).is_ok().then_some(()));
}

pub fn delete(bootstrap: &str, topic: &str) {
    client(bootstrap).delete_topic(topic).expect("deleted");
}

/// The addresses of the partitions' leaders.
pub fn leaders(bootstrap: &str, topic: &str) -> Vec<String> {
    let mut client = client(bootstrap);
    let topic = client.topic(topic).expect("it has leaders").clone();
    let address = |leader: i32| client.cluster().brokers[&leader].address();
    topic.partitions.iter().map(|partition| address(partition.leader_id)).collect()
}

/// The addresses of the coordinators of `keys`, which are groups or transactional ids.
pub fn coordinators(bootstrap: &str, key_type: i8, keys: &[String]) -> Vec<String> {
    let mut talk = Talk::to(bootstrap);
    let request = FindCoordinatorRequest { key_type, coordinator_keys: keys.to_vec(), ..Default::default() };
    // The first question makes the internal topic.
    wait_for("every key has a coordinator", SOON, || {
        let answer: FindCoordinatorResponse = talk.call(&request, 6);
        let find = |key: &String| {
            let found = answer.coordinators.iter().find(|found| found.key == *key).expect("one answer for each key");
            (found.error_code == ErrorCode::None).then(|| format!("{}:{}", found.host, found.port))
        };
        keys.iter().map(find).collect()
    })
}

/// Calls until the coordinator takes the request: one that loads, or finishes what came before, says so.
pub fn retried<A>(mut call: impl FnMut() -> (ErrorCode, A)) -> A {
    use ErrorCode::{ConcurrentTransactions, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let waits = [ConcurrentTransactions, CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator];
    loop {
        match call() {
            (ErrorCode::None, answer) => return answer,
            (error, _) if waits.contains(&error) => std::thread::sleep(Duration::from_millis(1)),
            (error, _) => panic!("refused: {error}"),
        }
    }
}
