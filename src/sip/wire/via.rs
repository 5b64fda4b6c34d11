//! The Via header field (RFC 3261 §20.42).

use super::params::Params;
use super::text::{is_token, split_outside, trim};
use super::uri::host_port;

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP` …, as written.
    pub transport: &'a str,
    /// `sent-by`, as written without inner blanks where they stood at the ends.
    pub sent_by: &'a [u8],
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// Says what is malformed.
    pub fn parse(value: &'a [u8]) -> Result<Self, &'static str> {
        let (protocol, params) = split_outside(value, b';');
        let mut parts = protocol.splitn(3, |byte| *byte == b'/');
        let name = trim(parts.next().unwrap_or_default());
        let version = trim(parts.next().unwrap_or_default());
        if !name.eq_ignore_ascii_case(b"SIP") || !is_token(version) {
            return Err("Via does not begin with SIP/2.0");
        }
        let rest = trim(parts.next().unwrap_or_default());
        let at = rest.iter().position(|byte| super::text::is_lws(*byte)).ok_or("Via has no sent-by")?;
        let (transport, sent_by) = rest.split_at(at);
        let transport = std::str::from_utf8(transport)
            .ok()
            .filter(|_| is_token(transport))
            .ok_or("Via has no transport")?;
        let sent_by = trim(sent_by);
        check_sent_by(sent_by)?;
        Ok(Self { transport, sent_by, params: Params::new(params.unwrap_or_default()) })
    }

    /// The transaction id, where it is an RFC 3261 one with something behind the magic cookie.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.text("branch").filter(|branch| branch.len() > 7 && branch.starts_with("z9hG4bK"))
    }
}

/// `host [: port]`, blanks around the colon allowed; an IPv6 address with or without brackets.
fn check_sent_by(sent_by: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(sent_by).map_err(|_| "Via sent-by is not ASCII")?;
    if host_port(text).is_ok() || text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(());
    }
    let (host, port) = text.rsplit_once(':').ok_or("Via sent-by is malformed")?;
    host_port(host.trim_end())
        .ok()
        .filter(|(_, extra)| extra.is_none())
        .and_then(|_| super::text::number::<u16>(port.as_bytes()))
        .map(|_| ())
        .ok_or("Via sent-by is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_addresses() {
        let via = Via::parse(
            b"SIP / 2.0\r\n / UDP  first.example : 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bK.x",
        )
        .unwrap();
        assert_eq!(
            (via.transport, via.sent_by, via.branch()),
            ("UDP", &b"first.example : 4000"[..], Some("z9hG4bK.x"))
        );
        assert!(Via::parse(b"SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bKas3").is_ok());
        assert!(Via::parse(b"SIP/2.0/UDP 2001:db8::9:1").is_ok());
        for bad in [&b"SIP/2.0/UDP"[..], b"h;branch=x", b"SIP/2.0/UDP a b", b"SIP/2.0/UDP h:99999", b""] {
            assert!(Via::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
