//! Entities that can be worked: switches, lights, covers, locks and the like.

use super::super::draft::{Action, Draft, Kind, Property, Source, Write, words};
use super::super::names::shown;
use super::entity::Entity;

/// How long a device may take to report what it was told, in seconds.
const CONFIRM: u32 = 10;

/// How long something that moves may take.
const MOVES: u32 = 90;

/// Covers that only keep light out; every other one may let people in.
const BLINDS: [&str; 6] = ["awning", "blind", "curtain", "damper", "shade", "shutter"];

impl Entity {
    /// The topic that is written to, where what is written is the plain payload.
    fn command(&self, topic: &str, template: &str) -> Result<Option<String>, String> {
        if self.config.has(template) {
            return Err(format!("its {template} is not understood"));
        }
        self.config.topic(topic)
    }

    fn plain(&self) -> Result<String, String> {
        self.command("command_topic", "command_template")?.ok_or_else(|| "it has no command_topic".to_owned())
    }

    /// An action that sends one payload.
    fn act(
        &self,
        draft: &mut Draft,
        name: &str,
        id: &str,
        (topic, payload): (&str, String),
        sensitive: bool,
    ) -> Result<String, String> {
        if payload.contains('<') {
            return Err("its payload cannot stand in a profile".to_owned());
        }
        let id = draft.id_for(id, "action");
        let action = Action {
            id: id.clone(),
            name: shown(name).unwrap_or_else(|| id.clone()),
            topic: topic.to_owned(),
            payload,
            arg: None,
            sensitive,
            expect: None,
        };
        draft.actions.push(action);
        Ok(id)
    }

    /// The name of what is switched: the entity that is the device itself is its power.
    fn switch_name(&self) -> String {
        self.config.text("name").map_or_else(|| "Power".to_owned(), |_| self.title())
    }

    pub(super) fn switch(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let (on, off) = (self.config.text_or("payload_on", "ON"), self.config.text_or("payload_off", "OFF"));
        self.on_off(on.clone(), off.clone())?;
        let sensitive = self.guards();
        let name = self.switch_name();
        let Some(from) = self.state()? else {
            self.act(draft, &format!("{name} on"), &format!("{name}-on"), (&topic, on), sensitive)?;
            self.act(draft, &format!("{name} off"), &format!("{name}-off"), (&topic, off), sensitive)?;
            return Ok(());
        };
        let (state_on, state_off) = (self.wire("state_on", &on, &from), self.wire("state_off", &off, &from));
        let map = self.on_off(state_on, state_off)?;
        // What is written is what is read, backwards.
        if map.first().map(|pair| &pair.0) != Some(&on) || map.get(1).map(|pair| &pair.0) != Some(&off) {
            return Err("it is told other payloads than it tells".to_owned());
        }
        let mut property = self.property(draft, &name, Kind::Bool, from);
        property.map = map;
        property.write = Some(Write::Text(topic));
        property.confirm = Some(CONFIRM);
        property.sensitive = sensitive;
        draft.properties.push(property);
        Ok(())
    }

    pub(super) fn light(&self, draft: &mut Draft) -> Result<(), String> {
        match self.config.text("schema").as_deref() {
            None | Some("default") => self.plain_light(draft),
            Some("json") => self.json_light(draft),
            Some(other) => Err(format!("the schema {other} is not understood")),
        }
    }

    fn plain_light(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let from =
            self.config.source("state_topic", "state_value_template")?.ok_or("it has no state_topic")?;
        let map =
            self.on_off(self.wire("payload_on", "ON", &from), self.wire("payload_off", "OFF", &from))?;
        let mut power = self.property(draft, &self.switch_name(), Kind::Bool, from);
        (power.map, power.write, power.confirm) = (map, Some(Write::Text(topic)), Some(CONFIRM));
        draft.properties.push(power);
        if !self.config.has("brightness_command_topic") {
            return Ok(());
        }
        let dim = self.command("brightness_command_topic", "brightness_command_template");
        let from = self.config.source("brightness_state_topic", "brightness_value_template");
        match (dim, from) {
            (Ok(Some(topic)), Ok(Some(from))) => {
                let brightness = self.brightness(draft, from, Write::Text(topic));
                draft.properties.push(brightness);
            }
            (Err(why), _) | (_, Err(why)) => draft.note(&format!("brightness of {}", self.title()), why),
            _ => draft.note(&format!("brightness of {}", self.title()), "it is not told"),
        }
        Ok(())
    }

    fn brightness(&self, draft: &mut Draft, from: Source, write: Write) -> Property {
        let scale =
            self.config.number("brightness_scale").filter(|scale| *scale >= 1.0).unwrap_or(255.0).round();
        let name = if self.config.has("name") {
            format!("{} brightness", self.title())
        } else {
            "Brightness".to_owned()
        };
        let mut property = self.property(draft, &name, Kind::Int, from);
        property.range = Some((1.0, scale));
        property.write = Some(write);
        property.confirm = Some(CONFIRM);
        property
    }

    /// State and commands are documents: `{"state": "ON", "brightness": 80}`.
    fn json_light(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let state = self.config.topic("state_topic")?.ok_or("it has no state_topic")?;
        let at = |key: &str| Source { topic: state.clone(), json: Some(format!("/{key}")) };
        let mut power = self.property(draft, &self.switch_name(), Kind::Bool, at("state"));
        power.map = self.on_off("ON".to_owned(), "OFF".to_owned())?;
        power.write = Some(Write::Json(topic.clone(), "state".to_owned()));
        power.confirm = Some(CONFIRM);
        draft.properties.push(power);
        let modes = self.config.texts("supported_color_modes");
        let dims = self.config.text("brightness").as_deref() == Some("true")
            || modes.iter().any(|mode| mode != "onoff");
        if dims {
            let brightness =
                self.brightness(draft, at("brightness"), Write::Json(topic, "brightness".to_owned()));
            draft.properties.push(brightness);
        }
        if modes.iter().any(|mode| !matches!(mode.as_str(), "onoff" | "brightness")) {
            draft.note(&format!("colour of {}", self.title()), "colours are not worked");
        }
        Ok(())
    }

    pub(super) fn button(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let payload = self.config.text_or("payload_press", "PRESS");
        self.act(draft, &self.title(), &self.title(), (&topic, payload), self.guards()).map(drop)
    }

    pub(super) fn number(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let from = self.state()?.ok_or("it has no state_topic, so that its value is not known")?;
        let (low, high) =
            (self.config.number("min").unwrap_or(1.0), self.config.number("max").unwrap_or(100.0));
        let step = self.config.number("step").filter(|step| *step > 0.0).unwrap_or(1.0);
        if low > high {
            return Err("its min is larger than its max".to_owned());
        }
        let whole = [low, high, step].iter().all(|number| number.fract() == 0.0);
        let kind = if whole { Kind::Int } else { Kind::Float };
        let mut property = self.property(draft, &self.title(), kind, from);
        property.range = Some((low, high));
        property.step = (step != 1.0).then_some(step);
        property.unit = self.config.text("unit_of_measurement").as_deref().and_then(shown);
        property.class = self.config.text("device_class").as_deref().and_then(shown);
        property.write = Some(Write::Text(topic));
        property.confirm = Some(CONFIRM);
        property.sensitive = self.guards();
        draft.properties.push(property);
        Ok(())
    }

    pub(super) fn select(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let from = self.state()?.ok_or("it has no state_topic, so that its value is not known")?;
        let property = self.choice(draft, &self.title(), &self.config.texts("options"), from, Some(topic))?;
        draft.properties.push(property);
        Ok(())
    }

    /// A property that is one of several words.
    fn choice(
        &self,
        draft: &mut Draft,
        name: &str,
        options: &[String],
        from: Source,
        topic: Option<String>,
    ) -> Result<Property, String> {
        let map = words(options).filter(|map| map.iter().all(|(raw, _)| !raw.contains('<')));
        let map = map.ok_or("its options are no words")?;
        let differ = map.iter().any(|(raw, word)| raw != word);
        let kind = Kind::Enum(map.iter().map(|(_, word)| word.clone()).collect());
        let mut property = self.property(draft, name, kind, from);
        property.map = if differ { map } else { Vec::new() };
        property.confirm = topic.is_some().then_some(CONFIRM);
        property.sensitive = topic.is_some() && self.guards();
        property.write = topic.map(Write::Text);
        Ok(property)
    }

    pub(super) fn cover(&self, draft: &mut Draft) -> Result<(), String> {
        let class = self.config.text("device_class");
        let sensitive = !class.as_deref().is_some_and(|class| BLINDS.contains(&class)) || self.guards();
        let class = class.as_deref().and_then(shown);
        let before = draft.properties.len() + draft.actions.len();
        if let Some(from) = self.state()? {
            let state = |key: &str, default: &str| self.wire(key, default, &from);
            let pairs = [
                ("open", "open"),
                ("closed", "closed"),
                ("opening", "opening"),
                ("closing", "closing"),
                ("stopped", "stopped"),
            ];
            let map = pairs.map(|(key, word)| (state(&format!("state_{key}"), word), word.to_owned()));
            let mut property = self.property(
                draft,
                &self.part(draft, "State"),
                Kind::Enum(pairs.map(|(_, word)| word.to_owned()).into()),
                from.clone(),
            );
            (property.map, property.class) = (distinct(map.into()), class.clone());
            draft.properties.push(property);
        }
        self.position(draft, sensitive, class)?;
        if let Some(topic) = self.command("command_topic", "command_template")? {
            for (word, key, payload) in [
                ("Open", "payload_open", "OPEN"),
                ("Close", "payload_close", "CLOSE"),
                ("Stop", "payload_stop", "STOP"),
            ] {
                if !self.config.is_null(key) {
                    let payload = self.config.text_or(key, payload);
                    let word = self.part(draft, word);
                    self.act(draft, &word, &word, (&topic, payload), sensitive)?;
                }
            }
        }
        if self.config.has("tilt_command_topic") {
            draft.note(&format!("tilt of {}", self.title()), "slats are not worked");
        }
        if draft.properties.len() + draft.actions.len() == before {
            return Err("it has no topic".to_owned());
        }
        Ok(())
    }

    fn position(&self, draft: &mut Draft, sensitive: bool, class: Option<String>) -> Result<(), String> {
        let Some(from) = self.config.source("position_topic", "position_template")? else { return Ok(()) };
        let (closed, open) = (
            self.config.number("position_closed").unwrap_or(0.0),
            self.config.number("position_open").unwrap_or(100.0),
        );
        let mut property = self.property(draft, &self.part(draft, "Position"), Kind::Int, from);
        property.range = ends(closed, open);
        property.class = class;
        match self.command("set_position_topic", "set_position_template") {
            Ok(Some(topic)) => {
                property.write = Some(Write::Text(topic));
                property.confirm = Some(MOVES);
                property.sensitive = sensitive;
            }
            Ok(None) => {}
            Err(why) => draft.note("setting the position", why),
        }
        draft.properties.push(property);
        Ok(())
    }

    /// Whoever may watch a lock may not open it: its actions are granted by name only.
    pub(super) fn lock(&self, draft: &mut Draft) -> Result<(), String> {
        let topic = self.plain()?;
        let state = match self.state()? {
            None => None,
            Some(from) => {
                let pairs = [
                    ("locked", "LOCKED"),
                    ("unlocked", "UNLOCKED"),
                    ("locking", "LOCKING"),
                    ("unlocking", "UNLOCKING"),
                    ("jammed", "JAMMED"),
                ];
                let map = pairs
                    .map(|(word, wire)| (self.wire(&format!("state_{word}"), wire, &from), word.to_owned()));
                let kind = Kind::Enum(pairs.map(|(word, _)| word.to_owned()).into());
                let mut property = self.property(draft, &self.part(draft, "Lock state"), kind, from);
                (property.map, property.class) = (distinct(map.into()), Some("lock".to_owned()));
                let id = property.id.clone();
                draft.properties.push(property);
                Some(id)
            }
        };
        for (word, key, payload, proof) in [
            ("Lock", "payload_lock", "LOCK", Some("locked")),
            ("Unlock", "payload_unlock", "UNLOCK", Some("unlocked")),
            ("Open", "payload_open", "", None),
        ] {
            let payload = self.config.text_or(key, payload);
            if payload.is_empty() {
                continue;
            }
            let word = self.part(draft, word);
            self.act(draft, &word, &word, (&topic, payload), true)?;
            if let (Some(state), Some(proof), Some(action)) = (&state, proof, draft.actions.last_mut()) {
                action.expect = Some((state.clone(), proof.to_owned(), 20));
            }
        }
        Ok(())
    }

    /// The temperature now, the one that is wanted, the mode, and what it does.
    pub(super) fn climate(&self, draft: &mut Draft) -> Result<(), String> {
        let unit = if self.config.text("temperature_unit").as_deref() == Some("F") { "°F" } else { "°C" };
        let before = draft.properties.len();
        if let Some(from) = self.config.source("current_temperature_topic", "current_temperature_template")? {
            let mut property = self.property(draft, &self.part(draft, "Temperature"), Kind::Float, from);
            (property.class, property.unit) = (Some("temperature".to_owned()), Some(unit.to_owned()));
            draft.properties.push(property);
        }
        if let Some(from) = self.config.source("temperature_state_topic", "temperature_state_template")? {
            let mut property = self.property(draft, &self.part(draft, "Target"), Kind::Float, from);
            (property.class, property.unit) = (Some("temperature".to_owned()), Some(unit.to_owned()));
            property.range = ends(
                self.config.number("min_temp").unwrap_or(7.0),
                self.config.number("max_temp").unwrap_or(35.0),
            );
            property.step = self.config.number("temp_step").filter(|step| *step > 0.0);
            self.writes(draft, &mut property, "temperature_command");
            draft.properties.push(property);
        }
        if let Some(from) = self.config.source("mode_state_topic", "mode_state_template")? {
            let mut modes = self.config.texts("modes");
            if modes.is_empty() {
                modes = ["auto", "off", "cool", "heat", "dry", "fan_only"].map(str::to_owned).into();
            }
            let mut property = self.choice(draft, &self.part(draft, "Mode"), &modes, from, None)?;
            self.writes(draft, &mut property, "mode_command");
            draft.properties.push(property);
        }
        if let Some(from) = self.config.source("action_topic", "action_template")? {
            let words = ["off", "heating", "cooling", "drying", "idle", "fan", "preheating", "defrosting"];
            let property =
                self.choice(draft, &self.part(draft, "Action"), &words.map(str::to_owned), from, None)?;
            draft.properties.push(property);
        }
        if draft.properties.len() == before {
            return Err("it has no topic that is understood".to_owned());
        }
        Ok(())
    }

    /// Makes a property settable where that is plain.
    fn writes(&self, draft: &mut Draft, property: &mut Property, key: &str) {
        match self.command(&format!("{key}_topic"), &format!("{key}_template")) {
            Ok(Some(topic)) => {
                property.write = Some(Write::Text(topic));
                property.confirm = Some(CONFIRM);
            }
            Ok(None) => {}
            Err(why) => draft.note(&format!("setting {}", property.name), why),
        }
    }
}

/// A raw text means one thing: the first counts.
fn distinct(map: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (raw, word) in map {
        if !raw.is_empty() && !out.iter().any(|(known, _)| *known == raw) {
            out.push((raw, word));
        }
    }
    out
}

/// Two ends in order.
fn ends(a: f64, b: f64) -> Option<(f64, f64)> {
    Some((a.min(b), a.max(b)))
}
