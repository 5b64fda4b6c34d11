//! What an appliance has and does, for OPTIONS: a Thing Description of what the asker may see and do.

use super::package::Member;
use crate::body::td::{Action, Event, Kind as TdKind, Property, Thing};
use crate::config::access::{Access, Identity};
use crate::device::profile::Property as Known;
use crate::device::value::Kind;

/// Describes an appliance to `who`.
pub fn thing(member: &Member<'_>, access: &Access, who: &Identity, domain: &str) -> Thing {
    let device = member.device;
    let (id, room, model) = (device.id(), device.room(), device.model());
    let sees = |item: &str| access.may_see_property(who, id, room, item);
    let does = |item: &str, sensitive: bool| access.may_do(who, id, room, item, sensitive);
    let address = format!("sip:{id}@{domain}");
    let properties = member.properties().map(|(_, property)| Property {
        name: property.id.to_string(),
        title: Some(property.name.to_string()),
        kind: kind_of(property),
        unit: property.unit.as_deref().map(ToOwned::to_owned),
        readable: true,
        writable: property.write.is_some() && does(&property.id, property.sensitive),
    });
    let actions =
        model.actions.iter().filter(|action| does(&action.id, action.sensitive)).map(|action| Action {
            name: action.id.to_string(),
            title: Some(action.name.to_string()),
            input: action.args.first().map(|arg| kind(&arg.kind, arg.range)),
        });
    let events = model.events.iter().filter(|event| sees(&event.id)).map(|event| Event {
        name: event.id.to_string(),
        title: Some(event.name.to_string()),
        data: Some(TdKind::Choice(event.values.iter().map(ToString::to_string).collect())),
    });
    Thing {
        id: address.clone(),
        title: device.name().to_owned(),
        description: Some(model.name.to_string()),
        address,
        properties: properties.collect(),
        actions: actions.collect(),
        events: events.collect(),
    }
}

fn kind_of(property: &Known) -> TdKind {
    kind(&property.kind, property.range)
}

fn kind(kind: &Kind, range: Option<(f64, f64)>) -> TdKind {
    let (least, most) = range.map_or((None, None), |(least, most)| (Some(least), Some(most)));
    match kind {
        Kind::Bool => TdKind::Boolean,
        Kind::Int => TdKind::Integer(least.map(whole), most.map(whole)),
        Kind::Float => TdKind::Number(least, most),
        Kind::Enum(names) => TdKind::Choice(names.iter().map(ToString::to_string).collect()),
        Kind::Text | Kind::Time => TdKind::Text,
    }
}

/// A bound of a whole number; what is beyond the type counts as its end.
fn whole(bound: f64) -> i64 {
    bound as i64
}
