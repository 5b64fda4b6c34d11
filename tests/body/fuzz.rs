//! No bytes make a reader panic, and what a writer writes its reader reads.

use proptest::prelude::*;
use sipliance::body::pidf::Label;
use sipliance::body::presence::{Extra, Note, Presence, Priority, Status, Tuple};
use sipliance::body::*;

use super::{corpus, now};

/// Every reader on the same bytes; where one accepts, writing and reading again must change nothing
/// more.
fn read_all(body: &[u8]) {
    if let Ok(it) = pidf::read(body) {
        settles(&it, |it| pidf::write(it, Label::Pidf), |text| pidf::read(text.as_bytes()));
    }
    if let Ok(it) = xpidf::read(body) {
        settles(&it, xpidf::write, |text| xpidf::read(text.as_bytes()));
    }
    if let Ok(it) = lpidf::read(body, now()) {
        settles(&it, |it| lpidf::write(it, now()), |text| lpidf::read(text.as_bytes(), now()));
    }
    if let Ok(it) = message_summary::read(body) {
        settles(&it, message_summary::write, |text| message_summary::read(text.as_bytes()));
    }
    if let Ok(it) = message_summary::historic::read_text(body) {
        let read = |text: String| message_summary::historic::read_text(text.as_bytes());
        settles(&it, message_summary::historic::write_text, read);
        let _ = it.summary();
    }
    if let Ok(it) = message_summary::historic::read_xml(body) {
        let read = |text: String| message_summary::historic::read_xml(text.as_bytes());
        settles(&it, message_summary::historic::write_xml, read);
        let _ = it.summary();
    }
    if let Ok(it) = watcherinfo::read(body) {
        settles(&it, watcherinfo::write, |text| watcherinfo::read(text.as_bytes()));
    }
    if let Ok(it) = xwatcher::read(body, now()) {
        settles(&it, |it| xwatcher::write(it, now()), |text| xwatcher::read(text.as_bytes(), now()));
    }
    if let Ok(it) = resource_lists::read(body) {
        settles(&it, |it| resource_lists::write(it), |text| resource_lists::read(text.as_bytes()));
    }
    if let Ok(it) = xbuddy::read(body) {
        settles(&it, xbuddy::write, |text| xbuddy::read(text.as_bytes()));
    }
    if let Ok(it) = rlmi::read(body) {
        settles(&it, rlmi::write, |text| rlmi::read(text.as_bytes()));
    }
    if let Ok(it) = multipart::read("multipart/related;boundary=\"b-0\"", body) {
        settles(&it, |it| multipart::write(it, "s"), |(kind, body)| multipart::read(&kind, &body));
    }
    let _ = rlmi::read_related("multipart/related;boundary=\"b-0\"", body);
    match dmp::read(body) {
        Ok(dmp::Document::Action(it)) => {
            settles(&dmp::Document::Action(it), write_dmp, |text| dmp::read(text.as_bytes()))
        }
        Ok(dmp::Document::Response(it)) => {
            settles(&dmp::Document::Response(it), write_dmp, |text| dmp::read(text.as_bytes()));
        }
        Ok(dmp::Document::Mini(_)) | Err(_) => {}
    }
    if let Ok(it) = policy::read(body) {
        settles(&it, policy::write, |text| policy::read(text.as_bytes()));
    }
    if let Ok(it) = senml::read(body, now()) {
        settles(&it, |it| senml::write(it), |text| senml::read(text.as_bytes(), now()));
    }
    let _ = filter::read(body);
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = multipart::read(text, b"--x\r\n\r\n--x--");
        let _ = dmp::terms::Lifetime::parse(text).map(|it| it.seconds(now()));
        let _ = dmp::terms::Condition::parse(text);
    }
}

fn write_dmp(document: &dmp::Document) -> String {
    match document {
        dmp::Document::Action(orders) => dmp::write_action(orders),
        dmp::Document::Response(replies) => dmp::write_response(replies),
        dmp::Document::Mini(_) => String::new(),
    }
}

/// A format may lose something once, never twice.
fn settles<T: PartialEq + std::fmt::Debug, W>(
    first: &T,
    write: impl Fn(&T) -> W,
    read: impl Fn(W) -> Result<T, Fault>,
) {
    let second =
        read(write(first)).unwrap_or_else(|fault| panic!("{fault} in what was written of {first:#?}"));
    let third = read(write(&second)).unwrap();
    assert_eq!(second, third);
}

fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = Vec::new();
    let elsewhere = std::env::var_os("SIPLIANCE_BODY_SAMPLES").map(std::path::PathBuf::from);
    for folder in std::iter::once(corpus()).chain(elsewhere) {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        samples.extend(files.into_iter().map(|file| std::fs::read(file).unwrap()));
    }
    samples
}

#[test]
fn every_sample_as_it_is() {
    let samples = samples();
    assert!(samples.len() >= 15);
    samples.iter().for_each(|sample| read_all(sample));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..512)) {
        read_all(&body);
    }

    #[test]
    fn any_markup(body in "[<>/='\"&;:!\\[\\]a-c \n0-2{},.-]{0,200}") {
        read_all(body.as_bytes());
    }

    /// Our own documents with something cut, doubled or changed.
    #[test]
    fn damaged_documents(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6),
    ) {
        let samples = samples();
        let mut body = which.get(&samples).clone();
        for (at, kind, byte) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => drop(body.drain(at..(at + usize::from(byte)).min(body.len()))),
                _ => {
                    let piece = body[at..(at + usize::from(byte)).min(body.len())].to_vec();
                    body.splice(at..at, piece);
                }
            }
        }
        read_all(&body);
    }

    /// Whatever texts stand in a presence, all formats can be read back.
    #[test]
    fn any_presence(presence in presences()) {
        let through = pidf::read(pidf::write(&presence, Label::Pidf).as_bytes()).unwrap();
        prop_assert_eq!(through.tuples.len(), presence.tuples.len());
        let through = xpidf::read(xpidf::write(&presence).as_bytes()).unwrap();
        prop_assert_eq!(through.tuples.len(), presence.tuples.len());
        lpidf::read(lpidf::write(&presence, now()).as_bytes(), now()).unwrap();
    }
}

fn presences() -> impl Strategy<Value = Presence> {
    let text = || prop_oneof!["\\PC{0,12}", any::<String>(), Just("q".to_owned()), Just("status".to_owned())];
    let status =
        prop_oneof![Just(Status::Unknown), Just(Status::Open), Just(Status::InUse), Just(Status::Closed)];
    let name = prop_oneof!["[a-z+.]{1,8}", "\\PC{1,8}"].prop_filter("blank", |name| !name.trim().is_empty());
    let extra =
        (name, prop::option::of(text()), text()).prop_map(|(name, unit, value)| Extra { name, unit, value });
    let tuple = (status, text(), 0..1200_u16, prop::collection::vec(extra, 0..3), 0..100_000_i64).prop_map(
        |(status, note, priority, extra, seconds)| Tuple {
            status,
            priority: Some(Priority::from_thousandths(priority)),
            notes: vec![Note::new(note)],
            extra,
            expires: Some(now() + jiff::SignedDuration::from_secs(seconds)),
            ..Tuple::of(&format!("sip:{seconds}@h"), status)
        },
    );
    (prop::option::of(text()), prop::collection::vec(tuple, 0..4), text()).prop_map(
        |(display, mut tuples, note)| {
            tuples.dedup_by(|one, other| one.id == other.id);
            Presence {
                entity: "sip:a@h".to_owned(),
                display,
                tuples,
                activities: Vec::new(),
                notes: vec![Note::new(note)],
            }
        },
    )
}
