//! Why a body is not understood.

use std::borrow::Cow;
use std::fmt;

/// Where in a body something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The body as a whole.
    Body,
    /// A line, from 1.
    Line(usize),
    /// A SenML record, from 1.
    Record(usize),
    /// A part of a multipart body, from 1.
    Part(usize),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => Ok(()),
            Self::Line(line) => write!(f, "line {line}: "),
            Self::Record(record) => write!(f, "record {record}: "),
            Self::Part(part) => write!(f, "part {part}: "),
        }
    }
}

/// A body that cannot be used, in words for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text does not keep the grammar of its format.
    #[error("{at}{why}")]
    Syntax {
        /// Where.
        at: At,
        /// What is wrong.
        why: Cow<'static, str>,
    },
    /// A part that must be there is not.
    #[error("{at}{what} is missing")]
    Missing {
        /// Where.
        at: At,
        /// The part.
        what: Cow<'static, str>,
    },
    /// A value is not of its kind.
    #[error("{at}{what} is \"{value}\", not {wanted}")]
    Value {
        /// Where.
        at: At,
        /// Whose value.
        what: Cow<'static, str>,
        /// What stands there, shortened.
        value: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// Something stands where something else belongs.
    #[error("{at}\"{found}\" stands where {wanted} belongs")]
    Unexpected {
        /// Where.
        at: At,
        /// What stands there, shortened.
        found: String,
        /// What belongs there.
        wanted: &'static str,
    },
    /// The body is well formed but asks for something that is not offered.
    #[error("{at}{what} is not supported")]
    Unsupported {
        /// Where.
        at: At,
        /// What is asked for.
        what: Cow<'static, str>,
    },
    /// A bound of [`super::limits`] is passed.
    #[error("{at}more than {limit} {what}")]
    TooMuch {
        /// Where.
        at: At,
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl Fault {
    /// The status that answers a request with this body: 413, 488 (RFC 4660 §4.3 for filters), else 400.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooMuch { .. } => 413,
            Self::Unsupported { .. } => 488,
            Self::Syntax { .. } | Self::Missing { .. } | Self::Value { .. } | Self::Unexpected { .. } => 400,
        }
    }

    pub(super) fn syntax(at: At, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Syntax { at, why: why.into() }
    }

    pub(super) fn missing(at: At, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Missing { at, what: what.into() }
    }

    pub(super) fn value(
        at: At,
        what: impl Into<Cow<'static, str>>,
        value: &str,
        wanted: &'static str,
    ) -> Self {
        Self::Value { at, what: what.into(), value: short(value), wanted }
    }

    pub(super) fn unexpected(at: At, found: &str, wanted: &'static str) -> Self {
        Self::Unexpected { at, found: short(found), wanted }
    }

    pub(super) fn unsupported(at: At, what: impl Into<Cow<'static, str>>) -> Self {
        Self::Unsupported { at, what: what.into() }
    }

    pub(super) fn too_much(at: At, what: &'static str, limit: usize) -> Self {
        Self::TooMuch { at, what, limit }
    }
}

/// A peer's text, short and on one line, so that a fault fits a reason phrase and a log line.
pub(super) fn short(text: &str) -> String {
    const SHOWN: usize = 48;
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() || c == '"' { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The body as text: within the size bound and UTF-8, without a byte order mark.
pub(super) fn text(body: &[u8]) -> Result<&str, Fault> {
    if body.len() > super::limits::DOCUMENT_BYTES {
        return Err(Fault::too_much(At::Body, "bytes", super::limits::DOCUMENT_BYTES));
    }
    let text = std::str::from_utf8(body).map_err(|why| {
        let read = body.get(..why.valid_up_to()).unwrap_or_default();
        Fault::syntax(At::Line(line_of(read)), "the text is not UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The line that the byte behind `read` stands on, from 1.
pub(super) fn line_of(read: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', read).count() + 1
}
