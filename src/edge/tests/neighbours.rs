//! Many behind one address, and one who spoils what all share.

use super::*;

fn outputs(bench: &mut Bench, input: Input<'_>) -> Vec<Output> {
    bench.edge.handle(input, bench.now);
    std::iter::from_fn(|| bench.edge.poll()).collect()
}

/// Two hundred houses share one address behind the router of a provider: what a stranger there does is not theirs.
#[test]
fn who_is_registered_does_not_pay_for_his_neighbours() {
    let mut bench = Bench::new(1);
    let (house, other, stranger) = (tcp(7, CLIENT), udp("203.0.113.7:40000"), tcp(8, "203.0.113.7:666"));
    bench.put(Input::Opened(house, Side::Outer));
    bench.put(Input::Opened(stranger, Side::Outer));
    let (_, asked) = bench.client(house, &register("sip:home@example.com"));
    let granted = answer(&asked, 200, &format!("Contact: {};expires=600\r\n", field(&asked, Name::Contact)));
    let known = |outputs: Vec<Output>| {
        outputs.iter().any(|output| matches!(output, Output::Known(flow) if *flow == house.flow))
    };
    assert!(known(outputs(&mut bench, Input::Stream(REGISTRAR, granted.as_bytes()))));
    bench.register(other);
    let text = register("sip:x@example.com");
    for _ in 0..2_000 {
        bench.put(Input::Stream(stranger.flow, text.as_bytes()));
        bench.put(Input::Datagram(udp("203.0.113.7:41000"), text.as_bytes()));
    }
    assert!(
        outputs(&mut bench, Input::Stream(stranger.flow, text.as_bytes()))
            .iter()
            .any(|it| matches!(it, Output::Close(_)))
    );
    for hop in [house, other] {
        for _ in 0..300 {
            bench.client(hop, &text);
        }
    }
    // And it has no more than its own share.
    let refused = (0..200).filter(|_| bench.client(house, &text).0 == house).count();
    assert!(refused >= 90, "{refused}");
    // Another connection of that address is a stranger's again.
    let new = tcp(9, "203.0.113.7:667");
    bench.put(Input::Opened(new, Side::Outer));
    assert!(matches!(outputs(&mut bench, Input::Stream(new.flow, text.as_bytes()))[..], [Output::Close(_)]));
}

/// A challenge makes nobody known, nor does what another client answers.
#[test]
fn nobody_is_known_who_is_not_registered() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let (_, asked) = bench.client(device, &register("sip:home@example.com"));
    let contact = format!("Contact: {};expires=600\r\n", field(&asked, Name::Contact));
    for (flow, status, more) in [
        (REGISTRAR, 401, contact.as_str()),
        (REGISTRAR, 200, ""),
        (REGISTRAR, 200, "Contact: <sip:x@y>;expires=0\r\n"),
        (device.flow, 200, contact.as_str()),
    ] {
        let out = outputs(&mut bench, Input::Stream(flow, answer(&asked, status, more).as_bytes()));
        assert!(!out.iter().any(|output| matches!(output, Output::Known(_))), "{status} {more}");
    }
}

/// A phone of RFC 3261 sends no keep-alives; TCP itself finds out when nobody is there.
#[test]
fn a_registered_connection_may_be_silent() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let plain = register("sip:home@example.com").replace(";+sip.instance=\"<urn:uuid:1>\";reg-id=1", "");
    let (_, asked) = bench.client(device, &plain);
    bench.registrar(&answer(&asked, 200, "Contact: <sip:home@192.168.1.9:5060>\r\nExpires: 3600\r\n"));
    bench.now += Duration::from_secs(59 * 60);
    assert_eq!(bench.tick(), []);
    bench.now += Duration::from_secs(5 * 60);
    assert_eq!(bench.tick(), [device.flow]);
}

/// All clients share a connection, and a registrar closes one over which too much comes at once.
#[test]
fn what_is_too_large_ends_no_connection_but_its_own_request() {
    let mut bench = Bench::new(1);
    let (device, other) = (tcp(7, CLIENT), tcp(8, "203.0.113.40:5070"));
    bench.put(Input::Opened(device, Side::Outer));
    bench.put(Input::Opened(other, Side::Outer));
    let path = bench.register(device);
    let route = "<sip:edge.example.com;lr>";
    let long = |bytes: usize| "x".repeat(bytes);
    let head = routed("MESSAGE", route, "", "h").replace("as it came", &long(15_300));
    let body = routed("MESSAGE", route, "", "b")
        .replace(" 3\r\n\r\nabc", &format!(" 16000\r\n\r\n{}", long(16_000)));
    for text in [head, body] {
        let (back, refused) = bench.client(other, &text);
        assert!(back == other && refused.starts_with("SIP/2.0 513 "), "{refused}");
    }
    // What a device answers goes the same way, and the registrar gives up on it in its time.
    let asked = bench.registrar(&routed("MESSAGE", &path, "", "m")).1;
    let answered = answer(&asked, 200, "").replace(" 0\r\n\r\n", &format!(" 20000\r\n\r\n{}", long(20_000)));
    assert!(bench.put(Input::Stream(device.flow, answered.as_bytes())).is_empty());
    assert_eq!(bench.edge.counts().too_large, 3);
    // Nor does the edge, when an answer is longer than what was asked.
    let (_, asked) = bench.client(other, &routed("MESSAGE", route, "", "o"));
    let grown = answer(&asked, 401, &format!("WWW-Authenticate: Digest x=\"{}\"\r\n", long(20_000)));
    let out = outputs(&mut bench, Input::Stream(REGISTRAR, grown.as_bytes()));
    assert!(out.is_empty(), "{out:?}");
    bench.register(other);
}

/// A ping costs as much as a message: two bytes are an answer, too.
#[test]
fn endless_pings_are_not_answered_for_ever() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let pings = b"\r\n\r\n".repeat(4_000);
    let out = outputs(&mut bench, Input::Stream(device.flow, &pings));
    let answered = out.iter().filter(|output| matches!(output, Output::Send(..))).count();
    assert!(answered == 400 && out.iter().any(|output| matches!(output, Output::Close(_))), "{answered}");
}
