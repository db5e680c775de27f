//! A response that is being sent: encoded bytes, and positions of log data that are read when the socket has room.
//!
//! A client that does not read holds none of the shard's memory: between two sends an answer keeps only the positions
//! of its records. Records are read in windows ([`Answer::window`]). The part of a window that the socket does not
//! accept is released, and read again when the socket has room. Apache Kafka gets the same from `sendfile(2)`, with
//! blocking reads.
//!
//! Records of another shard's partitions are copied over one window at a time, under a budget of the shard.

use std::collections::VecDeque;

use crate::api::server::Server;
use crate::log::read::Extent;
use crate::model::ShardId;
use crate::router::message::{RecordsLost, Reply, ShardRequest, Stretch};
use crate::runtime::Permit;
use crate::runtime::buf::Slice;
use crate::wire::Payload;

/// The most bytes in one send.
const WINDOW_BYTES: usize = 1 << 20;
/// The most slices in one send; `sendmsg(2)` accepts 1024.
const WINDOW_SLICES: usize = 1000;
/// The most bytes copied from another shard at a time.
pub(in crate::api) const COPY_BYTES: usize = 256 << 10;

/// One part of an answer.
pub enum Piece {
    Bytes(Slice),
    Log(Extent),
    Remote(Remote),
}

/// Records on another shard, with a copy of the first ones.
pub struct Remote {
    pub shard: ShardId,
    pub stretch: Stretch,
    pub copied: Slice,
}

impl Payload for Piece {
    fn bytes(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Log(extent) => extent.bytes(),
            Piece::Remote(remote) => remote.stretch.bytes(),
        }
    }
}

impl Piece {
    fn advance(&mut self, bytes: usize) {
        match self {
            Piece::Bytes(slice) => *slice = slice.slice(bytes..slice.len()),
            Piece::Log(extent) => extent.advance(bytes),
            Piece::Remote(remote) => {
                remote.stretch.positions.start += bytes as u64;
                remote.copied = remote.copied.slice(bytes.min(remote.copied.len())..remote.copied.len());
            }
        }
    }
}

/// The pieces that are not sent yet, in order.
#[derive(Default)]
pub struct Answer {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The permit for the copies in `pieces`.
    copies: Option<Permit>,
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Answer {
        Answer::new(vec![Piece::Bytes(Slice::from(bytes))], None)
    }
}

impl Answer {
    pub(in crate::api) fn new(pieces: Vec<Piece>, copies: Option<Permit>) -> Answer {
        let bytes = pieces.iter().map(Payload::bytes).sum();
        Answer { pieces: pieces.into(), bytes, copies }
    }

    /// The bytes that are left to send.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends another answer.
    pub fn append(&mut self, mut other: Answer) {
        self.pieces.append(&mut other.pieces);
        self.bytes += other.bytes;
        match (&mut self.copies, other.copies) {
            (Some(copies), Some(more)) => copies.merge(more),
            (copies, more) => *copies = copies.take().or(more),
        }
    }

    /// The next bytes to send: at least one, at most one send's worth. Waits for a read only when no bytes in memory
    /// can be sent first, so a task that waits holds no memory that other tasks wait for.
    ///
    /// # Errors
    /// If records can no longer be read. The answer cannot be finished, and the connection has to be closed.
    pub async fn window(&mut self, server: &Server) -> Result<(Vec<Slice>, usize), RecordsLost> {
        let mut slices = Vec::with_capacity(self.pieces.len().min(WINDOW_SLICES));
        let mut bytes = 0;
        for piece in &mut self.pieces {
            let room = WINDOW_BYTES - bytes;
            if room == 0 || slices.len() >= WINDOW_SLICES {
                break;
            }
            let whole = piece.bytes();
            let from = bytes;
            match piece {
                Piece::Bytes(slice) => {
                    slices.push(slice.slice(0..whole.min(room)));
                    bytes += whole.min(room);
                }
                Piece::Log(extent) => {
                    bytes += extent.cached(0, room, &mut slices);
                    if bytes == 0 {
                        let page = extent.load(room).await?;
                        bytes += page.len();
                        slices.push(page);
                        bytes += extent.cached(bytes, room - bytes, &mut slices);
                    }
                }
                Piece::Remote(remote) => {
                    if remote.copied.is_empty() && bytes == 0 {
                        if self.copies.is_none() {
                            self.copies = Some(server.copies.acquire(COPY_BYTES as u64).await);
                        }
                        remote.copied = remote.copy(server).await?;
                    }
                    let copied = remote.copied.len().min(room);
                    slices.push(remote.copied.slice(0..copied));
                    bytes += copied;
                }
            }
            if bytes - from < whole {
                break;
            }
        }
        Ok((slices, bytes))
    }

    /// Marks the first `bytes` as sent.
    pub fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(piece) = self.pieces.front_mut() {
            let whole = piece.bytes();
            if bytes < whole {
                piece.advance(bytes);
                return;
            }
            bytes -= whole;
            self.pieces.pop_front();
        }
    }

    /// Releases the copies while the socket accepts no bytes.
    pub fn release_copies(&mut self) {
        for piece in &mut self.pieces {
            if let Piece::Remote(remote) = piece {
                remote.copied = Slice::default();
            }
        }
        self.copies = None;
    }
}

impl Remote {
    /// Copies the next bytes from the other shard.
    async fn copy(&self, server: &Server) -> Result<Slice, RecordsLost> {
        let request = ShardRequest::Read { stretch: self.stretch.clone(), bytes_max: COPY_BYTES };
        match server.router.call(self.shard, request).reply().await {
            Reply::Read(Ok(bytes)) => Ok(Slice::from(bytes)),
            Reply::Read(Err(lost)) => Err(lost),
            _ => unreachable!("a read call is answered by Read"),
        }
    }
}
