//! The operations that an authorizer allows or denies, by kind of resource (KIP-11, `AclEntry.supportedOperations`).

/// An operation, with its number in `AclOperation`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// A kind of resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    Topic,
    Group,
    Cluster,
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
