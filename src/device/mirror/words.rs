//! The words and bits of Modbus units.

use std::collections::BTreeMap;

use crate::device::profile::{Registers, Table};

/// What units hold; what was never written is 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(BTreeMap<(u8, Table, u16), u16>);

impl Words {
    /// Writes one word, or one bit as 0 or 1.
    pub(crate) fn set(&mut self, unit: u8, table: Table, address: u16, word: u16) {
        self.0.insert((unit, table, address), word);
    }

    /// One word, or one bit as 0 or 1.
    pub(super) fn get(&self, unit: u8, table: Table, address: u16) -> u16 {
        self.0.get(&(unit, table, address)).copied().unwrap_or_default()
    }

    /// Writes the bytes of a value: two for each word, one for each bit.
    pub(super) fn write(&mut self, unit: u8, table: Table, first: u16, bytes: &[u8]) {
        for (address, word) in (first..=u16::MAX).zip(bytes.chunks(if table.bits() { 1 } else { 2 })) {
            let word = word.iter().fold(0_u16, |word, byte| word << 8 | u16::from(*byte));
            self.set(unit, table, address, word);
        }
    }

    /// What a unit answers to the request that reads this value.
    pub(crate) fn answer(&self, of: &Registers) -> Vec<u8> {
        let (first, count) = of.block;
        (first..=u16::MAX)
            .take(usize::from(count))
            .flat_map(|address| match (of.table.bits(), self.get(of.unit, of.table, address)) {
                (true, bit) => vec![u8::from(bit != 0)],
                (false, word) => word.to_be_bytes().to_vec(),
            })
            .collect()
    }
}
