//! What an appliance is in the words of Home Assistant: one component for each property, action and
//! event, and none that promises more than the profile does.
//!
//! A component has a topic for commands only where the user whose rights Home Assistant has may give
//! them. What is not known now is JSON null, which their templates make "None": unknown, never off.

use serde_json::{Map, Value as Json, json};

use super::topics::{Scope, Topics, is_button};
use crate::control::words::possible;
use crate::device::appliance::Device;
use crate::device::profile::{Action, Category, Momentary, Property};
use crate::device::value::Kind;
use crate::limits::TEXT_BYTES;

/// One entry of `cmps`.
pub(super) struct Component {
    pub id: String,
    pub platform: &'static str,
    pub body: Map<String, Json>,
}

/// The longest state that Home Assistant takes, in characters.
const STATE: usize = 255;

/// Everything that may be seen of a device.
pub(super) fn components(scope: &Scope<'_>, topics: &Topics<'_>) -> Vec<Component> {
    let device = scope.device;
    let model = device.model();
    // What has a lamp or can be set is what the appliance is; of a meter no value is.
    let is_it = |property: &&Property| property.write.is_some() || model.phone.lamp.is_some();
    let main = model.main().filter(is_it).map(|property| &property.id);
    let make = Make { scope, topics };
    let mut all = Vec::new();
    let cover = make.cover();
    let (covers, position) = (cover.is_some(), cover.as_ref().map(|(_, position)| *position));
    all.extend(cover.map(|(cover, _)| cover));
    let seen = model.properties.iter().filter(|property| scope.sees(&property.id));
    for property in seen.filter(|property| position != Some(&*property.id)) {
        let is_main = !covers && Some(&property.id) == main;
        all.extend(make.property(property, is_main));
    }
    for action in model.actions.iter().filter(|action| scope.does(&action.id, action.sensitive)) {
        let in_cover = covers && COVER_ACTIONS.contains(&&*action.id);
        all.extend((!in_cover).then(|| make.button(action)).flatten());
    }
    all.extend(model.events.iter().filter(|event| scope.sees(&event.id)).map(|event| make.event(event)));
    all
}

/// What a cover is told, in the order of open, close and stop.
const COVER_ACTIONS: [&str; 3] = ["open", "close", "stop"];

struct Make<'a> {
    scope: &'a Scope<'a>,
    topics: &'a Topics<'a>,
}

impl Make<'_> {
    fn device(&self) -> &Device {
        self.scope.device
    }

    /// What all components have in common.
    fn begin(&self, id: &str, platform: &'static str, name: &str) -> Component {
        let mut body = Map::new();
        body.insert("platform".into(), json!(platform));
        body.insert("name".into(), json!(name));
        body.insert("unique_id".into(), json!(format!("{}_{id}", self.topics.uid)));
        Component { id: id.to_owned(), platform, body }
    }

    /// The same with a value of the state document, and its age.
    fn with_state(&self, property: &Property, platform: &'static str, keys: &Keys, main: bool) -> Component {
        let mut component = self.begin(&property.id, platform, &property.name);
        if main {
            // It is what the appliance is: Home Assistant calls it by the appliance's name.
            component.set("name", Json::Null);
        }
        component.set(keys.topic, self.topics.state());
        component.set(keys.template, template(&property.id));
        component.set("json_attributes_topic", self.topics.state());
        let heard = format!("{{{{ {{'heard': value_json['{HEARD}']['{}']}} | tojson }}}}", property.id);
        component.set("json_attributes_template", heard);
        match (property.category, property.write.is_some() && self.may_set(property)) {
            (Category::Main, _) => {}
            (Category::Config, true) => component.set("entity_category", "config"),
            (Category::Config | Category::Diagnostic, _) => component.set("entity_category", "diagnostic"),
        }
        component
    }

    fn may_set(&self, property: &Property) -> bool {
        property.write.is_some() && self.scope.does(&property.id, property.sensitive)
    }

    fn property(&self, property: &Property, main: bool) -> Vec<Component> {
        let mut all = match (&property.kind, self.may_set(property)) {
            (Kind::Bool, true) => vec![self.switch(property, main)],
            (Kind::Bool, false) => vec![self.binary_sensor(property, main)],
            (Kind::Int | Kind::Float, true) => vec![self.number(property, main)],
            (Kind::Enum(_), true) => self.select(property, main),
            (Kind::Text | Kind::Time, true) => vec![self.text(property, main)],
            (_, false) => vec![self.sensor(property, main)],
        };
        if self.may_set(property)
            && let Some(first) = all.first_mut()
        {
            first.set("command_topic", self.topics.set(&property.id));
        }
        all
    }

    fn switch(&self, property: &Property, main: bool) -> Component {
        let lamp = self.device().kind() == Some("lamp") && main;
        let (platform, keys) = match lamp {
            true => ("light", Keys { topic: "state_topic", template: "state_value_template" }),
            false => ("switch", Keys::USUAL),
        };
        let mut component = self.with_state(property, platform, &keys, main);
        if lamp {
            // A light is told by the text of its commands.
            component.set("state_value_template", on_off(&property.id));
        } else {
            component.set("state_on", "True");
            component.set("state_off", "False");
        }
        component.set("payload_on", "on");
        component.set("payload_off", "off");
        component.set("optimistic", false);
        component
    }

    fn binary_sensor(&self, property: &Property, main: bool) -> Component {
        let mut component = self.with_state(property, "binary_sensor", &Keys::USUAL, main);
        component.set("payload_on", "True");
        component.set("payload_off", "False");
        component.set_some("device_class", property.class.as_deref().and_then(bool_class));
        component
    }

    fn sensor(&self, property: &Property, main: bool) -> Component {
        let mut component = self.with_state(property, "sensor", &Keys::USUAL, main);
        match &property.kind {
            Kind::Int | Kind::Float => {
                component.set_some("unit_of_measurement", property.unit.as_deref());
                let class = number_class(property);
                component.set_some("device_class", class);
                let total = matches!(class, Some("energy" | "gas" | "water"));
                component.set("state_class", if total { "total_increasing" } else { "measurement" });
                component.set_some("suggested_display_precision", property.decimals);
            }
            Kind::Enum(values) => {
                component.set("device_class", "enum");
                component.set("options", values.iter().map(|value| &**value).collect::<Vec<_>>());
            }
            Kind::Bool => {}
            Kind::Text | Kind::Time => {
                let value = format!("{{{{ (value_json['{}'] | string)[:{STATE}] }}}}", property.id);
                component.set("value_template", value);
            }
        }
        component
    }

    fn number(&self, property: &Property, main: bool) -> Component {
        let mut component = self.with_state(property, "number", &Keys::USUAL, main);
        let (low, high) = property.range.unwrap_or((f64::from(i32::MIN), f64::from(i32::MAX)));
        let decimals = property.decimals.unwrap_or(1).min(3);
        let finest = if property.kind == Kind::Int { 1.0 } else { 0.1_f64.powi(decimals.into()) };
        component.set("min", low);
        component.set("max", high);
        component.set("step", property.step.unwrap_or((finest * 1000.0).round() / 1000.0));
        component.set("mode", "box");
        component.set("optimistic", false);
        component.set_some("unit_of_measurement", property.unit.as_deref());
        component.set_some("device_class", number_class(property));
        component
    }

    /// What can be chosen may be less than what can be: then a sensor tells the rest.
    fn select(&self, property: &Property, main: bool) -> Vec<Component> {
        let Kind::Enum(values) = &property.kind else { return Vec::new() };
        let options = possible(property);
        let mut component = self.with_state(property, "select", &Keys::USUAL, main);
        let partial = options.len() < values.len();
        if partial {
            let value = format!("value_json['{}']", property.id);
            let list = json!(options).to_string().replace('"', "'");
            component.set("value_template", format!("{{{{ {value} if {value} in {list} else none }}}}"));
        }
        component.set("options", options);
        component.set("optimistic", false);
        let mut all = vec![component];
        if partial {
            let mut whole = self.sensor(property, false);
            whole.id = format!("{}_told", property.id);
            whole.set("unique_id", format!("{}_{}", self.topics.uid, whole.id));
            all.push(whole);
        }
        all
    }

    fn text(&self, property: &Property, main: bool) -> Component {
        let mut component = self.with_state(property, "text", &Keys::USUAL, main);
        component.set("max", TEXT_BYTES.min(STATE));
        component
            .set("value_template", format!("{{{{ (value_json['{}'] | string)[:{STATE}] }}}}", property.id));
        component
    }

    /// An action that needs nothing said with it.
    fn button(&self, action: &Action) -> Option<Component> {
        if !is_button(action) {
            return None;
        }
        let mut component = self.begin(&action.id, "button", &action.name);
        component.set("command_topic", self.topics.act());
        component.set("payload_press", &*action.id);
        Some(component)
    }

    fn event(&self, event: &Momentary) -> Component {
        let mut component = self.begin(&event.id, "event", &event.name);
        component.set("state_topic", self.topics.event(&event.id));
        component.set("event_types", event.values.iter().map(|value| &**value).collect::<Vec<_>>());
        let class = event.class.as_deref().filter(|class| matches!(*class, "doorbell" | "button" | "motion"));
        component.set_some("device_class", class);
        component
    }

    /// A cover and the property that is its position, where every word of it means what the profile means: it opens, closes and stops, and a
    /// position from 0 (closed) to 100 (open) is told and can be set.
    fn cover(&self) -> Option<(Component, &str)> {
        let model = self.device().model();
        let does = |id: &str| {
            let mut found =
                model.actions.iter().filter(|action| action.id.as_ref() == id && action.args.is_empty());
            found.next().is_some_and(|action| self.scope.does(&action.id, action.sensitive))
        };
        let whole = |property: &&Property| {
            property.class.as_deref() == Some(SHUTTER) || property.unit.as_deref() == Some("%")
        };
        let mut positions = model.properties.iter().filter(|of| of.range == Some((0.0, 100.0))).filter(whole);
        let position = positions.next().filter(|of| self.scope.sees(&of.id) && self.may_set(of))?;
        if self.device().kind() != Some(SHUTTER)
            || positions.next().is_some()
            || !COVER_ACTIONS.iter().all(|id| does(id))
        {
            return None;
        }
        let mut component = self.begin("cover", "cover", &position.name);
        component.set("name", Json::Null);
        component.set("device_class", SHUTTER);
        component.set("command_topic", self.topics.act());
        let [open, close, stop] = COVER_ACTIONS;
        for (key, payload) in [("payload_open", open), ("payload_close", close), ("payload_stop", stop)] {
            component.set(key, payload);
        }
        let at = format!("value_json['{}']", position.id);
        component.set("position_topic", self.topics.state());
        component.set("position_template", format!("{{{{ {at} if {at} is not none else '' }}}}"));
        component.set("set_position_topic", self.topics.set(&position.id));
        component.set("position_open", 100);
        component.set("position_closed", 0);
        component.set("state_topic", self.topics.state());
        component.set("value_template", self.cover_state(&at));
        component.set("optimistic", false);
        Some((component, &position.id))
    }

    /// The state in the words of a cover, from the profile's own where it has them.
    fn cover_state(&self, position: &str) -> String {
        let words = ["open", "opening", "closed", "closing", "stopped"];
        let told = self.device().model().properties.iter().find(|property| {
            matches!(&property.kind, Kind::Enum(values) if values.iter().any(|value| &**value == "opening"))
                && property.class.as_deref() == Some(SHUTTER)
                && self.scope.sees(&property.id)
        });
        match told {
            Some(state) => {
                let value = format!("value_json['{}']", state.id);
                let list = json!(words).to_string().replace('"', "'");
                format!("{{{{ {value} if {value} in {list} else none }}}}")
            }
            None => {
                format!("{{{{ none if {position} is none else ('closed' if {position} == 0 else 'open') }}}}")
            }
        }
    }
}

/// The kind of a device, and the class of its properties, that may be a cover.
const SHUTTER: &str = "shutter";

/// In the state document: when each value was heard.
pub(super) const HEARD: &str = "_heard";

/// What a component calls its state.
struct Keys {
    topic: &'static str,
    template: &'static str,
}

impl Keys {
    const USUAL: Self = Self { topic: "state_topic", template: "value_template" };
}

fn template(id: &str) -> String {
    format!("{{{{ value_json['{id}'] }}}}")
}

fn on_off(id: &str) -> String {
    let value = format!("value_json['{id}']");
    format!("{{{{ none if {value} is none else ('on' if {value} else 'off') }}}}")
}

impl Component {
    fn set(&mut self, key: &str, value: impl serde::Serialize) {
        // What is set here is text, numbers and lists of text; all of them are JSON.
        let value = serde_json::to_value(value).unwrap_or(Json::Null);
        self.body.insert(key.to_owned(), value);
    }

    fn set_some(&mut self, key: &str, value: Option<impl serde::Serialize>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }
}

/// What a bool is about, where Home Assistant means the same by true.
fn bool_class(class: &str) -> Option<&'static str> {
    Some(match class {
        "opening" => "opening",
        "door" => "door",
        "window" => "window",
        "garage" => "garage_door",
        "motion" => "motion",
        "presence" | "occupancy" => "occupancy",
        "moisture" | "leak" => "moisture",
        "smoke" => "smoke",
        "gas" => "gas",
        "problem" | "alarm" => "problem",
        "running" => "running",
        "heating" => "heat",
        "reachable" => "connectivity",
        _ => return None,
    })
}

/// What a number is about, where Home Assistant knows the class with this unit.
fn number_class(property: &Property) -> Option<&'static str> {
    let (class, unit) = (property.class.as_deref()?, property.unit.as_deref().unwrap_or_default());
    const KNOWN: [(&str, &[&str]); 13] = [
        ("temperature", &["°C", "°F", "K"]),
        ("humidity", &["%"]),
        ("battery", &["%"]),
        ("power", &["W", "kW", "MW"]),
        ("energy", &["Wh", "kWh", "MWh"]),
        ("voltage", &["V", "mV"]),
        ("current", &["A", "mA"]),
        ("frequency", &["Hz", "kHz"]),
        ("illuminance", &["lx"]),
        ("pressure", &["hPa", "bar", "mbar", "kPa", "Pa"]),
        ("gas", &["m³", "ft³", "L"]),
        ("water", &["m³", "ft³", "L"]),
        ("signal_strength", &["dB", "dBm"]),
    ];
    KNOWN.iter().find(|(known, units)| *known == class && units.contains(&unit)).map(|(known, _)| *known)
}
