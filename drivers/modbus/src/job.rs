//! What an operation asks of a unit: `unit/table/address` and, for a reading, `/count`.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_modbus::{Request, Response};

/// One request to one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub unit: u8,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Read {
        table: Table,
        first: u16,
        count: u16,
    },
    Coil {
        address: u16,
        on: bool,
    },
    /// `many`: by function 16, also a single one.
    Words {
        first: u16,
        words: Vec<u16>,
        many: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Coil,
    Discrete,
    Holding,
    Input,
}

impl Job {
    /// A reading.
    ///
    /// # Errors
    /// Words for a person.
    pub fn read(channel: &str) -> Result<Self, String> {
        let fault = || format!("{channel:?} is no reading: unit/table/first/count");
        let mut parts = channel.split('/');
        let (unit, table, first) = head(&mut parts).ok_or_else(fault)?;
        let count: u16 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(fault)?;
        let most = if matches!(table, Table::Coil | Table::Discrete) { 2000 } else { 125 };
        let fits = (1..=most).contains(&count) && first.checked_add(count - 1).is_some();
        match (fits, parts.next()) {
            (true, None) => Ok(Self { unit, what: What::Read { table, first, count } }),
            _ => Err(fault()),
        }
    }

    /// A write: a coil takes one byte, holding registers two bytes each. `/many` at the end of the channel
    /// asks for function 16 where a single register would be written by function 6.
    ///
    /// # Errors
    /// Words for a person.
    pub fn write(channel: &str, payload: &[u8]) -> Result<Self, String> {
        let fault = || format!("{channel:?} with {} bytes is no write: unit/table/address", payload.len());
        let mut parts = channel.split('/');
        let (unit, table, first) = head(&mut parts).ok_or_else(fault)?;
        let many = parts.next();
        let what = match (table, payload) {
            (Table::Coil, [bit @ (0 | 1)]) => What::Coil { address: first, on: *bit == 1 },
            (Table::Holding, bytes) if (2..=246).contains(&bytes.len()) && bytes.len() % 2 == 0 => {
                What::Words { first, words: bytes.chunks_exact(2).map(word).collect(), many: many.is_some() }
            }
            _ => return Err(fault()),
        };
        let right = match many {
            None => true,
            Some(word) => word == "many" && table == Table::Holding && parts.next().is_none(),
        };
        right.then_some(Self { unit, what }).ok_or_else(fault)
    }

    pub fn request(&self) -> Request<'_> {
        match &self.what {
            What::Read { table, first, count } => match table {
                Table::Coil => Request::ReadCoils(*first, *count),
                Table::Discrete => Request::ReadDiscreteInputs(*first, *count),
                Table::Holding => Request::ReadHoldingRegisters(*first, *count),
                Table::Input => Request::ReadInputRegisters(*first, *count),
            },
            What::Coil { address, on } => Request::WriteSingleCoil(*address, *on),
            What::Words { first, words, many } => match words.as_slice() {
                [word] if !many => Request::WriteSingleRegister(*first, *word),
                words => Request::WriteMultipleRegisters(*first, Cow::Borrowed(words)),
            },
        }
    }

    /// The payload of an answer: two bytes per register, one per bit, none for a write. `None`: it is
    /// the answer to something else.
    pub fn answer(&self, response: Response) -> Option<Bytes> {
        let mut out = BytesMut::new();
        match (&self.what, response) {
            (What::Read { table: Table::Coil, count, .. }, Response::ReadCoils(bits))
            | (What::Read { table: Table::Discrete, count, .. }, Response::ReadDiscreteInputs(bits)) => {
                // Bits come in whole bytes.
                out.extend(bits.get(..usize::from(*count))?.iter().map(|bit| u8::from(*bit)));
            }
            (What::Read { table: Table::Holding, count, .. }, Response::ReadHoldingRegisters(words))
            | (What::Read { table: Table::Input, count, .. }, Response::ReadInputRegisters(words))
                if words.len() == usize::from(*count) =>
            {
                words.iter().for_each(|word| out.put_u16(*word));
            }
            (What::Coil { address, on }, Response::WriteSingleCoil(at, set))
                if (*address, *on) == (at, set) => {}
            (What::Words { first, words, many: false }, Response::WriteSingleRegister(at, word))
                if *first == at && words.as_slice() == [word] => {}
            (What::Words { first, words, .. }, Response::WriteMultipleRegisters(at, count))
                if *first == at && words.len() == usize::from(count) => {}
            _ => return None,
        }
        Some(out.freeze())
    }

    /// Whether repeating it changes nothing.
    pub fn harmless(&self) -> bool {
        matches!(self.what, What::Read { .. })
    }
}

fn head<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<(u8, Table, u16)> {
    let unit = parts.next()?.parse().ok().filter(|unit| (1..=247).contains(unit))?;
    let table = match parts.next()? {
        "coil" => Table::Coil,
        "discrete" => Table::Discrete,
        "holding" => Table::Holding,
        "input" => Table::Input,
        _ => return None,
    };
    Some((unit, table, parts.next()?.parse().ok()?))
}

fn word(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |word, byte| word << 8 | u16::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channels_are_requests_or_refused_in_words() {
        let read = Job::read("1/input/0/8").unwrap();
        assert_eq!(read.what, What::Read { table: Table::Input, first: 0, count: 8 });
        for bad in [
            "",
            "1/input/0",
            "0/input/0/1",
            "248/input/0/1",
            "1/inputs/0/1",
            "1/input/0/126",
            "1/input/65535/2",
            "1/input/0/0",
            "1/input/0/1/2",
            "1/holding/-1/1",
        ] {
            assert!(Job::read(bad).unwrap_err().contains("unit/table/first/count"), "{bad}");
        }
        assert_eq!(Job::write("3/coil/7", &[1]).unwrap().what, What::Coil { address: 7, on: true });
        for (bad, payload) in [
            ("1/input/0", &[0, 1][..]),
            ("1/coil/0", &[2]),
            ("1/holding/0", &[1]),
            ("1/holding/0/1", &[0, 1]),
            ("1/holding/0/many/1", &[0, 1]),
            ("1/coil/0/many", &[1]),
        ] {
            assert!(Job::write(bad, payload).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let read = Job::read("1/holding/0/2").unwrap();
        let answer = |words| read.answer(Response::ReadHoldingRegisters(words));
        assert_eq!(answer(vec![1, 0x4ccd]).as_deref(), Some(&[0, 1, 0x4c, 0xcd][..]));
        assert_eq!(answer(vec![1]), None);
        assert_eq!(answer(vec![1, 2, 3]), None);
        let write = Job::write("1/holding/5", &[0, 215]).unwrap();
        assert!(write.answer(Response::WriteSingleRegister(5, 215)).is_some());
        assert_eq!(write.answer(Response::WriteSingleRegister(5, 214)), None);
        assert_eq!(write.answer(Response::WriteSingleRegister(6, 215)), None);
        let many = Job::write("1/holding/5/many", &[0, 215]).unwrap();
        assert!(matches!(many.request(), Request::WriteMultipleRegisters(5, words) if *words == [215]));
        assert_eq!(many.answer(Response::WriteSingleRegister(5, 215)), None, "that was not asked");
        assert!(many.answer(Response::WriteMultipleRegisters(5, 1)).is_some());
    }

    proptest! {
        /// Any channel and any answer: no panic, and a value has the size that was asked for.
        #[test]
        fn whatever_is_asked_and_answered(
            channel in "[0-9]{1,3}/(input|holding|coil|discrete)/[0-9]{1,5}/[0-9]{1,4}|.{0,20}",
            bytes in proptest::collection::vec(any::<u8>(), 0..260),
            words in proptest::collection::vec(any::<u16>(), 0..130),
            bits in proptest::collection::vec(any::<bool>(), 0..2100),
            address in any::<u16>(),
        ) {
            let jobs = [Job::read(&channel), Job::write(&channel, &bytes)];
            for job in jobs.into_iter().flatten() {
                let _ = job.request();
                for response in [
                    Response::ReadInputRegisters(words.clone()),
                    Response::ReadHoldingRegisters(words.clone()),
                    Response::ReadCoils(bits.clone()),
                    Response::WriteSingleRegister(address, 1),
                    Response::WriteMultipleRegisters(address, 1),
                    Response::WriteSingleCoil(address, true),
                ] {
                    let Some(answer) = job.answer(response) else { continue };
                    let due = match &job.what {
                        What::Read { table: Table::Coil | Table::Discrete, count, .. } => usize::from(*count),
                        What::Read { count, .. } => usize::from(*count) * 2,
                        What::Coil { .. } | What::Words { .. } => 0,
                    };
                    prop_assert_eq!(answer.len(), due);
                }
            }
        }
    }
}
