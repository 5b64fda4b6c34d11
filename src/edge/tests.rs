mod bounds;
mod neighbours;
mod registrar;
mod routes;

use std::time::Duration;

use super::*;
use crate::sip::wire::Name;

const KEY: [u8; 32] = [7; 32];
const CLIENT: &str = "203.0.113.7:31207";
const REGISTRAR: FlowId = FlowId(100);
const REGISTRAR_UDP: &str = "10.0.0.1:5062";
/// What the registrar says when it is asked.
const LIVES: &[u8] =
    b"SIP/2.0 483 Too Many\r\nVia: SIP/2.0/UDP 10.0.0.5\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
const INNER: &str = "10.0.0.5:5060";

struct Bench {
    edge: Edge,
    now: Instant,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn tcp(flow: u64, peer: &str) -> Hop {
    Hop { flow: FlowId(flow), transport: Transport::Tcp, local: addr("198.51.100.5:5060"), peer: addr(peer) }
}

fn udp(peer: &str) -> Hop {
    Hop { transport: Transport::Udp, ..tcp(1, peer) }
}

/// At our inner socket.
fn inner(peer: &str) -> Hop {
    Hop { flow: FlowId(2), transport: Transport::Udp, local: addr(INNER), peer: addr(peer) }
}

impl Bench {
    fn new(run: u32) -> Self {
        let settings = Settings {
            name: "edge.example.com".to_owned(),
            ports: vec![5060],
            inner: vec![(Transport::Tcp, addr(INNER)), (Transport::Udp, addr(INNER))],
            siblings: vec!["edge2.example.com".to_owned()],
            trusted: vec!["10.0.0.1".parse().unwrap()],
            per_second: 100,
            largest: 16 * 1024,
            key: KEY,
            run,
        };
        let mut bench = Self { edge: Edge::new(settings), now: Instant::now() };
        bench.put(Input::Listens(FlowId(1), addr("198.51.100.5:5060"), false));
        bench.put(Input::Listens(FlowId(2), addr(INNER), true));
        bench.put(Input::Opened(tcp(100, "10.0.0.1:5060"), Side::Registrar));
        bench.put(Input::Registrar(inner(REGISTRAR_UDP)));
        bench.put(Input::Datagram(inner(REGISTRAR_UDP), LIVES));
        bench.put(Input::Stream(REGISTRAR, LIVES));
        bench
    }

    fn put(&mut self, input: Input<'_>) -> Vec<(Hop, String)> {
        self.edge.handle(input, self.now);
        let outputs = std::iter::from_fn(|| self.edge.poll());
        outputs
            .filter_map(|output| match output {
                Output::Send(hop, bytes) => Some((hop, String::from_utf8(bytes.to_vec()).unwrap())),
                Output::Close(_) | Output::Known(_) | Output::Lost | Output::Silent(_) => None,
            })
            .collect()
    }

    /// A second passes; who is closed.
    fn tick(&mut self) -> Vec<FlowId> {
        self.edge.handle(Input::Tick, self.now);
        let closed = std::iter::from_fn(|| self.edge.poll()).filter_map(|output| match output {
            Output::Close(flow) => Some(flow),
            Output::Send(..) | Output::Known(_) | Output::Lost | Output::Silent(_) => None,
        });
        closed.collect()
    }

    /// Exactly one message goes out.
    fn one(&mut self, input: Input<'_>) -> (Hop, String) {
        let mut out = self.put(input);
        assert_eq!(out.len(), 1, "{out:#?}");
        out.remove(0)
    }

    /// From a client.
    fn client(&mut self, hop: Hop, text: &str) -> (Hop, String) {
        match hop.transport {
            Transport::Udp => self.one(Input::Datagram(hop, text.as_bytes())),
            _ => self.one(Input::Stream(hop.flow, text.as_bytes())),
        }
    }

    /// From the registrar.
    fn registrar(&mut self, text: &str) -> (Hop, String) {
        self.one(Input::Stream(REGISTRAR, text.as_bytes()))
    }

    /// The same by datagrams.
    fn registrar_udp(&mut self, text: &str) -> (Hop, String) {
        self.one(Input::Datagram(inner(REGISTRAR_UDP), text.as_bytes()))
    }

    /// A device registers; the Path that the registrar keeps.
    fn register(&mut self, hop: Hop) -> String {
        self.register_for(hop, 600)
    }

    /// The same for so many seconds.
    fn register_for(&mut self, hop: Hop, expires: u32) -> String {
        let (to, asked) = self.client(hop, &register("sip:home@example.com"));
        let udp = hop.transport == Transport::Udp;
        assert_eq!(to.flow, if udp { FlowId(2) } else { REGISTRAR }, "like the client's");
        let path = field(&asked, Name::Path);
        let contact = field(&asked, Name::Contact);
        let more = format!("Contact: {contact};expires={expires}\r\nRequire: outbound\r\n");
        let granted = answer(&asked, 200, &more);
        let (back, granted) = if udp { self.registrar_udp(&granted) } else { self.registrar(&granted) };
        assert_eq!((back.flow, back.peer), (hop.flow, hop.peer));
        assert!(!granted.contains("10.0.0.5:5060;branch"), "our Via is gone: {granted}");
        path
    }
}

fn register(aor: &str) -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.168.1.9:5060;branch=z9hG4bKr1;rport\r\nMax-Forwards: 70\r\nRoute: <sip:edge.example.com;lr>\r\nFrom: <{aor}>;tag=1\r\nTo: <{aor}>\r\nCall-ID: r1\r\nCSeq: 1 REGISTER\r\nContact: <sip:home@192.168.1.9:5060>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\nSupported: path, outbound\r\nP-Asserted-Identity: <sip:owner@example.com>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A request as the registrar sends it along a Path, or along a dialog.
fn routed(method: &str, route: &str, to_tag: &str, branch: &str) -> String {
    format!(
        "{method} sip:home@192.168.1.9:5060 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK{branch}\r\nMax-Forwards: 69\r\nRoute: {route}\r\nFrom: <sip:ana@example.com>;tag=a\r\nTo: <sip:home@example.com>{to_tag}\r\nCall-ID: s1\r\nCSeq: 1 {method}\r\nContact: <sip:ana@198.51.100.9>\r\nP-Asserted-Identity: <sip:ana@example.com>\r\nX-Own: as it came\r\nContent-Length: 3\r\n\r\nabc"
    )
}

fn answer(request: &str, status: u16, more: &str) -> String {
    let message = Message::parse(request.as_bytes()).unwrap();
    let bytes = crate::sip::wire::write::response(&message, status, "Said", Some("r"), None).finish();
    String::from_utf8(bytes).unwrap().replace("Content-Length", &format!("{more}Content-Length"))
}

fn field(text: &str, name: Name) -> String {
    let message = Message::parse(text.as_bytes()).unwrap();
    let values: Vec<_> = message.list(name).map(String::from_utf8_lossy).collect();
    values.join(", ")
}

/// Proves: OB-13, PA-1
#[test]
fn a_register_gets_a_path_with_a_token_and_requests_come_back_along_it() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let (_, asked) = bench.client(device, &register("sip:home@example.com"));
    assert!(asked.starts_with("REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.5:5060;branch="));
    assert!(
        asked.contains("received=203.0.113.7;rport=31207") && !asked.contains("Route: <sip:edge"),
        "{asked}"
    );
    assert!(!asked.contains("P-Asserted"), "a client vouches for nobody: {asked}");
    assert!(asked.contains("Max-Forwards: 69"));
    let path = bench.register(device);
    assert!(path.starts_with("<sip:") && path.ends_with("@10.0.0.5:5060;transport=tcp;lr;ob>"), "{path}");

    let (to, asked) = bench.registrar(&routed("SUBSCRIBE", &path, "", "s1"));
    assert_eq!(to, device);
    assert!(!asked.contains("\r\nRoute:") && asked.ends_with("Content-Length: 3\r\n\r\nabc"), "{asked}");
    assert!(
        asked.contains("X-Own: as it came") && asked.contains("P-Asserted-Identity: <sip:ana@"),
        "{asked}"
    );
    let record = field(&asked, Name::RecordRoute);
    assert!(record.contains("@edge.example.com:5060;transport=tcp;lr>, <sip:"), "{record}");
    assert!(record.ends_with("@10.0.0.5:5060;transport=tcp;lr>"), "{record}");
    let (back, answered) = bench.client(device, &answer(&asked, 200, ""));
    assert_eq!(back.flow, REGISTRAR);
    assert!(answered.contains("Via: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bKs1") && !answered.contains("ft="));

    // The device's NOTIFY: its own flow stands in its route set.
    let notify = routed("NOTIFY", &record, ";tag=d", "n1");
    let (to, asked) = bench.client(device, &notify);
    assert_eq!(to.flow, REGISTRAR);
    assert!(!asked.contains("\r\nRoute:"), "{asked}");
    // RFC 6665 §4.3: of a NOTIFY that comes before the 2xx, the watcher learns the route.
    assert!(field(&asked, Name::RecordRoute).contains("@10.0.0.5:5060;transport=tcp;lr>"), "{asked}");
    // What makes no dialog gets no Record-Route.
    assert!(!bench.registrar(&routed("MESSAGE", &path, "", "m1")).1.contains("Record-Route"));
    assert_eq!(bench.edge.counts().outward, 2);
}

/// Proves: OB-13
#[test]
fn a_tampered_token_is_403_a_dead_flow_430_and_nothing_is_relayed_without_one() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let path = bench.register(device);
    let (_, token) = path.split_once(':').unwrap();
    for at in 0..token.find('@').unwrap() {
        let mut bytes = path.clone().into_bytes();
        bytes[at + 5] = if bytes[at + 5] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        let (to, refused) = bench.registrar(&routed("MESSAGE", &forged, "", "f"));
        // The last letter of a base64 text has bits that mean nothing.
        let refused = to.flow == REGISTRAR && refused.starts_with("SIP/2.0 403 ");
        assert!(refused || at + 1 == token.find('@').unwrap(), "{forged}");
    }
    bench.put(Input::Closed(device.flow));
    let (_, refused) = bench.registrar(&routed("MESSAGE", &path, "", "d"));
    assert!(refused.starts_with("SIP/2.0 430 Flow Failed\r\n"), "{refused}");
    assert!(bench.put(Input::Stream(REGISTRAR, routed("ACK", &path, "", "k").as_bytes())).is_empty());
    let (_, refused) = bench.registrar(&routed("MESSAGE", "<sip:edge.example.com;lr>", "", "n"));
    assert!(refused.starts_with("SIP/2.0 404 "), "{refused}");
    let (_, refused) =
        bench.registrar(&routed("MESSAGE", &path, "", "h").replace("Max-Forwards: 69", "Max-Forwards: 0"));
    assert!(refused.starts_with("SIP/2.0 483 "), "{refused}");
}

#[test]
fn a_restart_loses_no_dialog() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let path = bench.register(device);
    let (_, asked) = bench.registrar(&routed("SUBSCRIBE", &path, "", "s1"));
    let record = field(&asked, Name::RecordRoute);

    let mut bench = Bench::new(2);
    // The same number may be another connection now.
    let stranger = tcp(7, "203.0.113.66:4000");
    bench.put(Input::Opened(stranger, Side::Outer));
    let (_, refused) = bench.registrar(&routed("SUBSCRIBE", &record, ";tag=d", "s2"));
    assert!(refused.starts_with("SIP/2.0 430 "), "{refused}");
    let device = tcp(9, "203.0.113.8:4711");
    bench.put(Input::Opened(device, Side::Outer));
    let again = bench.register(device);
    assert_ne!(again, path);
    for route in [&record, &path, &again] {
        assert_eq!(bench.registrar(&routed("SUBSCRIBE", route, ";tag=d", "s3")).0, device);
    }
    // The device still sends along the route set of then.
    assert_eq!(bench.client(device, &routed("NOTIFY", &record, ";tag=d", "n1")).0.flow, REGISTRAR);
}

#[test]
fn datagrams_find_their_device_without_any_memory() {
    let mut bench = Bench::new(1);
    let device = udp(CLIENT);
    let path = bench.register(device);
    let mut bench = Bench::new(2);
    let (to, _) = bench.registrar(&routed("MESSAGE", &path, "", "m1"));
    assert_eq!((to.flow, to.peer), (device.flow, device.peer));
    // It came back with another address, and proved it: what was given out before leads there.
    let moved = udp("203.0.113.99:40000");
    bench.register(moved);
    assert_eq!(bench.registrar(&routed("MESSAGE", &path, "", "m2")).0.peer, moved.peer);
    // A binding that has ended is none.
    bench.now += Duration::from_secs(700);
    assert_eq!(bench.registrar(&routed("MESSAGE", &path, "", "m3")).0.peer, device.peer);
}

#[test]
fn nobody_takes_a_device_over_who_does_not_prove_it() {
    let mut bench = Bench::new(1);
    let (device, thief) = (tcp(7, CLIENT), tcp(8, "203.0.113.66:666"));
    bench.put(Input::Opened(device, Side::Outer));
    bench.put(Input::Opened(thief, Side::Outer));
    let path = bench.register(device);
    let (_, asked) = bench.client(thief, &register("sip:home@example.com"));
    bench.registrar(&answer(&asked, 401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n"));
    assert_eq!(bench.registrar(&routed("MESSAGE", &path, "", "m1")).0, device);
    // Somebody who proves to be somebody else, with the same instance.
    let (_, asked) = bench.client(thief, &register("sip:thief@example.com"));
    let contact = field(&asked, Name::Contact);
    bench.registrar(&answer(&asked, 200, &format!("Contact: {contact};expires=600\r\n")));
    assert_eq!(bench.registrar(&routed("MESSAGE", &path, "", "m2")).0, device);
    // A 200 of his own making binds nothing: his Via is not ours.
    let forged =
        answer(&register("sip:home@example.com"), 200, &format!("Contact: {contact};expires=600\r\n"));
    assert!(bench.put(Input::Stream(thief.flow, forged.as_bytes())).is_empty());
    assert_eq!(bench.registrar(&routed("MESSAGE", &path, "", "m3")).0, device);
}

/// Proves: OB-13
#[test]
fn pings_get_a_single_crlf_and_stun_its_answer() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    assert_eq!(bench.client(device, "\r\n\r\n"), (device, "\r\n".to_owned()));
    let id = stun::Id::new(5);
    bench.edge.handle(Input::Datagram(udp(CLIENT), &stun::request(id)), bench.now);
    let Some(Output::Send(_, bytes)) = bench.edge.poll() else { panic!("no answer") };
    assert_eq!(stun::parse(&bytes), Some(Stun::Mapped(id, addr(CLIENT))));
    assert!(bench.put(Input::Datagram(udp(CLIENT), b"\r\n\r\n")).is_empty());
}

#[test]
fn a_repetition_has_the_same_branch_and_floods_are_shed() {
    let mut bench = Bench::new(1);
    let device = udp(CLIENT);
    let first = bench.client(device, &register("sip:home@example.com"));
    assert_eq!(bench.client(device, &register("sip:home@example.com")), first);
    let invite = routed("INVITE", "<sip:edge.example.com;lr>", "", "i1");
    let cancel = invite.replace("INVITE", "CANCEL");
    let branch =
        |text: &str| Message::parse(text.as_bytes()).unwrap().via().unwrap().branch().unwrap().to_owned();
    let (invite, cancel) = (bench.client(device, &invite).1, bench.client(device, &cancel).1);
    assert_eq!(branch(&invite), branch(&cancel));
    assert_ne!(branch(&invite), branch(&first.1));
    for _ in 0..2_000 {
        bench.put(Input::Datagram(udp("203.0.113.1:1"), register("sip:x@example.com").as_bytes()));
    }
    assert!(bench.edge.counts().shed > 1_500);
    bench.client(device, &register("sip:home@example.com"));
}

/// Two clients of one edge, and no registrar between them after the first request.
#[test]
fn a_dialog_between_two_clients_names_each_side_what_it_reaches() {
    let mut bench = Bench::new(1);
    let (device, phone) = (tcp(7, CLIENT), tcp(8, "203.0.113.40:5070"));
    bench.put(Input::Opened(device, Side::Outer));
    bench.put(Input::Opened(phone, Side::Outer));
    let path = bench.register(device);
    let invite = routed("INVITE", "<sip:edge.example.com;lr>", "", "i1");
    let (_, asked) = bench.client(phone, &invite);
    let near = field(&asked, Name::RecordRoute);
    assert!(near.contains("@10.0.0.5:5060;transport=tcp;lr>, <sip:"), "{near}");
    assert!(near.ends_with("@edge.example.com:5060;transport=tcp;lr>"), "{near}");
    // The registrar puts the Path in front and passes it on.
    let on = asked.replace("\r\nMax-Forwards", &format!("\r\nRoute: {path}\r\nMax-Forwards"));
    let (to, asked) = bench.registrar(&on);
    assert_eq!(to, device);
    let message = Message::parse(asked.as_bytes()).unwrap();
    let record: Vec<_> =
        message.list(Name::RecordRoute).map(|value| String::from_utf8_lossy(value)).collect();
    assert_eq!(record.len(), 4, "{record:?}");
    // From the phone: its route set is all of them, from its own end.
    let routes: Vec<_> = record.iter().rev().map(|route| route.to_string()).collect();
    let (to, bye) = bench.client(phone, &routed("BYE", &routes.join(", "), ";tag=d", "b1"));
    assert!(to == device && !bye.contains("\r\nRoute:"), "{bye}");
    let (to, bye) = bench.client(device, &routed("BYE", &record.join(", "), ";tag=a", "b2"));
    assert!(to == phone && !bye.contains("\r\nRoute:"), "{bye}");
    // Half of it leads to the registrar where that stays on the way.
    let kept = [&routes[..2], &["<sip:10.0.0.1;lr>".to_owned()], &routes[2..]].concat().join(", ");
    let (to, bye) = bench.client(phone, &routed("BYE", &kept, ";tag=d", "b3"));
    assert_eq!(to.flow, REGISTRAR);
    assert!(field(&bye, Name::Route).starts_with("<sip:10.0.0.1;lr>"), "{bye}");
}

/// A device whose flow has died goes on over another, with the route set of then.
#[test]
fn a_dialog_goes_on_over_another_edge() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let path = bench.register(device);
    let record = field(&bench.registrar(&routed("SUBSCRIBE", &path, "", "s1")).1, Name::RecordRoute);
    let mut sibling = Bench::new(2);
    sibling.put(Input::Opened(tcp(9, CLIENT), Side::Outer));
    let (to, notify) = sibling.client(tcp(9, CLIENT), &routed("NOTIFY", &record, ";tag=d", "n1"));
    assert_eq!(to.flow, REGISTRAR);
    assert!(!notify.contains("\r\nRoute:"), "{notify}");
    // A token for UDP names an address and never looks dead: the device has another one, or another edge, by now.
    let path = bench.register(udp(CLIENT));
    let record = field(&bench.registrar_udp(&routed("SUBSCRIBE", &path, "", "s2")).1, Name::RecordRoute);
    let notify = routed("NOTIFY", &record, ";tag=d", "n2");
    assert_eq!(bench.client(udp("203.0.113.90:40000"), &notify).0, inner(REGISTRAR_UDP));
    assert_eq!(sibling.client(udp("203.0.113.91:40000"), &notify).0, inner(REGISTRAR_UDP));
}

#[test]
fn what_went_round_is_refused_and_what_is_led_to_another_is_not() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let (_, once) = bench.client(device, &routed("MESSAGE", "<sip:10.0.0.9;lr>", "", "l1"));
    let (back, refused) = bench.client(device, &once);
    assert!(back == device && refused.starts_with("SIP/2.0 482 "), "{refused}");
    let (to, _) = bench.client(device, &once.replace("sip:home@192", "sip:other@192"));
    assert_eq!(to.flow, REGISTRAR);
    let needs =
        routed("MESSAGE", "<sip:10.0.0.9;lr>", "", "l2").replace("X-Own", "Proxy-Require: x\r\nX-Own");
    let (_, refused) = bench.client(device, &needs);
    assert!(refused.starts_with("SIP/2.0 420 ") && refused.contains("\r\nUnsupported: x\r\n"), "{refused}");
}

#[test]
fn the_inner_side_is_for_the_registrar_alone() {
    let mut bench = Bench::new(1);
    let device = udp(CLIENT);
    let path = bench.register(device);
    let stranger = inner("203.0.113.66:5060");
    assert!(bench.put(Input::Datagram(stranger, routed("MESSAGE", &path, "", "m1").as_bytes())).is_empty());
    let knocks = Hop { peer: addr("203.0.113.66:4000"), ..tcp(50, CLIENT) };
    bench.edge.handle(Input::Opened(knocks, Side::Inner), bench.now);
    assert!(matches!(bench.edge.poll(), Some(Output::Close(FlowId(50)))));
    // Another node of the registrar comes in by a connection of its own.
    let node = Hop { peer: addr("10.0.0.1:40000"), ..tcp(51, CLIENT) };
    bench.put(Input::Opened(node, Side::Inner));
    let (to, asked) = bench.one(Input::Stream(FlowId(51), routed("MESSAGE", &path, "", "m2").as_bytes()));
    assert_eq!(to.peer, device.peer);
    // It is gone before the answer comes: ours to the registrar leads there as well.
    bench.put(Input::Closed(FlowId(51)));
    assert_eq!(bench.client(device, &answer(&asked, 200, "")).0.flow, REGISTRAR);
    // Outside, nobody says that a device has registered.
    let (_, asked) = bench.client(udp("203.0.113.66:666"), &register("sip:home@example.com"));
    let contact = field(&asked, Name::Contact);
    bench.client(
        udp("203.0.113.66:666"),
        &answer(&asked, 200, &format!("Contact: {contact};expires=600\r\n")),
    );
    assert_eq!(bench.registrar_udp(&routed("MESSAGE", &path, "", "m3")).0.peer, device.peer);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>, text in "(REGISTER|NOTIFY) sip:a SIP/2.0\r\n(Via: SIP/2.0/UDP [a-z;=]{1,9}\r\n|Route: <sip:[A-Za-z0-9_-]{0,40}@edge.example.com(;lr)?>\r\n|To: <sip:a>\r\n){0,9}\r\n") {
        let mut bench = Bench::new(1);
        bench.put(Input::Opened(tcp(7, CLIENT), Side::Outer));
        for bytes in [&bytes[..], text.as_bytes()] {
            bench.edge.handle(Input::Datagram(udp(CLIENT), bytes), bench.now);
            bench.edge.handle(Input::Stream(FlowId(7), bytes), bench.now);
            bench.edge.handle(Input::Stream(REGISTRAR, bytes), bench.now);
        }
    }
}
