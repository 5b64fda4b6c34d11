//! SenML (RFC 8428) as a command: one record, one change.

use serde::Deserialize;

use super::dmp::No;
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

/// The order in `text`: a pack of one record whose name is a property. A name of this house,
/// `domain/id/property`, means that appliance and no other; names of other kinds are the sender's own.
///
/// # Errors
/// 400 for what is no SenML, 404 for what is about another appliance, 488 for what cannot be done, and why.
pub fn order(device: &Device, domain: &str, text: &str) -> Result<Order, No> {
    let pack: Vec<Record> =
        serde_json::from_str(text).map_err(|why| (400, format!("Malformed SenML: {why}")))?;
    let mut records = pack.into_iter();
    let (Some(record), None) = (records.next(), records.next()) else {
        return Err((488, "One SenML Record Is Needed, One Change Per Request".to_owned()));
    };
    let full = format!("{}{}", record.bn.unwrap_or_default(), record.n.unwrap_or_default());
    let own = full.strip_prefix(domain).and_then(|rest| rest.strip_prefix('/')?.split('/').next());
    if let Some(other) = own.filter(|id| *id != device.id()) {
        return Err((404, format!("{} Is Not {}", device.name(), shorten(other))));
    }
    let name = full.rsplit(['/', ':']).next().unwrap_or_default();
    let property = device.model().properties.iter().find(|property| *property.id == *name);
    let property = property.ok_or_else(|| (488, format!("{} has no {}", device.name(), shorten(name))))?;
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
        _ => return Err((488, "One Of vb, v And vs Is Needed".to_owned())),
    };
    let value = property.kind.parse(&typed).map_err(|why| (488, why.to_string()))?;
    Ok(Order::Set { property: property.id.clone(), value })
}
