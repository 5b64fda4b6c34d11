//! DMP on the wire (draft-khurana-dmp-appliances), and what a DO is (draft-tsang-sip-appliances-do).

use sipliance::body::dmp::{self, Answer, Document, Found, Outcome};
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::plug::Mood;
use super::world::World;

fn world(seed: u64) -> (World, usize) {
    let mut world = World::new(seed);
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    world.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":7.4}}"#);
    let anna = world.phone("anna");
    world.run(500);
    (world, anna)
}

/// A request with DMP: the status, the media type of the answer, and its body.
fn ask(
    world: &mut World,
    phone: usize,
    method: &'static str,
    to: &str,
    fields: &str,
    body: &str,
) -> (u16, String, String) {
    let op =
        world.at(phone, |phone, now| phone.request(method, to, fields, Some((dmp::CONTENT_TYPE, body)), now));
    world.run(10_000);
    let op = &world.phones[phone].ops[op];
    let response = op.response.clone().unwrap();
    let kind = Message::parse(&response).unwrap().first(Name::ContentType).map(|kind| kind.to_vec());
    let body = op.finals.last().unwrap().3.clone();
    (op.status(), String::from_utf8(kind.unwrap_or_default()).unwrap(), body)
}

fn control(device: &str, action: &str, arguments: &[&str]) -> String {
    let arguments: String = arguments.iter().map(|text| format!("<Argument>{text}</Argument>")).collect();
    format!(
        "<DMPAction><Device>{device}</Device><Control><Action>{action}</Action>{arguments}</Control></DMPAction>"
    )
}

/// Without the space between elements.
fn squeezed(xml: &str) -> String {
    xml.lines().map(str::trim).collect()
}

fn replies(body: &str) -> Vec<dmp::Reply> {
    match dmp::read(body.as_bytes()) {
        Ok(Document::Response(replies)) => replies,
        other => panic!("{other:?}: {body}"),
    }
}

/// The code of the only command in an answer.
fn code(body: &str) -> u16 {
    match &replies(body)[0].answers[..] {
        [Answer::Control(outcomes)] => outcomes[0].codes[0],
        other => panic!("{other:?}"),
    }
}

/// Proves: DMP-1, REQ-7.1.1
#[test]
fn an_action_by_any_of_its_names() {
    let (mut world, anna) = world(1201);
    for (action, arguments, on) in [
        ("On", &[][..], true),
        ("turn-off", &[], false),
        ("Turn", &["On"], true),
        ("SET", &["Power", "off"], false),
        ("SetPower", &["On"], true),
        ("set_power", &["FALSE"], false),
        ("Power", &["On"], true),
        ("Toggle", &[], false),
    ] {
        let body = control("lamp-bedroom", action, arguments);
        let (status, kind, answer) = ask(&mut world, anna, "DO", "d=lamp,r=bedroom", "", &body);
        assert_eq!((status, kind.as_str()), (200, dmp::CONTENT_TYPE), "{action}: {answer}");
        assert_eq!(world.lamp.on, on, "{action}");
        assert_eq!(replies(&answer)[0].device, "lamp-bedroom", "called as it was");
        let Answer::Control(outcomes) = &replies(&answer)[0].answers[0] else { panic!("{answer}") };
        let value = if on { "On" } else { "Off" };
        if action != "Toggle" {
            let out = vec![("Power".to_owned(), value.to_owned())];
            assert_eq!(outcomes[0], Outcome { action: action.to_owned(), out, codes: vec![0] });
        }
    }
    assert!(world.plug.writes.is_empty());
}

/// Proves: DO-6
#[test]
fn each_way_not_to_do_it_has_its_code() {
    let (mut world, anna) = world(1202);
    for (device, action, arguments, status) in [
        ("lamp", "Explode", &[][..], 488),
        ("lamp", "SetPower", &["maybe"], 488),
        ("lamp", "SetWatts", &["7"], 488),
        ("lamp", "Set", &["Colour", "red"], 488),
        ("toaster", "On", &[], 404),
        ("plug", "On", &[], 404),
    ] {
        let (got, _, answer) = ask(&mut world, anna, "DO", "lamp", "", &control(device, action, arguments));
        assert_eq!((got, code(&answer)), (status, status), "{device} {action}: {answer}");
    }
    for (body, status) in [
        ("<DMPAction><Device>", 400),
        ("<DMPAction/>", 400),
        ("", 400),
        (
            "<DMPResponse><Device>x</Device><Notify><Variable>v</Variable><Value>1</Value><Event>e</Event></Notify></DMPResponse>",
            400,
        ),
    ] {
        assert_eq!(ask(&mut world, anna, "DO", "lamp", "", body).0, status, "{body:?}");
    }
    let op =
        world.at(anna, |phone, now| phone.request("DO", "lamp", "", Some(("text/html", "<b>on</b>")), now));
    world.run(500);
    let response = world.phones[anna].ops[op].response.clone().unwrap();
    let text = String::from_utf8_lossy(&response).into_owned();
    assert!(
        text.contains("SIP/2.0 415")
            && text.contains("Accept: text/plain, application/senml+json, application/dmp\r\n"),
        "{text}"
    );
    let ben = world.phone("ben");
    let (status, _, answer) = ask(&mut world, ben, "DO", "plug", "", &control("plug", "On", &[]));
    assert_eq!((status, code(&answer)), (403, 403));
    assert_eq!(ask(&mut world, ben, "DO", "lamp", "", &control("lamp", "On", &[])).0, 404);
    world.report("tele/lamp/LWT", "Offline");
    world.run(500);
    let (status, _, answer) = ask(&mut world, anna, "DO", "lamp", "", &control("lamp", "On", &[]));
    assert_eq!((status, code(&answer)), (480, 480));
    world.plug.mood = Mood::Silent;
    let (status, _, answer) = ask(&mut world, anna, "DO", "plug", "", &control("plug", "On", &[]));
    assert_eq!((status, code(&answer)), (504, 504), "nobody knows whether it is on");
    assert!(world.lamp.writes.is_empty());
}

/// Proves: DMP-3, REQ-7.1.2
#[test]
fn questions_and_commands_in_the_order_of_the_document() {
    let (mut world, anna) = world(1203);
    let body = "<?xml version=\"1.0\"?>\n<DMPAction>\n <Device>Plug</Device>\n \
        <Query><Variable>Power draw</Variable><Variable>power</Variable><Variable>taste</Variable></Query>\n \
        <Control><Action> Set Power </Action><Argument>on</Argument></Control>\n <Query><Variable>POWER</Variable></Query>\n \
        <Device>lamp</Device><Query><Variable>Power</Variable></Query></DMPAction>";
    let (status, _, answer) = ask(&mut world, anna, "DO", "all", "", body);
    assert_eq!(status, 200);
    let replies = replies(&answer);
    let names: Vec<&str> = replies.iter().map(|reply| reply.device.as_str()).collect();
    assert_eq!(names, ["Plug", "lamp"]);
    let found = |variable: &str, value: &str, codes: &[u16]| Found {
        variable: variable.to_owned(),
        values: vec![value.to_owned()],
        codes: codes.to_vec(),
    };
    let Answer::Query(before) = &replies[0].answers[0] else { panic!("{answer}") };
    assert_eq!(
        before[..],
        [found("Power draw", "7.4 W", &[]), found("power", "Off", &[]), found("taste", "unknown", &[404])]
    );
    let Answer::Query(after) = &replies[0].answers[2] else { panic!("{answer}") };
    assert_eq!(after[..], [found("POWER", "On", &[])], "it was asked behind the command");
    // A name that could be anybody's is nobody's.
    let (status, _, answer) = ask(&mut world, anna, "DO", "home", "", &control("den", "On", &[]));
    assert_eq!((status, code(&answer)), (404, 404));
}

/// Proves: DMP-4, DMP-5
#[test]
fn a_subscription_in_a_do_is_a_hint() {
    let (mut world, anna) = world(1204);
    let watch = |duration: &str| {
        format!(
            "<DMPAction><Device>lamp</Device><Subscribe><Variable>Power</Variable><Duration>{duration}</Duration></Subscribe></DMPAction>"
        )
    };
    for (duration, codes) in [("3600", &[501][..]), ("0", &[]), ("PT0S", &[])] {
        let (status, _, answer) = ask(&mut world, anna, "DO", "lamp", "", &watch(duration));
        assert_eq!(status, 200);
        let Answer::Query(found) = &replies(&answer)[0].answers[0] else { panic!("{answer}") };
        assert_eq!((found[0].values[0].as_str(), &found[0].codes[..]), ("Off", codes), "{duration}");
    }
    assert_eq!(world.gateway.status(world.time()).subscriptions, 0);
}

#[test]
fn the_smaller_vocabulary_of_the_examples() {
    let (mut world, anna) = world(1205);
    for (body, on) in [
        ("<command><turn>On</turn></command>", true),
        ("<command>Off</command>", false),
        ("<command>Power<set>On</set></command>", true),
    ] {
        let (status, _, answer) = ask(&mut world, anna, "DO", "lamp", "", body);
        assert_eq!((status, code(&answer)), (200, 0), "{body}");
        assert_eq!(world.lamp.on, on, "{body}");
    }
    let (_, _, answer) = ask(&mut world, anna, "DO", "plug", "", "<query>Watts</query>");
    assert!(answer.contains("<Value>7.4 W</Value>"), "{answer}");
    let (status, _, answer) = ask(&mut world, anna, "DO", "home", "", "<command>Off</command>");
    assert_eq!((status, code(&answer)), (404, 404), "which appliance, the house does not guess");
    assert_eq!(ask(&mut world, anna, "DO", "lamp", "", "<command>Explode</command>").0, 488);
}

/// Proves: REQ-6.1, NEG-19
#[test]
fn the_answer_comes_in_the_form_that_is_asked_for() {
    let (mut world, anna) = world(1206);
    let body = control("lamp", "On", &[]);
    for (accept, kind, says) in [
        ("", "application/dmp", "<ResultCode>0</ResultCode>"),
        ("Accept: application/dmp\r\n", "application/dmp", "<ResultCode>0</ResultCode>"),
        ("Accept: */*\r\n", "application/dmp", "<ResultCode>0</ResultCode>"),
        ("Accept: text/plain\r\n", "text/plain;charset=UTF-8", "Lamp: on"),
        ("Accept: application/senml+json\r\n", "application/senml+json", r#""n":"power","vb":true"#),
        ("Accept: application/x-other\r\n", "", ""),
    ] {
        let (status, got, answer) = ask(&mut world, anna, "DO", "lamp", accept, &body);
        assert_eq!((status, got.as_str()), (200, kind), "{accept}");
        assert!(answer.contains(says), "{accept}: {answer}");
    }
    // What is not taken is not sent. The state also as the answer to words.
    let fields = "Accept: application/senml+json\r\n";
    let op =
        world.at(anna, |phone, now| phone.request("DO", "lamp", fields, Some(("text/plain", "off")), now));
    world.run(1_000);
    assert!(world.phones[anna].ops[op].finals.last().unwrap().3.contains(r#""n":"power","vb":false"#));
    // A 200 to MESSAGE never has a body: the result follows.
    let (status, kind, answer) = ask(&mut world, anna, "MESSAGE", "lamp", "", &body);
    assert_eq!((status, kind.as_str(), answer.as_str()), (200, "", ""));
    let result = world.phones[anna].messages.last().unwrap().1.clone();
    assert_eq!(code(&result), 0);
}

/// Proves: DO-5, DO-9, DO-7, NEG-22
#[test]
fn an_old_or_overtaken_do_moves_nothing() {
    let (mut world, anna) = world(1207);
    let first = world.at(anna, |phone, now| {
        let op = phone.request(
            "DO",
            "lamp",
            "Contact: <sip:a@b>\r\nTimestamp: 54.5\r\nContent-Function: render\r\n",
            Some(("text/plain", "on")),
            now,
        );
        phone.ops[op].call_id = "one-call".to_owned();
        phone.ops[op].cseq = 10;
        op
    });
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[first].status(), 200);
    let response = world.phones[anna].ops[first].response.clone().unwrap();
    let text = String::from_utf8_lossy(&response).into_owned();
    assert!(text.contains("Timestamp: 54.5\r\n"), "{text}");
    assert!(!text.contains("Contact:"), "{text}");
    for (cseq, status) in [(5, 500), (40, 200), (39, 500)] {
        let op = world.at(anna, |phone, now| {
            phone.reuses_nonces = false;
            let op = phone.request("DO", "lamp", "", Some(("text/plain", "off")), now);
            phone.ops[op].call_id = "one-call".to_owned();
            // The first attempt is challenged, the second one more.
            phone.ops[op].cseq = cseq - 1;
            op
        });
        world.run(1_000);
        assert_eq!(world.phones[anna].ops[op].status(), status, "CSeq {cseq}");
    }
    let writes = world.lamp.writes.len();
    let wall = world.time().wall_ms;
    let date = |seconds: i64| {
        let at = jiff::Timestamp::from_millisecond(wall - seconds * 1000).unwrap();
        let at = at.to_zoned(jiff::tz::TimeZone::UTC);
        format!("Date: {}\r\n", jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", &at).unwrap())
    };
    let stamp = |seconds: i64| format!("Timestamp: {}\r\n", wall / 1000 - seconds);
    for (fields, status) in [(date(3600), 400), (stamp(3600), 400), (date(20), 200), (stamp(20), 200)] {
        let op = world
            .at(anna, |phone, now| phone.request("DO", "lamp", &fields, Some(("text/plain", "on")), now));
        world.run(1_000);
        assert_eq!(world.phones[anna].ops[op].status(), status, "{fields}");
    }
    assert_eq!(world.lamp.writes.len(), writes + 2);
}

/// Proves: DO-4, REQ-6.3
#[test]
fn a_repeated_do_is_done_once() {
    let (mut world, anna) = world(1208);
    world.network = super::world::Network::BAD;
    for nth in 0..6 {
        let action = if nth % 2 == 0 { "On" } else { "Off" };
        world.at(anna, |phone, now| {
            phone.request("DO", "lamp", "", Some((dmp::CONTENT_TYPE, &control("lamp", action, &[]))), now)
        });
        world.run(40_000);
    }
    let statuses: Vec<u16> = world.phones[anna].ops.iter().map(|op| op.status()).collect();
    let told = statuses.iter().filter(|status| **status == 200).count();
    assert!(world.lamp.writes.len() >= told && world.lamp.writes.len() <= 6, "{statuses:?}");
    assert!(told >= 4, "{statuses:?}");
    assert!(world.contradictions().is_empty());
}

/// Proves: REQ-7.1.3
#[test]
fn a_subscription_in_dmp_hears_what_it_chose() {
    let (mut world, anna) = world(1209);
    let subscribe = |world: &mut World, body: &str| {
        let sub = world.phones[anna].subs.len();
        let op = world.at(anna, |phone, now| {
            phone.subscribe_with(
                "plug",
                "appliance",
                Some(dmp::CONTENT_TYPE),
                600,
                Some((dmp::CONTENT_TYPE, body)),
                now,
            )
        });
        world.run(500);
        (world.phones[anna].ops[op].status(), sub)
    };
    let watch = |variable: &str, event: &str| {
        let event = if event.is_empty() { String::new() } else { format!("<Event>{event}</Event>") };
        format!(
            "<DMPAction><Device>plug</Device><Subscribe><Variable>{variable}</Variable>{event}<Duration>600</Duration></Subscribe></DMPAction>"
        )
    };
    let (status, power) = subscribe(&mut world, &watch("Power", ""));
    assert_eq!(status, 200);
    let (status, bell) = subscribe(&mut world, &watch("Button", "short"));
    assert_eq!(status, 200);
    // The same choice from the same phone would be one that it forgot.
    let other = world.phone("anna");
    let mini = "<event>doorbell</event>";
    world.at(other, |phone, now| {
        phone.subscribe_with(
            "plug",
            "appliance",
            Some(dmp::CONTENT_TYPE),
            600,
            Some((dmp::CONTENT_TYPE, mini)),
            now,
        )
    });
    world.run(500);
    for (body, status) in [
        (watch("Taste", ""), 488),
        (watch("Watts", "&lt; 32"), 488),
        (control("plug", "On", &[]), 488),
        ("<DMPAction>".to_owned(), 400),
        (watch("Power", "").replace("plug", "lamp"), 488),
    ] {
        assert_eq!(subscribe(&mut world, &body).0, status, "{body}");
    }
    let heard = |world: &World, sub: usize| world.phones[anna].subs[sub].notifies.len();
    assert_eq!((heard(&world, power), heard(&world, bell)), (1, 1));
    let first = world.phones[anna].subs[power].notifies[0].clone();
    assert_eq!(first.content_type, dmp::CONTENT_TYPE);
    assert!(squeezed(&first.body).contains("<Variable>power</Variable><Value>Off</Value>"), "{}", first.body);
    assert!(!first.body.contains("watts"), "{}", first.body);
    // What was not chosen is not even a reason to say anything.
    world.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":900}}"#);
    world.run(1_000);
    assert_eq!((heard(&world, power), heard(&world, bell)), (1, 1));
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    assert_eq!((heard(&world, power), heard(&world, bell)), (2, 1));
    world.report("stat/plug/BUTTON", "short");
    world.run(1_000);
    assert_eq!((heard(&world, power), heard(&world, bell)), (2, 2));
    assert_eq!(world.phones[other].subs[0].notifies.len(), 2);
    let ring = squeezed(&world.phones[anna].subs[bell].notifies[1].body);
    assert!(ring.contains("<Variable>button</Variable><Value>short</Value><Event>button</Event>"), "{ring}");
    // A refresh keeps what was chosen, and a reload does, too.
    world.at(anna, |phone, now| phone.refresh(power, 600, now));
    world.run(500);
    world.handle(sipliance::gateway::Input::Reload(home::config(None)));
    world.run(500);
    let last = world.phones[anna].subs[power].notifies.last().unwrap();
    assert!(last.state.starts_with("active") && !last.body.contains("watts"), "{last:?}");
}

/// As in the drafts, where `Bell` rings and the event alone says what is meant.
#[test]
fn a_variable_may_have_any_name_where_its_event_says_enough() {
    let mut world = World::new(2301);
    let anna = world.phone("anna");
    for (event, status) in [("doorbell", 200), ("power", 488), ("change", 488)] {
        let body = format!(
            "<DMPAction><Device>plug</Device><Subscribe><Variable>Bell</Variable><Event>{event}</Event>\
             <Duration>600</Duration></Subscribe></DMPAction>"
        );
        let kind = dmp::CONTENT_TYPE;
        let op = world.at(anna, |phone, now| {
            phone.subscribe_with("plug", "appliance", Some(kind), 600, Some((kind, &body)), now)
        });
        world.run(500);
        assert_eq!(world.phones[anna].ops[op].status(), status, "{event}");
    }
    world.report("stat/plug/BUTTON", "short");
    world.run(1_000);
    let ring = squeezed(&world.phones[anna].subs[0].notifies.last().unwrap().body);
    assert!(ring.contains("<Value>short</Value><Event>button</Event>"), "{ring}");
}
