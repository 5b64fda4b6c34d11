//! The profiles that come with the product, inside the binary: they need no files.

/// Id and text of every shipped profile, by id.
pub const SHIPPED: &[(&str, &str)] = &[
    ("esphome-climate-sensor", include_str!("../../device-profiles/esphome-climate-sensor.yaml")),
    ("freezer-esphome", include_str!("../../device-profiles/freezer-esphome.yaml")),
    ("freezer-thermometer", include_str!("../../device-profiles/freezer-thermometer.yaml")),
    ("gpio-contact", include_str!("../../device-profiles/gpio-contact.yaml")),
    ("gpio-doorbell", include_str!("../../device-profiles/gpio-doorbell.yaml")),
    ("gpio-garage-door", include_str!("../../device-profiles/gpio-garage-door.yaml")),
    ("gpio-pir", include_str!("../../device-profiles/gpio-pir.yaml")),
    ("gpio-relay", include_str!("../../device-profiles/gpio-relay.yaml")),
    ("homie-light", include_str!("../../device-profiles/homie-light.yaml")),
    ("serial-av-amp", include_str!("../../device-profiles/serial-av-amp.yaml")),
    ("serial-projector", include_str!("../../device-profiles/serial-projector.yaml")),
    ("shelly-em", include_str!("../../device-profiles/shelly-em.yaml")),
    ("shelly-gen1-relay", include_str!("../../device-profiles/shelly-gen1-relay.yaml")),
    ("shelly-gen2-relay", include_str!("../../device-profiles/shelly-gen2-relay.yaml")),
    ("tasmota-meter", include_str!("../../device-profiles/tasmota-meter.yaml")),
    ("tasmota-plug", include_str!("../../device-profiles/tasmota-plug.yaml")),
    ("washer-by-power", include_str!("../../device-profiles/washer-by-power.yaml")),
    ("z2m-contact", include_str!("../../device-profiles/z2m-contact.yaml")),
    ("z2m-motion", include_str!("../../device-profiles/z2m-motion.yaml")),
    ("z2m-thermometer", include_str!("../../device-profiles/z2m-thermometer.yaml")),
    ("z2m-trv", include_str!("../../device-profiles/z2m-trv.yaml")),
];

/// The text of a shipped profile.
pub fn text(id: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(name, _)| *name == id).map(|(_, text)| *text)
}
