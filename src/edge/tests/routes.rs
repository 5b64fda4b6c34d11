//! Routes that are not what they seem, and who is led where.

use super::*;

fn open(bench: &mut Bench, hop: Hop) -> Hop {
    bench.put(Input::Opened(hop, Side::Outer));
    hop
}

/// RFC 5626 §5.1: a proxy before us keeps the flow to its device, and we keep that to the proxy.
#[test]
fn only_the_first_hop_says_ob() {
    let mut bench = Bench::new(1);
    let pbx = open(&mut bench, tcp(7, CLIENT));
    let text = register("sip:home@example.com");
    let behind = text.replacen("Via:", "Via: SIP/2.0/TCP 192.168.1.2;branch=z9hG4bKp\r\nVia:", 1);
    let path = field(&bench.client(pbx, &behind).1, Name::Path);
    assert!(path.ends_with("@10.0.0.5:5060;transport=tcp;lr>"), "{path}");
    assert!(field(&bench.client(pbx, &text).1, Name::Path).ends_with(";lr;ob>"));
}

/// What stands in a Via leads answers to the registrar, and a client sees it.
#[test]
fn a_token_of_a_via_is_no_route() {
    let mut bench = Bench::new(1);
    let device = open(&mut bench, tcp(7, CLIENT));
    let path = bench.register(device);
    let asked = bench.registrar(&routed("INVITE", &path, "", "i")).1;
    let via = Message::parse(asked.as_bytes()).unwrap().via().unwrap().params.text("ft").unwrap().to_owned();
    let own = field(&asked, Name::RecordRoute);
    for (hop, routes) in [
        (device, format!("{own}, <sip:{via}@edge.example.com;lr>")),
        (device, format!("<sip:{via}@edge.example.com;lr>")),
    ] {
        let (back, refused) = bench.client(hop, &routed("MESSAGE", &routes, "", "m"));
        assert!(back == hop && refused.starts_with("SIP/2.0 403 "), "{refused}");
    }
}

/// A registrar on the same machine has its own user parts; at our ports nobody writes any but us.
#[test]
fn somebody_elses_route_at_our_host_is_theirs() {
    let mut bench = Bench::new(1);
    let device = open(&mut bench, tcp(7, CLIENT));
    let (to, asked) = bench.client(device, &routed("BYE", "<sip:abc@10.0.0.5:5080;lr>", ";tag=d", "b"));
    assert_eq!(to.flow, REGISTRAR);
    assert_eq!(field(&asked, Name::Route), "<sip:abc@10.0.0.5:5080;lr>");
    let (_, refused) = bench.client(device, &routed("BYE", "<sip:abc@10.0.0.5:5060;lr>", ";tag=d", "c"));
    assert!(refused.starts_with("SIP/2.0 403 "), "{refused}");
}

/// A client of this kind at this address.
fn client(bench: &mut Bench, kind: Transport, flow: u64, peer: &str) -> Hop {
    match kind {
        Transport::Udp => udp(peer),
        _ => open(bench, tcp(flow, peer)),
    }
}

/// An edge can speak to nobody who is at another: a router lets in only what comes from where its house went.
#[test]
fn a_client_of_a_sibling_is_reached_through_the_registrar() {
    for (kind, way) in [(Transport::Tcp, REGISTRAR), (Transport::Udp, FlowId(2))] {
        let mut other = Bench::new(2);
        let device = client(&mut other, kind, 7, CLIENT);
        let far = other.register(device).replace("10.0.0.5", "edge2.example.com");
        let mut bench = Bench::new(1);
        let phone = client(&mut bench, kind, 8, "203.0.113.40:5070");
        let invite = bench.client(phone, &routed("INVITE", "<sip:edge.example.com;lr>", "", "i")).1;
        let bye = routed("BYE", &format!("{}, {far}", field(&invite, Name::RecordRoute)), ";tag=d", "b");
        let (to, led) = bench.client(phone, &bye);
        assert_eq!((to.flow, field(&led, Name::Route)), (way, far), "it says where to");
        // Its device has come here meanwhile.
        let device = client(&mut bench, kind, 9, "203.0.113.8:4711");
        bench.register(device);
        let (to, _) = bench.client(phone, &bye.replace("z9hG4bKb", "z9hG4bKc"));
        assert_eq!((to.flow, to.peer), (device.flow, device.peer));
    }
}

/// Nobody repeats what comes by a connection, and an edge repeats nothing.
#[test]
fn from_a_connection_to_datagrams_the_registrar_leads() {
    let mut bench = Bench::new(1);
    let (device, phone) = (udp(CLIENT), open(&mut bench, tcp(8, "203.0.113.40:5070")));
    let path = bench.register(device);
    let near = field(
        &bench.client(phone, &routed("INVITE", "<sip:edge.example.com;lr>", "", "i")).1,
        Name::RecordRoute,
    );
    let (to, bye) = bench.client(phone, &routed("BYE", &format!("{near}, {path}"), ";tag=d", "b"));
    assert_eq!(to.flow, REGISTRAR);
    assert_eq!(field(&bye, Name::Route), path);
    let (to, _) =
        bench.client(udp("203.0.113.41:5070"), &routed("BYE", &format!("{near}, {path}"), ";tag=d", "c"));
    assert_eq!(to.peer, device.peer, "like to like needs nobody");
}

/// Proves: KP-2
#[test]
fn who_offers_to_show_that_it_lives_is_told_how_often() {
    let mut bench = Bench::new(1);
    let device = open(&mut bench, tcp(7, CLIENT));
    let offers = register("sip:home@example.com").replace(";rport", ";keep;rport");
    for (status, more, granted) in
        [(200, "Flow-Timer: 90\r\n", ";keep=90\r\n"), (200, "", ";keep=0\r\n"), (401, "", ";keep;")]
    {
        let (_, asked) = bench.client(device, &offers);
        let (_, answered) = bench.registrar(&answer(&asked, status, more));
        assert!(answered.contains(granted) && answered.matches("keep").count() == 1, "{answered}");
    }
    let (_, asked) = bench.client(device, &register("sip:home@example.com"));
    assert!(!bench.registrar(&answer(&asked, 200, "")).1.contains("keep"));
}
