//! A frame whose record bytes do not pass through the writer (WIRE-3).
//!
//! One vector holds all fields except the records. Each payload has the position in that vector before which it is
//! sent. The sender combines both into one iovec:
//!
//! ```text
//! head:  [length|header|topic|partition 0|partition 1|tags]      payloads: (43, records 0), (70, records 1)
//! sent:  head[0..43] records 0 head[43..70] records 1 head[70..]
//! ```

use std::ops::{Deref, Range};

use super::{Unencodable, Writer};

/// A frame ready to send: the bytes of its fields, and the payloads between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pieces<P> {
    /// The length prefix and all fields except records.
    pub head: Vec<u8>,
    /// Ascending by position in `head`; none is empty.
    pub payloads: Vec<(usize, P)>,
}

/// Record bytes of which the encoder knows only the number: they may be in memory, in a file, or on another shard.
pub trait Payload {
    /// The number of bytes that the payload adds to the frame.
    fn bytes(&self) -> usize;
}

impl<T: Deref<Target = [u8]>> Payload for T {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<P: Payload> Pieces<P> {
    /// The number of bytes on the wire, including the length prefix.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.payloads.iter().map(|(_, payload)| payload.bytes()).sum::<usize>()
    }

    /// The pieces in sending order. `whole` turns `head` into a shared buffer, and `cut` takes a range of that buffer.
    pub fn into_iovec<S>(self, whole: impl FnOnce(Vec<u8>) -> S, cut: impl Fn(&S, Range<usize>) -> P) -> Vec<P> {
        let head_bytes = self.head.len();
        let head = whole(self.head);
        let mut iovec = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut sent = 0;
        for (at, payload) in self.payloads {
            if at > sent {
                iovec.push(cut(&head, sent..at));
                sent = at;
            }
            iovec.push(payload);
        }
        if head_bytes > sent {
            iovec.push(cut(&head, sent..head_bytes));
        }
        iovec
    }

    /// The whole frame in one vector. It copies the payloads, so use it only for small frames and tests.
    pub fn to_vec(&self) -> Vec<u8>
    where
        P: Deref<Target = [u8]>,
    {
        let mut frame = Vec::with_capacity(self.bytes());
        let mut sent = 0;
        for (at, payload) in &self.payloads {
            frame.extend_from_slice(&self.head[sent..*at]);
            frame.extend_from_slice(payload);
            sent = *at;
        }
        frame.extend_from_slice(&self.head[sent..]);
        frame
    }
}

/// Builds [`Pieces`]: a writer, and the payloads that do not pass through it.
#[derive(Debug)]
pub(super) struct PieceWriter<P> {
    /// Writes all fields except records.
    pub w: Writer,
    payloads: Vec<(usize, P)>,
    payload_bytes: usize,
}

impl<P: Payload> PieceWriter<P> {
    /// Continues after the header that `w` has written.
    pub fn new(w: Writer) -> PieceWriter<P> {
        PieceWriter { w, payloads: Vec::new(), payload_bytes: 0 }
    }

    /// Writes the length of one records field and keeps its bytes as payloads. Empty records have length 0, never null:
    /// librdkafka takes null for corruption (KAFKA-18646).
    pub fn records(&mut self, parts: impl IntoIterator<Item = P>) {
        let first = self.payloads.len();
        // The payloads follow their length, so their position is known only after the length is written.
        self.payloads.extend(parts.into_iter().filter(|part| part.bytes() > 0).map(|part| (0, part)));
        let records_bytes = self.payloads[first..].iter().map(|(_, part)| part.bytes()).sum();
        self.w.nullable_length(Some(records_bytes));
        let at = self.w.at();
        self.payloads[first..].iter_mut().for_each(|payload| payload.0 = at);
        self.payload_bytes += records_bytes;
    }

    /// Sets the length prefix, which counts the payloads.
    pub fn finish(self) -> Result<Pieces<P>, Unencodable> {
        let head = self.w.finish_with_payload(self.payload_bytes)?;
        debug_assert!(
            head.first_chunk().is_some_and(|prefix| {
                i32::from_be_bytes(*prefix) as usize + prefix.len() == head.len() + self.payload_bytes
            }),
            "WIRE-3: the frame's length counts the record bytes, and its head holds none of them"
        );
        Ok(Pieces { head, payloads: self.payloads })
    }
}

/// Asserts that the caller writes as many topics and partitions as it announced. An array with a wrong count makes the
/// frame unreadable.
#[derive(Debug)]
pub(super) struct Announced {
    /// The topics that are not started.
    pub topics: usize,
    /// The partitions of the current topic that are not written.
    pub partitions: usize,
}

impl Announced {
    /// Starts a topic with `partitions` partitions.
    pub fn topic(&mut self, partitions: usize) {
        assert!(
            self.topics > 0 && self.partitions == 0,
            "a topic starts only after all partitions of the previous one are written"
        );
        self.topics -= 1;
        self.partitions = partitions;
    }

    /// True for the last partition of its topic.
    pub fn partition(&mut self) -> bool {
        assert!(self.partitions > 0, "a topic has no more partitions than announced");
        self.partitions -= 1;
        self.partitions == 0
    }

    /// Asserts that everything announced is written.
    pub fn finish(&self) {
        assert!(self.topics == 0 && self.partitions == 0, "all announced topics and partitions are written");
    }
}
