//! What is written of a classic group into `__consumer_offsets`: `GroupMetadataValue`, versions 0 to 4. The version stands in
//! front of it; from 4 on it is flexible. Committed offsets, of which there are many, are read and written by hand in
//! `coordinator::group::record`.

use super::{Bytes, Malformed, Reader, Wire, Writer};

/// What Kafka 4.3 writes.
const VERSION: i16 = 3;
const FLEXIBLE_FROM: i16 = 4;
const VERSION_MAX: i16 = 4;

message! {
    part GroupMetadataValue {
        protocol_type: String, 0+;
        generation: i32, 0+;
        protocol: Option<String>, 0+;
        leader: Option<String>, 0+;
        /// -1 where it is not known.
        current_state_timestamp: i64, 2+, default = -1, ignorable = true;
        members: Vec<MemberMetadata>, 0+;
    }

    part MemberMetadata {
        member_id: String, 0+;
        group_instance_id: Option<String>, 3+, ignorable = true;
        client_id: String, 0+;
        client_host: String, 0+;
        /// -1: the session's.
        rebalance_timeout: i32, 1+, default = -1, ignorable = true;
        session_timeout: i32, 0+;
        subscription: Bytes, 0+;
        assignment: Bytes, 0+;
    }
}

impl GroupMetadataValue {
    pub fn parse(bytes: &[u8]) -> Result<GroupMetadataValue, Malformed> {
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        let version = r.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(r.malformed("a version of GroupMetadataValue that is not known"));
        }
        r.set_flexible(version >= FLEXIBLE_FROM);
        let value = <GroupMetadataValue as Wire>::decode(&mut r, version)?;
        r.end()?;
        Ok(value)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(VERSION, false);
        w.i16(VERSION);
        Wire::encode(self, &mut w, VERSION);
        w.finish().expect("every field is in the version")
    }
}
