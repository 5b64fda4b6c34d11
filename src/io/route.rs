//! Which of this machine's addresses the way to each server begins at. Nobody tells a program's sockets when a cable
//! is pulled, or a phone network takes over from a wire: this looks, whenever [`Changes`] says so.

mod changes;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

pub use self::changes::Changes;
use crate::sip::{FlowId, is_link_local};

/// What a look found out.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// The address that a flow begins at is none of this machine's any more.
    Gone(FlowId, String),
    /// The network is another one, or is there again.
    Network,
}

/// Gives a flow another socket, where the transport can go on over one.
pub type Mover = Box<dyn Fn() -> io::Result<()>>;

/// What the system knows.
pub trait System {
    /// Our address on the way to `peer`; `None`: there is no way.
    fn source(&self, peer: SocketAddr) -> Option<IpAddr>;
    /// Whether an address is this machine's.
    fn has(&self, ip: IpAddr) -> bool;
}

/// The system that we run on.
pub struct Kernel;

impl System for Kernel {
    fn source(&self, peer: SocketAddr) -> Option<IpAddr> {
        source(peer).ok()
    }

    fn has(&self, ip: IpAddr) -> bool {
        // Any other fault says something of this process: it has no descriptor left.
        !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    }
}

/// Our address on the way to `peer`. Nothing is sent.
///
/// # Errors
/// When there is no way, or none that an answer could come back on.
pub fn source(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(peer)?;
    let ours = socket.local_addr()?.ip();
    answerable(ours, peer.ip()).map(|()| ours)
}

/// Where a network lost its prefix and kept its router, all that is left to begin at is a link-local address, to which
/// nobody beyond that router can answer.
fn answerable(ours: IpAddr, peer: IpAddr) -> io::Result<()> {
    match is_link_local(ours) && !is_link_local(peer) {
        true => Err(io::Error::new(
            io::ErrorKind::NetworkUnreachable,
            format!("this machine has only {ours} there, which leads no further than the next router"),
        )),
        false => Ok(()),
    }
}

/// The flows of ours to servers elsewhere, and the addresses that were seen last. There is one for each way of
/// the home file, which is bounded there.
#[derive(Default)]
pub struct Routes {
    flows: Vec<Route>,
}

struct Route {
    flow: FlowId,
    peer: SocketAddr,
    /// The address that the flow itself began at.
    bound: IpAddr,
    mover: Option<Mover>,
    seen: Option<IpAddr>,
    /// The address that it began at was this machine's when that was last looked at.
    there: bool,
}

impl Routes {
    /// A flow is open.
    pub fn add(&mut self, flow: FlowId, local: IpAddr, peer: SocketAddr, mover: Option<Mover>) {
        self.forget(flow);
        self.flows.push(Route { flow, peer, bound: local, mover, seen: Some(local), there: true });
    }

    /// A flow is gone.
    pub fn forget(&mut self, flow: FlowId) {
        self.flows.retain(|route| route.flow != flow);
    }

    /// What changed since the last look.
    pub fn look(&mut self, system: &impl System) -> Vec<News> {
        let mut news = Vec::new();
        let mut changed = false;
        for route in &mut self.flows {
            let (now, bound) = (system.source(route.peer), route.bound);
            // One that moves begins wherever the way begins.
            let there = route.mover.is_some() || system.has(bound);
            let left = std::mem::replace(&mut route.there, there) && !there;
            if now == route.seen && !left {
                continue;
            }
            route.seen = now;
            let Some(now) = now else {
                // Nothing can be done, and the flow may outlive it. Where its address went as well, it is asked: there may
                // be another way to its server.
                changed |= left;
                continue;
            };
            changed = true;
            let why = match &route.mover {
                Some(mover) => mover().err().map(|error| format!("no socket for another way to it: {error}")),
                None => {
                    (!there).then(|| format!("this machine's address {bound} is gone, {now} took its place"))
                }
            };
            news.extend(why.map(|why| News::Gone(route.flow, why)));
        }
        if changed {
            news.push(News::Network);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Default)]
    struct Machine {
        way: Option<IpAddr>,
        has: Vec<IpAddr>,
    }

    impl System for Machine {
        fn source(&self, _: SocketAddr) -> Option<IpAddr> {
            self.way
        }

        fn has(&self, ip: IpAddr) -> bool {
            self.has.contains(&ip)
        }
    }

    const WIRE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 5));
    const PHONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 8, 7));

    /// One flow that cannot move, and one that can; how often it was moved.
    fn routes() -> (Routes, Rc<Cell<u32>>) {
        let peer = SocketAddr::from(([203, 0, 113, 7], 5061));
        let (mut routes, moved) = (Routes::default(), Rc::new(Cell::new(0)));
        routes.add(FlowId(1), WIRE, peer, None);
        let count = moved.clone();
        let mover = move || {
            count.set(count.get() + 1);
            Ok(())
        };
        routes.add(FlowId(2), WIRE, peer, Some(Box::new(mover)));
        (routes, moved)
    }

    #[test]
    fn another_address_moves_what_can_move_and_ends_what_cannot() {
        let ((mut routes, moved), mut machine) = (routes(), Machine { way: Some(WIRE), has: vec![WIRE] });
        assert_eq!(routes.look(&machine), []);
        machine = Machine { way: Some(PHONE), has: vec![PHONE] };
        let news = routes.look(&machine);
        assert!(
            matches!(&news[..], [News::Gone(FlowId(1), why), News::Network]
                if why.contains("192.168.1.5") && why.contains("10.9.8.7")),
            "{news:?}"
        );
        assert_eq!(routes.look(&machine), [], "it is told once");
        assert_eq!(moved.get(), 1);
    }

    #[test]
    fn a_flow_that_gets_no_socket_is_told_dead() {
        let mut routes = Routes::default();
        let mover = || Err(io::Error::other("no descriptors"));
        routes.add(FlowId(3), WIRE, ([203, 0, 113, 7], 5061).into(), Some(Box::new(mover)));
        let news = routes.look(&Machine { way: Some(PHONE), has: vec![PHONE] });
        assert!(
            matches!(&news[..], [News::Gone(FlowId(3), why), News::Network] if why.contains("descriptors"))
        );
    }

    #[test]
    fn a_better_way_beside_the_old_one_ends_nothing() {
        let ((mut routes, moved), machine) = (routes(), Machine { way: Some(PHONE), has: vec![WIRE, PHONE] });
        assert_eq!(routes.look(&machine), [News::Network]);
        assert_eq!(moved.get(), 1);
    }

    #[test]
    fn a_network_that_goes_and_comes_back_is_told_when_it_is_back() {
        let ((mut routes, moved), mut machine) = (routes(), Machine { way: None, has: vec![WIRE] });
        assert_eq!(routes.look(&machine), []);
        machine = Machine { way: Some(WIRE), has: vec![WIRE] };
        assert_eq!(routes.look(&machine), [News::Network]);
        assert_eq!(moved.get(), 1);
        routes.forget(FlowId(1));
        routes.forget(FlowId(2));
        machine.way = Some(PHONE);
        assert_eq!(routes.look(&machine), []);
    }

    /// A temporary address of IPv6: another one comes first for hours before it ends.
    #[test]
    fn an_address_that_ends_long_after_another_came_is_gone_all_the_same() {
        let ((mut routes, _), mut machine) = (routes(), Machine { way: Some(PHONE), has: vec![WIRE, PHONE] });
        routes.forget(FlowId(2));
        assert_eq!(routes.look(&machine), [News::Network]);
        assert_eq!(routes.look(&machine), []);
        machine.has = vec![PHONE];
        assert!(matches!(&routes.look(&machine)[..], [News::Gone(FlowId(1), _), News::Network]));
    }

    /// Its server may have an address of the other family.
    #[test]
    fn a_flow_whose_address_went_with_the_network_is_asked_once() {
        let ((mut routes, _), mut machine) = (routes(), Machine { way: None, has: vec![WIRE] });
        assert_eq!(routes.look(&machine), [], "the address is there: a cable that is put back in");
        machine.has = Vec::new();
        assert_eq!(routes.look(&machine), [News::Network]);
        assert_eq!(routes.look(&machine), []);
        machine = Machine { way: Some(PHONE), has: vec![PHONE] };
        assert!(matches!(&routes.look(&machine)[..], [News::Gone(FlowId(1), _), News::Network]));
    }

    #[test]
    fn nobody_answers_a_link_local_address_from_afar() {
        let [link, far]: [IpAddr; 2] = ["fe80::1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let why = answerable(link, far).unwrap_err().to_string();
        assert!(why.contains("fe80::1"), "{why}");
        assert!(answerable(link, link).is_ok() && answerable(far, far).is_ok());
    }

    #[test]
    fn the_kernel_knows_the_way_to_this_machine() {
        let here: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(Kernel.source((here, 5060).into()), Some(here));
        assert!(Kernel.has(here) && !Kernel.has([203, 0, 113, 7].into()));
    }
}
