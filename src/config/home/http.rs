//! `http:`: where clients read and write their documents (XCAP, RFC 4825).

use std::net::SocketAddr;

use super::Build;
use crate::config::yaml::{MapReader, Node};

/// Most sockets for HTTP; more is a fault.
const MOST_SOCKETS: usize = 8;

/// The sockets of `http.listen`, and whether they speak HTTPS. Nothing listens unless it is named here.
pub(super) fn http(node: Option<&Node>, certified: bool, build: &mut Build<'_>) -> (Vec<SocketAddr>, bool) {
    let Some(mut map) = node.and_then(|node| MapReader::new(node, "http", &mut build.faults)) else {
        return (Vec::new(), false);
    };
    let secure_node = map.take("tls");
    let secure = secure_node.and_then(|node| node.bool("http.tls", &mut build.faults)).unwrap_or(false);
    if let Some(node) = secure_node.filter(|_| secure && !certified) {
        let help = "add tls: {certificate: cert.pem, key: key.pem}".to_owned();
        build.faults.error(Some(node.place), "http.tls", "HTTPS needs a certificate", Some(help));
    }
    let node = map.require("listen", &mut build.faults);
    let texts = node.and_then(|node| node.texts("http.listen", &mut build.faults)).unwrap_or_default();
    map.finish(&mut build.faults);
    let mut sockets: Vec<SocketAddr> = Vec::new();
    for (index, (place, text)) in texts.into_iter().enumerate() {
        let path = format!("http.listen[{index}]");
        let (message, help) = match text.parse() {
            Ok(addr) if sockets.contains(&addr) => (format!("`{text}` stands here twice"), None),
            Ok(_) if sockets.len() >= MOST_SOCKETS => {
                (format!("at most {MOST_SOCKETS} sockets are opened for HTTP"), None)
            }
            Ok(addr) => {
                sockets.push(addr);
                continue;
            }
            Err(_) => {
                let help =
                    "write an address of this machine and a port, such as 127.0.0.1:8080 or \"[::1]:8080\"";
                (format!("`{text}` is no address with a port"), Some(help.to_owned()))
            }
        };
        build.faults.error(Some(place), &path, message, help);
    }
    (sockets, secure)
}

/// What is written over HTTP should not be lost with the process.
pub(super) fn check_kept(node: Option<&Node>, sockets: &[SocketAddr], kept: bool, build: &mut Build<'_>) {
    if !sockets.is_empty() && !kept {
        let message = "lists and rules that are written over HTTP are forgotten when the gateway ends";
        let help = "add `state: /var/lib/sipliance`".to_owned();
        build.faults.warning(node.map(|node| node.place), "http", message, Some(help));
    }
}
