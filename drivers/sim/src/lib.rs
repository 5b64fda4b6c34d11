//! Simulated wires.
//!
//! A [`Wire`] stands in for a broker, a serial port or a set of lines, with [`Appliance`]s at its far
//! end that speak the bytes of real ones. Profile, codec and gateway are the real ones, so a demo or
//! a test on a simulated wire shows what the product does. Nothing here reads a clock: only [`run`]
//! plays a wire on tokio's time.

pub mod appliances;
mod random;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Driver, Event, Exit, Op, Outbox, Port};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use wire::{Wire, matches};

/// Something at the far end of a wire. Bytes and time in, bytes and a next time out.
pub trait Appliance: Send {
    /// The gateway moved something to the wire; what the appliance does with it. A [`Event::Read`] is
    /// something that it puts on the wire (`retained`: to be kept by the broker for later watchers);
    /// a [`Event::Done`] is needed only on lines, from the owner of the line.
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event>;
    /// Time has come to [`Appliance::next`].
    fn tick(&mut self, now: Duration) -> Vec<Event>;
    /// When it will do something by itself.
    fn next(&self) -> Option<Duration>;
}

/// What can be wrong with a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker is gone, the plug is pulled.
    Unplugged,
    /// The wire takes everything and the appliances neither hear nor speak.
    Silent,
    /// What the appliances say arrives damaged.
    Garbled,
    /// Everything that the appliances say arrives this much later.
    Late(Duration),
}

/// Breaks and mends a wire while it is played.
#[derive(Clone, Debug)]
pub struct FaultSwitch(watch::Sender<Option<Fault>>);

impl FaultSwitch {
    /// A switch, and what [`Settings`] want of it. Everything is well at first.
    pub fn new() -> (Self, Faults) {
        let (tx, rx) = watch::channel(None);
        (Self(tx), Faults(Some(rx)))
    }

    /// Breaks the wire, or mends it.
    pub fn set(&self, fault: Option<Fault>) {
        self.0.send_replace(fault);
    }
}

/// The wire's end of a [`FaultSwitch`]; by default one that never breaks.
#[derive(Clone, Debug, Default)]
pub struct Faults(Option<watch::Receiver<Option<Fault>>>);

impl Faults {
    async fn changed(&mut self) -> Option<Fault> {
        if let Some(switch) = &mut self.0
            && switch.changed().await.is_ok()
        {
            return *switch.borrow_and_update();
        }
        std::future::pending().await
    }
}

/// What is to be played.
pub struct Settings {
    /// The wire with its appliances.
    pub wire: Wire,
    /// What breaks it.
    pub faults: Faults,
    /// How many times faster than real time the appliances live; 0 counts as 1.
    pub speed: u32,
}

impl Settings {
    /// A wire in real time that never breaks.
    pub fn new(wire: Wire) -> Self {
        Self { wire, faults: Faults::default(), speed: 1 }
    }
}

/// The driver of simulated links.
#[derive(Debug)]
pub struct Sim;

impl Driver for Sim {
    const KIND: &'static str = "sim";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// Plays a wire until the port closes.
pub async fn run(settings: Settings, port: Port) -> Exit {
    let Settings { mut wire, mut faults, speed } = settings;
    let Port { mut ops, events } = port;
    let mut outbox = Outbox::new(events);
    let began = Instant::now();
    let speed = speed.max(1);
    let now = || began.elapsed().saturating_mul(speed);
    tracing::info!(speed, "playing a simulated wire");
    wire.begin(now());
    loop {
        while let Some(event) = wire.poll(now()) {
            outbox.push(event);
        }
        let wake = wire.next().map(|at| began + at / speed);
        tokio::select! {
            op = ops.recv() => match op {
                Some(op) => wire.op(op, now()),
                None => return Exit::Closed,
            },
            fault = faults.changed() => wire.fault(fault, now()),
            () = outbox.flush(), if !outbox.is_empty() => {}
            () = sleep_until(wake.unwrap_or(began)), if wake.is_some() => wire.tick(now()),
        }
    }
}

/// Something said on the wire.
pub(crate) fn said(channel: &Channel, payload: impl Into<Bytes>) -> Event {
    Event::Read { channel: channel.clone(), payload: payload.into(), retained: false }
}

/// Something said on the wire, to be kept by the broker.
pub(crate) fn kept(channel: &Channel, payload: impl Into<Bytes>) -> Event {
    Event::Read { channel: channel.clone(), payload: payload.into(), retained: true }
}
