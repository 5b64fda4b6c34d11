//! What a start must not do.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

/// Two gateways by mistake: the second one ends without having touched what belongs to the first.
#[test]
fn a_gateway_without_its_port_touches_no_broker() {
    let phones = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let broker = TcpListener::bind("127.0.0.1:0").expect("a port");
    broker.set_nonblocking(true).expect("a socket");
    let home = format!(
        "format: 1\nlisten: [\"udp:{}\"]\nmqtt:\n  main: {{host: 127.0.0.1, port: {}}}\ndevices:\n  plug:\n    \
         profile: tasmota-plug\n    params: {{topic: plug}}\n",
        phones.local_addr().expect("bound"),
        broker.local_addr().expect("bound").port()
    );
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("second.yaml");
    std::fs::write(&path, home).expect("written");
    let out = Command::new(env!("CARGO_BIN_EXE_sipliance"))
        .arg("run")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("another program has that port"), "{told}");
    let connected = broker.accept().map(|(_, from)| from);
    assert_eq!(connected.map_err(|why| why.kind()), Err(std::io::ErrorKind::WouldBlock));
}
