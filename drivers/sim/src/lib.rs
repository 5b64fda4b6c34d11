//! Simulated wires.
//!
//! A [`Wire`] stands in for a broker, a serial port, a bus or a set of lines, with [`Appliance`]s at its
//! far end that speak the bytes of real ones. Profile, codec and gateway are the real ones, so a demo or
//! a test on a simulated wire shows what the product does. Nothing here reads a clock: only [`run`]
//! plays a wire on tokio's time. A wire is what a driver makes of the hardware: frames arrive whole, and
//! what a checksum or a debounce time would drop does not arrive.

mod hand;
mod trouble;
mod wire;

use std::time::Duration;

use sipliance_driver::{Driver, Event, Exit, Op, Outbox, Port};
use tokio::time::{Instant, sleep_until};

pub use hand::{Hand, Hands, hands};
pub use trouble::Fault;
pub use wire::{Wire, matches};

/// Something at the far end of a wire. Bytes and time in, bytes and a next time out.
pub trait Appliance: Send {
    /// The gateway moved something to the wire; what the appliance does with it. A [`Event::Read`] is
    /// something that it puts on the wire (`retained`: to be kept by the broker for later watchers);
    /// a [`Event::Done`] comes from the owner of a line or a unit of a bus.
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event>;
    /// Time has come to [`Appliance::next`].
    fn tick(&mut self, now: Duration) -> Vec<Event>;
    /// When it will do something by itself.
    fn next(&self) -> Option<Duration>;
    /// Its plug is pulled, or put back; what is told of it by others, such as its last will.
    fn plugged(&mut self, _plugged: bool, _now: Duration) -> Vec<Event> {
        Vec::new()
    }
    /// Somebody does something at the appliance itself, in words.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    fn work(&mut self, words: &[String], _now: Duration) -> Result<Vec<Event>, String> {
        Err(format!("nothing can be done here by hand ({})", words.join(" ")))
    }
}

/// What is to be played.
pub struct Settings {
    /// The wire with its appliances.
    pub wire: Wire,
    /// What breaks it, and who works its appliances.
    pub hands: Hands,
    /// How many times faster than real time the appliances live; 0 counts as 1.
    pub speed: u32,
}

impl Settings {
    /// A wire in real time that never breaks.
    pub fn new(wire: Wire) -> Self {
        Self { wire, hands: Hands::default(), speed: 1 }
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
    let Settings { wire, mut hands, speed } = settings;
    let Port { mut ops, events } = port;
    let mut outbox = Outbox::new(events);
    let began = Instant::now();
    let speed = speed.max(1);
    let mut wire = wire.at_speed(speed);
    let now = || began.elapsed().saturating_mul(speed);
    tracing::debug!(speed, "playing a simulated wire");
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
            touch = hands.next() => touch.on(&mut wire, now()),
            () = outbox.flush(), if !outbox.is_empty() => {}
            () = sleep_until(wake.unwrap_or(began)), if wake.is_some() => wire.tick(now()),
        }
    }
}
