//! A connection to one broker: sends and receives frames, and negotiates API versions.

use super::ClientError;
use crate::model::ErrorCode;
use crate::wire::admin::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Malformed, Message, Reader, frame};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The largest response that is accepted. The buffer grows with the received bytes, so this limit allocates nothing.
pub(in crate::tools) const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// Connects to the first reachable address that `address` resolves to, with `TCP_NODELAY`.
pub(in crate::tools) fn connect_tcp(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connection to one broker. Each call blocks until the response arrives or the timeout ends.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    client_id: String,
    timeout: Duration,
    next_correlation_id: i32,
    /// The version range of each API that the broker supports, by API key.
    versions: BTreeMap<i16, (i16, i16)>,
}

/// A sent request whose response has not been read. Responses arrive in the order of the requests.
#[must_use]
#[derive(Debug)]
pub struct Pending {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    /// Connects and negotiates the API versions. `timeout` limits the connect and each later call.
    pub fn open(address: &str, client_id: &str, timeout: Duration) -> Result<Connection, ClientError> {
        let stream = connect_tcp(address, timeout);
        let stream = stream.map_err(|source| ClientError::Connect { address: address.to_string(), source })?;
        let mut connection = Connection {
            stream,
            address: address.to_string(),
            client_id: client_id.to_string(),
            timeout,
            next_correlation_id: 1,
            versions: BTreeMap::new(),
        };
        connection.negotiate()?;
        Ok(connection)
    }

    /// The `host:port` that this connection was opened with.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// KIP-511: sends the newest ApiVersions. A broker without that version responds with its range, in version 0.
    fn negotiate(&mut self) -> Result<(), ClientError> {
        let mut version = ApiKey::ApiVersions.api().max;
        let response = loop {
            let response = self.fetch_versions(version)?;
            if response.error_code != ErrorCode::UnsupportedVersion || version == 0 {
                break response;
            }
            let theirs = response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions.code());
            // The version decreases with each attempt, so a broker that rejects every one ends the loop at 0.
            version = theirs.map_or(0, |api| api.max_version.clamp(0, version - 1));
        };
        ClientError::check(response.error_code, None, || format!("{} does not list its API versions", self.address))?;
        let versions = |api: &ApiVersion| (api.api_key, (api.min_version, api.max_version));
        self.versions = response.api_keys.iter().map(versions).collect();
        Ok(())
    }

    pub(super) fn fetch_versions(&mut self, version: i16) -> Result<ApiVersionsResponse, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "tidemill".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..ApiVersionsRequest::default()
        };
        let pending = self.send_at(&request, version)?;
        let frame = self.receive(&pending).map_err(|error| match error {
            ClientError::Closed { address, .. } => {
                ClientError::NotKafka { address, reason: "it closed the connection at the first request".into() }
            }
            other => other,
        })?;
        let decode = |version| {
            let mut reader = Reader::new(&frame);
            frame::decode_response_header(&mut reader, ApiKey::ApiVersions.api(), version)?;
            ApiVersionsResponse::decode(&mut reader, version)
        };
        // An error response is encoded as version 0 for any request version. Every version has the code at these bytes.
        let is_rejected = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        let decoded = if is_rejected { decode(0) } else { decode(version) };
        decoded.map_err(|source| ClientError::NotKafka { address: self.address.clone(), reason: source.to_string() })
    }

    /// The newest version of an API that both sides support, up to `at_most`.
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

    /// Sends a request at the newest common version, and waits for the response.
    pub fn call<Response: Message>(&mut self, request: &impl Message) -> Result<Response, ClientError> {
        self.call_at_most(request, i16::MAX)
    }

    /// As [`call`](Self::call), at a version of at most `at_most`.
    pub fn call_at_most<Response: Message>(
        &mut self,
        request: &impl Message,
        at_most: i16,
    ) -> Result<Response, ClientError> {
        let version = self.version(Response::API, at_most)?;
        let pending = self.send_at(request, version)?;
        let frame = self.receive(&pending)?;
        self.read(&pending, &frame, |reader| Response::decode(reader, version))
    }

    fn send_at<Request: Message>(&mut self, request: &Request, version: i16) -> Result<Pending, ClientError> {
        let correlation_id = self.correlation_id();
        let frame = frame::encode_request(request, version, correlation_id, Some(&self.client_id));
        let api = Request::API;
        let frame = frame.map_err(|source| self.unencodable(api, source))?;
        self.send(api, version, correlation_id, &frame)
    }

    /// The error of a request that the negotiated version cannot express.
    pub(super) fn unencodable(&self, api: ApiKey, source: crate::wire::Unencodable) -> ClientError {
        ClientError::Unencodable { address: self.address.clone(), api: api.api().name, source }
    }

    /// A new correlation id for the next request.
    pub fn correlation_id(&mut self) -> i32 {
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        self.next_correlation_id
    }

    /// The client id for request headers.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Sends a complete request frame. The caller must [`receive`](Self::receive) its response.
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

    /// Reads the next response frame, without its length prefix. Fails if its correlation id is not that of `pending`.
    pub fn receive(&mut self, pending: &Pending) -> Result<Vec<u8>, ClientError> {
        let during = pending.api.api().name;
        let began = Instant::now();
        let mut prefix = [0; 4];
        self.read_some(&mut prefix, during, began)?;
        let not_kafka = |reason: String| ClientError::NotKafka { address: self.address.clone(), reason };
        // In a later response these bytes can be the length of a large frame.
        if pending.api == ApiKey::ApiVersions
            && let Some(name) = other_protocol(prefix)
        {
            return Err(not_kafka(format!("it speaks {name}")));
        }
        let length = frame::length(prefix, RESPONSE_BYTES_MAX).map_err(|error| not_kafka(error.to_string()))?;
        let mut response = Vec::new();
        while response.len() < length {
            let at = response.len();
            // The buffer grows with the received bytes, not with the announced length.
            response.resize(length.min((at * 2).max(64 << 10)), 0);
            let end = response.len();
            self.read_some(&mut response[at..end], during, began)?;
        }
        match response.first_chunk() {
            Some(echo) if *echo == pending.correlation_id.to_be_bytes() => Ok(response),
            _ => {
                let expected = pending.correlation_id;
                let bytes = &response[..length.min(16)];
                let reason = format!("its response does not belong to request {expected}: {bytes:02x?}");
                Err(ClientError::NotKafka { address: self.address.clone(), reason })
            }
        }
    }

    /// Decodes the header and, with `decode`, the body of a received response.
    pub fn read<'a, Response>(
        &self,
        pending: &Pending,
        response: &'a [u8],
        decode: impl FnOnce(&mut Reader<'a>) -> Result<Response, Malformed>,
    ) -> Result<Response, ClientError> {
        let mut reader = Reader::new(response);
        let api = pending.api.api();
        let read = frame::decode_response_header(&mut reader, api, pending.version).and_then(|_| decode(&mut reader));
        read.map_err(|source| ClientError::Malformed { address: self.address.clone(), during: api.name, source })
    }

    /// Fills `buffer`. Fails when the timeout has passed since `began`.
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

    /// Waits until the broker has processed all earlier requests, because responses leave in the order of the requests.
    pub fn sync(&mut self) -> Result<(), ClientError> {
        let version = self.version(ApiKey::ApiVersions, i16::MAX)?;
        self.fetch_versions(version).map(|_| ())
    }
}

/// The protocol of a peer whose response begins with these bytes in place of a length.
fn other_protocol(prefix: [u8; 4]) -> Option<&'static str> {
    match prefix {
        [b'H', b'T', b'T', b'P'] => Some("HTTP"),
        // An alert record of TLS 1.x.
        [0x15, 3, ..] => Some("TLS"),
        [b'S', b'S', b'H', b'-'] => Some("SSH"),
        _ => None,
    }
}
