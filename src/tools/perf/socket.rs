//! A non-blocking connection. It sends queued frames in as few system calls as possible, and splits the received bytes
//! into frames. The loop waits for all connections together with [`wait`].

use super::requests::{HEAD_BYTES, ProduceFrame, head};
use crate::tools::Failure;
use crate::tools::client::connection::{RESPONSE_BYTES_MAX, connect_tcp};
use crate::wire::frame;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

const READ_BYTES: usize = 64 << 10;
/// The largest number of pieces in one writev.
const PIECES_MAX: usize = 64;

/// A part of a queued frame.
enum Piece {
    Head([u8; HEAD_BYTES]),
    Body(Rc<ProduceFrame>),
    Frame(Vec<u8>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Head(head) => head,
            Piece::Body(request) => &request.body,
            Piece::Frame(frame) => frame,
        }
    }
}

/// A non-blocking TCP connection to a broker.
pub struct Socket {
    stream: TcpStream,
    pub address: String,
    /// The pieces to send.
    out: VecDeque<Piece>,
    /// The number of bytes of the first piece that have been sent.
    sent: usize,
    /// The received bytes are at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    /// Connects to `host:port`.
    pub fn connect(address: &str, timeout: Duration) -> Result<Socket, Failure> {
        let stream = connect_tcp(address, timeout).and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
        let stream = stream.map_err(|error| Failure::new(format!("cannot connect to {address}: {error}")))?;
        Ok(Socket {
            stream,
            address: address.to_string(),
            out: VecDeque::new(),
            sent: 0,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        })
    }

    /// Queues a Produce frame. [`flush`](Self::flush) sends it.
    pub fn queue(&mut self, frame: &Rc<ProduceFrame>, correlation_id: i32) {
        self.out.push_back(Piece::Head(head(frame, correlation_id)));
        self.out.push_back(Piece::Body(frame.clone()));
    }

    /// Queues a complete frame.
    pub fn queue_frame(&mut self, frame: Vec<u8>) {
        self.out.push_back(Piece::Frame(frame));
    }

    /// The number of requests that the kernel has not taken completely.
    pub fn unsent(&self) -> usize {
        self.out.iter().filter(|piece| !matches!(piece, Piece::Head(_))).count()
    }

    /// Sends as many queued bytes as the kernel takes.
    pub fn flush(&mut self) -> Result<(), Failure> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(piece.bytes());
                count += 1;
            }
            slices[0] = IoSlice::new(&self.out[0].bytes()[self.sent..]);
            match (&self.stream).write_vectored(&slices[..count]) {
                Ok(mut bytes) => {
                    bytes += self.sent;
                    while self.out.front().is_some_and(|piece| piece.bytes().len() <= bytes) {
                        bytes -= self.out.pop_front().map_or(0, |piece| piece.bytes().len());
                    }
                    self.sent = bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
        Ok(())
    }

    /// Reads once from the socket. Returns false if there was nothing to read.
    pub fn receive(&mut self) -> Result<bool, Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < READ_BYTES {
                // The buffer grows with the received bytes, not with the announced length.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            return match (&self.stream).read(&mut self.buffer[self.end..]) {
                Ok(0) => Err(self.broken("the broker closed the connection")),
                Ok(bytes) => {
                    self.end += bytes;
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(self.broken(&error.to_string())),
            };
        }
    }

    /// Takes the next complete frame out of the buffer, without its length prefix.
    pub fn frame(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk::<4>() else { return Ok(None) };
        let length = frame::length(*prefix, RESPONSE_BYTES_MAX).map_err(|error| self.broken(&error.to_string()))?;
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + 4;
        self.start = from + length;
        Ok(Some(&self.buffer[from..from + length]))
    }

    /// The failure of this connection.
    pub fn broken(&self, why: &str) -> Failure {
        Failure::new(format!("the connection to {} broke: {why}", self.address))
    }
}

/// Waits up to `at_most` until a socket is readable, or writable if it has queued pieces. Returns for each socket
/// whether it must be read.
pub fn wait<'a>(sockets: impl Iterator<Item = &'a Socket>, at_most: Duration) -> Result<Vec<bool>, Failure> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .map(|socket| {
            let writes = if socket.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            PollFd::new(&socket.stream, PollFlags::IN | writes)
        })
        .collect();
    let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: at_most.subsec_nanos().into() };
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Failure::new(format!("cannot wait for the connections: {error}"))),
    }
    Ok(polled.iter().map(|polled| !(polled.revents() - PollFlags::OUT).is_empty()).collect())
}
