//! Messages to bytes.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;

use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::text::trim;

/// Builds one message. Call the start line first, then fields, then [`Writer::body`].
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A request line.
    pub fn request(method: Method<'_>, uri: &str) -> Self {
        let mut writer = Self(Vec::with_capacity(1024));
        writer.parts(&[method.as_str(), " ", uri, " SIP/2.0"]);
        writer
    }

    /// A status line. Line ends and control characters in `reason` become blanks.
    pub fn status(status: u16, reason: &str) -> Self {
        let mut writer = Self(Vec::with_capacity(640));
        writer.push_fmt(format_args!("SIP/2.0 {status} "));
        writer.clean(reason.as_bytes());
        writer.0.extend_from_slice(b"\r\n");
        writer
    }

    /// One header field out of its parts. The caller knows that they hold no line end.
    pub fn field(&mut self, name: &str, value: &[&str]) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.parts(value)
    }

    /// One header field, formatted.
    pub fn field_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.push_fmt(value);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// One header field with a value that came from a peer: folding is undone, control characters
    /// become blanks.
    pub fn echo(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.clean(value);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a parameter to the field that was written last.
    pub fn append_param(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.truncate(self.0.len().saturating_sub(2));
        self.parts(&[";", name, "=", value])
    }

    /// Whole fields that were written before.
    pub fn raw(&mut self, fields: &[u8]) -> &mut Self {
        self.0.extend_from_slice(fields);
        self
    }

    /// Ends the message without a body.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.0
    }

    /// Ends the message with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Vec<u8> {
        self.field("Content-Type", &[content_type]);
        self.end(body)
    }

    /// Ends the message with the body that its fields speak of.
    pub fn end(mut self, body: &[u8]) -> Vec<u8> {
        self.field_fmt("Content-Length", format_args!("{}", body.len()));
        self.0.extend_from_slice(b"\r\n");
        self.0.extend_from_slice(body);
        self.0
    }

    /// Ends a run of fields that is no message by itself.
    pub fn into_fields(self) -> Vec<u8> {
        self.0
    }

    fn parts(&mut self, parts: &[&str]) -> &mut Self {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
        self.0.extend_from_slice(b"\r\n");
        self
    }

    fn push_fmt(&mut self, value: fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.0.write_fmt(value);
    }

    fn clean(&mut self, value: &[u8]) {
        let mut folded = false;
        let mut quoted = false;
        for byte in trim(value) {
            match byte {
                b'\r' | b'\n' => (folded, quoted) = (true, false),
                b' ' | b'\t' if folded => {}
                byte => {
                    if std::mem::take(&mut folded) {
                        self.0.push(b' ');
                    }
                    self.0.push(if byte.is_ascii_control() && !quoted { b' ' } else { *byte });
                    quoted = *byte == b'\\' && !quoted;
                }
            }
        }
    }
}

/// The fields that every response copies from its request (RFC 3261 §8.2.6.2): Via with the source
/// filled in, From, To with `to_tag` where it has none, Call-ID, CSeq.
///
/// `source` is where the request came from: it is written as `received` and `rport` (RFC 3581 §4)
/// on the topmost Via of a datagram.
pub fn response(
    request: &Message<'_>,
    status: u16,
    reason: &str,
    to_tag: Option<&str>,
    source: Option<SocketAddr>,
) -> Writer {
    keeping(request, status, reason, to_tag, source, None)
}

/// The same, which promises to answer keep-alives where the topmost Via asks for that, and says how often they are
/// wanted, in seconds (RFC 6223 §4.4).
pub fn keeping(
    request: &Message<'_>,
    status: u16,
    reason: &str,
    to_tag: Option<&str>,
    source: Option<SocketAddr>,
    keep: Option<u32>,
) -> Writer {
    let mut writer = Writer::status(status, reason);
    for (nth, via) in request.list(Name::Via).enumerate() {
        match source.filter(|_| nth == 0) {
            Some(source) => push_keeping_via(&mut writer, via, source, keep),
            None => {
                writer.echo("Via", via);
            }
        }
    }
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Timestamp] {
        let Some(value) = request.first(name) else { continue };
        writer.echo(name.as_str(), value);
        let untagged = name == Name::To && request.to().is_ok_and(|to| to.tag().is_none());
        if let Some(tag) = to_tag.filter(|_| untagged) {
            writer.append_param("tag", tag);
        }
    }
    writer
}

/// Copies Record-Route, which makes the response dialog-forming (RFC 3261 §12.1.1).
pub fn copy_record_route(writer: &mut Writer, request: &Message<'_>) {
    for value in request.all(Name::RecordRoute) {
        writer.echo("Record-Route", value);
    }
}

/// A topmost Via with the source of the packet in it (RFC 3261 §18.2.1, RFC 3581 §4).
pub fn push_via(writer: &mut Writer, via: &[u8], source: SocketAddr) {
    push_keeping_via(writer, via, source, None);
}

fn push_keeping_via(writer: &mut Writer, via: &[u8], source: SocketAddr, keep: Option<u32>) {
    writer.0.extend_from_slice(b"Via: ");
    let (protocol, params) = super::text::split_outside(via, b';');
    writer.clean(protocol);
    let mut asked = false;
    for (name, value) in super::params::Params::new(params.unwrap_or_default()).iter() {
        let rport = name.eq_ignore_ascii_case(b"rport");
        asked |= rport;
        if rport || name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        writer.0.push(b';');
        writer.clean(name);
        let wanted = keep.filter(|_| value.is_none() && name.eq_ignore_ascii_case(b"keep"));
        if let Some(value) = value {
            writer.0.push(b'=');
            writer.clean(value);
        } else if let Some(seconds) = wanted {
            writer.push_fmt(format_args!("={seconds}"));
        }
    }
    writer.push_fmt(format_args!(";received={}", source.ip().to_canonical()));
    if asked {
        writer.push_fmt(format_args!(";rport={}", source.port()));
    }
    writer.0.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: RP-2
    #[test]
    fn a_response_copies_what_it_must() {
        let raw = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a:5060;rport;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK0\r\nf: A\r\n  <sip:a@h>;tag=1\r\nTo: <sip:h>\r\ni: x\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let request = Message::parse(raw).unwrap();
        let source: SocketAddr = "127.0.0.9:4000".parse().unwrap();
        let bytes = response(&request, 200, "OK\r\nEvil: 1", Some("t9"), Some(source)).finish();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "SIP/2.0 200 OK Evil: 1\r\nVia: SIP/2.0/UDP a:5060;branch=z9hG4bK1;received=127.0.0.9;rport=4000\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0\r\nFrom: A <sip:a@h>;tag=1\r\nTo: <sip:h>;tag=t9\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
    }
}
