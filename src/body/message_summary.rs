//! `application/simple-message-summary` (RFC 3842): how many messages wait, so that a phone's lamp
//! shows it. [`historic`] holds the bodies of its draft of July 2000.

pub mod historic;

use std::fmt;

use super::fault::{self, At, Fault};
use super::limits;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/simple-message-summary";

/// The messages of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether anything waits.
    pub waiting: bool,
    /// The account, which a subscription to a group must be told (§3.5).
    pub account: Option<String>,
    /// Counts by class.
    pub counts: Vec<Count>,
    /// Header fields of the messages that are new since the last document, one list per message.
    /// Never in the first document (§3.8).
    pub messages: Vec<Vec<(String, String)>>,
}

/// The messages of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Which.
    pub class: Class,
    /// New and old ones.
    pub all: NewOld,
    /// The urgent ones among them, where that is known.
    pub urgent: Option<NewOld>,
}

/// New and old messages; what is beyond 2^32-1 counts as 2^32-1 (§3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewOld {
    /// Not yet heard, seen or acknowledged.
    pub new: u32,
    /// The others that are kept.
    pub old: u32,
}

/// What kind of message (RFC 3458 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// `voice-message`
    Voice,
    /// `video-message`
    Video,
    /// `fax-message`
    Fax,
    /// `pager-message`
    Pager,
    /// `multimedia-message`
    Multimedia,
    /// `text-message`
    Text,
    /// `none`
    None,
    /// Another token, in lower case.
    Other(String),
}

impl Class {
    fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "voice-message" => Self::Voice,
            "video-message" => Self::Video,
            "fax-message" => Self::Fax,
            "pager-message" => Self::Pager,
            "multimedia-message" => Self::Multimedia,
            "text-message" => Self::Text,
            "none" => Self::None,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voice => "Voice-Message",
            Self::Video => "Video-Message",
            Self::Fax => "Fax-Message",
            Self::Pager => "Pager-Message",
            Self::Multimedia => "Multimedia-Message",
            Self::Text => "Text-Message",
            Self::None => "None",
            Self::Other(other) => other,
        })
    }
}

impl fmt::Display for NewOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.new, self.old)
    }
}

/// Writes a document. Classes and header names that are no tokens are left out; line ends in values
/// become blanks.
pub fn write(summary: &Summary) -> String {
    let mut out = format!("Messages-Waiting: {}\r\n", if summary.waiting { "yes" } else { "no" });
    if let Some(account) = &summary.account {
        let account = account.trim_start_matches('<').trim_end_matches('>');
        out.push_str(&format!("Message-Account: {}\r\n", one_line(account)));
    }
    for count in &summary.counts {
        let class = count.class.to_string();
        if !crate::sip::wire::text::is_token(class.as_bytes()) {
            continue;
        }
        out.push_str(&format!("{class}: {}", count.all));
        if let Some(urgent) = count.urgent {
            out.push_str(&format!(" ({urgent})"));
        }
        out.push_str("\r\n");
    }
    for message in &summary.messages {
        out.push_str("\r\n");
        for (name, value) in message {
            if crate::sip::wire::text::is_token(name.as_bytes()) {
                out.push_str(&format!("{name}: {}\r\n", one_line(value)));
            }
        }
    }
    out
}

/// Reads a document; names in any case, white space around `:` and `/`, bare line feeds.
///
/// # Errors
/// When it does not begin with Messages-Waiting or a count is malformed.
pub fn read(body: &[u8]) -> Result<Summary, Fault> {
    let text = fault::text(body)?;
    let mut lines = text.lines().enumerate().map(|(nth, line)| (At::Line(nth + 1), line));
    let mut summary = match lines.next() {
        Some((at, line)) => Summary { waiting: status_line(at, line)?, ..Summary::default() },
        None => return Err(Fault::missing(At::Body, "Messages-Waiting")),
    };
    for (at, line) in lines.by_ref() {
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = field(at, line)?;
        if name.eq_ignore_ascii_case("message-account") {
            let account = value.trim_start_matches('<').trim_end_matches('>');
            summary.account = Some(account.to_owned());
            continue;
        }
        if summary.counts.len() >= limits::SUMMARIES {
            return Err(Fault::too_much(at, "message classes", limits::SUMMARIES));
        }
        let (all, urgent) = counts(value).ok_or_else(|| {
            Fault::value(at, name.to_owned(), value, "counts like \"1/3\" or \"1/3 (0/1)\"")
        })?;
        summary.counts.push(Count { class: Class::parse(name), all, urgent });
    }
    let mut message: Vec<(String, String)> = Vec::new();
    for (at, line) in lines {
        if line.trim().is_empty() {
            summary.messages.extend(Some(std::mem::take(&mut message)).filter(|message| !message.is_empty()));
        } else if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), message.last_mut()) {
            value.push(' ');
            value.push_str(line.trim());
        } else {
            let (name, value) = field(at, line)?;
            message.push((name.to_owned(), value.to_owned()));
        }
    }
    summary.messages.extend(Some(message).filter(|message| !message.is_empty()));
    Ok(summary)
}

/// `Messages-Waiting: yes`, also as `Message-Waiting`, which the draft's own example says.
fn status_line(at: At, line: &str) -> Result<bool, Fault> {
    let (name, value) = field(at, line)?;
    if !is_status(name) {
        return Err(Fault::unexpected(at, name, "\"Messages-Waiting\""));
    }
    waiting(at, value)
}

fn is_status(name: &str) -> bool {
    name.eq_ignore_ascii_case("messages-waiting") || name.eq_ignore_ascii_case("message-waiting")
}

fn waiting(at: At, value: &str) -> Result<bool, Fault> {
    match value {
        _ if value.eq_ignore_ascii_case("yes") => Ok(true),
        _ if value.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err(Fault::value(at, "Messages-Waiting", value, "yes or no")),
    }
}

fn field(at: At, line: &str) -> Result<(&str, &str), Fault> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| Fault::unexpected(at, line, "a field like \"Name: value\""))?;
    Ok((name.trim(), value.trim()))
}

/// `1/3`, `1/3 (0/1)`.
fn counts(value: &str) -> Option<(NewOld, Option<NewOld>)> {
    let (all, urgent) = match value.split_once('(') {
        Some((all, urgent)) => (all, Some(urgent.trim().strip_suffix(')')?)),
        None => (value, None),
    };
    let urgent = match urgent {
        Some(urgent) => Some(new_old(urgent)?),
        None => None,
    };
    Some((new_old(all)?, urgent))
}

fn new_old(text: &str) -> Option<NewOld> {
    let (new, old) = text.split_once('/')?;
    Some(NewOld { new: clamped(new)?, old: clamped(old)? })
}

fn clamped(text: &str) -> Option<u32> {
    crate::sip::wire::text::seconds(text.as_bytes())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
