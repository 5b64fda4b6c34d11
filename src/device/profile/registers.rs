//! Modbus: where a value stands, how it is spelled in words, and which readings become one request.

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::Channel;

use super::typed::fault;
use super::{Property, Query, Read, Source};
use crate::config::fault::Faults;
use crate::config::yaml::{Data, MapReader, Node};

/// The four tables of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Words that can be read.
    Input,
    /// Words that can be read and written.
    Holding,
    /// Bits that can be read and written.
    Coil,
    /// Bits that can be read.
    Discrete,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 4] = [Self::Input, Self::Holding, Self::Coil, Self::Discrete];

    /// Its word in a profile.
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Holding => "holding",
            Self::Coil => "coil",
            Self::Discrete => "discrete",
        }
    }

    /// Whether it holds single bits.
    pub fn bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// The most that one request may read (Modbus application protocol 1.1b3 §6).
    fn most(self) -> u16 {
        if self.bits() { 2000 } else { 125 }
    }

    /// The reference number of the first item, as manuals count.
    fn reference(self) -> i64 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 10_001,
            Self::Input => 30_001,
            Self::Holding => 40_001,
        }
    }
}

/// What the bits of a value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Not 0 is true.
    Bool,
    /// One word.
    U16,
    /// One word, signed.
    I16,
    /// Two words.
    U32,
    /// Two words, signed.
    I32,
    /// Four words.
    U64,
    /// Four words, signed.
    I64,
    /// Two words, IEEE 754.
    F32,
    /// Four words, IEEE 754.
    F64,
}

impl Number {
    pub(super) const WORDS: [(&'static str, Self); 9] = [
        ("bool", Self::Bool),
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    /// How many words it takes.
    pub fn words(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

/// The order of bytes in a value of several words; A is the highest byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// High word first, high byte first, as Modbus itself.
    #[default]
    Abcd,
    /// Low word first.
    Cdab,
    /// Bytes of each word swapped.
    Badc,
    /// Both.
    Dcba,
}

impl Order {
    pub(super) const WORDS: [(&'static str, Self); 4] =
        [("ABCD", Self::Abcd), ("CDAB", Self::Cdab), ("BADC", Self::Badc), ("DCBA", Self::Dcba)];

    /// Puts wire bytes into the order ABCD, or back.
    pub fn arrange(self, bytes: &mut [u8]) {
        if matches!(self, Self::Cdab | Self::Dcba) {
            bytes.reverse();
            swap(bytes);
        }
        if matches!(self, Self::Badc | Self::Dcba) {
            swap(bytes);
        }
    }
}

fn swap(bytes: &mut [u8]) {
    bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
}

/// How a value is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// In a table of bits.
    pub bits: bool,
    /// What the bits mean.
    pub number: Number,
    /// Byte order.
    pub order: Order,
    /// One bit of a word.
    pub bit: Option<u8>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Registers {
    /// The unit.
    pub unit: u8,
    /// The table.
    pub table: Table,
    /// The address on the wire, from 0.
    pub address: u16,
    /// How the value is spelled.
    pub form: Form,
    /// How often it is read.
    pub every: Duration,
    /// What one request reads, this value among it: first address and count.
    pub block: (u16, u16),
}

impl Registers {
    /// How many words or bits.
    pub fn count(&self) -> u16 {
        if self.table.bits() { 1 } else { self.form.number.words() }
    }

    /// The request that reads it: `unit/table/first/count`.
    pub fn query(&self) -> Query {
        let (first, count) = self.block;
        let channel = Channel::new(&format!("{}/{}/{first}/{count}", self.unit, self.table.word()));
        Query { channel, payload: Bytes::new() }
    }

    /// Its own bytes in the answer.
    pub fn of<'a>(&self, answer: &'a [u8]) -> Option<&'a [u8]> {
        let size = if self.table.bits() { 1 } else { 2 };
        let from = usize::from(self.address.checked_sub(self.block.0)?) * size;
        answer.get(from..from + usize::from(self.count()) * size)
    }
}

/// What a modbus profile says once for all values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) number: u8,
    pub(super) order: Order,
}

impl Unit {
    /// For reading on where the link is faulty.
    pub(super) const PLAIN: Self = Self { number: 1, order: Order::Abcd };
}

/// How often registers are read where nothing is said.
const EVERY: Duration = Duration::from_secs(10);

/// `input: 0x0006, as: f32, every: 5s`
pub(super) fn source(map: &mut MapReader<'_>, unit: Unit, faults: &mut Faults) -> Option<Source> {
    let (table, address, form, _) = place(map, unit, &Table::ALL, faults)?;
    let every = map.take("every");
    let at = map.at("every");
    let every = every.and_then(|node| super::serial::every(node, &at, faults)).unwrap_or(EVERY);
    let mut registers = Registers { unit: unit.number, table, address, form, every, block: (address, 1) };
    registers.block.1 = registers.count();
    if address.checked_add(registers.count() - 1).is_none() {
        let message = "the value reaches beyond the last address 0xFFFF";
        faults.error(Some(map.place), &map.path, message, None);
        return None;
    }
    Some(Source::Registers(registers))
}

/// The table, address and spelling of a `read:` or `write:`, and whether it says the spelling itself.
pub(super) fn place(
    map: &mut MapReader<'_>,
    unit: Unit,
    tables: &[Table],
    faults: &mut Faults,
) -> Option<(Table, u16, Form, bool)> {
    let mut found = None;
    for table in tables {
        if let Some(node) = map.take(table.word()) {
            if found.is_some() {
                fault(node, &map.at(table.word()), "give one address", faults);
                return None;
            }
            found = Some((*table, address(node, *table, &map.at(table.word()), faults)));
        }
    }
    let Some((table, address)) = found else {
        let words: Vec<&str> = tables.iter().map(|table| table.word()).collect();
        let help = Some(format!("write {}: 0x0010", words.join(" or ")));
        faults.error(Some(map.place), &map.path, "the address is missing", help);
        return None;
    };
    let number = map.one_of("as", faults).and_then(|word| value_of(word, &Number::WORDS));
    let order = order(map, faults);
    let bit = map.whole("bit", faults).and_then(|bit| u8::try_from(bit).ok());
    if table.bits() && (number.is_some_and(|number| number != Number::Bool) || bit.is_some()) {
        let message = format!("{} holds single bits: leave `as` and `bit` out", table.word());
        faults.error(Some(map.place), &map.path, message, None);
        return None;
    }
    // A faulty one was told; what it would make of the rest is unknown.
    let faulty = |key: &'static str, found: bool, map: &mut MapReader<'_>| !found && map.take(key).is_some();
    if faulty("as", number.is_some(), map) || faulty("bit", bit.is_some(), map) {
        return None;
    }
    let address = address?;
    let spelled = number.is_some() || order.is_some() || bit.is_some();
    let usual = if table.bits() || bit.is_some() { Number::Bool } else { Number::U16 };
    let number = number.unwrap_or(usual);
    if bit.is_some() && number.words() > 1 {
        faults.error(Some(map.place), &map.at("bit"), "`bit:` is one bit of a single word", None);
        return None;
    }
    let form = Form { bits: table.bits(), number, order: order.unwrap_or(unit.order), bit };
    Some((table, address, form, spelled))
}

fn address(node: &Node, table: Table, path: &str, faults: &mut Faults) -> Option<u16> {
    let number = node.int(0..=0xffff, path, faults)?;
    let first = table.reference();
    let decimal =
        matches!(node.data, Data::Int(_)) && node.raw.as_deref().is_none_or(|raw| !raw.starts_with("0x"));
    if decimal && first > 1 && (first..first + 9999).contains(&number) {
        let wire = number - first;
        let message =
            format!("{number} looks like a reference number of a manual; the address on the wire is {wire}");
        let help = format!("write {}: {wire}, or {number:#06X} if {number} is meant", table.word());
        faults.warning(Some(node.place), path, message, Some(help));
    }
    u16::try_from(number).ok()
}

/// What one of a few words means.
pub(super) fn value_of<T: Copy>(word: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// `order:`
pub(super) fn order(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Order> {
    map.one_of("order", faults).and_then(|word| value_of(word, &Order::WORDS))
}

/// Makes one request of readings that are near each other and equally often.
pub(super) fn join(properties: &mut [Property], hole: u16) {
    let targets = |property: &Property| {
        property.reads.iter().chain(&property.target).filter_map(registers).cloned().collect::<Vec<_>>()
    };
    let mut all: Vec<Registers> = properties.iter().flat_map(targets).collect();
    all.sort_by_key(|of| (of.table, of.every, of.address, of.count()));
    let mut blocks: Vec<(Table, Duration, u16, u16)> = Vec::new();
    for of in &all {
        let end = of.address + (of.count() - 1);
        match blocks.last_mut() {
            Some((table, every, first, last))
                if *table == of.table
                    && *every == of.every
                    && of.address <= last.saturating_add(hole).saturating_add(1)
                    && end.max(*last) - *first < of.table.most() =>
            {
                *last = end.max(*last);
            }
            _ => blocks.push((of.table, of.every, of.address, end)),
        }
    }
    for read in
        properties.iter_mut().flat_map(|property| property.reads.iter_mut().chain(&mut property.target))
    {
        let Source::Registers(of) = &mut read.source else { continue };
        let whole = blocks.iter().find(|(table, every, first, last)| {
            (*table, *every) == (of.table, of.every) && (*first..=*last).contains(&of.address)
        });
        if let Some((_, _, first, last)) = whole {
            of.block = (*first, last - first + 1);
        }
    }
}

fn registers(read: &Read) -> Option<&Registers> {
    match &read.source {
        Source::Registers(registers) => Some(registers),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_their_own_inverse() {
        for (order, want) in Order::WORDS.iter().zip([[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]])
        {
            let mut bytes = [1, 2, 3, 4];
            order.1.arrange(&mut bytes);
            assert_eq!(bytes, want, "{}", order.0);
            order.1.arrange(&mut bytes);
            assert_eq!(bytes, [1, 2, 3, 4], "{}", order.0);
        }
        for (order, want) in [
            (Order::Abcd, [1, 2, 3, 4, 5, 6, 7, 8]),
            (Order::Cdab, [7, 8, 5, 6, 3, 4, 1, 2]),
            (Order::Badc, [2, 1, 4, 3, 6, 5, 8, 7]),
            (Order::Dcba, [8, 7, 6, 5, 4, 3, 2, 1]),
        ] {
            let mut long = [1, 2, 3, 4, 5, 6, 7, 8];
            order.arrange(&mut long);
            assert_eq!(long, want, "{order:?}");
        }
    }
}
