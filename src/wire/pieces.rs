//! A frame whose record bytes never pass through the writer (WIRE-3).
//!
//! Everything but the records is one vector; each payload has the position in it before which it is sent. The sender
//! turns both into one iovec:
//!
//! ```text
//! head:  [length|header|topic|partition 0|partition 1|tags]      payloads: (43, records 0), (70, records 1)
//! sent:  head[0..43] records 0 head[43..70] records 1 head[70..]
//! ```

use std::ops::{Deref, Range};

use super::{Unencodable, Writer};

/// A frame ready to send: header bytes, and the payloads that belong between them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pieces<P> {
    /// Length prefix and all fields.
    pub head: Vec<u8>,
    /// Ascending by position in `head`; none is empty.
    pub payloads: Vec<(usize, P)>,
}

/// Record bytes of which only the number is known here: they may be in memory, in a file, or on another shard.
pub trait Payload {
    fn bytes(&self) -> usize;
}

impl<T: Deref<Target = [u8]>> Payload for T {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl<P: Payload> Pieces<P> {
    /// Bytes on the wire, with the length prefix.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.payloads.iter().map(|(_, payload)| payload.bytes()).sum::<usize>()
    }

    /// In sending order, as `head` made into `whole` by the caller (so that every piece shares its buffer): `cut` takes a
    /// range of `whole` out.
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

    /// The whole frame in one vector: copies, so it is for small frames and for tests.
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

/// Builds [`Pieces`]: a writer, and what it leaves out.
#[derive(Debug)]
pub(super) struct PieceWriter<P> {
    pub w: Writer,
    payloads: Vec<(usize, P)>,
    payload_bytes: usize,
}

impl<P: Payload> PieceWriter<P> {
    pub fn new(w: Writer) -> PieceWriter<P> {
        PieceWriter { w, payloads: Vec::new(), payload_bytes: 0 }
    }

    /// One records field: its length, and its bytes left out. Empty is length 0, never null: librdkafka takes null for
    /// corruption (KAFKA-18646).
    pub fn records(&mut self, parts: impl IntoIterator<Item = P>) {
        let first = self.payloads.len();
        // The length stands before the payloads, so their position is known only after it is written.
        self.payloads.extend(parts.into_iter().filter(|part| part.bytes() > 0).map(|part| (0, part)));
        let records_bytes = self.payloads[first..].iter().map(|(_, part)| part.bytes()).sum();
        self.w.nullable_length(Some(records_bytes));
        let at = self.w.at();
        self.payloads[first..].iter_mut().for_each(|payload| payload.0 = at);
        self.payload_bytes += records_bytes;
    }

    pub fn finish(self) -> Result<Pieces<P>, Unencodable> {
        Ok(Pieces { head: self.w.finish_with_payload(self.payload_bytes)?, payloads: self.payloads })
    }
}

/// Holds the caller to the counts it announced: an array whose count is wrong is a frame nobody can read.
#[derive(Debug)]
pub(super) struct Announced {
    pub topics: usize,
    pub partitions: usize,
}

impl Announced {
    pub fn topic(&mut self, partitions: usize) {
        assert!(
            self.topics > 0 && self.partitions == 0,
            "one topic follows another when all its partitions are written"
        );
        self.topics -= 1;
        self.partitions = partitions;
    }

    /// True for the last partition of its topic.
    pub fn partition(&mut self) -> bool {
        assert!(self.partitions > 0, "no more partitions than announced");
        self.partitions -= 1;
        self.partitions == 0
    }

    pub fn finish(&self) {
        assert!(self.topics == 0 && self.partitions == 0, "every topic and partition announced is written");
    }
}
