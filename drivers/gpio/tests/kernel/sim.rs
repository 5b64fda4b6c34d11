//! A chip of the module `gpio-sim`: its wires are in the hands of the test.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CONFIG: &str = "/sys/kernel/config/gpio-sim";

/// A chip with named lines.
pub struct SimChip {
    folder: PathBuf,
    wires: PathBuf,
    names: Vec<String>,
}

impl SimChip {
    /// `None`, with the reason on the terminal, where no chip can be made and none must be.
    pub fn new(names: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("{CONFIG}/sipliance-{}-{n}", std::process::id()));
        if let Err(error) = fs::create_dir(&folder) {
            assert!(std::env::var_os("GPIO_SIM").is_none(), "no chip can be made in {CONFIG}: {error}");
            eprintln!(
                "skipped: no chip can be made in {CONFIG}: {error} (tests/gpio/run has a machine with it)"
            );
            return None;
        }
        let bank = folder.join("bank0");
        fs::create_dir(&bank).unwrap();
        fs::write(bank.join("num_lines"), names.len().to_string()).unwrap();
        for (n, name) in names.iter().enumerate() {
            let line = bank.join(format!("line{n}"));
            fs::create_dir(&line).unwrap();
            fs::write(line.join("name"), name).unwrap();
        }
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let mut chip = Self { folder, wires: PathBuf::new(), names };
        chip.live(true);
        Some(chip)
    }

    /// Plugs the chip in or pulls it out.
    pub fn live(&mut self, live: bool) {
        fs::write(self.folder.join("live"), if live { "1" } else { "0" }).unwrap();
        if live {
            let text = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap().trim().to_owned();
            let (device, chip) = (text("dev_name"), text("bank0/chip_name"));
            self.wires = PathBuf::from(format!("/sys/devices/platform/{device}/{chip}"));
        }
    }

    fn wire(&self, name: &str, file: &str) -> PathBuf {
        let n = self.names.iter().position(|other| other == name).unwrap();
        self.wires.join(format!("sim_gpio{n}/{file}"))
    }

    /// What the wire does when nobody drives it: for an input, somebody outside who does.
    pub fn pull(&self, name: &str, high: bool) {
        fs::write(self.wire(name, "pull"), if high { "pull-up" } else { "pull-down" }).unwrap();
    }

    pub fn pulled(&self, name: &str) -> String {
        fs::read_to_string(self.wire(name, "pull")).unwrap().trim().to_owned()
    }

    pub fn high(&self, name: &str) -> bool {
        fs::read_to_string(self.wire(name, "value")).unwrap().trim() == "1"
    }

    /// Looks at a wire all the time from now on.
    pub fn watch(&self, name: &str) -> Scope {
        let (path, stop) = (self.wire(name, "value"), Arc::new(AtomicBool::new(false)));
        let (seen, levels) = (Arc::clone(&stop), Arc::new(Mutex::new(Vec::<Step>::new())));
        let told = Arc::clone(&levels);
        let (ready, begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut after = Instant::now();
            while !seen.load(Ordering::Relaxed) {
                let looked = Instant::now();
                if let Ok(text) = fs::read_to_string(&path) {
                    let high = text.trim() == "1";
                    let (mut told, blind) = (told.lock().unwrap(), looked - after);
                    match told.last_mut() {
                        Some(last) if last.high == high => {
                            last.still += if blind > STILL { blind } else { Duration::ZERO };
                        }
                        _ => {
                            told.push(Step { high, after, by: Instant::now(), still: Duration::ZERO });
                            let _ = ready.send(());
                        }
                    }
                }
                after = looked;
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        begun.recv().unwrap();
        Scope { stop, levels, thread }
    }
}

impl Drop for SimChip {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("live"), "0");
        for n in 0..self.names.len() {
            let _ = fs::remove_dir(self.folder.join(format!("bank0/line{n}")));
        }
        let _ = fs::remove_dir(self.folder.join("bank0"));
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Who looks every half millisecond and could not for so long stood still, as did all that share his machine.
const STILL: Duration = Duration::from_millis(20);

/// A level that a wire took, between two looks at it.
#[derive(Debug)]
pub struct Step {
    pub high: bool,
    pub after: Instant,
    pub by: Instant,
    /// How long the machine stood still while it had this level.
    pub still: Duration,
}

/// An oscilloscope at one wire.
pub struct Scope {
    stop: Arc<AtomicBool>,
    levels: Arc<Mutex<Vec<Step>>>,
    thread: JoinHandle<()>,
}

impl Scope {
    /// The levels that the wire had, and since when.
    pub fn end(self) -> Vec<Step> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut self.levels.lock().unwrap())
    }

    /// How often the level has changed.
    pub fn changes(&self) -> usize {
        self.levels.lock().unwrap().len() - 1
    }

    /// The levels alone.
    pub fn levels(self) -> Vec<bool> {
        self.end().into_iter().map(|step| step.high).collect()
    }
}
