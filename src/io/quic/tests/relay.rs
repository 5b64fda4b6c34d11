//! What stands between two ends and misbehaves.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A router between client and server, which may take another port at any time.
pub(super) struct Relay {
    inner: Rc<UdpSocket>,
    outer: Rc<RefCell<Rc<UdpSocket>>>,
    task: JoinHandle<()>,
    back: JoinHandle<()>,
    client: Rc<Cell<Option<SocketAddr>>>,
    server: Rc<Cell<SocketAddr>>,
}

async fn socket() -> Rc<UdpSocket> {
    Rc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap())
}

impl Relay {
    pub(super) async fn new(server: SocketAddr) -> Self {
        let (inner, outer) = (socket().await, Rc::new(RefCell::new(socket().await)));
        let (client, server) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(server)));
        let (at, from, to, known) = (server.clone(), inner.clone(), outer.clone(), client.clone());
        let task = tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = from.recv_from(&mut buffer).await {
                known.set(Some(peer));
                let to = to.borrow().clone();
                to.send_to(&buffer[..length], at.get()).await.unwrap();
            }
        });
        let back = Self::back(&inner, &outer, &client);
        Self { inner, outer, task, back, client, server }
    }

    fn back(
        inner: &Rc<UdpSocket>,
        outer: &Rc<RefCell<Rc<UdpSocket>>>,
        client: &Rc<Cell<Option<SocketAddr>>>,
    ) -> JoinHandle<()> {
        let (inner, outer, client) = (inner.clone(), outer.borrow().clone(), client.clone());
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = outer.recv_from(&mut buffer).await {
                if let Some(client) = client.get() {
                    inner.send_to(&buffer[..length], client).await.unwrap();
                }
            }
        })
    }

    /// Nothing comes through the old port any more.
    pub(super) async fn restart(&mut self) {
        self.back.abort();
        *self.outer.borrow_mut() = socket().await;
        self.back = Self::back(&self.inner, &self.outer, &self.client);
    }

    /// Another program answers where the server was.
    pub(super) fn replace(&self, server: SocketAddr) {
        self.server.set(server);
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.inner.local_addr().unwrap()
    }

    pub(super) fn break_down(&self) {
        self.task.abort();
        self.back.abort();
    }
}
