//! Alerts: what nobody has seen yet is not forgotten because the power went, and what somebody has seen is not new
//! again.

use std::sync::Arc;

use bytes::Bytes;

use super::pack::{Pack, Unpack};
use crate::device::alerts::Alert;
use crate::gateway::{Gateway, Haste, Output};

/// The first letter of the records of alerts.
const ALERT: u8 = b'a';
/// Bits of what an alert is.
const URGENT: u64 = 1;
const SEEN: u64 = 2;
const TOLD: u64 = 4;

fn key(serial: u64) -> Bytes {
    [&[ALERT][..], &serial.to_be_bytes()].concat().into()
}

/// The number of the alert of a record.
pub(super) fn serial_of(key: &[u8]) -> Option<u64> {
    let serial = key.strip_prefix(&[ALERT])?;
    serial.try_into().ok().map(u64::from_be_bytes)
}

impl Gateway {
    /// Says what changed.
    pub(in crate::gateway) fn record_alerts(&mut self) {
        for serial in self.alerts.take_changes() {
            if self.restart.on {
                let body = self.alerts.get(serial).and_then(|alert| self.pack_alert(alert));
                self.outputs.push_back(Output::Record { key: key(serial), body, haste: Haste::Soon });
            }
        }
    }

    fn pack_alert(&self, alert: &Alert) -> Option<Bytes> {
        let device = self.house.device(alert.device)?.id();
        let bits = [(alert.urgent, URGENT), (alert.seen, SEEN), (alert.told, TOLD)];
        let bits = bits.into_iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum();
        let pack = Pack::default().number(alert.at_ms.cast_unsigned()).number(bits);
        let texts = [device, &alert.event, &alert.value];
        Some(texts.into_iter().fold(pack, |pack, text| pack.bytes(text.as_bytes())).done().into())
    }

    /// Takes back an alert; `false` where its appliance or its event is not in the house any more.
    pub(super) fn restore_alert(&mut self, serial: u64, body: &[u8]) -> bool {
        let alert = self.unpack_alert(serial, body);
        match alert {
            Some(alert) => self.alerts.add(alert),
            None => self.forget(key(serial)),
        }
        self.alerts.get(serial).is_some()
    }

    fn unpack_alert(&self, serial: u64, body: &[u8]) -> Option<Alert> {
        let mut from = Unpack(body);
        let (at_ms, bits) = (from.number()?.cast_signed(), from.number()?);
        let (id, event, value) = (from.text()?, from.text()?, from.text()?);
        from.end()?;
        let (device, of) = self.house.find(id)?;
        of.model().events.iter().find(|of| *of.id == *event)?;
        let is = |bit: u64| bits & bit != 0;
        let (event, value): (Arc<str>, Arc<str>) = (event.into(), value.into());
        let (urgent, seen, told) = (is(URGENT), is(SEEN), is(TOLD));
        Some(Alert { serial, device, event, value, at_ms, urgent, seen, told, sent: None })
    }
}
