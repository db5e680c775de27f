//! The application's traces in the cluster: internal topics with the requested settings, and no open transaction.

use std::time::Duration;

use tidemill::tools::client::Client;
use tidemill::tools::client::fetch::{FetchOptions, FetchPosition};
use tidemill::tools::client::offsets::{LATEST, ListedOffset};

use crate::streams::input::PARTITIONS;
use crate::streams::output::CHANGELOG;
use crate::support::wait_for;

/// Internal topics with the settings that Streams requests.
const INTERNAL: [(&str, &[(&str, &str)]); 4] = [
    ("streams-by-word-repartition", &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.ms", "4000")]),
    (CHANGELOG, &[("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime"), ("segment.ms", "4000")]),
    ("streams-join-this-join-store-changelog", JOIN_STORE),
    ("streams-join-other-join-store-changelog", JOIN_STORE),
];

/// Twice the window, the grace period, and a day that Streams adds.
const JOIN_STORE: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.ms", "108004000")];

pub fn check(client: &mut Client) {
    for (name, wanted) in INTERNAL {
        let settings = client.topic_settings(name).expect("the application made it");
        for (setting, value) in wanted {
            let found = settings.iter().find(|found| found.name == *setting).and_then(|found| found.value.as_deref());
            assert_eq!(found, Some(*value), "{name}: {setting}");
        }
    }
    for name in ["lines", "left", "right", "counts", "joined"].into_iter().chain(INTERNAL.map(|(name, _)| name)) {
        // A timeout aborts the open transaction of the last killed instance.
        wait_for(&format!("no transaction is open in {name}"), Duration::from_secs(60), || all_is_stable(client, name));
    }
}

/// Whether a reader of committed records reaches the log end.
fn all_is_stable(client: &mut Client, name: &str) -> Option<()> {
    let partitions: Vec<i32> = (0..PARTITIONS as i32).collect();
    let ends = client.list_offsets(name, &partitions, LATEST).expect("it is there");
    let end = |listed: &ListedOffset| FetchPosition { partition: listed.partition, offset: listed.offset.unwrap_or(0) };
    let positions: Vec<FetchPosition> = ends.iter().map(end).collect();
    let options = FetchOptions { max_wait_ms: 0, ..FetchOptions::default() };
    let fetched = client.fetch(name, &positions, options).expect("it can be read");
    let is_stable =
        fetched.len() == positions.len() && fetched.iter().all(|f| f.last_stable_offset == f.high_watermark);
    is_stable.then_some(())
}
