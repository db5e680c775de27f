//! One non-blocking connection: what is to be sent leaves in as few system calls as it can, what has come is cut into
//! frames. Waiting is the loop's business, for all connections at once.

use super::requests::{HEAD_BYTES, ProduceFrame, head};
use crate::tools::Failure;
use crate::wire::frame;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

const ANSWER_BYTES_MAX: usize = 1 << 30;
const READ_BYTES: usize = 64 << 10;
/// Pieces of one writev.
const PIECES_MAX: usize = 64;

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

pub struct Socket {
    stream: TcpStream,
    pub address: String,
    out: VecDeque<Piece>,
    /// Bytes of the first piece that have left.
    sent: usize,
    /// What has come is at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    pub fn connect(address: &str, timeout: Duration) -> Result<Socket, Failure> {
        let connect = || -> io::Result<TcpStream> {
            let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for resolved in address.to_socket_addrs()? {
                match TcpStream::connect_timeout(&resolved, timeout) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        stream.set_nonblocking(true)?;
                        return Ok(stream);
                    }
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        };
        let stream = connect().map_err(|error| Failure::new(format!("cannot connect to {address}: {error}")))?;
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

    pub fn queue(&mut self, request: &Rc<ProduceFrame>, correlation_id: i32) {
        self.out.push_back(Piece::Head(head(request, correlation_id)));
        self.out.push_back(Piece::Body(request.clone()));
    }

    pub fn queue_frame(&mut self, frame: Vec<u8>) {
        self.out.push_back(Piece::Frame(frame));
    }

    /// Requests that have not left whole.
    pub fn unsent(&self) -> usize {
        self.out.iter().filter(|piece| !matches!(piece, Piece::Head(_))).count()
    }

    /// Sends what the kernel takes.
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

    /// Takes in what has come, and no more than that is there at once. False: nothing.
    pub fn receive(&mut self) -> Result<bool, Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < READ_BYTES {
                // Room grows with what has come, not with what was announced.
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

    /// The next whole frame, without its length.
    pub fn frame(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk::<4>() else { return Ok(None) };
        let length = frame::length(*prefix, ANSWER_BYTES_MAX).map_err(|error| self.broken(&error.to_string()))?;
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + 4;
        self.start = from + length;
        Ok(Some(&self.buffer[from..from + length]))
    }

    pub fn broken(&self, why: &str) -> Failure {
        Failure::new(format!("the connection to {} broke: {why}", self.address))
    }
}

/// Waits until a socket can be read, or written if something waits to leave, or the time is over. Tells which.
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
