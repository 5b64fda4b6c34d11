//! Multipart bodies (RFC 2046 §5.1), one level deep.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sip::wire::Params;

use super::fault::{At, Fault};
use super::limits;

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Content-Type with its parameters; none means `text/plain`.
    pub content_type: Option<String>,
    /// Content-ID without its angle brackets.
    pub content_id: Option<String>,
    /// Content-Disposition with its parameters.
    pub disposition: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A multipart body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multipart {
    /// `mixed`, `related` …
    pub subtype: String,
    /// Content-ID of the part that explains the others, without its angle brackets (RFC 2387).
    pub start: Option<String>,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

impl Multipart {
    /// The part of that Content-ID.
    pub fn part(&self, content_id: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.content_id.as_deref() == Some(content_id))
    }

    /// The part that explains the others: the one that `start` names, else the first.
    pub fn root(&self) -> Option<&Part> {
        match &self.start {
            Some(start) => self.part(start),
            None => self.parts.first(),
        }
    }
}

/// Writes a body and the Content-Type that goes with it. The boundary begins with `seed`, whose
/// characters other than letters, digits and `-` are left out, and occurs in no part.
pub fn write(multipart: &Multipart, seed: &str) -> (String, Vec<u8>) {
    let boundary = boundary(&multipart.parts, seed);
    let mut content_type = format!("multipart/{}", token(&multipart.subtype));
    if let Some(kind) = multipart.root().and_then(|root| root.content_type.as_deref()) {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        content_type.push_str(&format!(";type=\"{}\"", plain(kind)));
    }
    if let Some(start) = &multipart.start {
        content_type.push_str(&format!(";start=\"<{}>\"", plain(start)));
    }
    content_type.push_str(&format!(";boundary=\"{boundary}\""));
    let mut body = Vec::new();
    for part in &multipart.parts {
        let mut head = format!("--{boundary}\r\n");
        let id = part.content_id.as_ref().map(|id| format!("<{}>", plain(id)));
        for (name, value) in [
            ("Content-Type", part.content_type.as_deref()),
            ("Content-ID", id.as_deref()),
            ("Content-Disposition", part.disposition.as_deref()),
            ("Content-Transfer-Encoding", Some("binary")),
        ] {
            if let Some(value) = value {
                let value: String = value.chars().filter(|c| !c.is_control()).collect();
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&part.body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (content_type, body)
}

fn boundary(parts: &[Part], seed: &str) -> String {
    let seed: String = token(seed).chars().take(40).collect();
    let occurs = |boundary: &str| {
        let delimiter = format!("--{boundary}");
        parts.iter().any(|part| memchr::memmem::find(&part.body, delimiter.as_bytes()).is_some())
    };
    let mut nth = 0_u64;
    let mut boundary = format!("b-{seed}");
    // Each part can hold only so many boundaries, so one is free soon.
    while occurs(&boundary) {
        nth += 1;
        boundary = format!("b-{seed}-{nth}");
    }
    boundary
}

fn token(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\' | '<' | '>')).collect()
}

/// Whether the media type is a multipart one.
pub fn is_multipart(content_type: &str) -> bool {
    content_type.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

/// Reads a body of that Content-Type. What stands before the first and behind the last delimiter is
/// passed over; line ends may be bare line feeds.
///
/// # Errors
/// When the boundary is unusable or missing, a part is malformed or again multipart, or there are more
/// than [`limits::PARTS`].
pub fn read(content_type: &str, body: &[u8]) -> Result<Multipart, Fault> {
    if body.len() > limits::DOCUMENT_BYTES {
        return Err(Fault::too_much(At::Body, "bytes", limits::DOCUMENT_BYTES));
    }
    let (kind, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    let subtype = is_multipart(kind).then(|| kind.split_once('/')).flatten();
    let subtype = subtype.map(|(_, subtype)| subtype.trim().to_ascii_lowercase());
    let subtype = subtype.ok_or_else(|| Fault::unexpected(At::Body, kind, "a multipart type"))?;
    let params = Params::new(params.as_bytes());
    let boundary =
        params.text("boundary").ok_or_else(|| Fault::missing(At::Body, "boundary of Content-Type"))?;
    if !is_boundary(boundary) {
        return Err(Fault::value(At::Body, "boundary", boundary, "1 to 70 characters of RFC 2046"));
    }
    let mut parts = Vec::new();
    for (nth, raw) in split(body, boundary)?.into_iter().enumerate() {
        parts.push(read_part(raw, At::Part(nth + 1))?);
    }
    let multipart = Multipart { subtype, start: params.text("start").map(bare_id), parts };
    match multipart.root() {
        Some(_) => Ok(multipart),
        None => Err(Fault::missing(At::Body, "the part that start names")),
    }
}

fn is_boundary(boundary: &str) -> bool {
    (1..=limits::BOUNDARY_BYTES).contains(&boundary.len())
        && !boundary.ends_with(' ')
        && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte))
}

/// The bytes between delimiters. A delimiter is a line; the line end before it is part of it.
fn split<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<&'a [u8]>, Fault> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut begin = None;
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let line = rest.get(..end).unwrap_or_default();
        if let Some(tail) = line.strip_prefix(delimiter.as_bytes()) {
            let (closes, tail) = match tail.strip_prefix(b"--") {
                Some(tail) => (true, tail),
                None => (false, tail),
            };
            if tail.iter().all(u8::is_ascii_whitespace) {
                if let Some(begin) = begin {
                    if parts.len() >= limits::PARTS {
                        return Err(Fault::too_much(At::Body, "parts", limits::PARTS));
                    }
                    parts.push(without_line_end(body.get(begin..at).unwrap_or_default()));
                }
                if closes {
                    return Ok(parts);
                }
                begin = Some(at + end);
            }
        }
        at += end;
    }
    Err(Fault::missing(At::Body, format!("the closing delimiter \"{delimiter}--\"")))
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn read_part(raw: &[u8], at: At) -> Result<Part, Fault> {
    let (head, body) = split_head(raw);
    if head.len() > limits::PART_HEADER_BYTES {
        return Err(Fault::too_much(at, "bytes of header fields", limits::PART_HEADER_BYTES));
    }
    let head = std::str::from_utf8(head).map_err(|_| Fault::syntax(at, "a header field is not UTF-8"))?;
    let mut part = Part { body: body.to_vec(), ..Part::default() };
    let unfolded = head.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    for line in unfolded.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| Fault::unexpected(at, line, "a header field"))?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" | "c" if is_multipart(value) => {
                return Err(Fault::unsupported(at, "a multipart body within another"));
            }
            "content-type" | "c" => part.content_type = Some(value.to_owned()),
            "content-id" => part.content_id = Some(bare_id(value)),
            "content-disposition" => part.disposition = Some(value.to_owned()),
            "content-transfer-encoding" => part.body = decode(value, std::mem::take(&mut part.body), at)?,
            _ => {}
        }
    }
    Ok(part)
}

/// The header fields and what is behind the empty line; a part may begin with that line.
fn split_head(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        if rest.get(..end).unwrap_or_default().iter().all(u8::is_ascii_whitespace) {
            return (raw.get(..at).unwrap_or_default(), raw.get(at + end..).unwrap_or_default());
        }
        at += end;
    }
    (raw, b"")
}

fn decode(encoding: &str, body: Vec<u8>, at: At) -> Result<Vec<u8>, Fault> {
    match encoding.to_ascii_lowercase().as_str() {
        "7bit" | "8bit" | "binary" => Ok(body),
        "base64" => {
            let packed: Vec<u8> = body.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(packed).map_err(|_| Fault::syntax(at, "the body is not base64"))
        }
        other => Err(Fault::unsupported(at, format!("the encoding \"{}\"", super::fault::short(other)))),
    }
}

fn bare_id(id: &str) -> String {
    let id = id.trim();
    id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id).to_owned()
}
