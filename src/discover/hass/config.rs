//! One discovery message: abbreviations made whole, `~` put in.

use serde_json::{Map, Value as Json};

use super::super::draft::{Availability, Source};
use super::template::path;
use crate::device::profile::json_text;

/// The abbreviations of the keys that are read here.
const SHORT: [(&str, &str); 72] = [
    ("act_t", "action_topic"),
    ("act_tpl", "action_template"),
    ("atype", "automation_type"),
    ("avty", "availability"),
    ("avty_t", "availability_topic"),
    ("avty_tpl", "availability_template"),
    ("bri_cmd_t", "brightness_command_topic"),
    ("bri_cmd_tpl", "brightness_command_template"),
    ("bri_scl", "brightness_scale"),
    ("bri_stat_t", "brightness_state_topic"),
    ("bri_val_tpl", "brightness_value_template"),
    ("cmd_t", "command_topic"),
    ("cmd_tpl", "command_template"),
    ("cmps", "components"),
    ("curr_temp_t", "current_temperature_topic"),
    ("curr_temp_tpl", "current_temperature_template"),
    ("dev", "device"),
    ("dev_cla", "device_class"),
    ("ent_cat", "entity_category"),
    ("evt_typ", "event_types"),
    ("exp_aft", "expire_after"),
    ("ic", "icon"),
    ("mode_cmd_t", "mode_command_topic"),
    ("mode_cmd_tpl", "mode_command_template"),
    ("mode_stat_t", "mode_state_topic"),
    ("mode_stat_tpl", "mode_state_template"),
    ("o", "origin"),
    ("off_dly", "off_delay"),
    ("ops", "options"),
    ("p", "platform"),
    ("pl", "payload"),
    ("pl_avail", "payload_available"),
    ("pl_cls", "payload_close"),
    ("pl_lock", "payload_lock"),
    ("pl_not_avail", "payload_not_available"),
    ("pl_off", "payload_off"),
    ("pl_on", "payload_on"),
    ("pl_open", "payload_open"),
    ("pl_prs", "payload_press"),
    ("pl_stop", "payload_stop"),
    ("pl_unlk", "payload_unlock"),
    ("pos_clsd", "position_closed"),
    ("pos_open", "position_open"),
    ("pos_t", "position_topic"),
    ("pos_tpl", "position_template"),
    ("set_pos_t", "set_position_topic"),
    ("set_pos_tpl", "set_position_template"),
    ("sug_dsp_prc", "suggested_display_precision"),
    ("stat_cla", "state_class"),
    ("stat_closing", "state_closing"),
    ("stat_clsd", "state_closed"),
    ("stat_jam", "state_jammed"),
    ("stat_locked", "state_locked"),
    ("stat_locking", "state_locking"),
    ("stat_off", "state_off"),
    ("stat_on", "state_on"),
    ("stat_open", "state_open"),
    ("stat_opening", "state_opening"),
    ("stat_stopped", "state_stopped"),
    ("stat_t", "state_topic"),
    ("stat_unlocked", "state_unlocked"),
    ("stat_unlocking", "state_unlocking"),
    ("stat_val_tpl", "state_value_template"),
    ("stype", "subtype"),
    ("t", "topic"),
    ("temp_cmd_t", "temperature_command_topic"),
    ("temp_cmd_tpl", "temperature_command_template"),
    ("temp_stat_t", "temperature_state_topic"),
    ("temp_stat_tpl", "temperature_state_template"),
    ("temp_unit", "temperature_unit"),
    ("unit_of_meas", "unit_of_measurement"),
    ("val_tpl", "value_template"),
];

/// The same within `device`, and the same two for `origin`.
const SHORT_OF_DEVICE: [(&str, &str); 4] =
    [("cns", "connections"), ("ids", "identifiers"), ("mdl", "model"), ("mf", "manufacturer")];

/// A message with whole keys.
#[derive(Clone, Debug)]
pub(super) struct Config(Map<String, Json>);

/// Makes the keys whole, and puts the base topic in where `~` stands.
/// `base` is that of the whole device.
pub(super) fn expanded(message: &Map<String, Json>, base: &str) -> Config {
    let base = message.get("~").and_then(Json::as_str).unwrap_or(base);
    let mut whole = Map::new();
    for (key, value) in message {
        let short = SHORT.iter().find(|(short, _)| short == key).map(|(_, long)| *long);
        let key = short.unwrap_or(key.as_str());
        let value = match value {
            Json::String(text) if key.ends_with("topic") => based(text, base).into(),
            Json::Array(items) if key == "availability" => {
                items.iter().map(|item| based_item(item, base)).collect()
            }
            Json::Object(_) if key == "availability" => Json::Array(vec![based_item(value, base)]),
            other => other.clone(),
        };
        whole.insert(key.to_owned(), value);
    }
    Config(whole)
}

fn based(topic: &str, base: &str) -> String {
    match (topic.strip_prefix('~'), topic.strip_suffix('~')) {
        (Some(rest), _) => format!("{base}{rest}"),
        (None, Some(rest)) => format!("{rest}{base}"),
        (None, None) => topic.to_owned(),
    }
}

/// An entry of `availability`.
fn based_item(item: &Json, base: &str) -> Json {
    let Some(item) = item.as_object() else { return Json::Null };
    Json::Object(expanded(item, base).0)
}

/// `device` with whole keys.
pub(super) fn names_of_device(device: &Map<String, Json>) -> Map<String, Json> {
    let long = |key: &str| {
        SHORT_OF_DEVICE
            .iter()
            .find(|(short, _)| *short == key)
            .map_or(key.to_owned(), |(_, long)| (*long).to_owned())
    };
    device.iter().map(|(key, value)| (long(key), value.clone())).collect()
}

impl Config {
    /// The same, completed by what the whole device says.
    pub fn or(mut self, whole: &Self) -> Self {
        const SHARED: [&str; 10] = [
            "device",
            "origin",
            "availability",
            "availability_topic",
            "availability_template",
            "payload_available",
            "payload_not_available",
            "state_topic",
            "command_topic",
            "encoding",
        ];
        let own = ["availability", "availability_topic"].iter().any(|key| self.0.contains_key(*key));
        for key in SHARED {
            if key.starts_with("availability") && own {
                continue;
            }
            if let (Some(value), false) = (whole.0.get(key), self.0.contains_key(key)) {
                self.0.insert(key.to_owned(), value.clone());
            }
        }
        self
    }

    /// A scalar as text; `a/b` is `b` within `a`.
    pub fn text(&self, key: &str) -> Option<String> {
        match key.split_once('/') {
            None => self.0.get(key).and_then(json_text),
            Some((outer, key)) => self.0.get(outer)?.as_object()?.get(key).and_then(json_text),
        }
    }

    /// A text, or what counts without one.
    pub fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64().filter(|number| number.is_finite() && number.abs() < 1e15)
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).and_then(Json::as_array);
        items.into_iter().flatten().take(200).filter_map(json_text).collect()
    }

    /// Whether a key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether a key is there and null, which switches something off.
    pub fn is_null(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(Json::is_null)
    }

    /// A block of keys.
    pub fn object(&self, key: &str) -> Option<&Map<String, Json>> {
        self.0.get(key)?.as_object()
    }

    /// What makes entities one device: an identifier, else a connection.
    pub fn device_key(&self) -> Option<String> {
        let device = names_of_device(self.object("device")?);
        let one = |value: &Json| match value {
            Json::Array(items) => items.iter().filter_map(json_text).min(),
            other => json_text(other),
        };
        let connection = |value: &Json| value.as_array()?.iter().map(Json::to_string).min();
        device.get("identifiers").and_then(one).or_else(|| device.get("connections").and_then(connection))
    }

    /// A topic with the path into its payload.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn source(&self, topic: &str, template: &str) -> Result<Option<Source>, String> {
        let Some(topic) = self.topic(topic)? else { return Ok(None) };
        let json = match self.text(template) {
            None => None,
            Some(template) => path(&template)?,
        };
        Ok(Some(Source { topic, json }))
    }

    /// A topic that a profile may name.
    ///
    /// # Errors
    /// It cannot stand there.
    pub fn topic(&self, key: &str) -> Result<Option<String>, String> {
        let Some(topic) = self.text(key) else { return Ok(None) };
        let odd = topic.is_empty()
            || topic.len() > 1024
            || topic.chars().any(|c| c.is_control() || "<>+#".contains(c));
        if odd { Err(format!("its {key} cannot stand in a profile")) } else { Ok(Some(topic)) }
    }

    /// The topics that say whether it is there, in their order.
    pub fn availability(&self) -> Vec<Result<Availability, String>> {
        let mut found = Vec::new();
        if self.has("availability_topic") {
            found.extend(self.available("availability_topic", "availability_template"));
        }
        for item in self.0.get("availability").and_then(Json::as_array).into_iter().flatten().take(8) {
            if let Json::Object(item) = item {
                found.extend(Config(item.clone()).available("topic", "value_template"));
            }
        }
        found
    }

    fn available(&self, topic: &str, template: &str) -> Option<Result<Availability, String>> {
        let from = match self.source(topic, template) {
            Ok(from) => from?,
            Err(why) => return Some(Err(why)),
        };
        let (here, gone) =
            (self.text_or("payload_available", "online"), self.text_or("payload_not_available", "offline"));
        if here == gone || here.is_empty() || gone.is_empty() {
            return Some(Err("its payloads do not tell the two apart".to_owned()));
        }
        Some(Ok(Availability { from, map: vec![(here, "online"), (gone, "offline")] }))
    }
}
