//! The clients' own admin tests, as far as they need no security setup, against a node with default settings.

use crate::support::clients::WITHIN;
use crate::support::node::Node;
use crate::support::peers;
use crate::support::run::Program;

fn administers(program: Option<Program>) {
    let Some(program) = program else { return };
    let Some(node) = Node::start(&format!("administer-{}", program.name)) else { return };
    let arguments = [("bootstrap", node.bootstrap().to_string()), ("topic", "administered".to_string())];
    program.run("administer", &arguments, WITHIN);
}

#[test]
fn librdkafka_administers_records_groups_and_offsets() {
    administers(peers::librdkafka());
}

#[test]
fn kafka_python_administers_records_groups_and_the_cluster() {
    administers(peers::kafka_python());
}
