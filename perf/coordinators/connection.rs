//! A connection whose requests were made before the clock runs: they leave ahead, several in one call, and their answers are
//! read as they come.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

/// Nothing here takes this long; a broker that says nothing for so long has lost the request.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 << 10;

pub struct Connection {
    stream: TcpStream,
    /// What has come is at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub fn to(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Connection { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// To wait for.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("the broker takes what is sent");
    }

    /// The next answer without its length, waited for.
    pub fn answer(&mut self) -> &[u8] {
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

    /// Whether the next answer is here, whole.
    pub fn has_answer(&self) -> bool {
        self.next_end().is_some()
    }

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
        let bytes = self.stream.read(&mut self.buffer[self.end..]).expect("an answer within the minute");
        assert!(bytes > 0, "the broker closed the connection");
        self.end += bytes;
    }
}

/// A request whose correlation id, and some numbers in its body, are put in place before it leaves.
pub struct Template {
    frame: Vec<u8>,
    numbers_at: Vec<usize>,
}

impl Template {
    /// `frame` has `mark` wherever the number is to be.
    pub fn new(frame: Vec<u8>, mark: i64) -> Template {
        let mark = mark.to_be_bytes();
        let numbers_at = frame.windows(8).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at).collect();
        Template { frame, numbers_at }
    }

    /// Appends the frame to `out`.
    pub fn put(&self, correlation_id: i32, number: i64, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.frame);
        out[from + 8..from + 12].copy_from_slice(&correlation_id.to_be_bytes());
        for at in &self.numbers_at {
            out[from + at..from + at + 8].copy_from_slice(&number.to_be_bytes());
        }
    }
}

/// A request of an API that is not in `tidemill::wire`, at a flexible version.
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

/// The answer to it.
pub fn message_in<M: Decodable>(mut answer: &[u8], version: i16) -> M {
    ResponseHeader::decode(&mut answer, 1).expect("a header");
    M::decode(&mut answer, version).expect("an answer of that version")
}
