use super::*;

fn args(user: &str, server: Option<&str>, transport: Option<Way>) -> PeerArgs {
    PeerArgs {
        user: Some(user.to_owned()).filter(|user| !user.is_empty()),
        password: None,
        transport,
        server: server.map(ToOwned::to_owned),
        ca: None,
        path: "/".to_owned(),
        timeout: 15,
    }
}

#[test]
fn addresses_as_people_write_them() {
    for (uri, user, server, transport, want) in [
        ("sip:plug@h", "anna", None, None, "sip:plug@h plug sip:anna@h h:5060 UDP"),
        (
            "plug@192.168.1.5:5070",
            "anna",
            None,
            None,
            "sip:plug@192.168.1.5:5070 plug sip:anna@192.168.1.5 192.168.1.5:5070 UDP",
        ),
        (
            "sip:plug@h;transport=TCP",
            "anna",
            None,
            None,
            "sip:plug@h;transport=TCP plug sip:anna@h h:5060 TCP",
        ),
        (
            "sip:plug@h;transport=tcp?x=y",
            "anna",
            None,
            Some(Way::Udp),
            "sip:plug@h;transport=tcp plug sip:anna@h h:5060 UDP",
        ),
        (
            "sip:plug@home.example",
            "anna@house.example",
            Some("[::1]:5099"),
            None,
            "sip:plug@home.example plug sip:anna@house.example [::1]:5099 UDP",
        ),
        ("sips:plug@h", "anna", None, None, "sips:plug@h plug sip:anna@h h:5061 TLS"),
        (
            "sips:plug@h;transport=ws",
            "anna",
            None,
            None,
            "sips:plug@h;transport=ws plug sip:anna@h h:443 WSS",
        ),
        (
            "sip:plug@h;transport=tls",
            "anna",
            Some("10.0.0.1"),
            None,
            "sip:plug@h;transport=tls plug sip:anna@h 10.0.0.1:5061 TLS",
        ),
        ("SIP:h", "sip:anna@x", Some("sip:10.0.0.1"), None, "SIP:h h sip:anna@x 10.0.0.1:5060 UDP"),
        ("home:5070", "anna", None, None, "sip:home:5070 home sip:anna@home home:5070 UDP"),
    ] {
        let peer = Peer::new(uri, &args(user, server, transport)).unwrap();
        let Peer { uri, label, from, host, port, transport, .. } = &peer;
        assert_eq!(format!("{uri} {label} {from} {host}:{port} {}", transport.via()), want);
    }
}

#[test]
fn arguments_that_make_no_sense_are_explained() {
    for (uri, user, server, says) in [
        ("sip:plug@h", "", None, "--user NAME"),
        ("sips:plug@h;transport=udp", "anna", None, "needs TLS"),
        ("sip:plug@h;transport=sctp", "anna", None, "transport `sctp`"),
        ("sip:pl ug@h", "anna", None, "no SIP address"),
        ("", "anna", None, "no SIP address"),
        ("sip:plug@h", "an\"na", None, "cannot be the user part"),
        ("sip:plug@h", "anna@a b", None, "cannot be the user part"),
        ("sip:plug@h", "anna", Some("a@b"), "--server a@b"),
    ] {
        let failure = Peer::new(uri, &args(user, server, None)).unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains(says), "{failure}");
    }
}

#[test]
fn text_of_a_peer_is_harmless() {
    assert_eq!(clean("a\tb\r\n\x1b[2J\u{202e}ö"), "a\tb\n\u{fffd}[2Jö");
    assert_eq!(status_line(404, "No\x07pe"), "404 No\u{fffd}pe: nobody has that address there");
    assert_eq!(status_line(499, "Odd"), "499 Odd");
}
