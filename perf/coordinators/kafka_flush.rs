//! Kafka with a flush per message, and without: a setting of the broker, changed while it runs, that holds for internal topics.

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, frame_of, message_in};
use super::support::node::Node;

const KEY: i16 = 44;
const VERSION: i16 = 1;
const BROKER: i8 = 4;
const SET: i8 = 0;

/// Acknowledged when flushed, or when written.
pub fn set(kafka: &Node, is_flushed: bool) {
    let messages = if is_flushed { "1".to_string() } else { i64::MAX.to_string() };
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("log.flush.interval.messages"))
        .with_config_operation(SET)
        .with_value(Some(StrBytes::from_string(messages)));
    // Of all brokers.
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut line = Connection::to(kafka.bootstrap());
    line.send(&frame_of(KEY, VERSION, &request));
    let answer: IncrementalAlterConfigsResponse = message_in(line.answer(), VERSION);
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    // It is an entry in the metadata log, and taken over from there.
    std::thread::sleep(std::time::Duration::from_millis(200));
}
