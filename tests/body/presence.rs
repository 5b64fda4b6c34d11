use jiff::{SignedDuration, Timestamp};
use sipliance::body::pidf::{self, Label};
use sipliance::body::presence::{Extra, Note, Presence, Priority, Status, Tuple, atom_id};
use sipliance::body::{lpidf, xpidf};
use sipliance::sip::wire::Address;

use super::{golden, now, refused};

fn thermostat() -> Presence {
    let mut tuple = Tuple::of("sip:thermostat.downstairs@home.example", Status::Open);
    tuple.priority = Priority::parse("0.8");
    tuple.notes = vec![Note::new("20.8 C, heating & \"fine\"")];
    tuple.extra = vec![
        Extra::new("methods", "SUBSCRIBE,DO"),
        Extra::new("mobility", "fixed"),
        Extra::new("automata", ""),
    ];
    tuple.expires = Some(now() + SignedDuration::from_secs(3600));
    Presence {
        entity: "sip:thermostat.downstairs@home.example".to_owned(),
        display: Some("Downstairs thermostat".to_owned()),
        tuples: vec![tuple, Tuple::of("sip:heating-off@home.example", Status::Closed)],
        ..Presence::default()
    }
}

#[test]
fn documents_of_ours() {
    let mut presence = thermostat();
    golden("presence.xpidf.xml", xpidf::write(&presence));
    golden("presence.lpidf", lpidf::write(&presence, now()));
    presence.tuples[0].status = Status::InUse;
    presence.tuples[0].timestamp = Some(now());
    presence.tuples[0].extra[0] =
        Extra { name: "temperature".to_owned(), unit: Some("Cel".to_owned()), value: "20.8".to_owned() };
    presence.notes = vec![Note { lang: Some("en".to_owned()), text: "warm".to_owned() }];
    golden("presence.pidf.xml", pidf::write(&presence, Label::Pidf));
    golden("presence.cpim-pidf.xml", pidf::write(&presence, Label::Cpim));
    for label in [Label::Pidf, Label::Cpim] {
        let read = pidf::read(pidf::write(&presence, label).as_bytes()).unwrap();
        assert_eq!(read, Presence { display: None, ..presence.clone() });
    }
}

#[test]
fn the_id_of_a_contact_is_its_md5() {
    assert_eq!(atom_id("sip:thermostat.downstairs@home.example"), "a2475a1a9f0c5fa80dfa7b3831072937");
}

/// A contact of REGISTER goes through all three formats and comes back as it was.
/// Proves: LP-3
#[test]
fn register_lpidf_xpidf_and_pidf_lose_nothing() {
    for contact in [
        "<sip:lamp@192.0.2.10:49152;transport=tcp>;methods=\"SUBSCRIBE\";description=\"heating\"",
        "<sip:lamp@home.example>;mobility=fixed;class=personal;duplex=full;q=0.8;expires=3600",
        "<sip:lamp@home.example>;features=\"voicemail,attendant\";automata;expires=0",
        "<sip:off@home.example>;q=0;description=\"off since \\\"noon\\\", \\\\ maybe\"",
        "<mailto:ana@example.com>;inuse;q=1",
        "<sip:lamp@home.example>;+sip.instance=\"<urn:uuid:8f1d2c3a-5b6e-4f70-9a81-b827eb5a0c01>\";reg-id=1",
        "<sip:lamp@home.example>;status=ok;note=\"no note\";xmlish=1;param=2",
    ] {
        let tuple = lpidf::tuple(&Address::parse(contact.as_bytes()).unwrap(), now()).unwrap();
        let presence = Presence {
            entity: "sip:lamp@home.example".to_owned(),
            tuples: vec![tuple.clone()],
            ..Presence::default()
        };
        let through_lpidf = lpidf::read(lpidf::write(&presence, now()).as_bytes(), now()).unwrap();
        assert_eq!(through_lpidf, presence, "{contact}");
        let through_xpidf = xpidf::read(xpidf::write(&presence).as_bytes()).unwrap();
        assert_eq!(through_xpidf, presence, "{contact}");
        let through_pidf = pidf::read(pidf::write(&presence, Label::Pidf).as_bytes()).unwrap();
        assert_eq!(through_pidf, presence, "{contact}");
        let back = format!("<{}>{}", tuple.contact.as_ref().unwrap(), lpidf::params(&tuple, now()));
        let back = lpidf::tuple(&Address::parse(back.as_bytes()).unwrap(), now()).unwrap();
        assert_eq!(back, tuple, "{contact}");
    }
}

/// Proves: LP-2, LP-4, LP-5, LP-6
#[test]
fn lpidf_is_read_like_a_sip_header() {
    let text = "t: \"Ana \\\"A\\\"\" <sip:ana@home.example>\nX-Other: 1\n\
                m: <sip:a@h;lr>;q=0.5, sip:b@h;q=0;mobility=\"fixed\"\n\
                Contact: mailto:ana@example.com\n ;description=\"a, b\";\n\texpires=60\n";
    let presence = lpidf::read(text.as_bytes(), now()).unwrap();
    assert_eq!(presence.display.as_deref(), Some("Ana \"A\""));
    let [a, b, mail] = presence.tuples.as_slice() else { panic!("{presence:?}") };
    assert_eq!(
        (a.contact.as_deref(), a.status, a.priority),
        (Some("sip:a@h;lr"), Status::Open, Priority::parse("0.5"))
    );
    assert_eq!((b.status, b.extra("mobility")), (Status::Closed, Some("fixed")));
    assert_eq!(mail.notes, [Note::new("a, b")]);
    assert_eq!(mail.expires, Some(now() + SignedDuration::from_secs(60)));
    let alone = lpidf::read(b"To: sip:ana@home.example\r\n", now()).unwrap();
    assert!(alone.tuples.is_empty());
}

/// Proves: LP-1
#[test]
fn lpidf_that_is_none() {
    refused(
        |body| lpidf::read(body, now()),
        &[
            ("", "To is missing"),
            ("Contact: sip:a@h\r\nTo: sip:a@h\r\n", "line 1: \"Contact\" stands where \"To:\""),
            ("To: sip:a@h\r\nTo: sip:b@h\r\n", "line 2: a second To"),
            ("To: a@h\r\n", "line 1: a URI is malformed"),
            ("To: sip:a@h\r\nContact: *\r\n", "line 2:"),
            ("To: sip:a@h\r\nContact: sip:a@h;q=2\r\n", "q is not a number from 0 to 1"),
            ("To: sip:a@h\r\nContact: sip:a@h;expires=soon\r\n", "expires is not a number of seconds"),
            ("To: sip:a@h\r\nhello\r\n", "\"hello\" stands where"),
        ],
    );
}

#[test]
fn nothing_gets_out_of_its_line() {
    let mut presence = thermostat();
    presence.entity = "sip:a@h\r\nContact: sip:evil@h".to_owned();
    presence.display = Some("x\r\nContact: sip:evil@h".to_owned());
    presence.tuples[0].notes = vec![Note::new("x\"\r\nContact: <sip:evil@h>")];
    presence.tuples[0].extra.push(Extra::new("q", "0"));
    presence.tuples[0].extra.push(Extra::new("a\r\nb", "0"));
    presence.tuples[1].contact = Some("sip:x@h>\r\nContact: <sip:evil@h".to_owned());
    let text = lpidf::write(&presence, now());
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains(";q=0;"), "{text}");
}

/// Proves: LP-6, PX-6
#[test]
fn a_tuple_without_status_is_not_called_open() {
    let presence = Presence {
        entity: "sip:a@h".to_owned(),
        tuples: vec![Tuple::of("sip:a@h", Status::Unknown)],
        ..Presence::default()
    };
    assert_eq!(lpidf::write(&presence, now()), "To: sip:a@h\r\n");
    assert!(!xpidf::write(&presence).contains("<status"));
    assert!(!pidf::write(&presence, Label::Pidf).contains("<basic"));
}

/// The least preference is not a closed door.
#[test]
fn open_with_priority_nought_stays_open() {
    let mut tuple = Tuple::of("sip:a@h", Status::Open);
    tuple.priority = Some(Priority::from_thousandths(0));
    let presence = Presence { entity: "sip:a@h".to_owned(), tuples: vec![tuple], ..Presence::default() };
    let read = lpidf::read(lpidf::write(&presence, now()).as_bytes(), now()).unwrap();
    assert_eq!(read.tuples[0].status, Status::Open);
}

/// Proves: ERR-2
#[test]
fn xpidf_in_every_spelling() {
    let of_a_phone = "<?xml version=\"1.0\"?>\n\
        <!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">\n\
        <PRESENCE><presentity uri=\"sip:201@h;method=SUBSCRIBE\"/>\n\
        <atom id=\"201\"><address uri=\"sip:201@h;user=ip\" priority=\"0.800000\">\n\
        <status status=\"inuse\"/><msnsubstatus substatus=\"onthephone\"/><mobility mobility=\"mobile\"/>\
        </address></atom></PRESENCE>";
    let presence = xpidf::read(of_a_phone.as_bytes()).unwrap();
    assert_eq!(presence.entity, "sip:201@h");
    let tuple = &presence.tuples[0];
    assert_eq!((tuple.id.as_str(), tuple.status), ("201", Status::InUse));
    assert_eq!(tuple.priority.map(Priority::thousandths), Some(800));
    assert_eq!((tuple.extra("msnsubstatus"), tuple.extra("mobility")), (Some("onthephone"), Some("mobile")));
    assert_eq!(xpidf::read(xpidf::write(&presence).as_bytes()).unwrap(), presence);

    let nested = "<presence><presentity uri='sip:a@h'>Ana <b xmlns='urn:x'>A</b>\
        <atom atomid='1' expires='1767229200'><address uri='sip:a@h'><status status='open'/></address>\
        <address uri='mailto:a@h'><note>Mail <i>me</i></note></address></atom></presentity>\
        <atom atomid='2'><postal>Main street 1</postal></atom></presence>";
    let presence = xpidf::read(nested.as_bytes()).unwrap();
    assert_eq!(presence.display.as_deref(), Some("Ana"));
    let ids: Vec<_> = presence.tuples.iter().map(|tuple| tuple.id.as_str()).collect();
    assert_eq!(ids, ["1", "1.2", "2"]);
    assert_eq!(presence.tuples[0].expires, Timestamp::from_second(1_767_229_200).ok());
    assert_eq!(presence.tuples[1].notes, [Note::new("Mail me")]);
    assert_eq!(presence.tuples[2].notes, [Note::new("Main street 1")]);
}

#[test]
fn xpidf_that_is_none() {
    refused(
        xpidf::read,
        &[
            ("<buddylist/>", "\"buddylist\" stands where <presence> belongs"),
            ("<presence/>", "<presentity> of <presence> is missing"),
            ("<presence><presentity/></presence>", "uri of <presentity> is missing"),
            (
                "<presence><presentity uri='sip:a@h'/>\n<atom/></presence>",
                "line 2: atomid of <atom> is missing",
            ),
            (
                "<presence><presentity uri='sip:a@h'/><atom id='1'><address uri='sip:a@h'><status status='away'/></address></atom></presence>",
                "status of <status> is \"away\", not open, closed or inuse",
            ),
            (
                "<presence><presentity uri='sip:a@h'/><atom id='1' expires='never'/></presence>",
                "expires of <atom> is \"never\"",
            ),
            (
                "<presence><presentity uri='sip:a@h'/><atom id='1' expires='999999999999999'/></presence>",
                "a time before the year 9999",
            ),
            (
                "<presence><presentity uri='sip:a@h'/><atom id='1'><address uri='sip:a@h' priority='2'/></atom></presence>",
                "priority of <address> is \"2\"",
            ),
        ],
    );
}

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";

/// Proves: PX-8
#[test]
fn pidf_of_others() {
    let text = format!(
        "<p:presence xmlns:p='{PIDF}' xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' \
         xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:x='urn:x' entity='pres:ana@example.com'>\
         <p:tuple id='t1'><p:status><p:basic> open </p:basic><x:new>1</x:new></p:status>\
         <r:activities><r:busy/></r:activities><p:contact priority='1.000'>sip:ana@h</p:contact>\
         <p:note xml:lang='de'>bin da</p:note><p:timestamp>2026-01-01T01:00:00+01:00</p:timestamp></p:tuple>\
         <p:tuple id='t2'><p:status/></p:tuple><dm:person id='p'><r:activities><r:meal/><r:note>x</r:note></r:activities></dm:person>\
         <x:whatever/></p:presence>"
    );
    let presence = pidf::read(text.as_bytes()).unwrap();
    let [first, second] = presence.tuples.as_slice() else { panic!("{presence:?}") };
    assert_eq!((first.status, second.status), (Status::InUse, Status::Unknown));
    assert_eq!(first.timestamp, Some(now()));
    assert_eq!(first.notes[0].lang.as_deref(), Some("de"));
    assert_eq!(presence.activities, ["meal"]);
}

/// Proves: PX-6, PX-8
#[test]
fn pidf_that_is_none() {
    let doc = |inside: &str| {
        format!(
            "<presence xmlns='{PIDF}' xmlns:p='{PIDF}' xmlns:x='urn:x' entity='sip:a@h'>\n{inside}</presence>"
        )
    };
    refused(
        pidf::read,
        &[
            ("<presence entity='sip:a@h'/>", "namespace of <presence> is \"no namespace\""),
            (&format!("<presence xmlns='{PIDF}'/>"), "entity of <presence> is missing"),
            (&doc("<tuple><status/></tuple>"), "line 2: id of <tuple> is missing"),
            (&doc("<tuple id='a'/>"), "the one <status> of a <tuple> is missing"),
            (
                &doc("<tuple id='a'><status><basic>open</basic><basic>closed</basic></status></tuple>"),
                "at most one <basic>",
            ),
            (&doc("<tuple id='a'><status><basic>OPEN</basic></status></tuple>"), "<basic> is \"OPEN\""),
            (
                &doc("<tuple id='a'><status/><contact priority='-1'>sip:a@h</contact></tuple>"),
                "priority of <contact>",
            ),
            (&doc("<tuple id='a'><status/><timestamp>today</timestamp></tuple>"), "<timestamp> is \"today\""),
            (&doc("<tuple id='a'><status/></tuple><tuple id='a'><status/></tuple>"), "the same id"),
            (&doc("<x:secret p:mustUnderstand='true'/>"), "<secret> is not supported"),
            (
                &doc("<tuple id='a'><status><x:y p:mustUnderstand='1'/></status></tuple>"),
                "<y> is not supported",
            ),
        ],
    );
    let fault = pidf::read(doc("<x:secret p:mustUnderstand='1'/>").as_bytes()).unwrap_err();
    assert_eq!(fault.status(), 488);
}

/// Proves: PX-5
#[test]
fn ids_are_xml_ids_and_stay_the_same() {
    for id in ["a2475a1a9f0c5fa80dfa7b3831072937", "779js0a98", "22", "lamp", "sp ace", ""] {
        let mut tuple = Tuple::of("sip:a@h", Status::Open);
        tuple.id = id.to_owned();
        let presence = Presence { entity: "sip:a@h".to_owned(), tuples: vec![tuple], ..Presence::default() };
        let text = pidf::write(&presence, Label::Pidf);
        let once = pidf::read(text.as_bytes()).unwrap();
        assert_eq!(pidf::write(&once, Label::Pidf), text, "{id}");
    }
    let foreign =
        format!("<presence xmlns='{PIDF}' entity='sip:a@h'><tuple id='about'><status/></tuple></presence>");
    assert_eq!(pidf::read(foreign.as_bytes()).unwrap().tuples[0].id, "about");
}

/// Proves: PX-1, PX-2, PX-3
#[test]
fn newer_tuples_replace_older_ones_and_old_ones_go() {
    let mut known = thermostat();
    let mut newer = thermostat();
    newer.tuples.remove(1);
    newer.tuples[0].status = Status::Closed;
    newer.tuples.push(Tuple::of("mailto:ana@example.com", Status::Open));
    assert!(known.merge(newer));
    let statuses: Vec<_> = known.tuples.iter().map(|tuple| tuple.status).collect();
    assert_eq!(statuses, [Status::Closed, Status::Closed, Status::Open]);
    assert!(!known.merge(Presence { entity: "sip:other@h".to_owned(), ..Presence::default() }));
    known.expire(now() + SignedDuration::from_secs(3599));
    assert_eq!(known.tuples.len(), 3);
    known.expire(now() + SignedDuration::from_secs(3600));
    assert_eq!(known.tuples.len(), 2);
}

/// Proves: PX-7
#[test]
fn priorities() {
    let table =
        [("0", Some("0")), ("1", Some("1")), ("0.80", Some("0.8")), (".5", Some("0.5")), ("1.", Some("1"))];
    let table =
        table.into_iter().chain([("0.0019", Some("0.001")), ("1.001", None), ("", None), (".", None)]);
    for (text, shown) in table.chain([("-1", None), ("1e0", None), ("NaN", None), ("0.5.1", None)]) {
        assert_eq!(Priority::parse(text).map(|it| it.to_string()).as_deref(), shown, "{text}");
    }
}

#[test]
fn too_many_are_refused() {
    let tuples: String = (0..257).map(|n| format!("<tuple id='t{n}'><status/></tuple>")).collect();
    let atoms: String = (0..257).map(|n| format!("<atom id='{n}'/>")).collect();
    let contacts = format!("To: sip:a@h\n{}", "m: sip:b@h,sip:c@h,sip:d@h\n".repeat(86));
    let pidf = format!("<presence xmlns='{PIDF}' entity='sip:a@h'>{tuples}</presence>");
    let xpidf = format!("<presence><presentity uri='sip:a@h'/>{atoms}</presence>");
    refused(pidf::read, &[(&pidf, "more than 256 tuples")]);
    refused(xpidf::read, &[(&xpidf, "more than 256 addresses")]);
    refused(|body| lpidf::read(body, now()), &[(&contacts, "more than 256 contacts")]);
}
