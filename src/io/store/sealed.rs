//! How a document stands in its file: one line that says what it is, with a checksum, and the document as its
//! user wrote it.
//!
//! The checksum is over whose document it is, too, so that one that a repaired file system puts under another
//! name is not believed there. Documents of before had no such line; they are what they are read as, if they
//! begin like one.

use std::fmt::Write as _;

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::gateway::{Key, Kind};

/// How the line begins; behind it stand the number of the form and the checksum.
const WORDS: &[u8] = b"sipliance document ";
const FORM: &[u8] = b"1 ";
/// Bytes of the line, with its end.
pub(super) const HEAD_BYTES: usize = WORDS.len() + FORM.len() + 8 + 1;
const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

fn checksum(key: &Key, body: &[u8]) -> String {
    let mut digest = CHECK.digest();
    for part in [key.kind.word().as_bytes(), b"/", key.user.as_bytes(), b"\n", body] {
        digest.update(part);
    }
    let mut text = String::new();
    // Writing into a text does not fail.
    let _ = write!(text, "{:08x}", digest.finalize());
    text
}

/// A document as it is written.
pub(super) fn seal(key: &Key, body: &[u8]) -> Vec<u8> {
    [WORDS, FORM, checksum(key, body).as_bytes(), b"\n", body].concat()
}

/// The document in a file, and whether it had the line.
///
/// # Errors
/// Says what is wrong with it: nothing of it is to be believed.
pub(super) fn open<'a>(key: &Key, bytes: &'a [u8]) -> Result<(&'a [u8], bool), String> {
    let Some(rest) = bytes.strip_prefix(WORDS) else {
        let xml = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start().starts_with(b"<");
        return match xml || key.kind == Kind::Isolated {
            true => Ok((bytes, false)),
            false => Err("it begins like no document".to_owned()),
        };
    };
    let rest = rest.strip_prefix(FORM).ok_or("another version of the program wrote it")?;
    let (sum, body) = rest.split_at_checked(8).ok_or("it ends in its first line")?;
    let body = body.strip_prefix(b"\n").ok_or("its first line is damaged")?;
    match sum == checksum(key, body).as_bytes() {
        true => Ok((body, true)),
        false => Err("its checksum is another one".to_owned()),
    }
}
