//! Splits the byte stream of a connection into frames.
//!
//! Small frames are handled in place, in a buffer of the shared pool that the kernel filled. A frame that is not whole
//! yet is copied out, so that a connection that pauses inside a frame holds no pool buffer. The rest of a large frame
//! is received directly into a buffer of its own, which grows with the bytes that arrived (NET-2). A length prefix that
//! claims 90 MiB costs four bytes.

use std::io;

use crate::runtime::buf::AlignedBuf;
use crate::runtime::{Permit, Permits, Stream};
use crate::wire::frame::{self, IllegalLength};

/// The length prefix of a frame.
const PREFIX_BYTES: usize = 4;
/// A frame of which this many bytes are missing gets a buffer of its own.
const LARGE_BYTES: usize = 64 << 10;
/// A buffer is at most this many times as large as the bytes of its frame that have arrived (NET-2).
const GROWTH: usize = 16;
/// A larger buffer is only doubled: otherwise slow senders of large frames would take the memory of all appends.
const STEP_BYTES: usize = 2 << 20;
/// Progress is reported after this many received bytes, so that a slow sender is not taken for a stalled one.
const PROGRESS_BYTES: usize = 1 << 20;

/// The reason why a connection receives no more frames.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error(transparent)]
    Length(#[from] IllegalLength),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer closed the connection inside a frame")]
    Torn,
}

/// The first bytes of a frame that is not whole yet, including its length prefix.
#[derive(Default)]
pub struct Partial(Vec<u8>);

/// The memory for large frames of one shard's connections: a quarter of its shared memory. Half of it is reserved for
/// frames of the sizes that producers usually send, so that a few giant frames that arrive slowly do not block them.
pub struct Budget {
    usual_bytes_max: u64,
    usual: Permits,
    giant: Permits,
}

impl Budget {
    /// `shared_memory` is the shard's memory that work of all kinds shares.
    pub fn new(shared_memory: u64) -> Budget {
        let half = shared_memory / 8;
        Budget { usual_bytes_max: half / 8, usual: Permits::new(half), giant: Permits::new(half) }
    }

    fn permits_for(&self, bytes: u64) -> &Permits {
        if bytes <= self.usual_bytes_max { &self.usual } else { &self.giant }
    }

    /// Whether a connection waits for memory.
    pub fn is_contended(&self) -> bool {
        self.usual.is_contended() || self.giant.is_contended()
    }
}

/// A whole large frame.
pub struct Large {
    buf: AlignedBuf,
    total: usize,
    _permit: Permit,
}

impl Large {
    /// The frame without its length prefix.
    pub fn frame(&self) -> &[u8] {
        &self.buf[PREFIX_BYTES..self.total]
    }
}

/// The result of a search for a frame in received bytes.
pub enum Found<'a> {
    /// A frame, and the bytes after it.
    Frame(&'a [u8], &'a [u8]),
    /// No whole frame.
    Incomplete,
}

/// Finds the first frame in `bytes`, and returns it without its length prefix.
pub fn first(bytes: &[u8], bytes_max: usize) -> Result<Found<'_>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(Found::Incomplete) };
    let length = frame::length(*prefix, frame::request_bytes_max(rest, bytes_max))?;
    Ok(match rest.split_at_checked(length) {
        Some((frame, rest)) => Found::Frame(frame, rest),
        None => Found::Incomplete,
    })
}

impl Partial {
    /// Whether no frame is incomplete.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The received bytes, with the length prefix.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Keeps the first bytes of an incomplete frame.
    pub fn start(&mut self, bytes: &[u8]) {
        assert!(self.0.is_empty(), "only one frame at a time is incomplete");
        self.0.extend_from_slice(bytes);
    }

    /// Keeps the bytes after a whole frame, for the shard that the connection moves to.
    pub fn append(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Drops the frame, and frees its memory if it was large.
    pub fn clear(&mut self) {
        self.0.clear();
        if self.0.capacity() > 2 * LARGE_BYTES {
            self.0 = Vec::new();
        }
    }

    /// Takes the bytes of the frame from the front of `bytes`. Returns the rest, and whether the frame is whole.
    pub fn extend<'a>(&mut self, mut bytes: &'a [u8], bytes_max: usize) -> Result<(&'a [u8], bool), FrameError> {
        loop {
            let total = match self.total(bytes_max)? {
                None => PREFIX_BYTES,
                Some(total) => total,
            };
            let taken = (total - self.0.len()).min(bytes.len());
            self.0.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.0.len() < total {
                return Ok((bytes, false));
            }
            if total > PREFIX_BYTES || self.total(bytes_max)? == Some(PREFIX_BYTES) {
                return Ok((bytes, true));
            }
        }
    }

    /// The size of the frame with its length prefix; `None` until the prefix has arrived.
    fn total(&self, bytes_max: usize) -> Result<Option<usize>, FrameError> {
        match self.0.split_first_chunk::<PREFIX_BYTES>() {
            Some((prefix, rest)) => {
                let bytes_max = frame::request_bytes_max(rest, bytes_max);
                Ok(Some(PREFIX_BYTES + frame::length(*prefix, bytes_max)?))
            }
            None => Ok(None),
        }
    }

    /// Whether the missing bytes justify a buffer of its own.
    pub fn is_large(&self, bytes_max: usize) -> Result<bool, FrameError> {
        Ok(self.total(bytes_max)?.is_some_and(|total| total - self.0.len() >= LARGE_BYTES && self.0.len() >= 4096))
    }

    /// The whole frame without its length prefix.
    pub fn whole(&self) -> &[u8] {
        &self.0[PREFIX_BYTES..]
    }

    /// Receives the rest of a large frame straight into a buffer.
    ///
    /// While it waits for memory it does not read, so TCP slows the peer down. The memory of the whole frame is
    /// reserved at once, so that no connection waits for more while it holds some. `on_progress` is called whenever a
    /// part of the frame has arrived.
    pub async fn receive(
        &mut self,
        stream: &Stream,
        bytes_max: usize,
        budget: &Budget,
        on_progress: impl Fn(),
    ) -> Result<Large, FrameError> {
        let total = self.total(bytes_max)?.expect("a large frame has its length prefix");
        let permit = budget.permits_for(total as u64).acquire(total as u64).await;
        on_progress();
        let mut filled = self.0.len();
        let mut buf = AlignedBuf::alloc_wait(room(filled, total)).await;
        buf[..filled].copy_from_slice(&self.0);
        self.clear();
        loop {
            let until = total.min(buf.capacity()).min(filled + PROGRESS_BYTES);
            let (received, back) = stream.recv_into(buf, filled, until - filled, true).await;
            buf = back;
            filled += received?;
            if filled < until {
                return Err(FrameError::Torn);
            }
            on_progress();
            if filled == total {
                return Ok(Large { buf, total, _permit: permit });
            }
            if filled < buf.capacity() {
                continue;
            }
            let mut larger = AlignedBuf::alloc_wait(room(filled, total)).await;
            larger[..filled].copy_from_slice(&buf[..filled]);
            buf = larger;
        }
    }
}

/// The size of the next buffer when `filled` of a frame's `total` bytes have arrived.
fn room(filled: usize, total: usize) -> usize {
    let room = total.min((filled * GROWTH).min((filled * 2).max(filled + STEP_BYTES)));
    assert!(room <= filled * GROWTH, "NET-2: a buffer of {room} bytes for {filled} bytes that arrived");
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn net_2_buffers_grow_with_the_bytes_that_arrived() {
        let total = 90 << 20;
        let mut filled = 4096;
        while filled < total {
            let bytes = room(filled, total);
            assert!(bytes > filled && bytes <= total && bytes <= GROWTH * filled, "{bytes} for {filled}");
            assert!(bytes <= (2 * filled).max(filled + STEP_BYTES), "{bytes} for {filled}");
            filled = bytes;
        }
        assert_eq!(room(4096, 5000), 5000, "a buffer is no larger than its frame");
    }

    #[test]
    fn a_frame_is_found_wherever_it_is_cut() {
        let stream = [frame(b"hello"), frame(b""), frame(b"world!")].concat();
        for cut in 0..=stream.len() {
            let mut partial = Partial::default();
            let mut frames: Vec<Vec<u8>> = Vec::new();
            for mut bytes in [&stream[..cut], &stream[cut..]] {
                while !bytes.is_empty() {
                    if partial.is_empty()
                        && let Found::Frame(frame, rest) = first(bytes, 100).unwrap()
                    {
                        frames.push(frame.to_vec());
                        bytes = rest;
                        continue;
                    }
                    let (rest, is_whole) = partial.extend(bytes, 100).unwrap();
                    bytes = rest;
                    if is_whole {
                        frames.push(partial.whole().to_vec());
                        partial.clear();
                    }
                }
            }
            assert_eq!(frames, [&b"hello"[..], b"", b"world!"], "cut at {cut}");
        }
    }

    #[test]
    fn illegal_lengths_are_refused_before_any_byte_of_the_body() {
        for length in [-1, i32::MIN, 101] {
            let bytes = length.to_be_bytes();
            assert!(matches!(first(&bytes, 100), Err(FrameError::Length(_))));
            assert!(matches!(Partial::default().extend(&bytes, 100), Err(FrameError::Length(_))));
        }
    }

    #[test]
    fn only_a_produce_request_may_be_large() {
        let max = frame::OTHER_REQUEST_BYTES_MAX;
        for (key, length, is_legal) in [(0, max + 1, true), (1, max + 1, false), (1, max, true), (999, max + 1, false)]
        {
            let mut bytes = (length as i32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&i16::to_be_bytes(key));
            assert_eq!(first(&bytes, 100 << 20).is_ok(), is_legal, "{key} {length}");
            // The same limit holds when the bytes arrive one by one.
            let mut partial = Partial::default();
            let outcome = bytes.iter().try_for_each(|byte| partial.extend(&[*byte], 100 << 20).map(|_| ()));
            let outcome = outcome.and_then(|()| partial.is_large(100 << 20));
            assert_eq!(outcome.is_ok(), is_legal, "{key} {length}");
        }
    }
}
