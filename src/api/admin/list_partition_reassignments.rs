//! ListPartitionReassignments (key 46): no partition ever moves, so the list is empty
//! ([`alter_partition_reassignments`](super::alter_partition_reassignments)). Unknown topics are no error, as in Kafka.

use super::context::Context;
use crate::wire::admin::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub fn answer(_: &ListPartitionReassignmentsRequest, _: &Context<'_>) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}
