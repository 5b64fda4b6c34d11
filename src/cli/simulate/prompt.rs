//! What a person types while a house is simulated.

use std::io::{BufRead as _, Write as _};
use std::str::FromStr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sipliance_driver_sim::Fault;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Known;
use crate::config::DeviceConfig;
use crate::config::fault::nearest;
use crate::config::yaml::duration;
use crate::io::pretend::Stage;

/// Lines that may wait.
const LINES: usize = 16;

/// How long a flapping plug is in and out where nothing is said.
const FLAPPING: Duration = Duration::from_secs(10);

const HELP: &str = "\
  set DEVICE PROPERTY VALUE     as somebody would at the appliance itself
  EVENT DEVICE [VALUE]          ring doorbell, press button double
  fault NAME FAULT              late:2s, garbled, silent, unplugged or flapping:10s
  heal [NAME]                   one device or link, or everything
  list                          devices, and what can be done at them
Ctrl-C ends it.";

/// `--fault boiler=silent@30s`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// A device or a link.
    pub name: String,
    /// What is wrong with it.
    pub fault: Fault,
    /// After this time.
    pub after: Duration,
}

impl FromStr for Break {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("write NAME=FAULT: boiler=silent")?;
        let (fault, after) = match rest.split_once('@') {
            None => (rest, Duration::ZERO),
            Some((fault, after)) => (fault, time(after)?),
        };
        Ok(Self { name: name.to_owned(), fault: fault_of(fault)?, after })
    }
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| format!("`{text}` is no time; write a number and ms, s, m or h: 30s"))
}

fn fault_of(text: &str) -> Result<Fault, String> {
    let (word, long) = match text.split_once(':') {
        None => (text, None),
        Some((word, long)) => (word, Some(time(long)?)),
    };
    match (word, long) {
        ("late", Some(by)) => Ok(Fault::Late(by)),
        ("late", None) => Err("how late? Write late:2s".to_owned()),
        ("flapping", long) => Ok(Fault::Flapping(long.unwrap_or(FLAPPING))),
        ("garbled", None) => Ok(Fault::Garbled),
        ("silent", None) => Ok(Fault::Silent),
        ("unplugged", None) => Ok(Fault::Unplugged),
        _ => Err(format!("`{text}` is no fault; use late:2s, garbled, silent, unplugged or flapping:10s")),
    }
}

/// Takes lines from standard input, and lets faults begin when they are due.
pub struct Prompt {
    /// Of the house.
    pub devices: Vec<DeviceConfig>,
    /// The simulated wires.
    pub stage: Arc<Stage>,
    /// The newest line about each device.
    pub known: Known,
    /// Faults that begin later.
    pub later: Vec<Break>,
}

impl Prompt {
    /// Listens on threads of its own, which end with the program.
    pub fn begin(self) {
        let (to, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if to.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime.block_on(self.serve(lines)),
                Err(why) => eprintln!("error: commands cannot be taken: {why}"),
            }
        });
    }

    async fn serve(mut self, mut lines: mpsc::Receiver<String>) {
        let began = Instant::now();
        self.later.sort_by_key(|of| std::cmp::Reverse(of.after));
        let mut open = true;
        while open || !self.later.is_empty() {
            let due = self.later.last().map(|of| began + of.after);
            tokio::select! {
                line = lines.recv(), if open => match line {
                    Some(line) => say(self.command(&line).await),
                    None => open = false,
                },
                () = sleep_until(due.unwrap_or(began)), if due.is_some() => {
                    if let Some(of) = self.later.pop() {
                        say(self.stage.fault(&of.name, Some(of.fault)).map(|()| format!("{}: broken", of.name)));
                    }
                }
            }
        }
    }

    /// Does what a line says; the answer is for a person.
    async fn command(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => Ok(String::new()),
            ["help" | "?"] => Ok(HELP.to_owned()),
            ["list"] => Ok(self.list()),
            ["heal"] => {
                self.stage.heal();
                Ok("everything is well".to_owned())
            }
            ["heal", name] => self.stage.fault(name, None).map(|()| format!("{name}: well")),
            ["fault", name, fault] => {
                self.stage.fault(name, Some(fault_of(fault)?)).map(|()| format!("{name}: {fault}"))
            }
            ["set", device, property, value, ..] => {
                let mut order = vec!["set", device, property];
                order.extend(words.get(3..).unwrap_or(&[value]));
                self.work(device, &order).await
            }
            [event, device] => self.work(device, &["happen", device, event]).await,
            [event, device, value] => self.work(device, &["happen", device, event, value]).await,
            _ => Err(format!("`{line}` is not understood; type help")),
        }
    }

    async fn work(&self, device: &str, words: &[&str]) -> Result<String, String> {
        if !self.devices.iter().any(|of| of.id == device) {
            let known = self.devices.iter().map(|of| of.id.as_str());
            return Err(match nearest(device, known) {
                Some(near) => format!("there is no {device}; did you mean {near}?"),
                None => format!("there is no {device}; type list, or help"),
            });
        }
        self.stage.work(device, words.iter().map(|word| (*word).to_owned()).collect()).await?;
        Ok(String::new())
    }

    fn list(&self) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |device: &DeviceConfig| {
            let summary = known.get(&device.id).map_or("nothing heard yet", String::as_str);
            let properties: Vec<&str> = device.model.properties.iter().map(|of| &*of.id).collect();
            let events: Vec<&str> = device.model.events.iter().map(|of| &*of.id).collect();
            let mut line =
                format!("  {:<16} {summary}\n  {:<16} set: {}", device.id, "", properties.join(", "));
            if !events.is_empty() {
                line.push_str(&format!("; happens: {}", events.join(", ")));
            }
            line
        };
        self.devices.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn say(answer: Result<String, String>) {
    // Nobody reads the other end of a pipe any more: the house runs on.
    let _ = match answer {
        Ok(text) if text.is_empty() => Ok(()),
        Ok(text) => writeln!(std::io::stdout(), "{text}"),
        Err(why) => writeln!(std::io::stdout(), "! {why}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_people_write_them() {
        let seconds = Duration::from_secs;
        for (text, name, fault, after) in [
            ("boiler=silent", "boiler", Fault::Silent, 0),
            ("coffee=late:2s@30s", "coffee", Fault::Late(seconds(2)), 30),
            ("main=unplugged@1m", "main", Fault::Unplugged, 60),
            ("main=flapping", "main", Fault::Flapping(FLAPPING), 0),
            ("a=flapping:1s", "a", Fault::Flapping(seconds(1)), 0),
            ("a=garbled", "a", Fault::Garbled, 0),
        ] {
            let want = Break { name: name.to_owned(), fault, after: seconds(after) };
            assert_eq!(text.parse(), Ok(want));
        }
        for (text, why) in [
            ("boiler", "NAME=FAULT"),
            ("boiler=dead", "is no fault"),
            ("boiler=late", "how late"),
            ("boiler=late:2", "no time"),
            ("boiler=silent:2s", "is no fault"),
            ("boiler=silent@soon", "no time"),
        ] {
            assert!(Break::from_str(text).is_err_and(|said| said.contains(why)), "{text}");
        }
    }
}
