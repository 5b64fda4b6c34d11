//! Bytes spelled in hex.

use std::fmt::Write as _;

/// `A0 01`
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        let space = if out.is_empty() { "" } else { " " };
        let _ = write!(out, "{space}{byte:02X}");
    }
    out
}

/// The bytes of `A0 01` or `a001`; `None` where digits are missing or no digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        for pair in word.as_bytes().chunks(2) {
            let [high, low] = pair else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            out.push(digit(*high)? << 4 | digit(*low)?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(hex(&[0xa0, 0x01, 0xff]), "A0 01 FF");
        assert_eq!(unhex(" a0 01FF\n"), Some(vec![0xa0, 0x01, 0xff]));
        for bad in ["A", "A0 1", "0x01", "G0", "\u{e4}\u{e4}"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
