//! Members of a consumer group that change their minds while the group is changing.

use crate::support::clients::WITHIN;
use crate::support::node::Node;
use crate::support::peers;

/// librdkafka rejoins with nothing but its topics, and takes Kafka's INVALID_REQUEST as fatal.
#[test]
fn a_consumer_of_librdkafka_that_unsubscribes_while_it_revokes_joins_again() {
    let Some(program) = peers::librdkafka() else { return };
    let node = Node::tidemill("resubscribe", &[]);
    let arguments = [("bootstrap", node.bootstrap().to_string()), ("topic", "resubscribed".to_string())];
    program.run("resubscribe", &arguments, WITHIN);
}
