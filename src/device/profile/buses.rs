//! `read:` and `write:` of what is asked over a wire: frames, registers, telegrams, files.

use std::time::Duration;

use sipliance_driver::Channel;

use super::registers::Unit;
use super::texts::{Holes, literal, template};
use super::transport::Scope;
use super::typed::{fault, hex_bytes, pattern_of_value, wire};
use super::{Query, Read, Source, Table, Target, registers, serial};
use crate::config::fault::Faults;
use crate::config::yaml::MapReader;
use crate::device::codec::SERIAL;
use crate::device::value::Kind;

/// How often a file is read where nothing is said.
const FILE_EVERY: Duration = Duration::from_secs(30);

impl Scope<'_> {
    pub(super) fn frame_source(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Source> {
        let found = map.take("match");
        if found.is_none() {
            let help = "a pattern that the frame with the value fits: `match: '^PWR=(\\d\\d)$'`".to_owned();
            faults.error(Some(map.place), &map.path, "`match:` is missing", Some(help));
        }
        let pattern = found.and_then(|node| pattern_of_value(node, &map.at("match"), faults));
        let hex = map.one_of("as", faults) == Some("hex");
        let ask = map.take("ask").and_then(|node| {
            let at = map.at("ask");
            literal(node.text(&at, faults)?, node, &at, faults)?;
            let payload = serial::said(node, self.hex, &at, faults)?.into();
            Some(Query { channel: Channel::new(SERIAL), payload })
        });
        let every = map.take("every");
        let at = map.at("every");
        let every = every.and_then(|node| {
            if map.take("ask").is_none() {
                fault(node, &at, "`every:` needs `ask:`, the query that is repeated", faults);
            }
            serial::every(node, &at, faults)
        });
        Some(Source::Frame { ask: ask.map(|ask| (ask, every)), pattern: pattern?, hex })
    }

    pub(super) fn frame_target(
        &self,
        map: &mut MapReader<'_>,
        holes: Holes<'_>,
        faults: &mut Faults,
    ) -> Option<Target> {
        let node = map.require("send", faults)?;
        let at = map.at("send");
        wire(node, &at, faults)?;
        let template = template(node, &at, holes, faults)?;
        if !self.hex {
            return Some(Target::Frame(template));
        }
        // Two digits stand for every hole: what is written around them must be hex in any case.
        let sample = template.fill(|_| Ok::<_, String>("00".to_owned())).and_then(|text| hex_bytes(&text));
        if let Err(why) = sample {
            fault(node, &at, why, faults);
            return None;
        }
        Some(Target::Hex(template))
    }

    pub(super) fn file_source(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Source> {
        let node = map.require("file", faults)?;
        let path = map.at("file");
        let file = node.text(&path, faults)?;
        let every = map.take("every");
        let at = map.at("every");
        let every = every.and_then(|node| serial::every(node, &at, faults)).unwrap_or(FILE_EVERY);
        if file.is_empty() || !file.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            fault(node, &path, format!("`{file}` is no file of a 1-Wire device; write temperature"), faults);
            return None;
        }
        let channel = Channel::new(&format!("{}/{file}", self.folder.as_deref()?));
        Some(Source::File { channel, every })
    }
}

/// `obis: "1-0:1.7.0", field: 1`; a meter that is read out leaves the part before the colon out.
pub(super) fn obis_source(
    map: &mut MapReader<'_>,
    read_out: Option<&(Query, Duration)>,
    faults: &mut Faults,
) -> Option<Source> {
    let node = map.require("obis", faults)?;
    let path = map.at("obis");
    let code = node.text(&path, faults)?;
    let field = map.whole("field", faults).and_then(|field| usize::try_from(field).ok()).unwrap_or(1);
    let short = read_out.is_some();
    let shape = |c: char| c.is_ascii_digit() || "-:.*".contains(c) || short && "CFLPQ&".contains(c);
    let whole = if short { !code.is_empty() } else { code.contains(':') };
    if !whole || !code.chars().all(shape) {
        let example = if short { "1.8.0" } else { "1-0:1.7.0" };
        let help = Some(format!("write it as the meter does: \"{example}\""));
        faults.error(Some(node.place), &path, format!("`{code}` is no OBIS code"), help);
        return None;
    }
    Some(Source::Obis { code, field, read_out: read_out.cloned() })
}

/// `function: 16` for units that know no other way to write a single register; the end of the channel.
fn function(map: &mut MapReader<'_>, table: Table, words: u16, faults: &mut Faults) -> Option<&'static str> {
    let Some(node) = map.take("function") else { return Some("") };
    let path = map.at("function");
    match (node.int(0..=255, &path, faults)?, table) {
        (16, Table::Holding) => Some("/many"),
        (6, Table::Holding) if words == 1 => Some(""),
        (6, Table::Holding) => {
            fault(node, &path, "function 6 writes one register, and the value takes several", faults);
            None
        }
        _ => {
            fault(node, &path, "a register is written by function 6 or 16, a coil always by 5", faults);
            None
        }
    }
}

/// A register or coil that is set; what is not said is as in the first `read:`.
pub(super) fn register_target(
    map: &mut MapReader<'_>,
    unit: Unit,
    kind: &Kind,
    read: Option<&Read>,
    faults: &mut Faults,
) -> Option<Target> {
    let (table, address, mut form, spelled) =
        registers::place(map, unit, &[Table::Holding, Table::Coil], faults)?;
    let like = read.and_then(|read| match &read.source {
        Source::Registers(of) if of.table.bits() == table.bits() => Some(of.form),
        _ => None,
    });
    if let Some(like) = like.filter(|_| !spelled) {
        form = like;
    }
    if let Some(place) = map.refuse("bit") {
        let message = "a single bit of a register cannot be written: the others would be guessed";
        faults.error(Some(place), &map.at("bit"), message, None);
        return None;
    }
    if matches!(kind, Kind::Text | Kind::Time) {
        let message = format!("a register takes a number, not {}", kind.word());
        faults.error(Some(map.place), &map.path, message, None);
        return None;
    }
    let many = function(map, table, form.number.words(), faults)?;
    Some(Target::Register {
        channel: Channel::new(&format!("{}/{}/{address}{many}", unit.number, table.word())),
        form,
    })
}
