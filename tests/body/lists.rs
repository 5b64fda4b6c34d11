use sipliance::body::multipart::{self, Multipart, Part};
use sipliance::body::presence::Note;
use sipliance::body::resource_lists::{self, Entry, Item, List};
use sipliance::body::rlmi::{self, Instance, InstanceState, Resource, Rlmi};
use sipliance::body::xbuddy;

use super::{golden, refused};

fn entry(name: &str, display: Option<&str>, added: Option<i64>) -> Item {
    let uri = format!("sip:{name}@home.example");
    Item::Entry(Entry { uri, display: display.map(ToOwned::to_owned), added })
}

fn house() -> List {
    let lamps = List {
        name: None,
        display: Some("Lamps".to_owned()),
        items: vec![
            entry("lamp.bedroom", Some("Bedroom lamp"), Some(1_767_225_600)),
            entry("lamp.kitchen", None, None),
        ],
    };
    List {
        name: None,
        display: Some("Ana's house".to_owned()),
        items: vec![Item::List(lamps), entry("door", Some("Door <front>"), None)],
    }
}

#[test]
fn documents_of_ours() {
    let house = house();
    golden("house.xbuddy.xml", xbuddy::write(&house));
    assert_eq!(xbuddy::read(xbuddy::write(&house).as_bytes()).unwrap(), house);
    let mut named = house;
    named.name = Some("house".to_owned());
    named.items.push(Item::EntryRef("resource-lists/users/ana/index/~~/a".to_owned()));
    named.items.push(Item::External("http://xcap.example.com/other".to_owned()));
    let text = resource_lists::write(std::slice::from_ref(&named));
    golden("house.resource-lists.xml", &text);
    let read = resource_lists::read(text.as_bytes()).unwrap();
    assert_eq!(resource_lists::write(&read), text);
    assert_eq!(read[0].entries().len(), 3);
}

/// Proves: ERR-1
#[test]
fn buddies_in_every_spelling() {
    let list = xbuddy::read(
        b"<!DOCTYPE buddylist PUBLIC '-//IETF//DTD RFCxxxx XBUDDY 1.0//EN' 'xbuddy.dtd'>\n\
          <BuddyList><title>My <b xmlns='http://www.w3.org/1999/xhtml'>best</b>\n friends</title>\
          <buddy href='sip:a@h;method=SUBSCRIBE'><i>Ana</i></buddy><buddy uri='mailto:b@h' href='sip:x@h'/>\
          <buddy uri='sip:c;method=d@h;lr;METHOD=SUBSCRIBE?x=y'/></BuddyList>",
    )
    .unwrap();
    assert_eq!(list.display.as_deref(), Some("My best friends"));
    let entries: Vec<_> =
        list.entries().into_iter().map(|it| (it.uri.as_str(), it.display.as_deref())).collect();
    assert_eq!(entries, [("sip:a@h", Some("Ana")), ("mailto:b@h", None), ("sip:c;method=d@h;lr?x=y", None)]);
}

/// Reads: RL-8
#[test]
fn lists_that_are_none() {
    let ns = "xmlns='urn:ietf:params:xml:ns:resource-lists'";
    let deep = format!("<resource-lists {ns}>{}{}</resource-lists>", "<list>".repeat(9), "</list>".repeat(9));
    let groups = format!("<buddylist>{}{}</buddylist>", "<group>".repeat(8), "</group>".repeat(8));
    refused(
        resource_lists::read,
        &[
            ("<resource-lists/>", "namespace of <resource-lists>"),
            ("<lists/>", "\"lists\" stands where resource-lists belongs"),
            (
                &format!("<resource-lists {ns}><list><entry/></list></resource-lists>"),
                "uri of <entry> is missing",
            ),
            (&deep, "more than 8 lists within lists"),
        ],
    );
    refused(
        xbuddy::read,
        &[
            ("<presence/>", "\"presence\" stands where <buddylist> belongs"),
            ("<buddylist><buddy>Ana</buddy></buddylist>", "uri of <buddy> is missing"),
            ("<buddylist><buddy uri='sip:a@h' date='x'/></buddylist>", "date of <buddy> is \"x\""),
            (&groups, "more than 8 groups within groups"),
        ],
    );
}

fn lamps() -> (Rlmi, Vec<Part>) {
    let on = Part {
        content_type: Some("application/senml+json".to_owned()),
        content_id: Some("l1@gw.home.example".to_owned()),
        disposition: None,
        body: b"[{\"bn\":\"lamp-bedroom:\",\"n\":\"on\",\"vb\":true}]".to_vec(),
    };
    let instance = |id: &str, state, reason: Option<&str>, cid: Option<&str>| Instance {
        id: id.to_owned(),
        state,
        reason: reason.map(ToOwned::to_owned),
        cid: cid.map(ToOwned::to_owned),
    };
    let resource = |name: &str, instances| Resource {
        uri: format!("sip:{name}@home.example"),
        names: Vec::new(),
        instances,
    };
    let rlmi = Rlmi {
        uri: "sip:all-lamps@home.example".to_owned(),
        version: 0,
        full: true,
        names: vec![Note { lang: Some("en".to_owned()), text: "All lamps".to_owned() }],
        resources: vec![
            resource(
                "lamp.bedroom",
                vec![instance("i1", InstanceState::Active, None, Some("l1@gw.home.example"))],
            ),
            resource(
                "lamp.kitchen",
                vec![instance("i2", InstanceState::Terminated, Some("noresource"), None)],
            ),
            resource("lamp.attic", Vec::new()),
        ],
    };
    (rlmi, vec![on])
}

#[test]
fn a_list_and_its_parts() {
    let (list, parts) = lamps();
    let (content_type, body) = rlmi::write_related(&list, parts.clone(), "gw.home.example");
    assert_eq!(
        content_type,
        "multipart/related;type=\"application/rlmi+xml\";start=\"<list-0@gw.home.example>\";boundary=\"b-0\""
    );
    golden("lamps.related", &body);
    let (read, multipart) = rlmi::read_related(&content_type, &body).unwrap();
    assert_eq!(read, list);
    assert_eq!(multipart.part("l1@gw.home.example"), parts.first());
}

#[test]
fn a_list_whose_parts_are_not_there() {
    let (list, parts) = lamps();
    let (content_type, body) = rlmi::write_related(&list, Vec::new(), "h");
    let fault = rlmi::read_related(&content_type, &body).unwrap_err();
    assert_eq!(fault.to_string(), "the part with Content-ID <l1@gw.home.example> is missing");
    let mixed = Multipart { subtype: "mixed".to_owned(), start: None, parts: parts.clone() };
    let (content_type, body) = multipart::write(&mixed, "x");
    assert!(rlmi::read_related(&content_type, &body).unwrap_err().to_string().contains("multipart/related"));
    let other = Multipart { subtype: "related".to_owned(), start: None, parts };
    let (content_type, body) = multipart::write(&other, "x");
    assert!(
        rlmi::read_related(&content_type, &body).unwrap_err().to_string().contains("application/rlmi+xml")
    );
    let ns = "xmlns='urn:ietf:params:xml:ns:rlmi'";
    refused(
        rlmi::read,
        &[
            (&format!("<list {ns} uri='sip:a@h' version='0'/>"), "fullState of <list> is missing"),
            (&format!("<list {ns} uri='sip:a@h' version='0' fullState='maybe'/>"), "not true or false"),
            (
                &format!("<list {ns} uri='sip:a@h' version='-1' fullState='1'/>"),
                "version of <list> is \"-1\"",
            ),
            (
                &format!(
                    "<list {ns} uri='sip:a@h' version='1' fullState='1'><resource uri='sip:b@h'><instance id='1' state='x'/></resource></list>"
                ),
                "pending, active or terminated",
            ),
        ],
    );
}

#[test]
fn the_boundary_occurs_in_no_part() {
    let part = |body: &[u8]| Part { body: body.to_vec(), ..Part::default() };
    let parts = vec![part(b"a\r\n--b-x\r\nb"), part(b"--b-x-1--\r\n"), part(b""), part(b"\0\xff\r\n")];
    let multipart = Multipart { subtype: "mixed".to_owned(), start: None, parts };
    for (seed, boundary) in [("x", "b-x-2"), ("x\"; y=\r\n", "b-xy")] {
        let (content_type, body) = multipart::write(&multipart, seed);
        assert_eq!(content_type, format!("multipart/mixed;boundary=\"{boundary}\""));
        assert_eq!(multipart::read(&content_type, &body).unwrap(), multipart, "{content_type}");
    }
}

#[test]
fn multipart_as_others_write_it() {
    let read = |body: &str| multipart::read("Multipart/Mixed; Boundary = \"b c\"", body.as_bytes());
    let multipart = read(
        "preamble\n--b c\nContent-Type:\n text/plain\nc: x/y\n\nline\n--b cc\nmore\n--b c  \r\n\r\nbare\r\n--b c\n\
         Content-Transfer-Encoding: BASE64\nContent-ID: <1@h>\n\nAQI\nD\n\n--b c--\nepilogue --b c",
    )
    .unwrap();
    let bodies: Vec<_> = multipart.parts.iter().map(|part| part.body.as_slice()).collect();
    assert_eq!(bodies, [&b"line\n--b cc\nmore"[..], b"bare", &[1, 2, 3]]);
    assert_eq!(multipart.part("1@h"), multipart.parts.last());
    refused(
        |body| read(std::str::from_utf8(body).unwrap()),
        &[
            ("--b c\n\nx", "the closing delimiter \"--b c--\" is missing"),
            (
                "--b c\nContent-Type: multipart/mixed; boundary=y\n\nx\n--b c--",
                "part 1: a multipart body within another",
            ),
            ("--b c\n\n\n--b c\nhello\n\nx\n--b c--", "part 2: \"hello\" stands where a header field"),
            (
                "--b c\nContent-Transfer-Encoding: uuencode\n\nx\n--b c--",
                "the encoding \"uuencode\" is not supported",
            ),
            ("--b c\nContent-Transfer-Encoding: base64\n\n!\n--b c--", "not base64"),
            ("--b c--", "the part that start names is missing"),
            (&format!("{}--b c--", "--b c\n\nx\n".repeat(513)), "more than 512 parts"),
            (&format!("--b c\nX: {}\n\nx\n--b c--", "x".repeat(4096)), "more than 4096 bytes of header"),
        ],
    );
    for (content_type, words) in [
        ("text/plain", "\"text/plain\" stands where a multipart type"),
        ("multipart/mixed", "boundary of Content-Type is missing"),
        (&*format!("multipart/mixed;boundary={}", "x".repeat(71)), "1 to 70 characters"),
        ("multipart/mixed;boundary=\"a \"", "1 to 70 characters"),
        ("multipart/mixed;boundary=\"\"", "1 to 70 characters"),
        ("multipart/mixed;boundary=\"a\tb\"", "1 to 70 characters"),
    ] {
        let fault = multipart::read(content_type, b"").unwrap_err().to_string();
        assert!(fault.contains(words), "{content_type}: {fault}");
    }
}
