//! The value of a copied record: its transaction, and the input record that it copies.
//!
//! ```text
//! transactional id | incarnation | transaction | index | count | will abort
//!     | input partition | input offset | input value
//! ```
//!
//! Every copier program in tests/clients/ writes this format, and takes the output partition from the number in the
//! key. So all records of a key go to one partition, and a transaction writes to several.

use std::fmt;

/// The nth transaction of a producer's incarnation. A crash or a fatal error starts the next incarnation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag {
    pub id: String,
    pub incarnation: u64,
    pub number: u64,
}

impl Tag {
    pub fn parse(id: &str, incarnation: &str, number: &str) -> Option<Tag> {
        Some(Tag { id: id.into(), incarnation: incarnation.parse().ok()?, number: number.parse().ok()? })
    }

    /// Parses the words of a copier's output line.
    pub fn heard(line: &str, verb: &str) -> Option<Tag> {
        let mut words = line.strip_prefix(verb)?.split_whitespace();
        Tag::parse(words.next()?, words.next()?, words.next()?)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} of {} ({})", self.number, self.id, self.incarnation)
    }
}

pub struct Copied {
    pub tag: Tag,
    /// The record's number among the `count` records of the transaction.
    pub index: usize,
    pub count: usize,
    pub will_abort: bool,
    /// Partition and offset of the input record.
    pub from: (i32, i64),
    pub value: String,
}

impl Copied {
    pub fn parse(value: &[u8]) -> Option<Copied> {
        let text = std::str::from_utf8(value).ok()?;
        let field: Vec<&str> = text.splitn(9, '|').collect();
        let [id, incarnation, number, index, count, aborts, partition, offset, value] = field[..] else { return None };
        Some(Copied {
            tag: Tag::parse(id, incarnation, number)?,
            index: index.parse().ok()?,
            count: count.parse().ok()?,
            will_abort: aborts == "1",
            from: (partition.parse().ok()?, offset.parse().ok()?),
            value: value.into(),
        })
    }
}

/// The output partition of a key such as `k17`.
pub fn output_partition(key: &[u8], partitions: i32) -> Option<i32> {
    let number: i32 = std::str::from_utf8(key).ok()?.strip_prefix('k')?.parse().ok()?;
    Some(number % partitions)
}
