//! The sockets that the gateway listens on, opened before anything else is touched.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::udp::Udp;
use crate::config::Listen;
use crate::sip::{FlowId, Transport};

/// Open sockets. While another gateway has a port, opening fails, and no broker, serial port or relay
/// of that gateway has been disturbed.
#[derive(Default)]
pub struct Ports {
    /// Each with what the home file says of it.
    pub(super) sockets: Vec<(Listen, Udp)>,
    pub(super) listeners: Vec<(Listen, TcpListener)>,
    #[cfg(feature = "quic")]
    pub(super) quic: Vec<(Listen, std::net::UdpSocket)>,
    pub(super) http: Vec<(SocketAddr, TcpListener)>,
    listening: Vec<Listen>,
    http_at: Vec<SocketAddr>,
}

impl Ports {
    /// Opens all of `listen`, and of `http` for HTTP. With port 0 the system chooses, the same one for UDP
    /// and TCP.
    ///
    /// # Errors
    /// The one that cannot be opened, and why, in words. Nothing is open then.
    pub async fn open(listen: &[Listen], http: &[SocketAddr]) -> Result<Self, String> {
        let mut ports = Self::default();
        for wanted in listen {
            let mut listen = *wanted;
            // TCP is looked for where UDP is; what else is over TCP needs a port of its own.
            let twin = ports.listening.first().filter(|first| first.transport != wanted.transport);
            let plain = matches!(wanted.transport, Transport::Udp | Transport::Tcp);
            if let Some(first) = twin.filter(|_| plain && wanted.addr.port() == 0) {
                listen.addr.set_port(first.addr.port());
            }
            let transport = listen.transport.word();
            let bound = ports.bind(*wanted, &mut listen).await;
            bound.map_err(|why| {
                format!("cannot listen on {transport}:{}: {why}{}", listen.addr, hint(&why))
            })?;
            ports.listening.push(listen);
        }
        for addr in http {
            let listener =
                tcp(*addr).map_err(|why| format!("cannot listen on {addr} for HTTP: {why}{}", hint(&why)))?;
            ports.http_at.push(listener.local_addr().unwrap_or(*addr));
            ports.http.push((*addr, listener));
        }
        Ok(ports)
    }

    /// Where HTTP is listened for.
    pub fn http_at(&self) -> &[SocketAddr] {
        &self.http_at
    }

    /// Where they listen.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    async fn bind(&mut self, wanted: Listen, listen: &mut Listen) -> io::Result<()> {
        match listen.transport {
            Transport::Udp => {
                let flow = FlowId(self.sockets.len() as u64 + 1);
                let socket = Udp::bind(flow, listen.addr, None)?;
                listen.addr = socket.local();
                self.sockets.push((wanted, socket));
            }
            #[cfg(feature = "quic")]
            Transport::Quic => {
                let socket = super::quic::bind(listen.addr)?;
                listen.addr = socket.local_addr()?;
                self.quic.push((wanted, socket));
            }
            #[cfg(not(feature = "quic"))]
            Transport::Quic => return Err(io::Error::other(super::reach::NO_QUIC)),
            _ => {
                let listener = tcp(listen.addr)?;
                listen.addr = listener.local_addr()?;
                self.listeners.push((wanted, listener));
            }
        }
        Ok(())
    }
}

/// Connections that wait to be accepted; the kernel drops what is more, and they are tried again.
const WAITING: i32 = 1024;

/// `[::]` is IPv6 alone, as it is for UDP: so both can stand beside each other, and nobody comes as `::ffff:192.0.2.7`.
fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(WAITING)?;
    TcpListener::from_std(socket.into())
}

fn hint(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program has that port; choose another with `listen:` or `--listen`)"
        }
        io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need a capability)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_have_the_same_port() {
        let listen = |transport, addr: &str| Listen { transport, addr: addr.parse().unwrap() };
        let first = Ports::open(&[listen(Transport::Tcp, "0.0.0.0:0")], &[]).await.unwrap();
        let port = first.listening()[0].addr.port();
        drop(first);
        let all = [Transport::Udp, Transport::Tcp]
            .map(|transport| ["0.0.0.0", "[::]"].map(|any| listen(transport, &format!("{any}:{port}"))));
        let ports = Ports::open(all.as_flattened(), &[]).await.unwrap();
        assert_eq!(ports.listening().len(), 4);
    }
}
