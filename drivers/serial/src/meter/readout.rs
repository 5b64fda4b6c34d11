//! One read-out: sign-on, identification, change of speed, data block with its check character.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::Settings;
use crate::time_for;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;

/// What a meter may take to react; the standard has 1.5 s, and meters take their time.
const REACTION: Duration = Duration::from_millis(2200);
/// What may lie between two characters of a message.
const BETWEEN: Duration = Duration::from_millis(1500);
/// What the standard wants between an identification and the answer to it.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a damaged block is asked for again.
const NAKS: u32 = 2;
/// The longest identification, with what came before it; more is noise.
const IDENTIFICATION: usize = 256;
/// The longest block; a table of values has one to four kilobytes.
pub(super) const BLOCK: usize = 16 * 1024;
/// What a write may take beyond the time that its bits need.
const WRITE_SLACK: Duration = Duration::from_secs(2);

/// The port of a meter.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    /// Changes the speed.
    fn speed(&mut self, baud: u32) -> Result<(), Trouble>;
    /// Bytes that have not left.
    fn unsent(&self) -> usize;
    /// What came before now is no answer.
    fn forget(&mut self);
}

/// Why a read-out gave nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The port is gone.
    Lost(io::Error),
    /// In words for a person.
    Words(String),
}

impl Trouble {
    pub fn slow(patience: Duration) -> Self {
        Self::Words(format!("the read-out was not over after {} s", patience.as_secs()))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

fn words<T>(text: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Words(text.into()))
}

/// How the meter goes on after its identification, by the character that names its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It sends at once, at the speed of the sign-on.
    A,
    /// It changes the speed by itself.
    B(u32),
    /// It waits to be told which speed.
    C(u32),
}

impl Mode {
    /// 300, 600, … 19200: `0` to `6` ask for an answer, `A` to `F` (from 600) do not.
    fn of(letter: u8) -> Self {
        match letter {
            b'0'..=b'6' => Self::C(300 << (letter - b'0')),
            b'A'..=b'F' => Self::B(600 << (letter - b'A')),
            _ => Self::A,
        }
    }
}

/// `/ABC5name`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identification {
    line: String,
    letter: u8,
}

/// Asks the meter for its values.
pub(super) async fn read_out(
    wire: &mut impl Wire,
    request: &[u8],
    settings: &Settings,
) -> Result<Bytes, Trouble> {
    wire.speed(settings.baud)?;
    wire.forget();
    say(wire, request, settings.baud).await?;
    let mut held = BytesMut::new();
    let who = identified(wire, &mut held, settings.baud).await?;
    let mode = Mode::of(who.letter);
    let baud = match mode {
        Mode::C(offered) => {
            let (letter, baud) = if settings.fixed { (b'0', settings.baud) } else { (who.letter, offered) };
            sleep(PAUSE).await;
            say(wire, &[ACK, b'0', letter, b'0', b'\r', b'\n'], settings.baud).await?;
            wire.speed(baud)?;
            // What came until now, at the old speed, is an echo.
            held.clear();
            baud
        }
        Mode::B(offered) if !settings.fixed => {
            wire.speed(offered)?;
            offered
        }
        Mode::A | Mode::B(_) => settings.baud,
    };
    for attempt in 0..=NAKS {
        if let Some(data) = block(wire, &mut held, &who, baud).await? {
            return Ok(data);
        }
        if !matches!(mode, Mode::C(_)) || attempt == NAKS {
            break;
        }
        wire.forget();
        held.clear();
        say(wire, &[NAK], baud).await?;
    }
    words(format!("{} sends damaged values (wrong check character) – does the head sit well?", who.line))
}

/// Sends, and waits until the bits have left: the speed must not change under them.
async fn say(wire: &mut impl Wire, bytes: &[u8], baud: u32) -> Result<(), Trouble> {
    let needed = time_for(bytes.len(), baud);
    let all = async {
        // No flush: it would hold up every driver of this thread until the bits have left.
        wire.write_all(bytes).await?;
        sleep(needed).await;
        while wire.unsent() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    match timeout(needed + WRITE_SLACK, all).await {
        Ok(said) => said,
        Err(_) => Err(Trouble::Lost(io::Error::new(io::ErrorKind::TimedOut, "it takes no bytes"))),
    }
}

/// More bytes, or `None` when none came in time.
async fn more(wire: &mut impl Wire, held: &mut BytesMut, patience: Duration) -> Result<Option<()>, Trouble> {
    match timeout(patience, wire.read_buf(held)).await {
        Err(_) => Ok(None),
        Ok(Ok(0)) => Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into())),
        Ok(Ok(_)) => Ok(Some(())),
        Ok(Err(error)) => Err(Trouble::Lost(error)),
    }
}

async fn identified(wire: &mut impl Wire, held: &mut BytesMut, baud: u32) -> Result<Identification, Trouble> {
    let (mut came, mut patience) = (0, REACTION);
    loop {
        let before = held.len();
        if more(wire, held, patience).await?.is_none() {
            return match came {
                0 => words(format!(
                    "no answer to the sign-on at {baud} baud – is the head on the meter's window, the right way up?"
                )),
                _ => words(format!("{came} bytes came and no identification – are baud and format right?")),
            };
        }
        came += held.len() - before;
        if let Some(who) = identification(held) {
            return Ok(who);
        }
        if came > IDENTIFICATION {
            return words("nothing but noise came – is another light on the head?");
        }
        // Whoever echoes has not reacted yet.
        patience = if held.is_empty() { REACTION } else { BETWEEN };
    }
}

/// Takes the first identification out of what came; what is none, and the echo of a sign-on, is dropped.
fn identification(held: &mut BytesMut) -> Option<Identification> {
    loop {
        let start = memchr(b'/', held).unwrap_or(held.len());
        held.advance(start);
        let end = memchr(b'\n', held)?;
        let line = held.split_to(end + 1);
        let text = line.trim_ascii_end();
        // Noise may hold a slash of its own.
        let text = memchr::memrchr(b'/', text).and_then(|slash| text.get(slash..)).unwrap_or(text);
        if let [b'/', maker @ ..] = text
            && let [first, second, third, letter, ..] = maker
            && [first, second, third].iter().all(|byte| byte.is_ascii_alphabetic())
            && letter.is_ascii_graphic()
        {
            let line = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
            return Some(Identification { line, letter: *letter });
        }
    }
}

/// The data of a block; nothing where its check character is wrong.
async fn block(
    wire: &mut impl Wire,
    held: &mut BytesMut,
    who: &Identification,
    baud: u32,
) -> Result<Option<Bytes>, Trouble> {
    let mut patience = REACTION;
    let mut searched = 0;
    loop {
        match whole(held, &mut searched) {
            Found::Block(data) => return Ok(Some(data)),
            Found::Damaged => return Ok(None),
            Found::Starved if held.len() > BLOCK => {
                return words(format!("{} sends more than {BLOCK} bytes without an end", who.line));
            }
            Found::Starved => {}
        }
        if more(wire, held, patience).await?.is_none() {
            return match held.is_empty() {
                true => words(format!(
                    "{} identified itself and sent nothing at {baud} baud – try `speed: fixed`",
                    who.line
                )),
                // What is cut off is damaged.
                false => Ok(None),
            };
        }
        patience = BETWEEN;
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    Block(Bytes),
    Damaged,
    Starved,
}

/// `STX data ETX check`; what comes before is no part of it.
fn whole(held: &mut BytesMut, searched: &mut usize) -> Found {
    let Some(start) = memchr(STX, held) else {
        held.clear();
        *searched = 0;
        return Found::Starved;
    };
    held.advance(start);
    *searched = searched.saturating_sub(start).max(1);
    let Some(end) = memchr(ETX, held.get(*searched..).unwrap_or_default()) else {
        *searched = held.len();
        return Found::Starved;
    };
    let end = *searched + end;
    let Some(check) = held.get(end + 1).copied() else {
        *searched = end;
        return Found::Starved;
    };
    let sum = held.get(1..=end).unwrap_or_default().iter().fold(0, |sum, byte| sum ^ byte);
    let message = held.split_to(end + 2);
    *searched = 0;
    match message.get(1..end) {
        Some(data) if sum == check => Found::Block(Bytes::copy_from_slice(data)),
        _ => Found::Damaged,
    }
}

#[cfg(test)]
mod tests;
