//! What can be wrong with a wire, or with one appliance on it.

use std::time::Duration;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker is gone, the plug is pulled.
    Unplugged,
    /// Unplugged and plugged again, each for so long.
    Flapping(Duration),
    /// The wire takes everything and the appliances neither hear nor speak.
    Silent,
    /// What the appliances say arrives damaged.
    Garbled,
    /// Everything that the appliances say arrives this much later.
    Late(Duration),
}

/// A fault as time passes over it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    fault: Option<Fault>,
    /// When a flapping one changes.
    flip: Option<Duration>,
    /// Unplugged at present.
    pub out: bool,
}

impl Trouble {
    /// Begins or ends; true when it was plugged or unplugged by that.
    pub fn set(&mut self, fault: Option<Fault>, now: Duration) -> bool {
        self.fault = fault;
        self.flip = match fault {
            Some(Fault::Flapping(period)) => Some(now + period),
            _ => None,
        };
        let out = matches!(fault, Some(Fault::Unplugged | Fault::Flapping(_)));
        std::mem::replace(&mut self.out, out) != out
    }

    /// When it changes by itself.
    pub fn next(&self) -> Option<Duration> {
        self.flip
    }

    /// Time passes; true when it was plugged or unplugged by that.
    pub fn tick(&mut self, now: Duration) -> bool {
        let (Some(Fault::Flapping(period)), Some(at)) = (self.fault, self.flip) else { return false };
        if at > now {
            return false;
        }
        // However long nobody looked, it changed once.
        self.flip = Some(now + period.max(Duration::from_millis(1)));
        self.out = !self.out;
        true
    }

    /// The fault that lasts while it is plugged.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }
}
