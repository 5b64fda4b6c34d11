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
            let listener = TcpListener::bind(addr)
                .await
                .map_err(|why| format!("cannot listen on {addr} for HTTP: {why}{}", hint(&why)))?;
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
                let listener = TcpListener::bind(listen.addr).await?;
                listen.addr = listener.local_addr()?;
                self.listeners.push((wanted, listener));
            }
        }
        Ok(())
    }
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
