//! The bodies of draft-mahy-sip-message-waiting-00: `text/plain` for one folder, `text/xml` for
//! several.
//!
//! Counts are all absolute or all relative (`+4/-1`), never mixed; an unsigned number is absolute.
//! The draft's own example A5 mixes them and is refused, as nobody can tell what it means.

use super::super::fault::{self, At, Fault};
use super::super::limits;
use super::super::xml::{self, Element, Writer};
use super::{Class, Count, NewOld, Summary, field, is_status, one_line, waiting};

/// Media type of the text body.
pub const TEXT_CONTENT_TYPE: &str = "text/plain";
/// Media type of the XML body.
pub const XML_CONTENT_TYPE: &str = "text/xml";

/// A summary of the year 2000.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Historic {
    /// Whether anything waits; the XML body does not say it.
    pub waiting: Option<bool>,
    /// Whether all counts are changes instead of amounts. Such a body belongs in a NOTIFY only.
    pub relative: bool,
    /// Folders, the inbox first. The text body has only that one.
    pub folders: Vec<Folder>,
}

/// One folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// `Inbox`, `Inbox.Priority` …
    pub name: String,
    /// Counts by media.
    pub media: Vec<MediaCount>,
}

/// The messages of one media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaCount {
    /// Which.
    pub media: Media,
    /// Untouched and skipped ones.
    pub new: i64,
    /// Flagged, read and answered ones.
    pub old: i64,
    /// Details; every message stands in exactly one.
    pub flags: Vec<FlagCount>,
}

/// The messages with one flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagCount {
    /// Which.
    pub flag: Flag,
    /// How many.
    pub all: i64,
    /// How many of them are urgent.
    pub urgent: i64,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $word:literal),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// Media types of the draft.
    Media {
        /// Audio.
        Voicemail "Voicemail",
        /// Text.
        Email "Email",
        /// Images.
        Fax "Fax",
        /// Video.
        Video "Video"
    }
}

words! {
    /// What happened to a message.
    Flag {
        /// Nothing.
        Untouched "untouched",
        /// Begun.
        Skipped "skipped",
        /// Marked.
        Flagged "flagged",
        /// Read to its end.
        Read "read",
        /// Answered or passed on.
        Answered "answered",
        /// Deleted, and not counted otherwise.
        Deleted "deleted"
    }
}

impl Flag {
    fn is_new(self) -> bool {
        matches!(self, Self::Untouched | Self::Skipped)
    }

    fn is_old(self) -> bool {
        matches!(self, Self::Flagged | Self::Read | Self::Answered)
    }

    fn letter(self) -> &'static str {
        self.word().get(..1).unwrap_or_default()
    }
}

impl Historic {
    /// The modern summary in the words of 2000: new messages are untouched, old ones read. Classes
    /// that the draft does not know are left out.
    pub fn of(summary: &Summary) -> Self {
        let counts = summary.counts.iter().filter_map(|count| {
            let media = match count.class {
                Class::Voice => Media::Voicemail,
                Class::Text => Media::Email,
                Class::Fax => Media::Fax,
                Class::Video => Media::Video,
                Class::Pager | Class::Multimedia | Class::None | Class::Other(_) => return None,
            };
            let (new, old) = (count.all.new.into(), count.all.old.into());
            let urgent = count.urgent.unwrap_or_default();
            let untouched = FlagCount { flag: Flag::Untouched, all: new, urgent: urgent.new.into() };
            let read = FlagCount { flag: Flag::Read, all: old, urgent: urgent.old.into() };
            let flags = [untouched, read].into_iter().filter(|flag| flag.all != 0).collect();
            Some(MediaCount { media, new, old, flags })
        });
        let mut media: Vec<MediaCount> = counts.collect();
        media.sort_by_key(|count| count.media as u8);
        let inbox = Folder { name: "Inbox".to_owned(), media };
        Self { waiting: Some(summary.waiting), relative: false, folders: vec![inbox] }
    }

    /// The modern summary of all folders together; `None` when there are only changes.
    pub fn summary(&self) -> Option<Summary> {
        if self.relative {
            return None;
        }
        let mut counts: Vec<Count> = Vec::new();
        for media in self.folders.iter().flat_map(|folder| &folder.media) {
            let class = match media.media {
                Media::Voicemail => Class::Voice,
                Media::Email => Class::Text,
                Media::Fax => Class::Fax,
                Media::Video => Class::Video,
            };
            let urgent = |is: fn(Flag) -> bool| {
                media.flags.iter().filter(|flag| is(flag.flag)).map(|flag| flag.urgent).sum::<i64>()
            };
            let all = NewOld { new: cut(media.new), old: cut(media.old) };
            let urgent = NewOld { new: cut(urgent(Flag::is_new)), old: cut(urgent(Flag::is_old)) };
            match counts.iter_mut().find(|count| count.class == class) {
                Some(known) => {
                    add(&mut known.all, all);
                    add(known.urgent.get_or_insert_default(), urgent);
                }
                None => counts.push(Count { class, all, urgent: Some(urgent) }),
            }
        }
        let waiting = self.waiting.unwrap_or_else(|| counts.iter().any(|count| count.all.new > 0));
        Some(Summary { waiting, account: None, counts, messages: Vec::new() })
    }
}

fn cut(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

fn add(to: &mut NewOld, more: NewOld) {
    to.new = to.new.saturating_add(more.new);
    to.old = to.old.saturating_add(more.old);
}

/// Writes the text body of the first folder.
pub fn write_text(historic: &Historic) -> String {
    let show = |number: i64| if historic.relative { format!("{number:+}") } else { number.to_string() };
    let mut out = String::new();
    let media = historic.folders.first().map(|folder| folder.media.as_slice()).unwrap_or_default();
    let waiting = historic.waiting.or(media.is_empty().then_some(false));
    if let Some(waiting) = waiting {
        out.push_str(if waiting { "Messages-Waiting: yes\r\n" } else { "Messages-Waiting: no\r\n" });
    }
    for count in media {
        out.push_str(&format!("{}: {}/{}", count.media.word(), show(count.new), show(count.old)));
        for flag in &count.flags {
            out.push_str(&format!("; {}:{}/{}", flag.flag.letter(), show(flag.all), show(flag.urgent)));
        }
        out.push_str("\r\n");
    }
    out
}

/// Reads the text body.
///
/// # Errors
/// When a line is malformed, relative and absolute counts are mixed, or flags do not add up.
pub fn read_text(body: &[u8]) -> Result<Historic, Fault> {
    let text = fault::text(body)?;
    let mut signs = Signs::default();
    let mut waits = None;
    let mut inbox = Folder { name: "Inbox".to_owned(), media: Vec::new() };
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = At::Line(nth + 1);
        let (name, value) = field(at, line)?;
        if is_status(name) {
            if waits.is_some() || !inbox.media.is_empty() {
                return Err(Fault::syntax(at, "Messages-Waiting stands once, in the first line"));
            }
            waits = Some(waiting(at, value)?);
            continue;
        }
        let media = Media::ALL.iter().find(|media| media.word().eq_ignore_ascii_case(name));
        let media = *media.ok_or_else(|| Fault::unexpected(at, name, "Voicemail, Email, Fax or Video"))?;
        if inbox.media.iter().any(|known| known.media == media) {
            return Err(Fault::syntax(at, format!("{} is counted twice", media.word())));
        }
        inbox.media.push(read_line(at, media, value, &mut signs)?);
    }
    if waits.is_none() && inbox.media.is_empty() {
        return Err(Fault::missing(At::Body, "Messages-Waiting or a count"));
    }
    Ok(Historic { waiting: waits, relative: signs.relative(), folders: vec![inbox] })
}

fn read_line(at: At, media: Media, value: &str, signs: &mut Signs) -> Result<MediaCount, Fault> {
    let mut parts = value.split(';').map(str::trim);
    let totals = parts.next().unwrap_or_default();
    let (new, old) = totals
        .split_once('/')
        .ok_or_else(|| Fault::value(at, media.word(), totals, "new and old ones like \"1/3\""))?;
    let mut count =
        MediaCount { media, new: signs.read(at, new)?, old: signs.read(at, old)?, flags: Vec::new() };
    for part in parts.filter(|part| !part.is_empty()) {
        let flag = part.split_once(':').and_then(|(letter, numbers)| {
            let letter = letter.trim();
            let flag = Flag::ALL.iter().find(|flag| flag.letter().eq_ignore_ascii_case(letter))?;
            Some((*flag, numbers))
        });
        let (flag, numbers) =
            flag.ok_or_else(|| Fault::value(at, "a flag", part, "one of u, s, f, r, a, d with a count"))?;
        let (all, urgent) = match numbers.split_once('/') {
            Some((all, urgent)) => (signs.read(at, all)?, signs.read(at, urgent)?),
            None => (signs.read(at, numbers)?, 0),
        };
        push_flag(at, &mut count, FlagCount { flag, all, urgent })?;
    }
    if !signs.relative() {
        adds_up(at, &count)?;
    }
    Ok(count)
}

fn push_flag(at: At, count: &mut MediaCount, flag: FlagCount) -> Result<(), Fault> {
    if count.flags.iter().any(|known| known.flag == flag.flag) {
        return Err(Fault::syntax(at, format!("{} is counted twice", flag.flag.word())));
    }
    count.flags.push(flag);
    Ok(())
}

/// Every message has exactly one flag, so where flags are given, they make up the sum.
fn adds_up(at: At, count: &MediaCount) -> Result<(), Fault> {
    for (is, total, what) in [
        (
            Flag::is_new as fn(Flag) -> bool,
            count.new,
            "untouched and skipped messages are not all the new ones",
        ),
        (Flag::is_old, count.old, "flagged, read and answered messages are not all the old ones"),
    ] {
        let mut flags = count.flags.iter().filter(|flag| is(flag.flag)).peekable();
        if flags.peek().is_some() && flags.map(|flag| flag.all).sum::<i64>() != total {
            return Err(Fault::syntax(at, what));
        }
    }
    Ok(())
}

/// Writes the XML body.
pub fn write_xml(historic: &Historic) -> String {
    let show = |number: i64| if historic.relative { format!("{number:+}") } else { number.to_string() };
    let mut w = Writer::new();
    w.tag("message_summary").open();
    for folder in &historic.folders {
        w.tag("mailbox_in").open();
        w.leaf("name", &one_line(&folder.name));
        for media in Media::ALL {
            let Some(count) = folder.media.iter().find(|count| count.media == *media) else { continue };
            let tag = media.word().to_ascii_lowercase();
            if count.flags.is_empty() {
                w.tag(&tag).empty();
                continue;
            }
            w.tag(&tag).open();
            for flag in Flag::ALL {
                let Some(count) = count.flags.iter().find(|count| count.flag == *flag) else { continue };
                let urgent = Some(count.urgent).filter(|urgent| *urgent != 0).map(show);
                w.tag(flag.word()).maybe("urgent", urgent).text(&show(count.all));
            }
            w.close();
        }
        w.close();
    }
    w.finish()
}

/// Reads the XML body, names in any case.
///
/// # Errors
/// When it has no folder, or counts are malformed or mixed.
pub fn read_xml(body: &[u8]) -> Result<Historic, Fault> {
    let root = xml::read_any_case(body)?;
    if root.name != "message_summary" {
        return Err(Fault::unexpected(root.at(), &root.name, "<message_summary>"));
    }
    let mut signs = Signs::default();
    let mut folders = Vec::new();
    for mailbox in root.elements().filter(|element| element.name == "mailbox_in") {
        if folders.len() >= limits::SUMMARIES {
            return Err(Fault::too_much(mailbox.at(), "folders", limits::SUMMARIES));
        }
        let name =
            mailbox.child("name").ok_or_else(|| Fault::missing(mailbox.at(), "<name> of <mailbox_in>"))?;
        let mut folder = Folder { name: name.words(), media: Vec::new() };
        for element in mailbox.elements() {
            let media = Media::ALL.iter().find(|media| media.word().eq_ignore_ascii_case(&element.name));
            let Some(media) = media else { continue };
            if folder.media.iter().any(|known| known.media == *media) {
                return Err(Fault::syntax(element.at(), format!("<{}> is counted twice", element.name)));
            }
            folder.media.push(read_media(*media, element, &mut signs)?);
        }
        folders.push(folder);
    }
    if folders.is_empty() {
        return Err(Fault::missing(root.at(), "<mailbox_in> of <message_summary>"));
    }
    Ok(Historic { waiting: None, relative: signs.relative(), folders })
}

fn read_media(media: Media, element: &Element, signs: &mut Signs) -> Result<MediaCount, Fault> {
    let mut count = MediaCount { media, new: 0, old: 0, flags: Vec::new() };
    for child in element.elements() {
        let Some(flag) = Flag::ALL.iter().find(|flag| flag.word() == child.name) else { continue };
        let text = child.text();
        let all = if text.is_empty() { 0 } else { signs.read(child.at(), &text)? };
        let urgent = match child.attr("urgent") {
            Some(urgent) => signs.read(child.at(), urgent)?,
            None => 0,
        };
        push_flag(child.at(), &mut count, FlagCount { flag: *flag, all, urgent })?;
        let total = if flag.is_new() { Some(&mut count.new) } else { None };
        let total = if flag.is_old() { Some(&mut count.old) } else { total };
        if let Some(total) = total {
            *total += all;
        }
    }
    Ok(count)
}

/// Whether the numbers seen so far had a sign.
#[derive(Debug, Default)]
struct Signs(Option<bool>);

impl Signs {
    fn relative(&self) -> bool {
        self.0 == Some(true)
    }

    fn read(&mut self, at: At, text: &str) -> Result<i64, Fault> {
        let text = text.trim();
        let signed = text.starts_with(['+', '-']);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number = super::clamped(digits).map(i64::from);
        let number = number
            .ok_or_else(|| Fault::value(at, "a count", text, "a whole number, with + or - for a change"))?;
        if *self.0.get_or_insert(signed) != signed {
            return Err(Fault::syntax(
                at,
                "counts with and without sign are mixed; an unsigned 0 is an amount, \"+0\" no change",
            ));
        }
        Ok(if text.starts_with('-') { -number } else { number })
    }
}
