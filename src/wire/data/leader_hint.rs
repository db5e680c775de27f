//! The current leader in the response of a broker that does not lead the partition, so that the client can retry
//! without a metadata request (KIP-951). Produce and Fetch responses share these tagged structs.

use std::borrow::Cow;

use crate::wire::{Malformed, Reader, Writer};

/// The current leader of a partition. The default, -1 and -1, means "unset" and is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CurrentLeader {
    /// The broker that leads the partition; -1: unset.
    pub leader_id: i32,
    /// The epoch of its leadership; -1: unset.
    pub leader_epoch: i32,
}

impl Default for CurrentLeader {
    fn default() -> CurrentLeader {
        CurrentLeader { leader_id: -1, leader_epoch: -1 }
    }
}

impl CurrentLeader {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<CurrentLeader, Malformed> {
        let leader = CurrentLeader { leader_id: r.i32()?, leader_epoch: r.i32()? };
        r.skip_tags()?;
        Ok(leader)
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.i32(self.leader_id);
        w.i32(self.leader_epoch);
        w.tag_count(0);
    }
}

/// The address of a leader that a [`CurrentLeader`] names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    pub node_id: i32,
    /// The host name or address of the listener that the client uses.
    pub host: Cow<'a, str>,
    /// The port of that listener.
    pub port: i32,
    /// The broker's rack; null if it has none.
    pub rack: Option<Cow<'a, str>>,
}

impl<'a> NodeEndpoint<'a> {
    pub(super) fn decode_all(r: &mut Reader<'a>) -> Result<Vec<NodeEndpoint<'a>>, Malformed> {
        // node_id and port, then at least one length byte each for host, rack and tags.
        let count = r.array_len(4 + 4 + 3)?;
        let mut endpoints = Vec::with_capacity(count);
        for _ in 0..count {
            endpoints.push(NodeEndpoint {
                node_id: r.i32()?,
                host: r.string()?.into(),
                port: r.i32()?,
                rack: r.nullable_string()?.map(Cow::Borrowed),
            });
            r.skip_tags()?;
        }
        Ok(endpoints)
    }

    pub(super) fn encode_all(endpoints: &[NodeEndpoint<'_>], w: &mut Writer) {
        w.array_len(endpoints.len());
        for endpoint in endpoints {
            w.i32(endpoint.node_id);
            w.string(&endpoint.host);
            w.i32(endpoint.port);
            w.nullable_string(endpoint.rack.as_deref());
            w.tag_count(0);
        }
    }
}
