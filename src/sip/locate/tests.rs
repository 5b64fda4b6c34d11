use std::collections::HashMap;

use rand::SeedableRng as _;

use super::*;

/// A zone: what a name server would say.
#[derive(Default)]
struct Zone {
    naptr: HashMap<&'static str, Vec<Naptr>>,
    srv: HashMap<&'static str, Vec<Srv>>,
    addresses: HashMap<&'static str, Vec<IpAddr>>,
    asked: Vec<Query>,
}

impl Zone {
    fn naptr(mut self, of: &'static str, order: u16, service: &str, to: &str) -> Self {
        let (flags, service, replacement) = ("s".to_owned(), service.to_owned(), to.to_owned());
        let record = Naptr { order, preference: 50, flags, service, replacement };
        self.naptr.entry(of).or_default().push(record);
        self
    }

    fn srv(mut self, of: &'static str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        let target = target.to_owned();
        self.srv.entry(of).or_default().push(Srv { priority, weight, port, target });
        self
    }

    fn host(mut self, of: &'static str, addresses: &[&str]) -> Self {
        self.addresses
            .entry(of)
            .or_default()
            .extend(addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap()));
        self
    }

    fn walk(
        &mut self,
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
        seed: u64,
    ) -> Vec<Target> {
        let wanted = Wanted { host: host.to_owned(), port, transport };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut walk = Walk::new(wanted, CHOICE, rng);
        self.asked.clear();
        loop {
            let query = match walk.step() {
                Step::Done(targets) => return targets,
                Step::Ask(query) => query,
            };
            self.asked.push(query.clone());
            assert!(self.asked.len() <= QUERIES, "{:?}", self.asked);
            walk.answer(match &query {
                Query::Naptr(name) => {
                    self.naptr.get(&**name).cloned().map_or(Records::Nothing, Records::Naptr)
                }
                Query::Srv(name) => self.srv.get(&**name).cloned().map_or(Records::Nothing, Records::Srv),
                Query::Addresses(name) => {
                    self.addresses.get(&**name).cloned().map_or(Records::Nothing, Records::Addresses)
                }
            });
        }
    }
}

fn shown(targets: &[Target]) -> Vec<String> {
    targets.iter().map(|target| format!("{} {}", target.transport.via(), target.addr)).collect()
}

#[test]
fn an_address_is_asked_for_nowhere() {
    let mut zone = Zone::default();
    assert_eq!(shown(&zone.walk("192.0.2.7", None, None, 1)), ["UDP 192.0.2.7:5060"]);
    assert_eq!(
        shown(&zone.walk("2001:db8::7", Some(5070), Some(Transport::Tcp), 1)),
        ["TCP [2001:db8::7]:5070"]
    );
    assert!(zone.asked.is_empty());
}

#[test]
fn a_port_leaves_only_addresses_to_ask_for_and_both_families_take_turns() {
    let mut zone = Zone::default().host("sip.example.com", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    let targets = zone.walk("sip.example.com", Some(5080), None, 1);
    assert_eq!(shown(&targets), ["UDP [2001:db8::1]:5080", "UDP 192.0.2.1:5080", "UDP 192.0.2.2:5080"]);
    assert_eq!(zone.asked, [Query::Addresses("sip.example.com".to_owned())]);
}

#[test]
fn naptr_says_which_transport_srv_says_which_server() {
    let mut zone = Zone::default()
        .naptr("example.com", 20, "SIP+D2U", "_sip._udp.example.com.")
        .naptr("example.com", 10, "sip+d2t", "_sip._tcp.example.com.")
        .naptr("example.com", 5, "SIPS+D2X", "_unknown.example.com.")
        .srv("_sip._tcp.example.com", 2, 0, 5060, "backup.example.com.")
        .srv("_sip._tcp.example.com", 1, 0, 5062, "main.example.com")
        .srv("_sip._udp.example.com", 1, 0, 5060, "main.example.com")
        .host("main.example.com", &["192.0.2.1"])
        .host("backup.example.com", &["192.0.2.2"]);
    let targets = zone.walk("example.com", None, None, 1);
    assert_eq!(shown(&targets), ["TCP 192.0.2.1:5062", "TCP 192.0.2.2:5060", "UDP 192.0.2.1:5060"]);
    // A transport that was chosen is not asked about again.
    let targets = zone.walk("example.com", None, Some(Transport::Udp), 1);
    assert_eq!(shown(&targets), ["UDP 192.0.2.1:5060"]);
    assert!(!zone.asked.iter().any(|query| matches!(query, Query::Naptr(_))));
}

#[test]
fn without_naptr_the_services_are_guessed_and_without_any_the_host_is_the_server() {
    let mut zone = Zone::default()
        .srv("_sip._tcp.example.com", 1, 0, 5061, "a.example.com")
        .host("a.example.com", &["192.0.2.9"]);
    assert_eq!(shown(&zone.walk("example.com", None, None, 1)), ["TCP 192.0.2.9:5061"]);
    let mut zone = Zone::default().host("fritz.box", &["192.168.178.1"]);
    assert_eq!(shown(&zone.walk("fritz.box", None, None, 1)), ["UDP 192.168.178.1:5060"]);
    assert_eq!(shown(&zone.walk("fritz.box", None, Some(Transport::Tcp), 1)), ["TCP 192.168.178.1:5060"]);
    assert_eq!(shown(&zone.walk("nowhere.example", None, None, 1)), Vec::<String>::new());
    // Records that lead to hosts without an address are as good as none.
    let mut zone = Zone::default()
        .srv("_sip._udp.example.com", 1, 0, 5060, "gone.example.com")
        .host("example.com", &["192.0.2.3"]);
    assert_eq!(shown(&zone.walk("example.com", None, None, 1)), ["UDP 192.0.2.3:5060"]);
}

#[test]
fn weights_are_shares() {
    let mut firsts = HashMap::new();
    for seed in 0..2000 {
        let mut zone = Zone::default()
            .srv("_sip._udp.example.com", 1, 75, 5060, "a.example.com")
            .srv("_sip._udp.example.com", 1, 25, 5060, "b.example.com")
            .srv("_sip._udp.example.com", 1, 0, 5060, "c.example.com")
            .srv("_sip._udp.example.com", 9, 1000, 5060, "d.example.com")
            .host("a.example.com", &["192.0.2.1"])
            .host("b.example.com", &["192.0.2.2"])
            .host("c.example.com", &["192.0.2.3"])
            .host("d.example.com", &["192.0.2.4"]);
        let targets = zone.walk("example.com", None, Some(Transport::Udp), seed);
        assert_eq!(targets.len(), 4);
        assert_eq!(targets[3].addr.to_string(), "192.0.2.4:5060", "a lower priority is last, however heavy");
        *firsts.entry(targets[0].addr.to_string()).or_insert(0) += 1;
    }
    let of = |ip: &str| firsts.get(ip).copied().unwrap_or(0);
    assert!((1400..1600).contains(&of("192.0.2.1:5060")), "{firsts:?}");
    assert!((400..600).contains(&of("192.0.2.2:5060")), "{firsts:?}");
}

#[test]
fn a_domain_that_lies_ends_in_bounds() {
    let mut zone = Zone::default().host("x.example.com", &["192.0.2.1"; 1]);
    for port in 1..500 {
        zone = zone.srv("_sip._udp.example.com", 1, 1, port, "x.example.com");
    }
    zone = zone
        .srv("_sip._tcp.example.com", 1, 1, 0, "x.example.com")
        .srv("_sip._tcp.example.com", 1, 1, 5060, ".")
        .srv("_sip._tcp.example.com", 1, 1, 5060, "a b\r\nc");
    let targets = zone.walk("example.com", None, None, 1);
    assert!(
        targets.len() <= TARGETS && zone.asked.len() <= QUERIES,
        "{} {}",
        targets.len(),
        zone.asked.len()
    );
    // A name that leads to itself.
    let mut zone = Zone::default().naptr("example.com", 1, "SIP+D2U", "example.com").srv(
        "example.com",
        1,
        1,
        5060,
        "example.com",
    );
    assert!(zone.walk("example.com", None, None, 1).is_empty());
}

/// A name server at home tells such addresses of its own network.
#[test]
fn a_link_local_address_is_no_way() {
    let mut zone = Zone::default().host("pi.home", &["fe80::1", "192.0.2.7"]);
    let targets = zone.walk("pi.home", Some(5060), Some(Transport::Udp), 1);
    assert_eq!(targets, [Target { addr: "192.0.2.7:5060".parse().unwrap(), transport: Transport::Udp }]);
    let wanted = Wanted { host: "fe80::1".to_owned(), port: None, transport: None };
    let mut walk = Walk::new(wanted, &[Transport::Udp], ChaCha8Rng::seed_from_u64(1));
    assert_eq!(walk.step(), Step::Done(Vec::new()));
    assert!(walk.fault().unwrap().contains("link-local"));
}

#[test]
fn an_address_of_ipv6_stands_in_brackets() {
    let wanted = Wanted { host: "2001:DB8::1".to_owned(), port: Some(5060), transport: None };
    assert_eq!(wanted.words(), "[2001:DB8::1]:5060");
    assert_eq!(wanted.domain(), "[2001:db8::1]");
    assert_eq!(wanted.route(), "<sip:[2001:DB8::1]:5060;lr>");
}
