//! How a command ended, as a status code and in words.

use crate::device::appliance::Device;
use crate::device::command::{Outcome, Refusal};
use crate::timer::Now;

/// A final answer before it is put into a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code for MESSAGE and DO.
    pub status: u16,
    /// Reason phrase.
    pub reason: &'static str,
    /// What is told to the person.
    pub words: String,
}

impl Answer {
    /// An answer.
    pub fn new(status: u16, reason: &'static str, words: impl Into<String>) -> Self {
        Self { status, reason, words: words.into() }
    }

    /// The status code when a call asked: a call is never accepted, so success is 486 with the
    /// state, refusal 603, and what could not be done 480.
    pub fn call_status(&self) -> u16 {
        match self.status {
            ..300 | 486 => 486,
            403 | 404 => 603,
            _ => 480,
        }
    }
}

/// The answer to an order that ended. `device` is shown as it is now.
pub fn of_outcome(outcome: &Outcome, device: &Device, now: Now) -> Answer {
    let name = device.name();
    match outcome {
        Outcome::Done => Answer::new(200, "OK", state(device, now)),
        Outcome::Accepted => Answer::new(202, "Accepted", format!("{name}: sent; it does not report back")),
        Outcome::Started => {
            Answer::new(202, "Accepted", format!("{name}: under way; {}", device.summary(now)))
        }
        Outcome::Failed(why) => {
            Answer::new(480, "Temporarily Unavailable", format!("{name}: not done: {why}"))
        }
        Outcome::Refused(why) => {
            Answer::new(488, "Refused By The Device", format!("{name}: it refused: {why}"))
        }
        Outcome::Unknown(why) => {
            Answer::new(504, "Outcome Unknown", format!("{name}: it is not known whether it was done: {why}"))
        }
    }
}

/// The answer to an order that was not taken.
pub fn of_refusal(refusal: &Refusal, device: &Device) -> Answer {
    let words = format!("{}: {refusal}", device.name());
    match refusal {
        Refusal::NoDevice => Answer::new(404, "Not Found", words),
        Refusal::LinkDown | Refusal::Offline | Refusal::Asleep => {
            Answer::new(480, "Temporarily Unavailable", words)
        }
        Refusal::Busy | Refusal::TooSoon(_) => Answer::new(486, "Busy Here", words),
        Refusal::NoSuch(_)
        | Refusal::ReadOnly(_)
        | Refusal::BadValue(_)
        | Refusal::BadArgs(_)
        | Refusal::Guard(_) => Answer::new(488, "Not Acceptable Here", words),
    }
}

/// The state in a line: `Plug: on, 63 W`.
pub fn state(device: &Device, now: Now) -> String {
    format!("{}: {}", device.name(), device.summary(now))
}

/// The same for somebody who may see some properties only.
pub fn state_of(device: &Device, now: Now, may_see: &dyn Fn(&str) -> bool) -> String {
    format!("{}: {}", device.name(), device.summary_of(now, may_see))
}
