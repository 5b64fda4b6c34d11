//! The transports, and all that differs between them: who adds one looks here first.

/// A SIP transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream.
    Tcp,
    /// A byte stream under TLS.
    Tls,
    /// A WebSocket (RFC 7118).
    Ws,
    /// A WebSocket under TLS.
    Wss,
    /// QUIC, with a stream for each transaction.
    Quic,
}

impl Transport {
    /// Each of them.
    pub const ALL: [Self; 6] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss, Self::Quic];

    /// The word for it in files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Quic => "quic",
        }
    }

    /// The transport of that word, in any case.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.word().eq_ignore_ascii_case(word))
    }

    /// The word in Via.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
            Self::Quic => "QUIC",
        }
    }

    /// The parameter of a `sip:` URI that selects it, with its `;`; empty for UDP, the default. `tls` is
    /// deprecated (RFC 3261 §26.2.2) and what everybody writes.
    pub fn uri_param(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            // There is no `wss` (RFC 7118 §5.3).
            Self::Ws | Self::Wss => ";transport=ws",
            Self::Quic => ";transport=quic",
        }
    }

    /// The same for a `sips:` URI, which says TLS itself.
    pub fn sips_param(self) -> &'static str {
        match self {
            Self::Udp | Self::Tcp | Self::Tls => "",
            Self::Ws | Self::Wss => ";transport=ws",
            Self::Quic => ";transport=quic",
        }
    }

    /// The port where nobody names one.
    pub fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls | Self::Quic => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether the transport itself repeats what was lost.
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether nobody on the way can read it or put words in.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Quic)
    }

    /// Whether it begins with an upgrade of HTTP, at a path.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Seconds between two keep-alives of ours where no server says how often it wants them. RFC 5626 §4.4
    /// leaves that to us then: its 95 to 120 s spare a battery, and these show a dead flow within 45 s. `None`:
    /// the connection keeps itself alive, and its end says that it is dead.
    pub fn keepalive(self) -> Option<std::ops::Range<f64>> {
        match self {
            Self::Udp => Some(24.0..29.0),
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => Some(25.0..30.0),
            Self::Quic => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_leads_back_to_its_transport() {
        for transport in Transport::ALL {
            assert_eq!(Transport::of_word(transport.word()), Some(transport));
            assert_eq!(Transport::of_word(transport.via()), Some(transport));
        }
        assert_eq!(Transport::of_word("sctp"), None);
    }
}
