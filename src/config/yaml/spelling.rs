//! Times and hosts as people write them.

use std::time::Duration;

use crate::config::HostPort;

/// A time with its unit: `50ms`, `1.5s`, `5m`, `1h`, `2d`; a year at most.
pub fn duration(text: &str) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 86_400.0;
    let (number, unit) = text.split_at_checked(text.find(|c: char| c.is_ascii_alphabetic())?)?;
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !digits || !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    // Rounded to microseconds: 0.3s is 300 ms and not 299.999999 ms.
    (seconds <= YEAR).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

/// `server.example.org:5060`, `192.0.2.1`, `[2001:db8::1]:5060`; without a port, `default_port` counts.
pub fn host_port(text: &str, default_port: u16) -> Option<HostPort> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        (text, Some(""))
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(name) {
            return None;
        }
        if port == Some("") {
            return None;
        }
        (host, port.or(Some("")))
    };
    let port = match port? {
        "" => default_port,
        digits => digits.parse().ok().filter(|port| *port != 0)?,
    };
    Some(HostPort { host: host.to_owned(), port })
}

/// What an address of IPv6 says that cannot be meant, and what to write instead.
pub(super) fn doubtful(text: &str) -> Option<(String, String)> {
    if host_port(text, 0).is_some_and(|found| found.is_link_local()) {
        let message = format!("`{text}` is a link-local address, which leads nowhere without an interface");
        return Some((
            message,
            "write another address of that machine (`ip -6 addr`), or its name".to_owned(),
        ));
    }
    // `2001:db8::1:5060` is an address as well, and hardly the one that was meant.
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.contains(':') && !host.ends_with(']') && ["5060", "5061"].contains(&port);
    bare.then(|| {
        let message = format!("`{text}`: where the address ends and the port begins cannot be told");
        (message, format!("write \"[{host}]:{port}\""))
    })
}
