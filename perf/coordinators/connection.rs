//! A connection for precomputed requests. It sends several requests in one call, ahead of their responses.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

/// The limit for a response. Every request takes less time, so a broker that exceeds it has lost the request.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 << 10;

/// A blocking connection to a broker.
pub struct Connection {
    stream: TcpStream,
    /// The received bytes are at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects to `host:port`.
    pub fn to(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Connection { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// The socket, for a poll.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends one or more complete frames.
    pub fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("the connection is open");
    }

    /// Waits for the next response, and returns it without its length prefix.
    pub fn response(&mut self) -> &[u8] {
        let end = loop {
            match self.next_end() {
                Some(end) => break end,
                None => self.receive(),
            }
        };
        let from = self.start + 4;
        self.start = end;
        &self.buffer[from..end]
    }

    /// Whether the next response has been received completely.
    pub fn has_response(&self) -> bool {
        self.next_end().is_some()
    }

    /// The end of the next complete response in the buffer.
    fn next_end(&self) -> Option<usize> {
        let prefix = self.buffer[self.start..self.end].first_chunk()?;
        let end = self.start + 4 + u32::from_be_bytes(*prefix) as usize;
        (end <= self.end).then_some(end)
    }

    fn receive(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let bytes = self.stream.read(&mut self.buffer[self.end..]).expect("a response within a minute");
        assert!(bytes > 0, "the broker closed the connection");
        self.end += bytes;
    }
}

/// A precomputed request. Each send gets its own correlation id and its own number in the body.
pub struct Template {
    frame: Vec<u8>,
    /// The positions of the number.
    numbers_at: Vec<usize>,
}

impl Template {
    /// `frame` contains `mark` at each position of the number.
    pub fn new(frame: Vec<u8>, mark: i64) -> Template {
        let mark = mark.to_be_bytes();
        let numbers_at = frame.windows(8).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at).collect();
        Template { frame, numbers_at }
    }

    /// Appends the frame with this correlation id and number to `out`.
    pub fn put(&self, correlation_id: i32, number: i64, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.frame);
        out[from + 8..from + 12].copy_from_slice(&correlation_id.to_be_bytes());
        for at in &self.numbers_at {
            out[from + at..from + at + 8].copy_from_slice(&number.to_be_bytes());
        }
    }
}

/// Encodes a request of `kafka_protocol`, at a flexible version.
pub fn frame_of(key: i16, version: i16, request: &impl Encodable) -> Vec<u8> {
    let header = RequestHeader::default().with_request_api_key(key).with_request_api_version(version);
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, 2).expect("encodable");
    request.encode(&mut frame, version).expect("encodable");
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.to_vec()
}

/// Decodes the response to such a request.
pub fn message_in<M: Decodable>(mut response: &[u8], version: i16) -> M {
    ResponseHeader::decode(&mut response, 1).expect("a header");
    M::decode(&mut response, version).expect("a response of that version")
}
