//! Checksums of frames.

use crc::{CRC_8_SMBUS, CRC_16_ARC, CRC_16_IBM_SDLC, CRC_16_MODBUS, CRC_16_XMODEM, Crc};

/// A checksum over all bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The sum, modulo 256.
    Sum8,
    /// Exclusive or.
    Xor8,
    /// Polynomial 0x07, begun with 0.
    Crc8,
    /// As in Modbus RTU; the low byte first.
    Crc16Modbus,
    /// As in DSMR telegrams; the low byte first.
    Crc16Arc,
    /// As in HDLC and SML; the low byte first.
    Crc16X25,
    /// Polynomial 0x1021, begun with 0; the high byte first.
    Crc16Xmodem,
}

const CRC8: Crc<u8> = Crc::<u8>::new(&CRC_8_SMBUS);
const MODBUS: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const ARC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
const X25: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);
const XMODEM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

impl Checksum {
    /// Every checksum with its word in a profile.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("sum8", Self::Sum8),
        ("xor8", Self::Xor8),
        ("crc8", Self::Crc8),
        ("crc16-modbus", Self::Crc16Modbus),
        ("crc16-arc", Self::Crc16Arc),
        ("crc16-x25", Self::Crc16X25),
        ("crc16-xmodem", Self::Crc16Xmodem),
    ];

    /// How many bytes it takes.
    pub fn size(self) -> usize {
        match self {
            Self::Sum8 | Self::Xor8 | Self::Crc8 => 1,
            Self::Crc16Modbus | Self::Crc16Arc | Self::Crc16X25 | Self::Crc16Xmodem => 2,
        }
    }

    /// Appends the checksum of `of` to `bytes`.
    pub fn append(self, bytes: &mut impl bytes::BufMut, of: &[u8]) {
        match self {
            Self::Sum8 => bytes.put_u8(of.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))),
            Self::Xor8 => bytes.put_u8(of.iter().fold(0, |sum, byte| sum ^ byte)),
            Self::Crc8 => bytes.put_u8(CRC8.checksum(of)),
            Self::Crc16Modbus => bytes.put_u16_le(MODBUS.checksum(of)),
            Self::Crc16Arc => bytes.put_u16_le(ARC.checksum(of)),
            Self::Crc16X25 => bytes.put_u16_le(X25.checksum(of)),
            Self::Crc16Xmodem => bytes.put_u16(XMODEM.checksum(of)),
        }
    }

    /// The bytes before the checksum, where it is right.
    pub fn checked(self, frame: &[u8]) -> Option<&[u8]> {
        let (body, sum) = frame.split_at_checked(frame.len().checked_sub(self.size())?)?;
        let mut right = Vec::with_capacity(2);
        self.append(&mut right, body);
        (right == sum).then_some(body)
    }
}

/// The checksum of a DSMR telegram: CRC16 over everything from `/` to `!`.
pub(crate) fn telegram(bytes: &[u8]) -> u16 {
    ARC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_catalogue() {
        for (word, want) in [
            ("sum8", &[0xdd][..]),
            ("xor8", &[0x31]),
            ("crc8", &[0xf4]),
            ("crc16-modbus", &[0x37, 0x4b]),
            ("crc16-arc", &[0x3d, 0xbb]),
            ("crc16-x25", &[0x6e, 0x90]),
            ("crc16-xmodem", &[0x31, 0xc3]),
        ] {
            let (_, sum) = Checksum::WORDS.iter().find(|(name, _)| *name == word).unwrap();
            let mut frame = b"123456789".to_vec();
            sum.append(&mut frame, b"123456789");
            assert_eq!(&frame[9..], want, "{word}");
            assert_eq!(sum.checked(&frame), Some(&b"123456789"[..]));
            frame[3] ^= 0x10;
            assert_eq!(sum.checked(&frame), None, "{word}");
            assert_eq!(sum.checked(b""), None);
        }
    }
}
