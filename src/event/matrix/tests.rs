use super::*;
use crate::event::PACKAGES;

fn read(fields: &str, compat: Compat) -> Result<Reading, u16> {
    let text = format!("SUBSCRIBE sip:plug@h SIP/2.0\r\n{fields}\r\n");
    let message = Message::parse(text.as_bytes()).unwrap();
    subscribe(&Asked::of(&message, false), compat).map_err(|refused| refused.status)
}

fn form(fields: &str, compat: Compat) -> Result<&'static str, u16> {
    let reading = read(fields, compat)?;
    let types = PACKAGES[reading.package].content_types();
    Ok(if reading.form == NOTHING { "nothing" } else { types[reading.form] })
}

const CONTACT: &str = "Contact: <sip:a@h>\r\n";

/// Every row that gives a form, with `compat: accept` and with `off`.
#[test]
fn each_row_gives_its_form() {
    for (fields, accept, off) in [
        ("Event: presence\r\n", Ok("application/pidf+xml"), Ok("application/pidf+xml")),
        (
            "Event: presence\r\nAccept: application/cpim-pidf+xml\r\n",
            Ok("application/cpim-pidf+xml"),
            Err(406),
        ),
        ("Event: presence\r\nAccept: application/xpidf+xml\r\n", Ok("application/xpidf+xml"), Err(406)),
        ("Event: presence\r\nAccept: text/lpidf\r\n", Ok("text/lpidf"), Err(406)),
        ("Event: presence\r\nAccept:\r\n", Ok("nothing"), Err(406)),
        ("Event: presence\r\nAccept: image/png\r\n", Err(406), Err(406)),
        ("Event: presence\r\nAccept: text/*\r\n", Err(406), Err(406)),
        ("Event: weather\r\n", Err(489), Err(489)),
        ("", Ok("text/lpidf"), Err(489)),
        ("Accept: application/xpidf+xml\r\n", Ok("application/xpidf+xml"), Err(489)),
        ("Accept: text/lpidf\r\n", Ok("text/lpidf"), Err(489)),
        ("Accept:\r\n", Ok("nothing"), Err(489)),
        ("Accept: application/pidf+xml\r\n", Err(489), Err(489)),
        (
            "Event: message-summary\r\n",
            Ok("application/simple-message-summary"),
            Ok("application/simple-message-summary"),
        ),
        ("Event: message-summary;immediate\r\n", Ok("text/plain"), Ok("application/simple-message-summary")),
        ("Event: message-summary\r\nAccept: text/xml\r\n", Ok("text/xml"), Err(406)),
        ("Event: message-summary;immediate\r\nAccept: text/xml\r\n", Ok("text/xml"), Err(406)),
        (
            "Event: appliance\r\nAccept: text/plain, application/senml+json;q=0.5\r\n",
            Ok("text/plain"),
            Ok("text/plain"),
        ),
    ] {
        let fields = format!("{CONTACT}Expires: 60\r\n{fields}");
        assert_eq!(form(&fields, Compat::Accept), accept, "{fields}");
        assert_eq!(form(&fields, Compat::Verbose), accept, "{fields}");
        assert_eq!(form(&fields, Compat::Off), off, "off: {fields}");
    }
}

/// A historic form is for who can read no other, and of two the one that is wanted more.
#[test]
fn the_modern_form_comes_first_and_q_decides_between_historic_ones() {
    let presence = |accept: &str| {
        form(&format!("{CONTACT}Event: presence\r\nAccept: {accept}\r\n"), Compat::Accept).unwrap()
    };
    assert_eq!(presence("text/lpidf, application/pidf+xml;q=0.1"), "application/pidf+xml");
    assert_eq!(presence("text/lpidf, application/pidf+xml;q=0"), "text/lpidf");
    assert_eq!(presence("text/lpidf, application/xpidf+xml"), "application/xpidf+xml");
    assert_eq!(presence("text/lpidf, application/xpidf+xml;q=0.1"), "text/lpidf");
}

#[test]
fn where_the_state_goes() {
    let read = |fields: &str| {
        let reading = read(fields, Compat::Accept).unwrap();
        (reading.in_answer, reading.each_contact)
    };
    assert_eq!(read("Contact: <sip:a@h>\r\nEvent: presence\r\n"), (false, false));
    assert_eq!(read("Contact: <sip:a@h>, <sip:b@h>\r\nEvent: presence\r\n"), (false, false));
    assert_eq!(read("Contact: <sip:a@h>, <sip:b@h>\r\n"), (true, true));
    assert_eq!(read("Expires: 0\r\nEvent: message-summary\r\n"), (true, false));
    assert_eq!(read("Contact: <sip:a@h>\r\nExpires: 0\r\nEvent: message-summary\r\n"), (false, false));
    assert_eq!(read("Contact: <sip:a@h>\r\nEvent: message-summary;immediate\r\n"), (true, false));
}

/// The rows name types and packages that there are, and every historic type has its row.
#[test]
fn the_table_fits_the_packages() {
    let named = |package: &str, kind: &str| {
        ROWS.iter().any(|row| {
            row.when
                == When::Subscribe {
                    event: Event::Of(PACKAGES[find(package).unwrap().0].name()),
                    accept: Accept::Names(
                        PACKAGES[find(package).unwrap().0]
                            .content_types()
                            .iter()
                            .find(|known| **known == kind)
                            .unwrap(),
                    ),
                    contact: Contact::Any,
                }
        })
    };
    for package in PACKAGES {
        for kind in &package.content_types()[package.offered()..] {
            assert!(named(package.name(), kind), "no row for {kind} of {}", package.name());
        }
    }
    for row in ROWS {
        if let When::Subscribe { event: Event::Of(name) | Event::Immediate(name), .. } = row.when {
            let (_, package) = find(name).unwrap_or_else(|| panic!("{name} is no package"));
            for does in row.does {
                if let Does::Writes(kind) = does {
                    assert!(package.content_types().contains(kind), "{kind} of {name}");
                }
            }
        }
    }
}

/// Whatever is combined: with `off` nothing historic is read, and what `off` reads the others read alike.
#[test]
fn off_is_the_modern_part_of_accept() {
    let packages = PACKAGES.iter().map(|package| format!("Event: {}\r\n", package.name()));
    let mut events: Vec<String> = packages.collect();
    events.extend(["", "Event: message-summary;immediate\r\n", "Event: weather\r\n"].map(str::to_owned));
    let kinds = PACKAGES.iter().flat_map(|package| package.content_types());
    let mut accepts: Vec<String> = kinds.map(|kind| format!("Accept: {kind}\r\n")).collect();
    let more = [
        "",
        "Accept:\r\n",
        "Accept: */*\r\n",
        "Accept: text/*\r\n",
        "Accept: ;;,\r\n",
        "Accept: text/lpidf, */*;q=0\r\n",
    ];
    accepts.extend(more.map(str::to_owned));
    for event in &events {
        for accept in &accepts {
            for contact in ["", CONTACT, "Contact: <sip:a@h>, <sip:b@h>\r\n"] {
                for expires in ["", "Expires: 0\r\n", "Expires: 60\r\n"] {
                    let fields = format!("{event}{accept}{contact}{expires}");
                    match read(&fields, Compat::Off) {
                        Err(status) => assert!([400, 406, 489].contains(&status), "{status}: {fields}"),
                        Ok(modern) => {
                            assert!(modern.form < PACKAGES[modern.package].offered(), "{fields}");
                            assert!(!modern.in_answer && !modern.each_contact, "{fields}");
                            let old = read(&fields, Compat::Accept).unwrap();
                            let immediate = event.contains("immediate");
                            assert!(
                                immediate || (old.package, old.form) == (modern.package, modern.form),
                                "{fields}"
                            );
                        }
                    }
                    assert_eq!(read(&fields, Compat::Accept), read(&fields, Compat::Verbose), "{fields}");
                }
            }
        }
    }
}

#[test]
fn what_off_refuses_otherwise() {
    assert_eq!(refuses("DO", None, Compat::Accept), None);
    assert_eq!(refuses("DO", None, Compat::Off), Some(405));
    assert_eq!(refuses("MESSAGE", None, Compat::Off), None);
}
