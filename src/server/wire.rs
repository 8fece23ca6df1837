//! Messages on a stream: a header with their length, then JSON.
//!
//! `lsp_server::Message::read` gives up the stream where one message is not as it should be, and takes as much memory as
//! a header asks for; an editor's server should do neither.

use std::io::{self, BufRead, Read};

use lsp_server::Message;
use serde_json::{Value, json};

/// The longest message: a text of the longest source, each byte of it escaped.
const MAX_BYTES: u64 = 512 << 20;
/// The longest line of a header.
const MAX_HEADER_BYTES: u64 = 4096;

/// What was read.
pub enum Incoming {
    Message(Message),
    /// Something that is no message: what to answer.
    Wrong(Value),
}

/// The next message; `None` at the end of the stream. An error where the stream cannot be followed any further.
pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Incoming>> {
    let mut length = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.by_ref().take(MAX_HEADER_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(broken("a header without an end"));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        match text.split_once(':') {
            None if text.is_empty() => break,
            None => return Err(broken("a header without a colon")),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                let value = value.trim().parse::<u64>().ok().filter(|length| *length <= MAX_BYTES);
                length = Some(value.ok_or_else(|| broken("a Content-Length that is none"))?);
            }
            Some(_) => {}
        }
    }
    let length = length.ok_or_else(|| broken("a message without Content-Length"))?;
    // No memory is taken before the bytes are there.
    let mut bytes = Vec::new();
    if stream.by_ref().take(length).read_to_end(&mut bytes)? as u64 != length {
        return Ok(None);
    }
    Ok(Some(message(&bytes)))
}

fn message(bytes: &[u8]) -> Incoming {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return wrong(Value::Null, -32700, &format!("this is no JSON: {error}")),
    };
    let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null);
    match serde_json::from_value(value) {
        Ok(message) => Incoming::Message(message),
        Err(_) => wrong(id, -32600, "this is no request, response or notification"),
    }
}

fn wrong(id: Value, code: i32, message: &str) -> Incoming {
    Incoming::Wrong(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected a message of the protocol, found {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut stream = bytes;
        let mut list = Vec::new();
        loop {
            match read(&mut stream) {
                Ok(None) => return list,
                Ok(Some(Incoming::Message(Message::Request(request)))) => list.push(request.method),
                Ok(Some(Incoming::Message(Message::Notification(notification)))) => list.push(notification.method),
                Ok(Some(Incoming::Message(Message::Response(_)))) => list.push("response".to_owned()),
                Ok(Some(Incoming::Wrong(answer))) => list.push(format!("{} {}", answer["id"], answer["error"]["code"])),
                Err(error) => {
                    list.push(error.to_string());
                    return list;
                }
            }
        }
    }

    fn framed(text: &str) -> String {
        format!("Content-Length: {}\r\n\r\n{text}", text.len())
    }

    #[test]
    fn what_is_no_message_is_answered_and_passed_over() {
        let next = framed(r#"{"jsonrpc":"2.0","method":"exit"}"#);
        for (text, found) in [
            ("{", "null -32700"),
            ("\u{e9}", "null -32700"),
            ("[]", "null -32600"),
            (r#"{"id":7}"#, "7 -32600"),
            (r#"{"id":{},"method":"x"}"#, "x"),
            (r#"{"id":1,"method":"x"}"#, "x"),
            (r#"{"id":1,"result":null}"#, "response"),
        ] {
            assert_eq!(all(format!("{}{next}", framed(text)).as_bytes()), [found, "exit"], "{text}");
        }
        let deep = framed(&"[".repeat(100_000));
        assert_eq!(all(format!("{deep}{next}").as_bytes()), ["null -32700", "exit"]);
    }

    #[test]
    fn a_stream_without_headers_ends() {
        for text in [
            "hello\r\n\r\n",
            "Content-Length: x\r\n\r\n",
            "Content-Length: 99999999999999\r\n\r\n",
            "a: b\r\n\r\n",
            "x",
        ] {
            let found = all(text.as_bytes());
            assert!(found.len() == 1 && found[0].starts_with("expected a message"), "{text}: {found:?}");
        }
        assert_eq!(all(b"Content-Length: 10\r\n\r\n{}"), [""; 0]);
        assert_eq!(all(b""), [""; 0]);
    }
}
