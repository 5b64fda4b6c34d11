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
    pub(super) sockets: Vec<Udp>,
    pub(super) listeners: Vec<(TcpListener, Transport)>,
    #[cfg(feature = "quic")]
    pub(super) quic: Vec<quinn::Endpoint>,
    pub(super) http: Vec<TcpListener>,
    listening: Vec<Listen>,
    http_at: Vec<SocketAddr>,
}

impl Ports {
    /// Opens all of `wanted`. With port 0 the system chooses, the same one for UDP and TCP.
    ///
    /// # Errors
    /// The one that cannot be opened, and why.
    pub async fn open(wanted: &[Listen]) -> Result<Self, (Listen, io::Error)> {
        let mut ports = Self::default();
        for wanted in wanted {
            let mut listen = *wanted;
            // TCP is looked for where UDP is; what else is over TCP needs a port of its own.
            let twin = ports.listening.first().filter(|first| first.transport != wanted.transport);
            let plain = matches!(wanted.transport, Transport::Udp | Transport::Tcp);
            if let Some(first) = twin.filter(|_| plain && wanted.addr.port() == 0) {
                listen.addr.set_port(first.addr.port());
            }
            ports.bind(&mut listen).await.map_err(|why| (listen, why))?;
            ports.listening.push(listen);
        }
        Ok(ports)
    }

    /// Opens those for HTTP, too.
    ///
    /// # Errors
    /// The one that cannot be opened, and why.
    pub async fn open_http(&mut self, wanted: &[SocketAddr]) -> Result<(), (SocketAddr, io::Error)> {
        for addr in wanted {
            let listener = TcpListener::bind(addr).await.map_err(|why| (*addr, why))?;
            self.http_at.push(listener.local_addr().unwrap_or(*addr));
            self.http.push(listener);
        }
        Ok(())
    }

    /// Where HTTP is listened for.
    pub fn http_at(&self) -> &[SocketAddr] {
        &self.http_at
    }

    /// Where they listen.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    async fn bind(&mut self, listen: &mut Listen) -> io::Result<()> {
        match listen.transport {
            Transport::Udp => {
                let flow = FlowId(self.sockets.len() as u64 + 1);
                let socket = Udp::bind(flow, listen.addr, None)?;
                listen.addr = socket.local();
                self.sockets.push(socket);
            }
            #[cfg(feature = "quic")]
            Transport::Quic => {
                let endpoint = super::quic::bind(listen.addr)?;
                listen.addr = endpoint.local_addr()?;
                self.quic.push(endpoint);
            }
            #[cfg(not(feature = "quic"))]
            Transport::Quic => return Err(io::Error::other(super::reach::NO_QUIC)),
            transport => {
                let listener = TcpListener::bind(listen.addr).await?;
                listen.addr = listener.local_addr()?;
                self.listeners.push((listener, transport));
            }
        }
        Ok(())
    }
}
