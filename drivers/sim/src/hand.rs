//! Who breaks a wire and works its appliances while it is played.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::{Fault, Wire};

/// How much may wait for a wire; more is refused in words.
const WAITING: usize = 16;

/// Something that is done to a wire.
#[derive(Debug)]
pub(crate) enum Touch {
    Fault { which: Option<usize>, fault: Option<Fault> },
    Work { which: usize, words: Vec<String>, said: oneshot::Sender<Result<(), String>> },
}

impl Touch {
    pub fn on(self, wire: &mut Wire, now: Duration) {
        match self {
            Self::Fault { which, fault } => wire.fault(which, fault, now),
            Self::Work { which, words, said } => {
                // Who does not wait for the answer does not want it.
                let _ = said.send(wire.work(which, &words, now));
            }
        }
    }
}

/// Breaks and mends a wire and works its appliances, from anywhere.
#[derive(Clone, Debug)]
pub struct Hand(mpsc::Sender<Touch>);

/// The wire's end of a [`Hand`]; by default nobody's.
#[derive(Debug, Default)]
pub struct Hands(Option<mpsc::Receiver<Touch>>);

/// A hand, and what [`crate::Settings`] want of it. Everything is well at first.
pub fn hands() -> (Hand, Hands) {
    let (to, from) = mpsc::channel(WAITING);
    (Hand(to), Hands(Some(from)))
}

impl Hand {
    /// Breaks one appliance or the whole wire, or mends it.
    ///
    /// # Errors
    /// The wire is no longer played, or has too much to do.
    pub fn fault(&self, which: Option<usize>, fault: Option<Fault>) -> Result<(), String> {
        self.0.try_send(Touch::Fault { which, fault }).map_err(|_| BUSY.to_owned())
    }

    /// Does something at an appliance, in words.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    pub async fn work(&self, which: usize, words: Vec<String>) -> Result<(), String> {
        let (said, answer) = oneshot::channel();
        self.0.try_send(Touch::Work { which, words, said }).map_err(|_| BUSY.to_owned())?;
        answer.await.map_err(|_| BUSY.to_owned())?
    }
}

const BUSY: &str = "the simulated wire does not listen; try again";

impl Hands {
    pub(crate) async fn next(&mut self) -> Touch {
        if let Some(from) = &mut self.0
            && let Some(touch) = from.recv().await
        {
            return touch;
        }
        std::future::pending().await
    }
}
