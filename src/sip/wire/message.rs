//! One message as spans over its bytes.

use std::cell::OnceCell;

use arrayvec::ArrayVec;

use super::address::Address;
use super::check::Fault;
use super::method::Method;
use super::name::Name;
use super::text::{List, is_token, number, trim};
use super::via::Via;
use crate::limits;

/// A message that framed well enough to be read. Holds no copy of anything.
#[derive(Debug)]
pub struct Message<'a> {
    /// Request line or status line.
    pub start: Start<'a>,
    /// The body, cut to Content-Length.
    pub body: &'a [u8],
    /// The first thing wrong with the framing, a header field's shape or the start line.
    pub fault: Option<Fault>,
    fields: ArrayVec<Field, { limits::HEADERS }>,
    raw: &'a [u8],
    /// From, To and the topmost Via are asked for many times, and read once.
    pub(super) read: Read<'a>,
}

/// What has been read of a message already.
#[derive(Debug, Default)]
pub(super) struct Read<'a> {
    pub from: OnceCell<Result<Address<'a>, &'static str>>,
    pub to: OnceCell<Result<Address<'a>, &'static str>>,
    pub via: OnceCell<Result<Via<'a>, &'static str>>,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// What is asked.
        method: Method<'a>,
        /// Request-URI as written; not yet checked.
        uri: &'a str,
    },
    /// A response.
    Response {
        /// 100 to 699.
        status: u16,
        /// Reason phrase as written.
        reason: &'a [u8],
    },
}

/// These bytes are no SIP message, or a response beyond reading: nobody can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SIP message")]
pub struct NotSip;

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Name,
    at: u16,
    name_len: u16,
    value_at: u16,
    value_len: u16,
}

impl<'a> Message<'a> {
    /// Reads a datagram, or the frame of a stream. Octets behind the Content-Length are dropped
    /// (RFC 3261 §18.3).
    ///
    /// # Errors
    /// When there is no start line of SIP.
    pub fn parse(raw: &'a [u8]) -> Result<Self, NotSip> {
        let (line, mut at) = line_at(raw, 0).ok_or(NotSip)?;
        let (start, mut fault) = start_line(line)?;
        let mut fields = ArrayVec::new();
        let head_limit = raw.len().min(limits::HEADER_BYTES);
        let ended = loop {
            let Some((line, next)) = line_at(raw, at).filter(|(_, next)| *next <= head_limit) else {
                break at >= raw.len();
            };
            if line.is_empty() {
                at = next;
                break true;
            }
            let (line, next) = unfold(raw, at, line, next);
            match field(line, at) {
                Ok(field) if fields.try_push(field).is_err() => {
                    fault = fault.or(Some(Fault::bad("Too Many Header Fields")));
                }
                Ok(_) => {}
                Err(bad) => fault = fault.or(Some(bad)),
            }
            at = next;
        };
        if !ended {
            fault = fault.or(Some(Fault { status: 513, reason: "Header Section Too Large" }));
        }
        let body = raw.get(at..).filter(|_| ended).unwrap_or_default();
        let mut message = Self { start, body, fault, fields, raw, read: Read::default() };
        message.cut_body();
        if message.fault.is_some() && matches!(message.start, Start::Response { .. }) {
            return Err(NotSip);
        }
        Ok(message)
    }

    /// Length in bytes as it was received.
    pub fn size(&self) -> usize {
        self.raw.len()
    }

    /// Method and Request-URI, when this is a request.
    pub fn request(&self) -> Option<(Method<'a>, &'a str)> {
        match self.start {
            Start::Request { method, uri } => Some((method, uri)),
            Start::Response { .. } => None,
        }
    }

    /// Values of every field of that name, in order, each trimmed.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.fields.iter().filter(move |field| field.name == name).map(|field| self.value(field))
    }

    /// Value of the first field of that name.
    pub fn first(&self, name: Name) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// How many fields have that name.
    pub fn count(&self, name: Name) -> usize {
        self.fields.iter().filter(|field| field.name == name).count()
    }

    /// The comma-separated values of all fields of that name.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.all(name).flat_map(List::new)
    }

    /// Every field as written: name and trimmed value, unknown ones included.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.fields.iter().map(|field| (self.span(field.at, field.name_len), self.value(field)))
    }

    fn value(&self, field: &Field) -> &'a [u8] {
        self.span(field.value_at, field.value_len)
    }

    fn span(&self, at: u16, len: u16) -> &'a [u8] {
        let at = usize::from(at);
        self.raw.get(at..at + usize::from(len)).unwrap_or_default()
    }

    fn cut_body(&mut self) {
        let mut length = None;
        let mut fault = None;
        for value in self.all(Name::ContentLength) {
            match number::<usize>(value) {
                Some(value) if length.is_none_or(|length| length == value) => length = Some(value),
                Some(_) => fault = Some(Fault::bad("Content-Length Twice")),
                None => fault = Some(Fault::bad("Content-Length Is Not A Number")),
            }
        }
        if let Some(length) = length {
            match self.body.get(..length) {
                Some(body) => self.body = body,
                None => fault = Some(Fault::bad("Body Is Shorter Than Content-Length")),
            }
        }
        // Of a stream only the head is here then: nobody waits for the rest.
        if length.unwrap_or(self.body.len()) > limits::BODY_BYTES {
            fault = Some(Fault { status: 513, reason: "Message Too Large" });
        }
        self.fault = self.fault.or(fault);
    }
}

/// The line at `at` without its end, and where the next one begins. The end is LF with or without
/// CR before it.
fn line_at(raw: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = raw.get(at..)?;
    let end = memchr::memchr(b'\n', rest)?;
    let line = rest.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), at + end + 1))
}

/// Extends a header line by its continuation lines (RFC 3261 §7.3.1).
fn unfold<'a>(raw: &'a [u8], at: usize, line: &'a [u8], next: usize) -> (&'a [u8], usize) {
    let (mut whole, mut next) = (line, next);
    while matches!(raw.get(next), Some(b' ' | b'\t')) {
        let Some((more, after)) = line_at(raw, next) else { break };
        let end = next + more.len();
        whole = raw.get(at..end).unwrap_or(whole);
        next = after;
    }
    (whole, next)
}

fn field(line: &[u8], at: usize) -> Result<Field, Fault> {
    let colon = memchr::memchr(b':', line).ok_or(Fault::bad("Header Field Without Colon"))?;
    let (name, value) = line.split_at(colon);
    let name = trim_end(name);
    if !is_token(name) {
        return Err(Fault::bad("Malformed Header Field Name"));
    }
    let value = value.get(1..).unwrap_or_default();
    let inner = trim(value);
    if has_control(inner) {
        return Err(Fault::bad("Control Character In Header Field"));
    }
    let lead = value.iter().take_while(|byte| super::text::is_lws(**byte)).count();
    let value_at = if inner.is_empty() { at } else { at + colon + 1 + lead };
    let small = |value: usize| {
        u16::try_from(value).map_err(|_| Fault { status: 513, reason: "Header Section Too Large" })
    };
    Ok(Field {
        name: Name::new(name),
        at: small(at)?,
        name_len: small(name.len())?,
        value_at: small(value_at)?,
        value_len: small(inner.len())?,
    })
}

/// A control character that is neither white space, nor part of a folded line end, nor a quoted pair
/// (RFC 3261 §25.1).
fn has_control(value: &[u8]) -> bool {
    // Looked at without an end in the middle, many bytes are looked at together; most values have none at all.
    let any = value.iter().fold(false, |any, byte| any | byte.is_ascii_control());
    any && has_bare_control(value)
}

fn has_bare_control(value: &[u8]) -> bool {
    value.iter().enumerate().any(|(at, byte)| match byte {
        b'\t' | b'\n' => false,
        b'\r' => value.get(at + 1) != Some(&b'\n'),
        byte => {
            byte.is_ascii_control() && at.checked_sub(1).and_then(|before| value.get(before)) != Some(&b'\\')
        }
    })
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn start_line(line: &[u8]) -> Result<(Start<'_>, Option<Fault>), NotSip> {
    match line.get(..8) {
        Some(version) if version.eq_ignore_ascii_case(b"SIP/2.0 ") => {
            status_line(line.get(8..).unwrap_or_default())
        }
        _ => request_line(line),
    }
}

fn status_line(rest: &[u8]) -> Result<(Start<'_>, Option<Fault>), NotSip> {
    let (status, reason) = match rest.iter().position(|byte| *byte == b' ') {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
        None => (rest, &b""[..]),
    };
    let status = number::<u16>(status).filter(|status| (100..700).contains(status)).ok_or(NotSip)?;
    Ok((Start::Response { status, reason }, None))
}

fn request_line(line: &[u8]) -> Result<(Start<'_>, Option<Fault>), NotSip> {
    let mut fault = None;
    let trimmed = trim_end(line);
    if trimmed.len() != line.len() {
        fault = Some(Fault::bad("Blanks Behind The Request Line"));
    }
    let first = memchr::memchr(b' ', trimmed).ok_or(NotSip)?;
    let last = memchr::memrchr(b' ', trimmed).ok_or(NotSip)?;
    let (method, version) = (trimmed.get(..first).ok_or(NotSip)?, trimmed.get(last + 1..).ok_or(NotSip)?);
    if !is_token(method) || !version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/")) {
        return Err(NotSip);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        fault = Some(Fault { status: 505, reason: "Version Not Supported" });
    }
    let uri = trimmed.get(first + 1..last).and_then(|uri| std::str::from_utf8(uri).ok()).unwrap_or_default();
    if uri.is_empty() || uri.contains([' ', '\t']) {
        fault = fault.or(Some(Fault::bad("Malformed Request Line")));
    }
    let method = Method::new(std::str::from_utf8(method).map_err(|_| NotSip)?);
    Ok((Start::Request { method, uri }, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_folding_and_unknown_fields() {
        let raw = b"DO sip:plug@h SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1,\r\n SIP/2.0/TCP b\r\nX-Odd \t:  one\r\n two \r\nEmpty:\r\nl: 2\r\n\r\nabcd";
        let message = Message::parse(raw).unwrap();
        assert_eq!(message.request(), Some((Method::Do, "sip:plug@h")));
        assert_eq!(message.list(Name::Via).count(), 2);
        assert_eq!(message.body, b"ab");
        assert_eq!(message.fault, None);
        let fields: Vec<_> = message.fields().collect();
        assert_eq!(fields[1], (&b"X-Odd"[..], &b"one\r\n two"[..]));
        assert_eq!(fields[2], (&b"Empty"[..], &b""[..]));
    }

    #[test]
    fn faults_do_not_hide_the_message() {
        for (text, status) in [
            ("OPTIONS sip:h SIP/7.0\r\nVia: x\r\n\r\n", 505),
            ("OPTIONS sip:h ;lr SIP/2.0\r\nVia: x\r\n\r\n", 400),
            ("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nContent-Length: -9\r\n\r\n", 400),
            ("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nContent-Length: 9\r\n\r\nxx", 400),
            ("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nl: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
            ("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nFrom\x01: y\r\n\r\n", 400),
            ("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nFrom: y\rz\r\n\r\n", 400),
        ] {
            let message = Message::parse(text.as_bytes()).unwrap();
            assert_eq!(message.fault.map(|fault| fault.status), Some(status), "{text}");
            assert_eq!(message.first(Name::Via), Some(&b"x"[..]), "{text}");
        }
    }

    #[test]
    fn what_nobody_can_answer() {
        for text in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "SIP/2.0 4294967301 x\r\n\r\n",
            "SIP/2.0 99 x\r\n\r\n",
            "x y\r\n\r\n",
            "SIP/2.0 200 OK\r\nBad\r\n\r\n",
        ] {
            assert!(Message::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
