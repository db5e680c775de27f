//! The operations that an authorizer allows or denies, by kind of resource (KIP-11, `AclEntry.supportedOperations`).

/// An operation, with its number in `AclOperation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Operation {
    /// Fetch records, commit offsets.
    Read = 3,
    /// Produce records, use a transactional id.
    Write = 4,
    /// Create topics.
    Create = 5,
    /// Delete topics, groups and records.
    Delete = 6,
    /// Change a resource, such as its number of partitions.
    Alter = 7,
    /// Read a resource's state. READ, WRITE, DELETE and ALTER imply it.
    Describe = 8,
    /// Requests between brokers.
    ClusterAction = 9,
    /// Read settings.
    DescribeConfigs = 10,
    /// Change settings.
    AlterConfigs = 11,
    /// InitProducerId without a transactional id; WRITE on a topic suffices since Kafka 2.8 (KIP-679).
    IdempotentWrite = 12,
}

/// A kind of resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// By name.
    Topic,
    /// By group id.
    Group,
    /// The cluster itself, named `kafka-cluster` in ACLs.
    Cluster,
    /// By transactional id.
    TransactionalId,
}

impl Resource {
    /// The operations that the resource supports.
    pub const fn operations(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            Resource::Topic => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
            Resource::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Resource::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            Resource::TransactionalId => &[Write, Describe],
        }
    }

    /// The supported operations, as the bit set of a response's "authorized operations" field. Without an authorizer
    /// all of them are authorized.
    pub const fn all_authorized(self) -> i32 {
        let (mut bits, mut at) = (0, 0);
        let operations = self.operations();
        while at < operations.len() {
            bits |= 1 << operations[at] as i32;
            at += 1;
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorized_operations_are_the_bits_that_kafka_sends() {
        assert_eq!(Resource::Topic.all_authorized(), 3576);
        assert_eq!(Resource::Cluster.all_authorized(), 8096);
        assert_eq!(Resource::Group.all_authorized(), 3400);
    }
}
