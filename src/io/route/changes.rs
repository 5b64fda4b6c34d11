//! When it is time to look at the network: the kernel tells of every change (rtnetlink), and where it may not be
//! heard, a clock does.

use std::io;
use std::os::unix::net::UnixDatagram as Datagrams;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Between two looks while nothing is told.
const LOOK: Duration = Duration::from_secs(5);
/// A change comes in pieces, an address and then its route: they are looked at together. It also bounds how often
/// a network that changes all the time is looked at.
const SETTLE: Duration = Duration::from_millis(100);
/// What is listened for (`RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Says when a look is due.
pub struct Changes {
    kernel: Option<UnixDatagram>,
    clock: Interval,
    settled: Option<Instant>,
}

impl Changes {
    /// Begins to listen; needs a tokio runtime.
    pub fn listen() -> Self {
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A service may be kept from such sockets: then the clock has to do.
        Self { kernel: socket().ok(), clock, settled: None }
    }

    /// Waits until a look is due. Whoever stops waiting loses nothing.
    pub async fn due(&mut self) {
        loop {
            let settled = self.settled;
            tokio::select! {
                _ = self.clock.tick() => return,
                () = tokio::time::sleep_until(settled.unwrap_or_else(Instant::now)), if settled.is_some() => {
                    self.settled = None;
                    return;
                }
                told = told(self.kernel.as_ref()), if settled.is_none() => match told {
                    Ok(()) => self.settled = Some(Instant::now() + SETTLE),
                    Err(_) => self.kernel = None,
                },
            }
        }
    }
}

/// A socket of the kernel's is one for datagrams, and is read like any other.
fn socket() -> io::Result<UnixDatagram> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    UnixDatagram::from_std(Datagrams::from(socket))
}

/// Waits until the kernel has told something, which is read and not understood: a look finds out what it was.
async fn told(kernel: Option<&UnixDatagram>) -> io::Result<()> {
    let Some(kernel) = kernel else { return std::future::pending().await };
    let mut buffer = [0u8; 8 * 1024];
    kernel.readable().await?;
    loop {
        match kernel.try_recv(&mut buffer) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // So much was told that some of it is lost: all the more a reason.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_does_where_the_kernel_may_not_be_heard() {
        let mut changes = Changes { kernel: None, clock: tokio::time::interval(LOOK), settled: None };
        changes.due().await;
        let before = Instant::now();
        changes.due().await;
        assert_eq!(before.elapsed(), LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_looked_at_once_and_a_little_later() {
        let mut changes = Changes { kernel: None, clock: tokio::time::interval(LOOK), settled: None };
        changes.due().await;
        let before = Instant::now();
        changes.settled = Some(before + SETTLE);
        // Somebody else was quicker: nothing is lost.
        assert!(tokio::time::timeout(SETTLE / 2, changes.due()).await.is_err());
        changes.due().await;
        assert_eq!(before.elapsed(), SETTLE);
        changes.due().await;
        assert_eq!(before.elapsed(), LOOK);
    }
}
