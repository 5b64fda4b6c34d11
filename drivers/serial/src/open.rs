//! Opening a port, and saying who is in the way.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sipliance_driver::Why;
use tokio_serial::{DataBits, ErrorKind, Parity, SerialStream, StopBits};

/// Data bits, parity and stop bits of a word such as `8N1`.
///
/// # Errors
/// Words for a person.
pub(crate) fn parse_format(word: &str) -> Result<(DataBits, Parity, StopBits), String> {
    let fault = || {
        format!("the format {word:?} is not like 8N1: data bits 5 to 8, parity N, E or O, stop bits 1 or 2")
    };
    let [data, parity, stop] = word.as_bytes() else { return Err(fault()) };
    let data = match data {
        b'5' => DataBits::Five,
        b'6' => DataBits::Six,
        b'7' => DataBits::Seven,
        b'8' => DataBits::Eight,
        _ => return Err(fault()),
    };
    let parity = match parity.to_ascii_uppercase() {
        b'N' => Parity::None,
        b'E' => Parity::Even,
        b'O' => Parity::Odd,
        _ => return Err(fault()),
    };
    let stop = match stop {
        b'1' => StopBits::One,
        b'2' => StopBits::Two,
        _ => return Err(fault()),
    };
    Ok((data, parity, stop))
}

/// Opens the port for us alone.
///
/// # Errors
/// What is in the way and what to do, for a person.
pub fn open(path: &Path, baud: u32, format: &str) -> Result<SerialStream, Why> {
    let words = |text: String| Why(format!("serial port {}: {text}", path.display()));
    let (data, parity, stop) = parse_format(format).map_err(words)?;
    let builder =
        tokio_serial::new(path.to_string_lossy(), baud).data_bits(data).parity(parity).stop_bits(stop);
    let port = SerialStream::open(&builder).map_err(|error| {
        words(match error.kind() {
            ErrorKind::Io(std::io::ErrorKind::NotFound) => Ports::here().without(path),
            ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => forbidden(path),
            ErrorKind::NoDevice => busy(path),
            _ => error.to_string(),
        })
    })?;
    // Some programs take no lock; whoever reads beside us takes bytes away.
    if let Some(other) = holder(path, false) {
        tracing::warn!(path = %path.display(), "{other} this port open, too, and takes what is meant for us");
    }
    Ok(port)
}

/// What could be meant by a path that is not there.
struct Ports {
    /// Names that stay, and where they lead.
    stable: Vec<(PathBuf, PathBuf)>,
    /// `/dev/ttyUSB1` …
    numbered: Vec<PathBuf>,
}

/// So many ports are looked at; a house has fewer.
const PORTS: usize = 64;

impl Ports {
    fn here() -> Self {
        let stable = entries("/dev/serial/by-id").into_iter().chain(entries("/dev/serial/by-path"));
        let led = |name: PathBuf| Some((name.clone(), fs::canonicalize(name).ok()?));
        let numbered = |path: &PathBuf| series(path).is_some();
        Self {
            stable: stable.filter_map(led).collect(),
            numbered: entries("/dev").into_iter().filter(numbered).collect(),
        }
    }

    /// Words about a path that is not there.
    fn without(&self, path: &Path) -> String {
        let absent = "there is no such port – is the cable plugged in?";
        if let Some(kind) = series(path) {
            let mut others = self.numbered.iter().filter(|other| series(other) == Some(kind));
            let other = others.next().filter(|_| others.next().is_none());
            if let Some(other) = other {
                let stable = self.stable.iter().find(|(_, target)| target == other);
                let advice = stable.map_or_else(
                    || "numbers change with every start".to_owned(),
                    |(name, _)| format!("write {}, which stays", name.display()),
                );
                return format!("{absent} There is {}: {advice}", other.display());
            }
        }
        if let Some((near, _)) = self.stable.iter().max_by_key(|(name, _)| alike(name, path))
            && alike(near, path) >= ALIKE
        {
            return format!("{absent} The nearest that is here: {}", near.display());
        }
        let names: Vec<String> = self.stable.iter().map(|(name, _)| name.display().to_string()).collect();
        match names.is_empty() {
            true => absent.to_owned(),
            false => format!("{absent} Ports here: {}", names.join(", ")),
        }
    }
}

/// Names that begin with the same maker and model have as much in common.
const ALIKE: usize = "/dev/serial/by-id/usb-".len() + 6;

/// How many characters are the same at the beginning.
fn alike(one: &Path, other: &Path) -> usize {
    let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// `/dev/ttyUSB` of `/dev/ttyUSB0`.
fn series(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let series = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (["/dev/ttyUSB", "/dev/ttyACM"].contains(&series) && series.len() < text.len()).then_some(series)
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = all.map(|entry| entry.path()).filter(|path| folder != "/dev" || series(path).is_some());
    let mut names: Vec<PathBuf> = names.take(PORTS).collect();
    names.sort();
    names
}

fn forbidden(path: &Path) -> String {
    let mut text = "permission denied".to_owned();
    if let Ok(port) = fs::metadata(path) {
        let group = name_of(port.gid(), "/etc/group");
        let owner = name_of(port.uid(), "/etc/passwd");
        let us = fs::metadata("/proc/self").map(|me| name_of(me.uid(), "/etc/passwd")).unwrap_or_default();
        let mode = port.mode() & 0o777;
        let _ = write!(
            text,
            ": it belongs to {owner}:{group} (mode {mode:o}) and we are {us} – {}",
            permitted(&us, &group, mode)
        );
    }
    text
}

/// What lets us open a port of this group and mode.
fn permitted(us: &str, group: &str, mode: u32) -> String {
    match group != "root" && mode & 0o060 == 0o060 {
        true => format!("put {us} into the group {group} (usermod -aG {group} {us}) and start again"),
        false => "give it to a group with a udev rule, such as SUBSYSTEM==\"tty\", GROUP=\"dialout\", \
                  MODE=\"0660\", and put us into that group"
            .to_owned(),
    }
}

/// The name of a user or group number.
fn name_of(id: u32, table: &str) -> String {
    let text = fs::read_to_string(table).unwrap_or_default();
    let wanted = id.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&wanted));
    line.and_then(|line| line.split(':').next()).map_or(wanted.clone(), str::to_owned)
}

fn busy(path: &Path) -> String {
    match holder(path, true) {
        Some(holders) => format!("busy: {holders} it open"),
        None => format!("busy: another program has it open; `sudo fuser -v {}` names it", path.display()),
    }
}

/// Processes that are named at most.
const HOLDERS: usize = 3;

/// The processes whose open files we may see and that have the port open: `minicom (process 7) has`.
fn holder(path: &Path, ours_too: bool) -> Option<String> {
    let port = fs::canonicalize(path).ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let numbered =
        |process: &PathBuf| process.file_name().is_some_and(|n| n.to_string_lossy().parse::<u32>().is_ok());
    let own = std::process::id().to_string();
    let others = |process: &PathBuf| ours_too || process.file_name().is_none_or(|name| *name != *own);
    let holders: Vec<String> = processes
        .filter(numbered)
        .filter(others)
        .filter(|process| holds(process, &port))
        .filter_map(|process| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            Some(format!("{} (process {})", name.trim(), process.file_name()?.to_string_lossy()))
        })
        .take(HOLDERS)
        .collect();
    match holders.len() {
        0 => None,
        1 => Some(format!("{} has", holders.concat())),
        _ => Some(format!("{} have", holders.join(" and "))),
    }
}

fn holds(process: &Path, port: &Path) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_or_refused_in_words() {
        assert_eq!(parse_format("8N1").unwrap(), (DataBits::Eight, Parity::None, StopBits::One));
        assert_eq!(parse_format("7e2").unwrap(), (DataBits::Seven, Parity::Even, StopBits::Two));
        for bad in ["", "8N", "9N1", "8X1", "8N3", "8N1 "] {
            assert!(parse_format(bad).unwrap_err().contains("8N1"));
        }
    }

    #[test]
    fn a_path_that_is_not_there_names_what_is() {
        let id = |name: &str| PathBuf::from(format!("/dev/serial/by-id/usb-{name}-if00-port0"));
        let ports = Ports {
            stable: vec![
                (id("FTDI_FT232R_A1"), "/dev/ttyUSB1".into()),
                (id("Prolific_PL2303_7"), "/dev/ttyACM3".into()),
            ],
            numbered: vec!["/dev/ttyUSB1".into(), "/dev/ttyACM3".into(), "/dev/ttyACM4".into()],
        };
        let words = |path: &str| ports.without(Path::new(path));
        let renumbered = words("/dev/ttyUSB0");
        assert!(renumbered.contains("There is /dev/ttyUSB1: write /dev/serial/by-id/usb-FTDI_FT232R_A1"));
        let another = words("/dev/serial/by-id/usb-FTDI_FT232R_B2-if00-port0");
        assert!(another.contains("nearest that is here: /dev/serial/by-id/usb-FTDI_FT232R_A1"), "{another}");
        let unknown = words("/dev/ttyACM0");
        assert!(
            unknown.contains("Ports here: ") && unknown.contains("Prolific"),
            "two could be meant: {unknown}"
        );
        assert!(words("/dev/ttyAMA0").contains("Ports here: "));
        let none = Ports { stable: Vec::new(), numbered: Vec::new() };
        assert!(none.without(Path::new("/dev/ttyUSB0")).ends_with("is the cable plugged in?"));
    }

    #[test]
    fn whoever_may_not_is_told_what_to_do() {
        assert!(permitted("anna", "dialout", 0o660).contains("usermod -aG dialout anna"));
        assert!(permitted("anna", "root", 0o660).contains("udev rule"));
        assert!(permitted("anna", "dialout", 0o600).contains("udev rule"));
        assert!(forbidden(Path::new("/dev/null")).contains("it belongs to root:"));
    }

    #[test]
    fn numbers_without_a_name_stay_numbers() {
        assert_eq!(name_of(0, "/etc/passwd"), "root");
        assert_eq!(name_of(4_000_000, "/etc/passwd"), "4000000");
    }
}
