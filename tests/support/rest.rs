//! A minimal HTTP client for a REST interface on this machine: one request and one response per connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Connect answers most requests within a second; its own timeout is 90 seconds.
const WITHIN: Duration = Duration::from_secs(100);

/// Sends one request. Returns the status and the body as JSON (null without a body), or the reason of a failure.
pub fn ask(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
    let answer = exchange(port, method, path, body).map_err(|e| format!("{method} {path}: {e}"))?;
    parse(&answer).ok_or_else(|| format!("{method} {path}: not an answer: {:.300}", String::from_utf8_lossy(&answer)))
}

/// Sends a GET request. Returns the status and the body as text.
pub fn get_text(port: u16, path: &str) -> Result<(u16, String), String> {
    let answer = exchange(port, "GET", path, None).map_err(|e| format!("GET {path}: {e}"))?;
    let (status, body) = split(&answer).ok_or_else(|| format!("GET {path}: not an answer"))?;
    Ok((status, String::from_utf8(body).map_err(|e| e.to_string())?))
}

fn exchange(port: u16, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WITHIN))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let (status, body) = split(answer)?;
    if body.is_empty() {
        return Some((status, Value::Null));
    }
    // The web server's own errors are HTML pages; they are returned as text.
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    Some((status, value))
}

/// The status and the body.
fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &answer[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { joined(body)? } else { body.to_vec() };
    Some((status, body))
}

/// Joins the chunks of a chunked body; `None` when it was cut off.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = chunks.windows(2).position(|at| at == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(chunks.get(end + 2..end + 2 + length)?);
        chunks = chunks.get(end + 4 + length..)?;
    }
}
