//! Words for people out of what peers say.

/// What a status code means to a person; empty when the reason says it all.
fn meaning(status: u16) -> &'static str {
    match status {
        300..=399 => "it moved elsewhere",
        401 | 407 => "wrong user or password",
        403 => "you may not do that",
        404 | 604 => "nobody has that address there",
        405 | 501 => "the server does not know this kind of request",
        406 => "the server has the state in no form that was asked for; see --accept",
        408 | 504 => "no answer from behind the server",
        413 | 513 => "that is too long",
        415 => "the server does not take this kind of content",
        416 => "the server does not know this kind of address",
        420 | 421 => "the server wants an extension that is not spoken here",
        423 => "that is too short a time; see --expires",
        480 => "it cannot be reached now",
        481 => "the server knows nothing of it (any more)",
        482 => "the request went in a circle",
        486 | 600 => "it is busy",
        488 | 606 => "it was not understood or cannot be done",
        489 => "this address has no such event to watch",
        500..600 => "the server has a problem",
        603 => "it was declined",
        _ => "",
    }
}

/// Status, reason and meaning in a line. Text of a peer cannot move the cursor.
pub(in crate::cli) fn status_line(status: u16, reason: &str) -> String {
    let reason = clean(reason);
    match meaning(status) {
        // Ours says it all.
        _ if reason.starts_with("Refused By The Device") => format!("{status} {reason}"),
        "" => format!("{status} {reason}"),
        meaning => format!("{status} {reason}: {meaning}"),
    }
}

/// Text of a peer without anything that a terminal obeys; tabs and line ends stay.
pub(in crate::cli) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => Some(c),
        '\r' => None,
        // Embeddings and overrides of the writing direction.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => None,
        c if c.is_control() => Some('\u{fffd}'),
        c => Some(c),
    };
    text.chars().filter_map(harmless).collect()
}
