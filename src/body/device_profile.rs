//! `application/device-profile+xml` (draft-rahman-sipping-device-info-02): what kind of device an
//! address is. Written only.

use super::xml::Writer;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/device-profile+xml";
const NS: &str = "urn:ietf:params:xml:ns:device-profile";

/// What is told of a device. What is empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Its name for people.
    pub device_name: String,
    /// What it is: `lamp`, `thermostat` …
    pub device_type: String,
    /// Where the schema of its status is found.
    pub schema_url: Option<String>,
    /// Media type of its status: what to accept when subscribing to it.
    pub schema_name: String,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Model for people.
    pub model_name: Option<String>,
    /// Model for its maker.
    pub model_number: Option<String>,
    /// Where to read about the model.
    pub model_url: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// Its product code.
    pub product_code: Option<String>,
}

/// Writes a profile.
pub fn write(profile: &DeviceProfile) -> String {
    let mut w = Writer::new();
    w.tag("device-profile").attr("xmlns", NS).open();
    for (name, value) in [
        ("DeviceName", Some(profile.device_name.as_str())),
        ("DeviceType", Some(profile.device_type.as_str())),
        ("SchemaURL", profile.schema_url.as_deref()),
        ("SchemaName", Some(profile.schema_name.as_str())),
        ("Manufacturer", profile.manufacturer.as_deref()),
        ("ModelName", profile.model_name.as_deref()),
        ("ModelNumber", profile.model_number.as_deref()),
        ("ModelURL", profile.model_url.as_deref()),
        ("SerialNumber", profile.serial_number.as_deref()),
        ("ProductCode", profile.product_code.as_deref()),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            w.leaf(name, value);
        }
    }
    w.finish()
}
