//! A topic as a message names it: by name, or by id in versions that have ids (KIP-516).

use super::{Malformed, Reader, Writer};
use crate::model::TopicId;

/// The name or the id of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic<'a> {
    /// By name.
    Name(&'a str),
    /// By id (KIP-516).
    Id(TopicId),
}

impl<'a> Topic<'a> {
    /// The fewest bytes of an encoded topic: an empty compact name.
    pub(super) const BYTES_MIN: usize = 1;

    #[inline]
    pub(super) fn decode(r: &mut Reader<'a>, by_id: bool) -> Result<Topic<'a>, Malformed> {
        Ok(if by_id { Topic::Id(r.uuid()?) } else { Topic::Name(r.string()?) })
    }

    #[inline]
    pub(super) fn encode(self, w: &mut Writer, by_id: bool) {
        match (self, by_id) {
            (Topic::Id(id), true) => w.uuid(id),
            (Topic::Name(name), false) => w.string(name),
            (Topic::Id(_), false) => w.refuse("a topic id"),
            (Topic::Name(_), true) => w.refuse("a topic name"),
        }
    }
}
