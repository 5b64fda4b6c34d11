//! What a request's body says, whatever it is wrapped in.

use std::borrow::Cow;

use crate::body::dmp;
use crate::sip::Rejection;
use crate::sip::wire::{Message, Name};

/// The content of a MESSAGE or DO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Words of a person.
    Words(Cow<'a, str>),
    /// SenML as text.
    SenMl(&'a str),
    /// DMP as it came.
    Dmp(&'a [u8]),
    /// A delivery notification or "is typing": taken and answered with silence.
    Chatter,
}

/// The types that are understood, for Accept.
pub const ACCEPT_MESSAGE: &str =
    "text/plain, message/cpim, message/imdn+xml, application/im-iscomposing+xml, application/dmp";
/// The types that a DO may carry.
pub const ACCEPT_DO: &str = "text/plain, application/senml+json, application/dmp";

/// Reads the body of a MESSAGE.
///
/// # Errors
/// 415 for types that are not understood, 400 for bodies that are not what they say.
pub fn message<'a>(request: &Message<'a>) -> Result<Content<'a>, Rejection> {
    read(request, ACCEPT_MESSAGE)
}

/// Reads the body of a DO.
///
/// # Errors
/// See [`message`].
pub fn action<'a>(request: &Message<'a>) -> Result<Content<'a>, Rejection> {
    read(request, ACCEPT_DO)
}

fn read<'a>(request: &Message<'a>, accept: &'static str) -> Result<Content<'a>, Rejection> {
    let kind = request.content_type().unwrap_or("text/plain");
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    let taken = accept.split(", ").any(is);
    if is("message/imdn+xml") || is("application/im-iscomposing+xml") {
        return if taken { Ok(Content::Chatter) } else { Err(unsupported(accept)) };
    }
    if request.first(Name::ContentEncoding).is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Rejection::new(415, "Unsupported Content-Encoding").with("Accept-Encoding", "identity"));
    }
    if !taken {
        return Err(unsupported(accept));
    }
    if is(dmp::CONTENT_TYPE) {
        return Ok(Content::Dmp(request.body));
    }
    let text = std::str::from_utf8(request.body).map_err(|_| Rejection::new(400, "The Body Is Not UTF-8"))?;
    if is("application/senml+json") {
        return Ok(Content::SenMl(text));
    }
    if is("message/cpim") {
        return cpim(text).ok_or(Rejection::new(400, "Malformed CPIM"))?;
    }
    Ok(Content::Words(Cow::Borrowed(text.trim())))
}

fn unsupported(accept: &'static str) -> Rejection {
    Rejection::new(415, "Unsupported Media Type").with("Accept", accept)
}

/// The words inside a CPIM wrapper (RFC 3862): its own header fields, an empty line, the header
/// fields of the content, an empty line, the content.
fn cpim(text: &str) -> Option<Result<Content<'_>, Rejection>> {
    let (_, inner) = split_head(text)?;
    let (head, content) = split_head(inner)?;
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-type")
            .then(|| value.split(';').next().unwrap_or(value).trim())
    });
    Some(match kind.unwrap_or("text/plain") {
        kind if kind.eq_ignore_ascii_case("text/plain") => Ok(Content::Words(Cow::Borrowed(content.trim()))),
        kind if kind.eq_ignore_ascii_case("message/imdn+xml")
            || kind.eq_ignore_ascii_case("application/im-iscomposing+xml") =>
        {
            Ok(Content::Chatter)
        }
        _ => Err(unsupported(ACCEPT_MESSAGE)),
    })
}

fn split_head(text: &str) -> Option<(&str, &str)> {
    text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: &str, body: &str) -> Vec<u8> {
        format!(
            "MESSAGE sip:plug@h SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    #[test]
    fn wrappers() {
        let words = |kind: &str, body: &str| {
            let raw = request(kind, body);
            let parsed = Message::parse(&raw).unwrap();
            match message(&parsed) {
                Ok(Content::Words(words)) => words.into_owned(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(words("text/plain;charset=UTF-8", " on \r\n"), "on");
        let wrapped = "From: <sip:a@h>\r\nDateTime: 2026-01-01T00:00:00Z\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\noff";
        assert_eq!(words("message/CPIM", wrapped), "off");
        assert_eq!(words("message/imdn+xml", "<imdn/>"), "Ok(Chatter)");
        assert!(words("message/cpim", "nothing").contains("400"));
        assert!(words("text/html", "<b>on</b>").contains("415"));
    }
}
