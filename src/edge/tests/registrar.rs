//! A registrar that is silent, on either way to it.

use super::*;

/// What half a minute of silence brings: probes by datagrams and by the connection, addresses looked for anew, and
/// connections given up.
fn silence(bench: &mut Bench) -> (u32, u32, u32, Vec<FlowId>) {
    let (mut by_datagrams, mut by_connection, mut lost, mut silent) = (0, 0, 0, Vec::new());
    for _ in 0..30 {
        bench.now += Duration::from_secs(1);
        bench.edge.handle(Input::Tick, bench.now);
        while let Some(output) = bench.edge.poll() {
            match output {
                Output::Send(hop, bytes) => {
                    assert!(bytes.starts_with(b"OPTIONS "));
                    let datagram = hop.transport == Transport::Udp;
                    assert_eq!(hop.peer, addr(if datagram { REGISTRAR_UDP } else { "10.0.0.1:5060" }));
                    *(if datagram { &mut by_datagrams } else { &mut by_connection }) += 1;
                }
                Output::Lost => lost += 1,
                Output::Silent(flow) => silent.push(flow),
                Output::Close(_) | Output::Known(_) => panic!("no client is closed"),
            }
        }
    }
    (by_datagrams, by_connection, lost, silent)
}

fn refused(bench: &mut Bench, device: Hop) {
    let (_, refused) = bench.client(device, &register("sip:home@example.com"));
    assert!(refused.starts_with("SIP/2.0 503 ") && refused.contains("\r\nRetry-After: 5\r\n"), "{refused}");
}

#[test]
fn a_silent_registrar_is_said_to_be_away_and_looked_for_elsewhere() {
    let mut bench = Bench::new(1);
    let (device, other) = (udp(CLIENT), tcp(7, CLIENT));
    bench.put(Input::Opened(other, Side::Outer));
    bench.register(device);
    bench.register(other);
    let (by_datagrams, by_connection, lost, silent) = silence(&mut bench);
    assert!((20..=30).contains(&by_datagrams) && lost == 2, "{by_datagrams} {lost}");
    assert!((5..=12).contains(&by_connection), "{by_connection}");
    assert_eq!(silent, [REGISTRAR], "it is given up once");
    refused(&mut bench, device);
    refused(&mut bench, other);
    let standing = bench.edge.status().to_string();
    assert!(standing.contains("\"silent\"") && standing.contains("accepts connections and answers nothing"));
    // Whatever it says, it lives.
    bench.put(Input::Datagram(inner(REGISTRAR_UDP), LIVES));
    bench.register(device);
    // A port that is open is not enough.
    bench.put(Input::Opened(tcp(100, "10.0.0.1:5060"), Side::Registrar));
    refused(&mut bench, other);
    bench.put(Input::Stream(REGISTRAR, LIVES));
    bench.register(other);
}

#[test]
fn a_connection_to_the_registrar_that_ends_is_said_with_its_reason() {
    let mut bench = Bench::new(1);
    let device = tcp(7, CLIENT);
    bench.put(Input::Opened(device, Side::Outer));
    bench.put(Input::Closed(REGISTRAR));
    bench.put(Input::NoRegistrar(Transport::Tls, "the certificate has expired".to_owned()));
    refused(&mut bench, device);
    let standing = bench.edge.status().to_string();
    assert!(
        standing.contains("\"not reached\"") && standing.contains("the certificate has expired"),
        "{standing}"
    );
}
