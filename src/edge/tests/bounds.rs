//! Who takes his time, says nothing, or says too much.

use super::*;

#[test]
fn connections_that_nobody_uses_are_closed() {
    let mut bench = Bench::new(1);
    let (used, idle) = (tcp(7, CLIENT), tcp(8, CLIENT));
    for hop in [used, idle] {
        bench.put(Input::Opened(hop, Side::Outer));
        bench.put(Input::Frame(hop.flow, b"\r\n\r\n"));
    }
    let mut closed = Vec::new();
    for _ in 0..30 {
        bench.now += Duration::from_secs(60);
        bench.put(Input::Frame(used.flow, b"\r\n\r\n"));
        closed.extend(bench.tick());
        closed.dedup();
    }
    assert_eq!(closed, [idle.flow]);
}

/// Its signs of life are not seen here: silence says nothing while a device is registered.
#[test]
fn a_quiet_connection_over_quic_stays_while_a_device_is_registered() {
    let mut bench = Bench::new(1);
    let quic = |flow, peer| Hop { transport: Transport::Quic, ..tcp(flow, peer) };
    let (home, watcher) = (quic(7, CLIENT), quic(8, "203.0.113.8:4711"));
    bench.put(Input::Opened(home, Side::Outer));
    bench.put(Input::Opened(watcher, Side::Outer));
    bench.put(Input::Frame(watcher.flow, b"\r\n"));
    let day = 24 * 60 * 60;
    bench.register_for(home, day);
    bench.now += Duration::from_secs(119 * 60);
    assert_eq!(bench.tick(), []);
    bench.now += Duration::from_secs(2 * 60);
    assert_eq!(bench.tick(), [watcher.flow]);
    bench.put(Input::Closed(watcher.flow));
    bench.now += Duration::from_secs(20 * 60 * 60);
    assert_eq!(bench.tick(), []);
    bench.now += Duration::from_secs(3 * 60 * 60);
    assert_eq!(bench.tick(), [home.flow], "its registration is over");
}

/// A byte every few seconds holds a connection no longer than silence does.
#[test]
fn a_message_has_ten_seconds_and_a_newcomer_thirty() {
    let mut bench = Bench::new(1);
    let (slow, silent, pinging) = (tcp(7, CLIENT), tcp(8, CLIENT), tcp(9, CLIENT));
    for hop in [slow, silent, pinging] {
        bench.put(Input::Opened(hop, Side::Outer));
    }
    let mut closed = Vec::new();
    let begun = bench.now;
    for second in 0..40 {
        bench.now += Duration::from_secs(1);
        if second % 4 == 0 {
            bench.put(Input::Stream(slow.flow, b"R"));
            bench.put(Input::Stream(pinging.flow, b"\r\n\r\n"));
        }
        for flow in bench.tick() {
            closed.push((flow, bench.now.duration_since(begun).as_secs()));
            bench.put(Input::Closed(flow));
        }
    }
    assert_eq!(closed.iter().map(|(flow, _)| *flow).collect::<Vec<_>>(), [slow.flow, silent.flow]);
    assert!((11..=17).contains(&closed[0].1) && (30..=36).contains(&closed[1].1), "{closed:?}");
    // What follows a whole message has a time of its own.
    let busy = tcp(10, CLIENT);
    bench.put(Input::Opened(busy, Side::Outer));
    let text = register("sip:home@example.com");
    for _ in 0..20 {
        bench.put(Input::Stream(busy.flow, text.as_bytes()));
        bench.put(Input::Stream(busy.flow, &text.as_bytes()[..9]));
        bench.now += Duration::from_secs(6);
        assert_eq!(bench.tick(), []);
        bench.put(Input::Stream(busy.flow, &text.as_bytes()[9..]));
    }
}

/// What nobody repeats is not dropped without a word; who does not listen to that is closed.
#[test]
fn too_much_over_a_connection_is_answered_and_much_too_much_ends_it() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    let path = bench.register(device);
    let asked = bench.registrar(&routed("MESSAGE", &path, "", "m")).1;
    let text = register("sip:home@example.com");
    let (mut passed, mut refused) = (0, 0);
    let closed = loop {
        bench.edge.handle(Input::Stream(device.flow, text.as_bytes()), bench.now);
        match bench.edge.poll().unwrap() {
            Output::Send(hop, _) if hop.flow == REGISTRAR => passed += 1,
            Output::Send(hop, bytes) => {
                assert!(hop == device && bytes.starts_with(b"SIP/2.0 503 "));
                refused += 1;
            }
            Output::Close(flow) => break flow,
            Output::Known(_) | Output::Lost | Output::Silent(_) => unreachable!(),
        }
        if refused == 100 {
            let (to, _) = bench.client(device, &answer(&asked, 200, ""));
            assert_eq!(to.flow, REGISTRAR, "whoever asked is told");
        }
    };
    // Since it registered it counts for itself, and the answer is one of them.
    assert_eq!((closed, passed, refused), (device.flow, 400, 399));
    assert_eq!(bench.edge.counts().shed, 401);
    // A second later it may say something again.
    bench.now += Duration::from_secs(5);
    assert_eq!(bench.client(device, &text).0.flow, REGISTRAR);
}
