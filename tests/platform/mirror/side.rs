//! One of the two clusters: its topics, groups and settings, as clients see them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use tidemill::tools::client::Client;
use tidemill::tools::client::offsets::LATEST;

use crate::support::ledger;
use crate::support::node::Node;
use crate::support::run::run;

const WITHIN: Duration = Duration::from_secs(120);

/// A record and its offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub offset: i64,
    /// Timestamp, key, length of the value, headers, value.
    pub record: String,
}

pub struct Side {
    /// The cluster's name in MirrorMaker's configuration, and the prefix of topics that are mirrored from it.
    pub alias: &'static str,
    pub node: Node,
    pub kcat: String,
}

impl Side {
    pub fn client(&self) -> Client {
        ledger::connect(self.node.bootstrap())
    }

    /// Every committed record of a topic, by partition.
    pub fn records(&self, topic: &str) -> Vec<Vec<Found>> {
        let format = "%p\\t%o\\t%T\\t%k\\t%S\\t%h\\t%s\\n";
        let committed = "isolation.level=read_committed";
        let printed =
            self.kcat(&["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-Z", "-f", format, "-X", committed], None);
        let mut found = vec![Vec::new(); self.partitions(topic).unwrap_or(0)];
        for line in printed.lines() {
            let mut fields = line.splitn(3, '\t');
            let mut field = || fields.next().unwrap_or_else(|| panic!("not a record: {line:?}"));
            let (partition, offset): (usize, i64) =
                (field().parse().expect("a number"), field().parse().expect("a number"));
            found[partition].push(Found { offset, record: field().to_string() });
        }
        found
    }

    /// Lets kcat append records `first..end` of the rule; its partitioner places them.
    pub fn writes(&self, topic: &str, records: Vec<u8>) {
        self.kcat(&["-P", "-t", topic, "-K", "\\t", "-Z", "-H", "client=kcat", "-X", "acks=all"], Some(records));
    }

    pub fn kcat(&self, arguments: &[&str], input: Option<Vec<u8>>) -> String {
        let mut command = Command::new(&self.kcat);
        command.args(["-b", self.node.bootstrap()]).args(arguments);
        let ended = run(command, input, WITHIN, |_| false).expect("kcat runs");
        assert!(ended.ok(), "kcat {arguments:?}: {}", ended.tail());
        ended.stdout
    }

    /// The partition count of a topic, if the topic exists.
    pub fn partitions(&self, topic: &str) -> Option<usize> {
        let topics = self.client().all_topics().expect("metadata");
        topics.iter().find(|found| found.name == topic).map(|found| found.partitions.len())
    }

    /// The sum of a topic's end offsets.
    pub fn end(&self, topic: &str) -> i64 {
        let partitions: Vec<i32> = (0..self.partitions(topic).unwrap_or(0) as i32).collect();
        let listed = self.client().list_offsets(topic, &partitions, LATEST).expect("offsets");
        listed.iter().filter_map(|end| end.offset).sum()
    }

    /// The topic-level settings of a topic.
    pub fn settings(&self, topic: &str) -> BTreeMap<String, String> {
        let settings = self.client().topic_settings(topic).expect("settings");
        settings.into_iter().filter(|s| s.is_own).map(|s| (s.name, s.value.unwrap_or_default())).collect()
    }

    /// A group's committed offsets of a topic, by partition.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let all = self.client().committed(group).expect("offsets");
        all.into_iter().filter(|((of, _), _)| of == topic).map(|((_, partition), offset)| (partition, offset)).collect()
    }
}
