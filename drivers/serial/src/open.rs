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
    SerialStream::open(&builder).map_err(|error| {
        words(match error.kind() {
            ErrorKind::Io(std::io::ErrorKind::NotFound) => missing(),
            ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => forbidden(path),
            ErrorKind::NoDevice => busy(path),
            _ => error.to_string(),
        })
    })
}

fn missing() -> String {
    let ports = names("/dev/serial/by-id");
    match ports.is_empty() {
        true => "there is no such port – is the cable plugged in?".into(),
        false => format!("there is no such port – is the cable plugged in? Ports here: {}", ports.join(", ")),
    }
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.take(16).map(|entry| entry.path().display().to_string()).collect();
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
            ": it belongs to {owner}:{group} (mode {mode:o}) and we are {us} – put {us} into the group {group}"
        );
    }
    text
}

/// The name of a user or group number.
fn name_of(id: u32, table: &str) -> String {
    let text = fs::read_to_string(table).unwrap_or_default();
    let wanted = id.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&wanted));
    line.and_then(|line| line.split(':').next()).map_or(wanted.clone(), str::to_owned)
}

fn busy(path: &Path) -> String {
    match holder(path) {
        Some(holder) => format!("busy: {holder} has it open"),
        None => "busy: another program has it open".into(),
    }
}

/// The first process whose open files we may see and that has the port open.
fn holder(path: &Path) -> Option<String> {
    let port = fs::canonicalize(path).ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let numbered =
        |process: &PathBuf| process.file_name().is_some_and(|n| n.to_string_lossy().parse::<u32>().is_ok());
    let process = processes.filter(numbered).find(|process| holds(process, &port))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("{} (process {})", name.trim(), process.file_name()?.to_string_lossy()))
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
    fn numbers_without_a_name_stay_numbers() {
        assert_eq!(name_of(0, "/etc/passwd"), "root");
        assert_eq!(name_of(4_000_000, "/etc/passwd"), "4000000");
    }
}
