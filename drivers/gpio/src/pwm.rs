//! The kernel's PWM channels, by files below `/sys/class/pwm`.
//!
//! A chip is found by the name of its device (`fe20c000.pwm`), because its number changes with kernels.
//! Whatever was set before, an output is at no moment brighter than before and than it shall be: the duty
//! is lowered before the period and raised after it, and a channel is enabled last.
//!
//! A channel outlives the program that exported it, and goes on as it was. So it stays exported, and the
//! next start takes it over; a lock on one of its files tells whether somebody holds it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sipliance_driver::Duty;

use crate::{Line, PwmSettings};

/// Where the kernel has its PWM chips.
pub const CHIPS: &str = "/sys/class/pwm";

/// The files, or what stands in for them.
pub(crate) trait Files: Send + Sync + 'static {
    /// Released when it is dropped.
    type Lock: Send + Sync;
    /// Names in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// The last part of where a link leads.
    fn target(&self, link: &Path) -> io::Result<String>;
    /// What a file says, without its end of line.
    fn read(&self, file: &Path) -> io::Result<String>;
    /// Tells the kernel.
    fn write(&mut self, file: &Path, text: &str) -> io::Result<()>;
    /// Holds a file; `WouldBlock` when another does.
    fn lock(&self, file: &Path) -> io::Result<Self::Lock>;
}

/// The real ones.
pub(crate) struct Sysfs;

impl Files for Sysfs {
    type Lock = File;

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    fn target(&self, link: &Path) -> io::Result<String> {
        let target = fs::read_link(link)?;
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
        name.ok_or_else(|| io::Error::other("a link to nowhere"))
    }

    fn read(&self, file: &Path) -> io::Result<String> {
        Ok(fs::read_to_string(file)?.trim_end().to_owned())
    }

    fn write(&mut self, file: &Path, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
    }

    fn lock(&self, file: &Path) -> io::Result<File> {
        let file = fs::OpenOptions::new().read(true).write(true).open(file)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(file)
    }
}

/// A channel of ours.
pub(crate) struct Channel<F: Files> {
    files: F,
    folder: PathBuf,
    name: String,
    period: u64,
    duty: Duty,
    _lock: F::Lock,
}

impl<F: Files> Channel<F> {
    /// Finds, exports and sets a channel; it has its initial duty when it is enabled.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn open(mut files: F, root: &Path, line: &Line, settings: &PwmSettings) -> Result<Self, String> {
        let name = format!("PWM {} ({})", line.pin, line.name);
        let (chip, number) = place(&files, root, &line.pin).map_err(|words| format!("{name}: {words}"))?;
        let folder = root.join(&chip).join(format!("pwm{number}"));
        if files.read(&folder.join("period")).is_err() {
            let done = files.write(&root.join(&chip).join("export"), &number.to_string());
            done.map_err(|error| format!("{name}: {}", not_exported(&error)))?;
        } else {
            tracing::info!(channel = line.pin, "is exported already, by us before or by another program");
        }
        let lock = files.lock(&folder.join("duty_cycle"));
        let lock = lock.map_err(|error| format!("{name}: {}", not_ours(&error)))?;
        let period = u64::try_from(settings.period.as_nanos()).unwrap_or(u64::MAX);
        let mut channel = Self { files, folder, name, period, duty: Duty::OFF, _lock: lock };
        channel.prepare(line.active_low, settings.initial)?;
        Ok(channel)
    }

    fn prepare(&mut self, active_low: bool, initial: Duty) -> Result<(), String> {
        let mut enabled = self.read("enable")? == "1";
        let polarity = if active_low { "inversed" } else { "normal" };
        if self.read("polarity")? != polarity {
            if enabled {
                self.write("enable", "0")?;
                enabled = false;
            }
            self.write("polarity", polarity)
                .map_err(|why| format!("{why} – a chip that cannot invert needs `active_low: false`"))?;
        }
        let before: u64 = self.read("period")?.parse().unwrap_or(0);
        if before > self.period {
            self.dim(initial)?;
            self.write("period", &self.period.to_string())?;
        } else {
            if before < self.period {
                self.write("period", &self.period.to_string())?;
            }
            self.dim(initial)?;
        }
        if enabled { Ok(()) } else { self.write("enable", "1") }
    }

    /// Sets how much of the time it is on.
    ///
    /// # Errors
    /// The channel is lost.
    pub fn dim(&mut self, duty: Duty) -> Result<(), String> {
        self.write("duty_cycle", &duty.of(self.period).to_string())?;
        self.duty = duty;
        Ok(())
    }

    /// How much of the time it is on.
    ///
    /// # Errors
    /// The channel is lost.
    pub fn duty(&self) -> Result<Duty, String> {
        let set: u64 = self.read("duty_cycle")?.parse().unwrap_or(0);
        // What a short period could not say exactly is what was asked.
        Ok(if set == self.duty.of(self.period) { self.duty } else { Duty::share(set, self.period) })
    }

    fn read(&self, file: &str) -> Result<String, String> {
        self.files.read(&self.folder.join(file)).map_err(|error| self.lost(file, &error))
    }

    fn write(&mut self, file: &str, text: &str) -> Result<(), String> {
        let written = self.files.write(&self.folder.join(file), text);
        written.map_err(|error| self.lost(&format!("{file} {text}"), &error))
    }

    fn lost(&self, what: &str, error: &io::Error) -> String {
        let name = &self.name;
        match error.kind() {
            io::ErrorKind::PermissionDenied => format!("{name}: {}", forbidden()),
            io::ErrorKind::InvalidInput => {
                format!("{name}: the chip does not take `{what}` – is `period:` one that it can make?")
            }
            _ => format!("{name}: {what}: {error}"),
        }
    }
}

/// The folder of the chip, and the number of the channel.
fn place(files: &impl Files, root: &Path, pin: &str) -> Result<(String, u32), String> {
    let wrong = || "write chip and channel, as in fe20c000.pwm/0".to_owned();
    let (device, number) = pin.rsplit_once('/').ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let mut chips: Vec<(String, String)> = Vec::new();
    for folder in files.list(root).unwrap_or_default() {
        if let Ok(name) = files.target(&root.join(&folder).join("device")) {
            chips.push((name, folder));
        }
    }
    chips.sort();
    let Some((_, chip)) = chips.iter().find(|(name, _)| name == device) else {
        let names: Vec<_> = chips.iter().map(|(name, _)| name.as_str()).collect();
        return Err(match names.is_empty() {
            true => "no PWM chip is there – is `dtoverlay=pwm` in /boot/firmware/config.txt?".to_owned(),
            false => format!("no chip is called {device}; there are: {}", names.join(", ")),
        });
    };
    let count: u32 = files.read(&root.join(chip).join("npwm")).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    match number < count {
        true => Ok((chip.clone(), number)),
        false => Err(format!("{device} has {count} channels, counted from 0")),
    }
}

fn not_exported(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ResourceBusy => {
            "busy, the kernel itself uses it (a fan, a screen, the audio jack) – take another channel"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => forbidden(),
        _ => format!("cannot be exported: {error}"),
    }
}

fn not_ours(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => "busy, another program holds it – stop that program".to_owned(),
        io::ErrorKind::PermissionDenied => forbidden(),
        _ => error.to_string(),
    }
}

/// Also what the first moment after an export looks like, until udev has given the files to the group.
fn forbidden() -> String {
    "our user may not set it – udev gives it to the group gpio: is 60-sipliance.rules there, are we in the group?"
        .to_owned()
}

#[cfg(test)]
mod tests;
