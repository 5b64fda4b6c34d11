use sipliance::body::message_summary::historic::{
    Flag, Historic, Media, read_text, read_xml, write_text, write_xml,
};
use sipliance::body::message_summary::{Class, Count, NewOld, Summary, read, write};

use super::{golden, refused};

fn alarms() -> Summary {
    let urgent = Some(NewOld { new: 1, old: 0 });
    Summary {
        waiting: true,
        account: Some("sip:alerts@home.example".to_owned()),
        counts: vec![
            Count { class: Class::Text, all: NewOld { new: 2, old: 5 }, urgent },
            Count { class: Class::Voice, all: NewOld { new: 0, old: 1 }, urgent: None },
        ],
        messages: vec![
            vec![
                ("From".to_owned(), "sip:freezer@home.example".to_owned()),
                ("Subject".to_owned(), "door open".to_owned()),
            ],
            vec![("From".to_owned(), "sip:smoke@home.example".to_owned())],
        ],
    }
}

#[test]
fn documents_of_ours() {
    let summary = alarms();
    golden("alarms.message-summary", write(&summary));
    assert_eq!(read(write(&summary).as_bytes()).unwrap(), summary);
    let historic = Historic::of(&summary);
    golden("alarms.2000.txt", write_text(&historic));
    golden("alarms.2000.xml", write_xml(&historic));
    assert_eq!(read_text(write_text(&historic).as_bytes()).unwrap(), historic);
    let from_xml = read_xml(write_xml(&historic).as_bytes()).unwrap();
    assert_eq!(from_xml, Historic { waiting: None, ..historic.clone() });
    let back = historic.summary().unwrap();
    assert_eq!((back.waiting, &back.counts[1]), (true, &summary.counts[0]));
}

/// Proves: MW-1, MW-5, MW-9, ERR-3
#[test]
fn as_others_write_it() {
    let summary = read(
        b"messages-waiting :YES\nMESSAGE-ACCOUNT: <sip:a@h>\nvoice-message:\t1 / 2 ( 0/ 1 )\n\
          fax-message: 99999999999999999999/0\nx-doorbell: 3/4\n\nTo: sip:a@h\nSubject: a\n  b\n\n\nTo: sip:b@h\n",
    )
    .unwrap();
    assert!(summary.waiting);
    assert_eq!(summary.account.as_deref(), Some("sip:a@h"));
    let urgent = Some(NewOld { new: 0, old: 1 });
    assert_eq!(summary.counts[0], Count { class: Class::Voice, all: NewOld { new: 1, old: 2 }, urgent });
    assert_eq!(summary.counts[1].all.new, u32::MAX);
    assert_eq!(summary.counts[2].class, Class::Other("x-doorbell".to_owned()));
    assert_eq!(summary.messages[0][1], ("Subject".to_owned(), "a b".to_owned()));
    assert_eq!(summary.messages.len(), 2);
    // The draft's example A6 lacks an "s".
    assert!(!read(b"Message-Waiting: no\r\n").unwrap().waiting);
    assert!(write(&Summary::default()).starts_with("Messages-Waiting: no\r\n"));
}

#[test]
fn what_is_no_summary() {
    let many = format!("Messages-Waiting: no\n{}", "Voice-Message: 0/0\n".repeat(65));
    refused(
        read,
        &[
            (&many, "more than 64 message classes"),
            ("", "Messages-Waiting is missing"),
            ("Voice-Message: 1/2\r\n", "line 1: \"Voice-Message\" stands where \"Messages-Waiting\""),
            ("Messages-Waiting: maybe\r\n", "Messages-Waiting is \"maybe\", not yes or no"),
            ("Messages-Waiting: yes\r\nVoice-Message: 1\r\n", "line 2: Voice-Message is \"1\", not counts"),
            ("Messages-Waiting: yes\r\nVoice-Message: 1/-2\r\n", "not counts"),
            ("Messages-Waiting: yes\r\nVoice-Message: 1/2 (1/2\r\n", "not counts"),
            ("Messages-Waiting: yes\r\nhello\r\n", "\"hello\" stands where a field"),
        ],
    );
}

#[test]
fn nothing_gets_out_of_its_line() {
    let mut summary = alarms();
    summary.account = Some("sip:a@h\r\nVoice-Message: 9/9".to_owned());
    summary.counts[0].class = Class::Other("a: 1/1\r\nb".to_owned());
    summary.messages[0][0].1 = "x\r\n\r\nInjected: 1".to_owned();
    let read = read(write(&summary).as_bytes()).unwrap();
    assert_eq!((read.counts.len(), read.messages.len()), (1, 2));
}

/// Proves: MW-10, ERR-3, ERR-4
#[test]
fn the_text_of_2000() {
    let inbox =
        read_text(b"Messages-Waiting: yes\r\nVoicemail: 2/5; u:2/1; r:4; a:1\r\nEmail: 0/0\r\n").unwrap();
    let voice = &inbox.folders[0].media[0];
    assert_eq!((voice.media, voice.new, voice.old), (Media::Voicemail, 2, 5));
    assert_eq!((voice.flags[0].flag, voice.flags[0].urgent, voice.flags[1].urgent), (Flag::Untouched, 1, 0));
    let news = read_text(b"voicemail: +4/-1; U:+4/+1; d:+1/+0\nEmail: +1/+0\n").unwrap();
    assert!(news.relative && news.waiting.is_none());
    assert_eq!((news.folders[0].media[0].old, news.folders[0].media[1].new), (-1, 1));
    assert_eq!(news.summary(), None);
    assert_eq!(write_text(&news), "Voicemail: +4/-1; u:+4/+1; d:+1/+0\r\nEmail: +1/+0\r\n");
    // Example A6, with its typing error.
    assert_eq!(read_text(b"Message-Waiting: yes\r\n").unwrap().waiting, Some(true));
}

/// Proves: MW-10, ERR-12
#[test]
fn text_of_2000_that_is_none() {
    refused(
        read_text,
        &[
            // Example A5 of the draft.
            (
                "Voicemail: +4/-1; u:+3/+1; d:+1/0\r\nEmail: +1/0\r\n",
                "line 1: counts with and without sign are mixed",
            ),
            ("Voicemail: 1/2\r\nEmail: +1/+0\r\n", "line 2: counts with and without sign are mixed"),
            ("", "Messages-Waiting or a count is missing"),
            ("Voicemail: 1/2; u:1; u:1\r\n", "untouched is counted twice"),
            ("Voicemail: 1/2\r\nVoicemail: 1/2\r\n", "Voicemail is counted twice"),
            ("Voicemail: 2/5; u:1; s:2\r\n", "not all the new ones"),
            ("Voicemail: 2/5; r:4\r\n", "not all the old ones"),
            ("Voicemail: 2/5; x:1\r\n", "a flag is \"x:1\""),
            ("Voicemail: 2\r\n", "Voicemail is \"2\", not new and old ones"),
            ("Voicemail: a/b\r\n", "a count is \"a\""),
            ("Telegram: 1/2\r\n", "\"Telegram\" stands where Voicemail"),
            ("Email: 0/0\r\nMessages-Waiting: yes\r\n", "stands once, in the first line"),
        ],
    );
}

/// Proves: MW-10, ERR-3
#[test]
fn the_xml_of_2000() {
    let summary = read_xml(
        b"<!DOCTYPE message_summary SYSTEM 'xml_mwi.dtd'>\n<MESSAGE_SUMMARY><MAILBOX_IN><NAME>Inbox</NAME>\
          <VOICEMAIL><UNTOUCHED urgent=\"1\">2</UNTOUCHED><SKIPPED/><READ>3</READ><DELETED>2</DELETED></VOICEMAIL>\
          <EMAIL/></MAILBOX_IN><mailbox_in><name>Inbox.Priority</name><email><untouched>77</untouched></email>\
          </mailbox_in></MESSAGE_SUMMARY>",
    )
    .unwrap();
    let voice = &summary.folders[0].media[0];
    assert_eq!((voice.new, voice.old, voice.flags[0].urgent), (2, 3, 1));
    assert_eq!(summary.folders[1].name, "Inbox.Priority");
    let modern = summary.summary().unwrap();
    assert!(modern.waiting);
    assert_eq!(modern.counts[1].all, NewOld { new: 77, old: 0 });
    refused(
        read_xml,
        &[
            ("<mailbox_in/>", "\"mailbox_in\" stands where <message_summary>"),
            ("<message_summary/>", "<mailbox_in> of <message_summary> is missing"),
            ("<message_summary><mailbox_in/></message_summary>", "<name> of <mailbox_in> is missing"),
            (
                "<message_summary><mailbox_in><name/><fax><read>1</read><read>1</read></fax></mailbox_in></message_summary>",
                "read is counted twice",
            ),
            (
                "<message_summary><mailbox_in><name/><fax><read urgent='1'>+1</read></fax></mailbox_in></message_summary>",
                "mixed",
            ),
        ],
    );
}
