//! SenML (RFC 8428) as a command: one record, one change.

use serde::Deserialize;

use crate::device::appliance::Device;
use crate::device::command::Order;
use crate::device::value::shorten;

#[derive(Deserialize)]
struct Record {
    n: Option<String>,
    bn: Option<String>,
    v: Option<f64>,
    vs: Option<String>,
    vb: Option<bool>,
}

/// The order in `text`: a pack of one record whose name is a property.
///
/// # Errors
/// Says in words what cannot be done.
pub fn order(device: &Device, text: &str) -> Result<Order, String> {
    let pack: Vec<Record> = serde_json::from_str(text).map_err(|why| format!("Malformed SenML: {why}"))?;
    let mut records = pack.into_iter();
    let (Some(record), None) = (records.next(), records.next()) else {
        return Err("One SenML Record Is Needed, One Change Per Request".to_owned());
    };
    let full = format!("{}{}", record.bn.unwrap_or_default(), record.n.unwrap_or_default());
    let name = full.rsplit(['/', ':']).next().unwrap_or_default();
    let property = device.model().properties.iter().find(|property| *property.id == *name);
    let property = property.ok_or_else(|| format!("{} has no {}", device.name(), shorten(name)))?;
    let typed = match (record.vb, record.v, record.vs) {
        (Some(value), None, None) => {
            if value {
                "on".to_owned()
            } else {
                "off".to_owned()
            }
        }
        (None, Some(value), None) => value.to_string(),
        (None, None, Some(value)) => value,
        _ => return Err("One Of vb, v And vs Is Needed".to_owned()),
    };
    let value = property.kind.parse(&typed).map_err(|why| why.to_string())?;
    Ok(Order::Set { property: property.id.clone(), value })
}
