//! The messages that classic consumers exchange through the coordinator: Kafka's `ConsumerProtocolSubscription` and
//! `ConsumerProtocolAssignment`. The coordinator reads them only to serve such a consumer in a consumer group.
//!
//! ```text
//! Subscription  version int16, topics [string], user data nullable bytes
//!            1  ... owned [topic string, [partition int32]]
//!            2  ... generation int32
//!            3  ... rack nullable string
//! Assignment    version int16, assigned [topic string, [partition int32]], user data nullable bytes
//! ```
//! An unknown version is read as the highest known one, because newer versions only append fields.

use crate::model::PartitionIndex;
use crate::wire::{Malformed, Reader, Writer};

const VERSION_MAX: i16 = 3;

/// Partitions by topic name.
pub type PartitionsByName = Vec<(String, Vec<PartitionIndex>)>;

/// A consumer's subscription and the partitions that it reports.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscription {
    /// At most the highest known version.
    pub version: i16,
    /// The topics that it subscribes to.
    pub topics: Vec<String>,
    /// The partitions that it reports, from version 1 on.
    pub owned: PartitionsByName,
    /// The consumer's rack, from version 3 on.
    pub rack_id: Option<String>,
}

impl Subscription {
    /// Parses any version.
    pub fn parse(bytes: &[u8]) -> Result<Subscription, Malformed> {
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        let version = version(&mut r)?;
        let mut subscription = Subscription { version, ..Subscription::default() };
        for _ in 0..r.array_len(2)? {
            subscription.topics.push(r.string()?.to_owned());
        }
        r.nullable_bytes()?;
        if version >= 1 {
            subscription.owned = named(&mut r)?;
        }
        if version >= 2 {
            r.i32()?;
        }
        if version >= 3 {
            subscription.rack_id = r.nullable_string()?.map(str::to_owned);
        }
        Ok(subscription)
    }
}

/// A consumer's assignment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    /// The assigned partitions.
    pub assigned: PartitionsByName,
    /// The client's own assignor has added user data.
    pub has_user_data: bool,
}

impl Assignment {
    /// A member without any assignment has empty bytes.
    pub fn parse(bytes: &[u8]) -> Result<Assignment, Malformed> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        let mut r = Reader::new(bytes);
        r.set_flexible(false);
        version(&mut r)?;
        let assigned = named(&mut r)?;
        let has_user_data = r.nullable_bytes()?.is_some_and(|bytes| !bytes.is_empty());
        Ok(Assignment { assigned, has_user_data })
    }

    /// Encodes for a member whose subscription has this version.
    pub fn to_bytes(assigned: &PartitionsByName, version: i16) -> Vec<u8> {
        let mut w = Writer::new(version, false);
        w.i16(version);
        w.array_len(assigned.len());
        for (topic, partitions) in assigned {
            w.string(topic);
            w.array_len(partitions.len());
            partitions.iter().for_each(|partition| w.i32(*partition));
        }
        w.nullable_bytes(None);
        w.finish().expect("topic names are short")
    }
}

fn version(r: &mut Reader<'_>) -> Result<i16, Malformed> {
    match r.i16()? {
        ..0 => Err(r.malformed("a negative version of the consumer protocol")),
        version => Ok(version.min(VERSION_MAX)),
    }
}

fn named(r: &mut Reader<'_>) -> Result<PartitionsByName, Malformed> {
    let count = r.array_len(2 + 4)?;
    let mut named = PartitionsByName::with_capacity(count);
    for _ in 0..count {
        let topic = r.string()?.to_owned();
        let count = r.array_len(4)?;
        let partitions = (0..count).map(|_| r.i32()).collect::<Result<_, _>>()?;
        named.push((topic, partitions));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_of_every_version_are_read() {
        let mut bytes = [&[0, 0, 0, 0, 0, 1, 0, 1][..], b"t", &[0, 0, 0, 0]].concat();
        let named = |version| Subscription { version, topics: vec!["t".into()], ..Subscription::default() };
        assert_eq!(Subscription::parse(&bytes), Ok(named(0)));
        let owned = [&[0, 0, 0, 1, 0, 1][..], b"t", &[0, 0, 0, 1, 0, 0, 0, 7]].concat();
        bytes.extend(&owned);
        bytes[1] = 1;
        let has = Subscription { owned: vec![("t".into(), vec![7])], ..named(1) };
        assert_eq!(Subscription::parse(&bytes), Ok(has.clone()));
        bytes[1] = 2;
        assert!(Subscription::parse(&bytes).is_err());
        bytes.extend([0, 0, 0, 9]);
        assert_eq!(Subscription::parse(&bytes), Ok(Subscription { version: 2, ..has.clone() }));
        bytes.extend([0, 1, b'r']);
        for version in [3, 9] {
            bytes[1] = version;
            let rack_id = Some("r".into());
            assert_eq!(Subscription::parse(&bytes), Ok(Subscription { version: 3, rack_id, ..has.clone() }));
        }
        bytes[0] = 0xff;
        assert!(Subscription::parse(&bytes).is_err());
    }

    #[test]
    fn assignments_round_trip() {
        let assigned: PartitionsByName = vec![("t".into(), vec![1, 2]), ("u".into(), vec![])];
        let bytes = Assignment::to_bytes(&assigned, 1);
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(Assignment::parse(&bytes), Ok(Assignment { assigned, has_user_data: false }));
        assert_eq!(Assignment::parse(&[]), Ok(Assignment::default()));
        assert!(Assignment::parse(&bytes[..bytes.len() - 5]).is_err());
    }
}
