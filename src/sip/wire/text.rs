//! Small readers over bytes that SIP's grammar needs everywhere.

/// Blank, tab, or part of a folded line end (RFC 3261 §25.1 LWS).
pub fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without linear white space on both sides.
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A `token` character (RFC 3261 §25.1).
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN.has(byte)
}

const TOKEN: Bytes = Bytes::alphanumeric_and(b"-.!%*_+`'~");

/// A set of bytes, looked up and not searched.
#[derive(Clone, Copy, Debug)]
pub struct Bytes([bool; 256]);

impl Bytes {
    /// Letters, digits, and `more`.
    pub const fn alphanumeric_and(more: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            #[expect(
                clippy::indexing_slicing,
                clippy::cast_possible_truncation,
                reason = "below 256, at compile time"
            )]
            {
                set[byte] = (byte as u8).is_ascii_alphanumeric();
            }
            byte += 1;
        }
        let mut at = 0;
        while at < more.len() {
            #[expect(clippy::indexing_slicing, reason = "below 256, at compile time")]
            {
                set[more[at] as usize] = true;
            }
            at += 1;
        }
        Self(set)
    }

    /// Whether `byte` is in the set.
    pub fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or(false)
    }

    /// Whether all of `bytes` are.
    pub fn has_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.has(*byte))
    }
}

/// A whole, non-empty token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// The part before the first `separator` that stands outside quotes and angle brackets, and the
/// part behind it.
pub fn split_outside(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    // Most values have no separator, or nothing before it that could hide it.
    let Some(first) = memchr::memchr(separator, bytes) else { return (bytes, None) };
    let (before, rest) = bytes.split_at(first);
    if memchr::memchr2(b'"', b'<', before).is_none() {
        return (before, rest.get(1..));
    }
    split_slowly(bytes, separator)
}

fn split_slowly(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut quoted = false;
    let mut escaped = false;
    let mut angle = false;
    for (at, byte) in bytes.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' if !angle => quoted = true,
                b'<' => angle = true,
                b'>' => angle = false,
                byte if *byte == separator && !angle => {
                    let (before, rest) = bytes.split_at(at);
                    return (before, rest.get(1..));
                }
                _ => {}
            }
        }
    }
    (bytes, None)
}

/// The comma-separated parts of a header value, trimmed; empty parts are left out.
#[derive(Clone, Debug)]
pub struct List<'a>(Option<&'a [u8]>);

impl<'a> List<'a> {
    /// Splits `value` at its commas.
    pub fn new(value: &'a [u8]) -> Self {
        Self(Some(value))
    }
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (part, rest) = split_outside(self.0?, b',');
            self.0 = rest;
            let part = trim(part);
            if !part.is_empty() {
                return Some(part);
            }
        }
    }
}

/// Whether every part between commas and semicolons says something: `;;,;` does not.
pub fn is_separated(value: &[u8]) -> bool {
    let mut list = Some(value);
    while let Some(rest) = list {
        let (part, next) = split_outside(rest, b',');
        let mut params = Some(part);
        while let Some(rest) = params {
            let (param, next) = split_outside(rest, b';');
            if trim(param).is_empty() {
                return false;
            }
            params = next;
        }
        list = next;
    }
    true
}

/// A decimal number with nothing around it but white space; `None` also when it does not fit.
pub fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    let bytes = trim(bytes);
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Seconds as `Expires` gives them: a number too large to hold is cut to 2^32-1 (RFC 3261 §20.19
/// makes a malformed one 3600 for the caller to decide).
pub fn seconds(bytes: &[u8]) -> Option<u32> {
    let bytes = trim(bytes);
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(bytes).ok()?.parse().unwrap_or(u32::MAX))
}

/// The text inside quotes, still escaped, when `bytes` is a quoted string; else `bytes` itself.
pub fn unquote(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}
