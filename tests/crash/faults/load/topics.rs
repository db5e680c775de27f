//! The topics of a load, and their changes.

use std::sync::Arc;

use tidemill::config::Routing;
use tidemill::metadata::{Command, Endpoint, Image, apply};
use tidemill::model::{TopicId, TopicPartition};

use super::NODE;

fn overrides(name: &str) -> Vec<(String, String)> {
    // A full index rolls the segment: twelve batches, with one entry each.
    let mut all = vec![("segment.index.bytes", "96"), ("index.interval.bytes", "0"), ("file.delete.delay.ms", "0")];
    match name {
        "kept" => all.push(("retention.bytes", "500000")),
        "plain" | "purged" => all.push(("retention.ms", "-1")),
        "compact" => all.extend([("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.1")]),
        "loose" => all.push(("tidemill.flush.ack", "false")),
        _ => {}
    }
    all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The metadata with these topics. `plain` has three partitions, `many` has twelve, all others have one.
pub fn image_with(names: &[&str]) -> Arc<Image> {
    let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 };
    let start = Command::NodeStarted {
        node: NODE,
        incarnation: 1,
        endpoints: vec![endpoint],
        shards: 1,
        routing: Routing::Direct,
        rack: String::new(),
    };
    let format = Command::FormatCluster { cluster_id: "cluster".into() };
    let image = apply(&Image::default(), 1, &[format, start]).expect("a new cluster").0;
    names.iter().fold(Arc::new(image), |image, name| with_topic(&image, name))
}

pub fn with_topic(image: &Image, name: &str) -> Arc<Image> {
    let index = image.index + 1;
    let mut id = [7; 16];
    id[..8].copy_from_slice(&index.to_be_bytes());
    let partitions = match name {
        "plain" => 3,
        "many" => 12,
        _ => 1,
    };
    let replicas = vec![vec![NODE]; partitions];
    let create = Command::CreateTopic { id: TopicId(id), name: name.into(), replicas, overrides: overrides(name) };
    Arc::new(apply(image, index, &[create]).expect("a new name").0)
}

pub fn without_topic(image: &Image, name: &str) -> Arc<Image> {
    let id = image.topic(name).expect("it is there").id;
    Arc::new(apply(image, image.index + 1, &[Command::DeleteTopic { id }]).expect("it is there").0)
}

pub fn partitions(image: &Image) -> Vec<TopicPartition> {
    let of_topic = |topic: &Arc<tidemill::metadata::Topic>| {
        let id = topic.id;
        (0..topic.partitions.len() as i32).map(move |partition| TopicPartition { topic: id, partition })
    };
    image.topics().flat_map(of_topic).collect()
}
