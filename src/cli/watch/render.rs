//! NOTIFYs as lines for people, or as JSON for programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::document::{Document, Reading};
use crate::cli::client::clean;
use crate::sip::subscriber::Notified;

/// Writes lines; remembers the last readings, so that a line says what changed.
#[derive(Debug)]
pub struct Renderer {
    label: String,
    colour: bool,
    brief: bool,
    last: Option<(Bytes, Document)>,
}

impl Renderer {
    /// A renderer that has written nothing. `label` names what is watched; a `brief` one is for a
    /// single state and does not say that nothing follows it.
    pub fn new(label: &str, colour: bool, brief: bool) -> Self {
        Self { label: clean(label), colour, brief, last: None }
    }

    /// There was a gap: the next line has the whole state again.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// A NOTIFY, without the line end. `time` is shown as it is.
    pub fn line(&mut self, time: &str, notified: &Notified) -> String {
        let document = Document::read(notified.content_type.as_deref(), &notified.body);
        let what = self.what(&notified.body, document);
        let state = match (notified.state.as_str(), notified.reason.as_deref()) {
            ("active", _) => String::new(),
            // The end that was asked for.
            ("terminated", None | Some("timeout")) if self.brief => String::new(),
            ("terminated", Some(reason)) => format!("  [ended: {reason}]"),
            ("terminated", None) => "  [ended]".to_owned(),
            (state, _) => format!("  [{state}]"),
        };
        format!("{} {}  {what}{}", self.paint("2", time), self.label, clean(&state))
    }

    fn what(&mut self, body: &Bytes, document: Document) -> String {
        let last = self.last.replace((body.clone(), document.clone()));
        if last.as_ref().is_some_and(|(last, _)| last == body && !body.is_empty()) {
            return "no change".to_owned();
        }
        match &document {
            Document::Readings(readings, _) => match &last {
                Some((_, Document::Readings(last, _))) => self.changes(last, readings),
                _ => all(readings),
            },
            Document::Presence(tuples, general) => presence(tuples, general.as_deref()),
            Document::Dialogs(dialogs) if dialogs.is_empty() => "no call".to_owned(),
            Document::Dialogs(dialogs) => {
                let one = |(state, with): &(String, Option<String>)| {
                    let with = with.as_deref().map(|with| format!(" ({with})")).unwrap_or_default();
                    clean(&format!("{state}{with}"))
                };
                dialogs.iter().map(one).collect::<Vec<_>>().join(", ")
            }
            Document::Messages(waiting, counts) => {
                let one =
                    |(class, new, old): &(String, u64, u64)| format!("{} {new} new {old} old", clean(class));
                let counts = counts.iter().map(one).collect::<Vec<_>>().join(", ");
                let waiting = if *waiting { "messages waiting" } else { "no messages waiting" };
                if counts.is_empty() { waiting.to_owned() } else { format!("{waiting}: {counts}") }
            }
            Document::Text(text) => block(text),
            Document::Other(kind, Some(text)) => format!("{}\n{}", clean(kind), indent(text)),
            Document::Other(kind, None) => format!("{}, no text", clean(kind)),
            Document::Nothing => "no state given".to_owned(),
        }
    }

    fn changes(&self, last: &[Reading], readings: &[Reading]) -> String {
        let before = |name: &str| last.iter().find(|reading| reading.name == name);
        let mut changes = Vec::new();
        for reading in readings {
            match before(&reading.name) {
                _ if reading.moment => changes.push(self.paint("1", &shown(reading))),
                Some(old) if old.text == reading.text => {}
                Some(old) => {
                    let text = format!("{} → {}", shown(old), clean(&reading.text));
                    changes.push(self.paint("1", &text));
                }
                None => changes.push(self.paint("1", &shown(reading))),
            }
        }
        let is_there = |name: &str| readings.iter().any(|reading| reading.name == name);
        for old in last.iter().filter(|old| !old.moment && !is_there(&old.name)) {
            changes.push(self.paint("2", &format!("{} gone", clean(&old.name))));
        }
        if changes.is_empty() { "no change".to_owned() } else { changes.join(", ") }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `open: on, 63 W`; what a tuple and the whole say alike is said once.
fn presence(tuples: &[(String, Option<String>)], general: Option<&str>) -> String {
    let one = |(basic, note): &(String, Option<String>)| match note.as_deref().or(general) {
        Some(note) => format!("{basic}: {note}"),
        None => basic.clone(),
    };
    let shown = match (tuples, general) {
        ([], Some(note)) => format!("no status: {note}"),
        ([], None) => "no status".to_owned(),
        (tuples, _) => tuples.iter().map(one).collect::<Vec<_>>().join("; "),
    };
    clean(&shown)
}

fn all(readings: &[Reading]) -> String {
    let shown: Vec<_> = readings.iter().filter(|reading| is_news(reading)).map(shown).collect();
    if shown.is_empty() { "no values".to_owned() } else { shown.join(", ") }
}

/// A link that is up goes without saying.
fn is_news(reading: &Reading) -> bool {
    reading.name.rsplit('/').next() != Some("link") || reading.text != "up"
}

fn shown(reading: &Reading) -> String {
    clean(&format!("{} {}", reading.name, reading.text))
}

/// Text of one line stays in the line; more lines follow below.
fn block(text: &str) -> String {
    let text = clean(text.trim_end());
    if text.contains('\n') { format!("\n{}", indent(&text)) } else { text }
}

fn indent(text: &str) -> String {
    let text = clean(text.trim_end());
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// A NOTIFY as one JSON object: what is understood is in `parsed`, everything else in `body` as
/// text or in `body_base64`.
pub fn json(at: &str, of: &str, event: &str, notified: &Notified) -> String {
    let Notified { state, reason, content_type, body } = notified;
    let mut object =
        json!({"at": at, "of": of, "event": event, "state": state, "content_type": content_type});
    if let Some(object) = object.as_object_mut() {
        if let Some(reason) = reason {
            object.insert("reason".to_owned(), json!(reason));
        }
        match (Document::read(content_type.as_deref(), body).json(), std::str::from_utf8(body)) {
            (Some(parsed), _) => object.insert("parsed".to_owned(), parsed),
            (None, Ok(text)) => object.insert("body".to_owned(), json!(text)),
            (None, Err(_)) => object.insert("body_base64".to_owned(), json!(STANDARD.encode(body))),
        };
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notified(kind: &str, body: &str) -> Notified {
        Notified {
            state: "active".to_owned(),
            reason: None,
            content_type: Some(kind.to_owned()),
            body: body.to_owned().into(),
        }
    }

    fn lines(kind: &str, bodies: &[&str]) -> Vec<String> {
        let mut renderer = Renderer::new("washer", false, false);
        bodies.iter().map(|body| renderer.line("14:03:07", &notified(kind, body))).collect()
    }

    #[test]
    fn what_happened_does_not_change_and_is_never_gone() {
        let pack = |moment: &str| {
            format!(
                r#"[{{"bn":"home.local/fan/","bt":5,"n":"health","vs":"online"}},{{"n":"stage","v":1,"t":-3}}{moment}]"#
            )
        };
        let filter = pack(r#",{"n":"filter","vs":"due","t":0}"#);
        let fan = pack(r#",{"n":"alarm","vs":"fan","t":2}"#);
        let ice = pack(r#",{"n":"alarm","vs":"ice","t":2.5}"#);
        assert_eq!(
            lines("application/senml+json", &[&pack(""), &filter, &fan, &ice, &pack("")]),
            [
                "14:03:07 washer  health online, stage 1",
                "14:03:07 washer  filter due",
                "14:03:07 washer  alarm fan",
                "14:03:07 washer  alarm ice",
                "14:03:07 washer  no change",
            ]
        );
    }

    /// Each device of a room has a health and a link of its own.
    #[test]
    fn a_room_says_whose_readings_they_are() {
        let pack = |beamer: &str, tank: &str| {
            format!(
                r#"[{{"bn":"home.local/beamer/","n":"health","vs":"{beamer}"}},{{"n":"link","vb":true}},{{"bn":"home.local/tank/","n":"health","vs":"{tank}"}},{{"n":"link","vb":true}}]"#
            )
        };
        assert_eq!(
            lines("application/senml+json", &[&pack("online", "online"), &pack("online", "offline")]),
            [
                "14:03:07 washer  beamer/health online, tank/health online",
                "14:03:07 washer  tank/health online → offline",
            ]
        );
    }

    #[test]
    fn an_appliance_says_everything_once_and_then_what_changed() {
        let first = r#"[{"bn":"home.local/washer/","bt":1,"n":"health","vs":"online"},{"n":"link","vb":true},{"n":"power","vb":true},{"n":"watts","u":"W","v":412.0},{"n":"drum","u":"Cel","v":40.5},{"n":"door.last","vs":"open"}]"#;
        let second = r#"[{"bn":"home.local/washer/","n":"health","vs":"offline"},{"n":"link","vb":false},{"n":"power.last","vb":true},{"n":"watts","u":"W","v":412},{"n":"door.last","vs":"open"},{"n":"level","u":"/100","v":7}]"#;
        assert_eq!(
            lines("application/senml+json", &[first, second, second]),
            [
                "14:03:07 washer  health online, power on, watts 412 W, drum 40.5 °C, door was open",
                "14:03:07 washer  health online → offline, link up → down, power on → was on, level 7%, drum gone",
                "14:03:07 washer  no change",
            ]
        );
        let mut renderer = Renderer::new("washer", false, false);
        let reading = notified("application/senml+json", r#"[{"n":"power","vb":true}]"#);
        let all = renderer.line("t", &reading);
        renderer.forget();
        assert_eq!(renderer.line("t", &reading), all);
        let mut renderer = Renderer::new("washer", true, false);
        renderer.line("1", &notified("application/senml+json", first));
        assert_eq!(
            renderer.line("2", &notified("application/senml+json", &first.replace("412.0", "0"))),
            "\x1b[2m2\x1b[0m washer  \x1b[1mwatts 412 W → 0 W\x1b[0m"
        );
    }

    #[test]
    fn documents_of_other_packages() {
        let line =
            |kind: &str, body: &str| lines(kind, &[body]).remove(0).split_off("14:03:07 washer  ".len());
        let pidf = "<?xml version=\"1.0\"?><p:presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:a@h\"><p:tuple id=\"1\"><p:status><p:basic>open</p:basic></p:status><p:note>on &amp; 3 W</p:note></p:tuple></p:presence>";
        assert_eq!(line("application/pidf+xml", pidf), "open: on & 3 W");
        let dialog = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\" entity=\"sip:a@h\"><dialog id=\"1\"><state>confirmed</state><remote><identity display=\"Washer: on\">sip:a@h</identity></remote></dialog></dialog-info>";
        assert_eq!(line("application/dialog-info+xml", dialog), "confirmed (Washer: on)");
        assert_eq!(line("application/dialog-info+xml", "<dialog-info/>"), "no call");
        assert_eq!(
            line(
                "application/simple-message-summary",
                "Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n"
            ),
            "messages waiting: voice 2 new 8 old"
        );
        assert_eq!(line("text/plain", "Washer: on\r\n"), "Washer: on");
        assert_eq!(line("text/plain", "Washer: on\r\npower: on\r\n"), "\n    Washer: on\n    power: on");
        assert_eq!(line("application/x", "{}"), "application/x\n    {}");
        assert_eq!(line("application/pidf+xml", "<presence>"), "application/pidf+xml\n    <presence>");
    }

    #[test]
    fn a_peer_cannot_speak_to_the_terminal() {
        let evil = "\x1b]0;x\x07\u{202e}\u{9b}2J";
        let senml = json!([{"n": evil, "vs": evil}]).to_string();
        for (kind, body) in
            [("text/plain", evil), ("application/senml+json", &senml), ("application/x", evil)]
        {
            let line = lines(kind, &[body]).remove(0);
            assert!(!line.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{line:?}");
        }
    }

    #[test]
    fn how_a_subscription_stands() {
        let mut renderer = Renderer::new("washer", false, false);
        let mut empty = notified("", "");
        empty.content_type = None;
        empty.state = "pending".to_owned();
        assert_eq!(renderer.line("t", &empty), "t washer  no state given  [pending]");
        empty.state = "terminated".to_owned();
        empty.reason = Some("noresource".to_owned());
        assert_eq!(renderer.line("t", &empty), "t washer  no state given  [ended: noresource]");
        assert_eq!(
            json("t", "sip:w@h", "appliance", &empty),
            r#"{"at":"t","body":"","content_type":null,"event":"appliance","of":"sip:w@h","reason":"noresource","state":"terminated"}"#
        );
        assert_eq!(
            json(
                "t",
                "sip:w@h",
                "appliance",
                &notified("application/senml+json", r#"[{"n":"power","vb":true}]"#)
            ),
            r#"{"at":"t","content_type":"application/senml+json","event":"appliance","of":"sip:w@h","parsed":[{"n":"power","vb":true}],"state":"active"}"#
        );
    }
}
