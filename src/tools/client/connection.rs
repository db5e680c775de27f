//! One connection to one broker: frames out, frames in, and the versions both sides speak.

use super::ClientError;
use crate::model::ErrorCode;
use crate::wire::admin::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Malformed, Message, Reader, frame};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The largest answer that is read. Bytes are taken as they come, so the number alone allocates nothing.
const ANSWER_BYTES_MAX: usize = 1 << 30;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: String,
    timeout: Duration,
    next_correlation_id: i32,
    /// What the broker says it speaks, by API key.
    versions: BTreeMap<i16, (i16, i16)>,
}

/// A request that was sent and whose answer is still to be read. Answers come in the order of the requests.
#[must_use]
#[derive(Debug)]
pub struct Pending {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    /// Connects and asks for the broker's versions.
    pub fn open(address: &str, client_id: &str, timeout: Duration) -> Result<Connection, ClientError> {
        let connect = |source| ClientError::Connect { address: address.to_string(), source };
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for resolved in address.to_socket_addrs().map_err(connect)? {
            match TcpStream::connect_timeout(&resolved, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(connect)?;
                    let mut connection = Connection {
                        stream,
                        address: address.to_string(),
                        client_id: client_id.to_string(),
                        timeout,
                        next_correlation_id: 1,
                        versions: BTreeMap::new(),
                    };
                    connection.negotiate()?;
                    return Ok(connection);
                }
                Err(error) => failed = error,
            }
        }
        Err(connect(failed))
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// KIP-511: asks with the newest ApiVersions; a broker that does not know it answers at version 0 what it does know.
    fn negotiate(&mut self) -> Result<(), ClientError> {
        let mut version = ApiKey::ApiVersions.api().max;
        let answer = loop {
            let answer = self.ask_versions(version)?;
            if answer.error_code != ErrorCode::UnsupportedVersion || version == 0 {
                break answer;
            }
            let theirs = answer.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.code());
            // Never the same again: a broker that keeps refusing ends up at 0.
            version = theirs.map_or(0, |api| api.max_version.clamp(0, version - 1));
        };
        ClientError::check(answer.error_code, None, || format!("{} does not tell its versions", self.address))?;
        let versions = |api: &ApiVersion| (api.api_key, (api.min_version, api.max_version));
        self.versions = answer.api_keys.iter().map(versions).collect();
        Ok(())
    }

    fn ask_versions(&mut self, version: i16) -> Result<ApiVersionsResponse, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "tidemill".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let pending = self.send_at(&request, version)?;
        let answer = self.receive(&pending).map_err(|error| match error {
            ClientError::Closed { address, .. } => {
                ClientError::NotKafka { address, reason: "it closed the connection at the first request".into() }
            }
            other => other,
        })?;
        let decode = |version| {
            let mut reader = Reader::new(&answer);
            frame::decode_response_header(&mut reader, ApiKey::ApiVersions.api(), version)?;
            ApiVersionsResponse::decode(&mut reader, version)
        };
        // An error answer is encoded as version 0 whatever was asked; its code is where every version has it.
        let is_refused = answer.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        let decoded = if is_refused { decode(0) } else { decode(version) };
        decoded.map_err(|source| ClientError::NotKafka { address: self.address.clone(), reason: source.to_string() })
    }

    /// The newest version of an API that both sides speak, and that is at most `at_most`.
    pub fn version(&self, api: ApiKey, at_most: i16) -> Result<i16, ClientError> {
        let row = api.api();
        let theirs = self.versions.get(&api.code()).copied();
        let ours = (row.served_from, row.max.min(at_most));
        theirs
            .map(|(min, max)| (min.max(ours.0), max.min(ours.1)))
            .filter(|(min, max)| min <= max)
            .map(|(_, max)| max)
            .ok_or_else(|| ClientError::NoCommonVersion { address: self.address.clone(), api: row.name, ours, theirs })
    }

    /// Sends a request and reads its answer, at the newest common version.
    pub fn call<Answer: Message>(&mut self, request: &impl Message) -> Result<Answer, ClientError> {
        self.call_at_most(request, i16::MAX)
    }

    /// As [`call`](Self::call), at a version of at most `at_most`.
    pub fn call_at_most<Answer: Message>(
        &mut self,
        request: &impl Message,
        at_most: i16,
    ) -> Result<Answer, ClientError> {
        let version = self.version(Answer::API, at_most)?;
        let pending = self.send_at(request, version)?;
        let frame = self.receive(&pending)?;
        self.read(&pending, &frame, |reader| Answer::decode(reader, version))
    }

    fn send_at<Request: Message>(&mut self, request: &Request, version: i16) -> Result<Pending, ClientError> {
        let correlation_id = self.correlation_id();
        let frame = frame::encode_request(request, version, correlation_id, Some(&self.client_id));
        let api = Request::API;
        let frame = frame.map_err(|source| self.unencodable(api, source))?;
        self.send(api, version, correlation_id, &frame)
    }

    pub(super) fn unencodable(&self, api: ApiKey, source: crate::wire::Unencodable) -> ClientError {
        ClientError::Unencodable { address: self.address.clone(), api: api.api().name, source }
    }

    /// The number for the next request.
    pub fn correlation_id(&mut self) -> i32 {
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.next_correlation_id
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Sends a whole frame. What `Pending` is about is still to be [`receive`](Self::receive)d.
    pub fn send(
        &mut self,
        api: ApiKey,
        version: i16,
        correlation_id: i32,
        frame: &[u8],
    ) -> Result<Pending, ClientError> {
        let during = api.api().name;
        let timeout = Some(self.timeout);
        let sent = self.stream.set_write_timeout(timeout).and_then(|()| self.stream.write_all(frame));
        sent.map_err(|source| self.broken(during, source, self.timeout))?;
        Ok(Pending { api, version, correlation_id })
    }

    /// Reads the next answer, without its length.
    pub fn receive(&mut self, pending: &Pending) -> Result<Vec<u8>, ClientError> {
        let during = pending.api.api().name;
        let began = Instant::now();
        let mut prefix = [0; 4];
        self.read_some(&mut prefix, during, began)?;
        let not_kafka = |reason: String| ClientError::NotKafka { address: self.address.clone(), reason };
        let length = frame::length(prefix, ANSWER_BYTES_MAX).map_err(|error| not_kafka(error.to_string()))?;
        let mut answer = Vec::new();
        while answer.len() < length {
            let at = answer.len();
            // Room grows with what has come, not with what was announced.
            answer.resize(length.min((at * 2).max(64 << 10)), 0);
            let end = answer.len();
            self.read_some(&mut answer[at..end], during, began)?;
        }
        match answer.first_chunk() {
            Some(echo) if *echo == pending.correlation_id.to_be_bytes() => Ok(answer),
            _ => {
                let expected = pending.correlation_id;
                let reason = format!("its answer is not to request {expected}: {:02x?}", &answer[..length.min(16)]);
                Err(ClientError::NotKafka { address: self.address.clone(), reason })
            }
        }
    }

    /// Decodes a received answer's body.
    pub fn read<'a, Answer>(
        &self,
        pending: &Pending,
        answer: &'a [u8],
        decode: impl FnOnce(&mut Reader<'a>) -> Result<Answer, Malformed>,
    ) -> Result<Answer, ClientError> {
        let mut reader = Reader::new(answer);
        let api = pending.api.api();
        let read = frame::decode_response_header(&mut reader, api, pending.version).and_then(|_| decode(&mut reader));
        read.map_err(|source| ClientError::Malformed { address: self.address.clone(), during: api.name, source })
    }

    /// Fills `buffer`, giving up when the timeout has passed since `began`.
    fn read_some(&mut self, buffer: &mut [u8], during: &'static str, began: Instant) -> Result<(), ClientError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = self.timeout.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut buffer[filled..]));
            match read {
                Ok(0) => return Err(ClientError::Closed { address: self.address.clone(), during }),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(during, error, began.elapsed())),
            }
        }
        Ok(())
    }

    fn broken(&self, during: &'static str, source: io::Error, waited: Duration) -> ClientError {
        let address = self.address.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut { address, during, waited },
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ClientError::Closed { address, during },
            _ => ClientError::Io { address, during, source },
        }
    }

    /// Waits until the broker has worked off everything sent before: its answers leave in the order of the requests.
    pub fn sync(&mut self) -> Result<(), ClientError> {
        let version = self.version(ApiKey::ApiVersions, i16::MAX)?;
        self.ask_versions(version).map(|_| ())
    }
}
