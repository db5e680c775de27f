//! Switches Kafka's flush per message on and off. The setting is dynamic, and also applies to internal topics.

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, frame_of, message_in};
use super::support::node::Node;

const KEY: i16 = 44;
const VERSION: i16 = 1;
const BROKER: i8 = 4;
const SET: i8 = 0;

/// Lets Kafka acknowledge after the flush, or after the write.
pub fn set(kafka: &Node, is_flushed: bool) {
    let messages = if is_flushed { "1".to_string() } else { i64::MAX.to_string() };
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("log.flush.interval.messages"))
        .with_config_operation(SET)
        .with_value(Some(StrBytes::from_string(messages)));
    // A resource without a name is the default of all brokers.
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut connection = Connection::to(kafka.bootstrap());
    connection.send(&frame_of(KEY, VERSION, &request));
    let response: IncrementalAlterConfigsResponse = message_in(connection.response(), VERSION);
    assert_eq!(response.responses[0].error_code, 0, "{:?}", response.responses[0].error_message);
    // The broker applies the setting when it reads it from the metadata log.
    std::thread::sleep(std::time::Duration::from_millis(200));
}
