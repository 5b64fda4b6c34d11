//! Entities that only tell: sensors, events and triggers.

use super::super::draft::{Draft, Event, From, Kind, Source, words};
use super::super::names::shown;
use super::entity::Entity;

impl Entity {
    pub(super) fn sensor(&self, draft: &mut Draft) -> Result<(), String> {
        let from = self.state()?.ok_or("it has no state_topic")?;
        let class = self.config.text("device_class");
        let options = self.config.texts("options");
        let (kind, map) = match class.as_deref() {
            Some("enum") => {
                let map = words(&options).ok_or("its options are no words")?;
                let differ = map.iter().any(|(raw, word)| raw != word);
                (
                    Kind::Enum(map.iter().map(|(_, word)| word.clone()).collect()),
                    if differ { map } else { Vec::new() },
                )
            }
            Some("timestamp" | "date") => (Kind::Time, Vec::new()),
            _ if self.is_number() => (Kind::Float, Vec::new()),
            _ => (Kind::Text, Vec::new()),
        };
        let mut property = self.property(draft, &self.title(), kind, from);
        property.map = map;
        property.class = class.as_deref().and_then(shown).filter(|class| class != "enum");
        property.unit = self.config.text("unit_of_measurement").as_deref().and_then(shown);
        if property.kind == Kind::Float {
            let digits = self.config.number("suggested_display_precision");
            property.decimals =
                digits.filter(|digits| (0.0..=9.0).contains(digits)).map(|digits| digits as u8);
            property.invalid = property.from.json.is_none().then_some("nan");
        }
        draft.properties.push(property);
        Ok(())
    }

    /// A number has a unit, a state class or digits, or is of a class that counts.
    fn is_number(&self) -> bool {
        ["unit_of_measurement", "state_class", "suggested_display_precision"]
            .iter()
            .any(|key| self.config.has(key))
            || matches!(
                self.config.text("device_class").as_deref(),
                Some(
                    "temperature"
                        | "humidity"
                        | "power"
                        | "energy"
                        | "battery"
                        | "voltage"
                        | "current"
                        | "illuminance"
                        | "pressure"
                        | "aqi"
                        | "ph"
                        | "power_factor"
                )
            )
    }

    pub(super) fn binary_sensor(&self, draft: &mut Draft) -> Result<(), String> {
        let from = self.state()?.ok_or("it has no state_topic")?;
        let class = self.config.text("device_class").as_deref().and_then(shown);
        let (on, off) = (self.wire("payload_on", "ON", &from), self.wire("payload_off", "OFF", &from));
        if self.config.has("off_delay") {
            // It says that something happens, and never that it is over.
            let id = draft.id_for(&self.title(), "event");
            let map = vec![(on, "detected".to_owned())];
            draft.events.push(Event { id, name: self.title(), class, from: From::Topic(from), map });
            return Ok(());
        }
        let map = self.on_off(on, off)?;
        let mut property = self.property(draft, &self.title(), Kind::Bool, from);
        property.map = map;
        property.class =
            class.clone().map(|class| if class == "moisture" { "leak".to_owned() } else { class });
        let alarm = match class.as_deref() {
            Some("smoke") => Some(("smoke", "smoke")),
            Some("gas" | "carbon_monoxide") => Some(("gas", "gas")),
            Some("moisture") => Some(("leak", "water")),
            _ => None,
        };
        if let Some((class, value)) = alarm {
            let id = draft.id_for(&format!("{}-alarm", property.id), "alarm");
            let from = From::Property(property.id.clone());
            let map = vec![("true".to_owned(), value.to_owned())];
            let name = format!("{} alarm", property.name);
            draft.events.push(Event { id, name, class: Some(class.to_owned()), from, map });
        }
        draft.properties.push(property);
        Ok(())
    }

    /// Its payload is a document with `event_type`.
    pub(super) fn event(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.config.topic("state_topic")?.ok_or("it has no state_topic")?;
        if self.config.has("value_template") {
            return Err("an event with a template is not understood".to_owned());
        }
        let map = words(&self.config.texts("event_types")).ok_or("its event_types are no words")?;
        let id = draft.id_for(&self.title(), "event");
        let class = self.config.text("device_class").as_deref().and_then(shown);
        let from = From::Topic(Source { topic, json: Some("/event_type".to_owned()) });
        draft.events.push(Event { id, name: self.title(), class, from, map });
        Ok(())
    }

    /// A trigger: one payload of one topic.
    pub(super) fn trigger(&self, draft: &mut Draft) -> Result<(), String> {
        let from = self.config.source("topic", "value_template")?.ok_or("it has no topic")?;
        let payload =
            self.config.text("payload").ok_or("it has no payload, so that any message would count")?;
        let parts = ["type", "subtype"].iter().filter_map(|key| self.config.text(key)).collect::<Vec<_>>();
        let word = words(std::slice::from_ref(&payload)).or_else(|| words(&[parts.join(" ")]));
        let word = word.and_then(|words| words.into_iter().next()).ok_or("its payload is no word")?.1;
        let id = draft.id_for("press", "press");
        let event = Event {
            name: "Pressed".to_owned(),
            id,
            class: Some("button".to_owned()),
            from: From::Topic(from),
            map: vec![(payload, word)],
        };
        draft.events.push(event);
        Ok(())
    }
}
