//! `access:`, and every name in it that leads nowhere.

use super::Build;
use super::house::domain;
use crate::config::access::{Access, Grant, Identity, Rule};
use crate::config::fault::{Place, nearest};
use crate::config::names::{room_id, same_room};
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{DeviceConfig, Upstream, User};

/// Most rules; more is a fault.
const MOST_RULES: usize = 256;

/// What rules can name.
pub(super) struct Known<'a> {
    pub(super) users: &'a [User],
    pub(super) devices: &'a [DeviceConfig],
    pub(super) upstreams: &'a [Upstream],
}

/// `see:` or `do:`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    See,
    Do,
}

/// The rules.
pub(super) fn access(node: Option<&Node>, known: &Known<'_>, build: &mut Build<'_>) -> Access {
    let items = node.and_then(|node| node.items("access", &mut build.faults)).unwrap_or_default();
    if items.len() > MOST_RULES {
        let message = format!("{} rules; at most {MOST_RULES} are read", items.len());
        build.faults.error(node.map(|node| node.place), "access", message, None);
        return Access::default();
    }
    let rules: Vec<Rule> = items.iter().filter_map(|(path, item)| rule(item, path, known, build)).collect();
    if !build.faults.fatal() {
        for user in known.users {
            let named = Identity::User(user.name.clone());
            if !rules.iter().any(|rule| rule.who.contains(&named)) {
                let path = format!("users.{}", user.name);
                let message = format!("no access rule names `{}`, who may see and do nothing", user.name);
                build.faults.warning(build.names.place(&user.name), &path, message, None);
            }
        }
    }
    Access::new(rules)
}

fn rule(item: &Node, path: &str, known: &Known<'_>, build: &mut Build<'_>) -> Option<Rule> {
    let mut map = MapReader::new(item, path, &mut build.faults)?;
    let who_path = map.at("who");
    let who_node = map.require("who", &mut build.faults);
    let see = map.take("see");
    let act = map.take("do");
    let ask = map.take("ask");
    map.finish(&mut build.faults);
    if see.is_none() && act.is_none() && ask.is_none() {
        let message = "the rule grants nothing";
        build.faults.error(Some(item.place), path, message, Some("add `see:`, `do:` or `ask:`".to_owned()));
    }
    let who_texts = who_node.and_then(|node| node.texts(&who_path, &mut build.faults)).unwrap_or_default();
    let who: Vec<Identity> = who_texts
        .iter()
        .filter_map(|(place, text)| identity(text, *place, &who_path, known, build))
        .collect();
    let see = grants(see, &format!("{path}.see"), Right::See, known, build);
    let act = grants(act, &format!("{path}.do"), Right::Do, known, build);
    let ask = grants(ask, &format!("{path}.ask"), Right::See, known, build);
    warn_sensitive(&act, &who, &format!("{path}.do"), known, build);
    let plain = |grants: Vec<(Place, Grant)>| grants.into_iter().map(|(_, grant)| grant).collect();
    Some(Rule { who, see: plain(see), act: plain(act), ask: plain(ask), many: Vec::new() })
}

fn identity(
    text: &str,
    place: Place,
    path: &str,
    known: &Known<'_>,
    build: &mut Build<'_>,
) -> Option<Identity> {
    if let Some(rest) = text.strip_prefix("sip:") {
        let Some((user, host)) = rest.split_once('@').filter(|(user, _)| !user.is_empty()) else {
            let help = Some("write sip:anna@example.org".to_owned());
            build.faults.error(Some(place), path, format!("`{text}` is no address of a person"), help);
            return None;
        };
        let host = Node { place, data: Data::Text { text: host.to_owned(), quoted: true }, raw: None };
        let host = domain(&host, path, &mut build.faults)?;
        if !known.upstreams.iter().any(|upstream| upstream.trust_asserted) {
            let message = format!("nobody vouches for `{text}`: no upstream has `trust_asserted: true`");
            let help = "people who log in here are named without `sip:`".to_owned();
            build.faults.warning(Some(place), path, message, Some(help));
        }
        return Some(Identity::Asserted(format!("sip:{user}@{host}")));
    }
    if known.users.iter().any(|user| user.name == text) {
        return Some(Identity::User(text.to_owned()));
    }
    if text == "*" {
        let help = Some("name everybody who may: who: [anna, ben]".to_owned());
        build.faults.error(Some(place), path, "`who:` knows no wildcard", help);
        return None;
    }
    // A user with faults of their own is not unknown.
    if !build.names.is_user(text) {
        let help = nearest(text, known.users.iter().map(|user| user.name.as_str()))
            .map(|name| format!("did you mean `{name}`?"));
        build.faults.error(Some(place), path, format!("there is no user `{text}`"), help);
    }
    None
}

fn grants(
    node: Option<&Node>,
    path: &str,
    right: Right,
    known: &Known<'_>,
    build: &mut Build<'_>,
) -> Vec<(Place, Grant)> {
    let texts = node.and_then(|node| node.texts(path, &mut build.faults)).unwrap_or_default();
    let read =
        |(place, text): (Place, String)| Some((place, grant(&text, place, path, right, known, build)?));
    texts.into_iter().filter_map(read).collect()
}

fn grant(
    text: &str,
    place: Place,
    path: &str,
    right: Right,
    known: &Known<'_>,
    build: &mut Build<'_>,
) -> Option<Grant> {
    if text == "*" {
        return Some(Grant::Everything);
    }
    if let Some(room) = text.strip_prefix("room:") {
        return room_grant(room, place, path, known, build);
    }
    if let Some(person) = text.strip_prefix("user:") {
        return user_grant(person, place, path, right, known, build);
    }
    if known.devices.iter().any(|device| device.id == text) {
        check_ambiguity(text, place, path, known, build);
        return Some(Grant::Device(text.to_owned()));
    }
    // Ids may hold points; the item follows the last one.
    if let Some((id, item)) = text.rsplit_once('.')
        && let Some(device) = known.devices.iter().find(|device| device.id == id)
    {
        return item_grant(device, item, place, path, right, build);
    }
    unknown_device(text, place, path, known, build);
    None
}

fn room_grant(
    room: &str,
    place: Place,
    path: &str,
    known: &Known<'_>,
    build: &mut Build<'_>,
) -> Option<Grant> {
    let rooms = || known.devices.iter().filter_map(|device| device.room.as_deref());
    if rooms().any(|other| same_room(other, room)) {
        return Some(Grant::Room(room_id(room)));
    }
    // The room of a device with faults of its own is not unknown.
    if !build.names.is_room(&room_id(room)) {
        let help = nearest(room, rooms()).map(|name| format!("did you mean `room:{}`?", room_id(name)));
        build.faults.error(Some(place), path, format!("no device is in the room `{room}`"), help);
    }
    None
}

/// `user:anna`: to see where somebody can be reached. Nothing can be done with a person.
fn user_grant(
    person: &str,
    place: Place,
    path: &str,
    right: Right,
    known: &Known<'_>,
    build: &mut Build<'_>,
) -> Option<Grant> {
    if right == Right::Do {
        let message = format!("`user:{person}` can only be seen");
        build.faults.error(Some(place), path, message, Some("move it to `see:`".to_owned()));
        return None;
    }
    let names = || known.users.iter().map(|user| user.name.as_str());
    if names().any(|name| name == person) {
        return Some(Grant::User(person.to_owned()));
    }
    // A user with faults of their own is not unknown.
    if !build.names.is_user(person) {
        let help = nearest(person, names()).map(|name| format!("did you mean `user:{name}`?"));
        build.faults.error(Some(place), path, format!("there is no user `{person}`"), help);
    }
    None
}

/// A device with faults of its own is not unknown.
fn unknown_device(text: &str, place: Place, path: &str, known: &Known<'_>, build: &mut Build<'_>) {
    let id = text.rsplit_once('.').map_or(text, |(id, _)| id);
    if build.names.is_device(text) || build.names.is_device(id) {
        return;
    }
    let help = if build.names.is_room(&room_id(text)) {
        Some(format!("a room is written `room:{}`", room_id(text)))
    } else {
        nearest(id, known.devices.iter().map(|device| device.id.as_str()))
            .map(|near| format!("did you mean `{near}`?"))
    };
    build.faults.error(Some(place), path, format!("there is no device `{id}`"), help);
}

/// Ids may hold points, so that `garage.open` could be a device or an item; a grant must be clear.
fn check_ambiguity(text: &str, place: Place, path: &str, known: &Known<'_>, build: &mut Build<'_>) {
    let Some((id, item)) = text.rsplit_once('.') else { return };
    let has_item = |device: &DeviceConfig| {
        let model = &device.model;
        model.property(item).is_some() || model.actions.iter().any(|action| &*action.id == item)
    };
    if known.devices.iter().any(|device| device.id == id && has_item(device)) {
        let message = format!("`{text}` is a device, and `{item}` of the device `{id}`, too");
        build.faults.error(Some(place), path, message, Some("give one of the devices another id".to_owned()));
    }
}

/// `plug.power`: to see, a property or an event; to do, a property that can be set or an action.
fn item_grant(
    device: &DeviceConfig,
    item: &str,
    place: Place,
    path: &str,
    right: Right,
    build: &mut Build<'_>,
) -> Option<Grant> {
    let model = &device.model;
    let settable = model.properties.iter().filter(|p| p.write.is_some()).map(|p| &*p.id);
    let doable: Vec<&str> = settable.chain(model.actions.iter().map(|action| &*action.id)).collect();
    let properties = model.properties.iter().map(|property| &*property.id);
    let visible: Vec<&str> = properties.chain(model.events.iter().map(|event| &*event.id)).collect();
    let (good, other, what) = match right {
        Right::See => (&visible, &doable, "is an action, which `do:` grants"),
        Right::Do => (&doable, &visible, "can only be seen"),
    };
    if good.contains(&item) {
        return Some(Grant::Item { device: device.id.clone(), item: item.to_owned() });
    }
    let message = if other.contains(&item) {
        format!("`{item}` of `{}` {what}", device.id)
    } else {
        format!("`{}` has no `{item}`", device.id)
    };
    let help = match nearest(item, good.iter().copied()) {
        Some(near) => format!("did you mean `{}.{near}`?", device.id),
        None if good.is_empty() => "the profile has nothing of the kind".to_owned(),
        None => format!("it has {}", good.join(", ")),
    };
    build.faults.error(Some(place), path, message, Some(help));
    None
}

/// Two things that are not what their author expects: a wide grant leaves sensitive items out, and
/// an asserted address is a weak key for a garage door.
fn warn_sensitive(
    act: &[(Place, Grant)],
    who: &[Identity],
    path: &str,
    known: &Known<'_>,
    build: &mut Build<'_>,
) {
    let named = |id: &str, item: &str| {
        act.iter()
            .any(|(_, grant)| matches!(grant, Grant::Item { device, item: i } if device == id && i == item))
    };
    for (place, grant) in act {
        match grant {
            Grant::Device(id) => {
                let device = known.devices.iter().find(|device| device.id == *id);
                let left: Vec<String> = device
                    .into_iter()
                    .flat_map(sensitive)
                    .filter(|item| !named(id, item))
                    .map(|item| format!("{id}.{item}"))
                    .collect();
                if !left.is_empty() {
                    let message = format!("`{id}` does not include what is sensitive: {}", left.join(", "));
                    let help = format!("to grant it, name it: do: [{}]", left.join(", "));
                    build.faults.warning(Some(*place), path, message, Some(help));
                }
            }
            Grant::Item { device: id, item } => {
                let device = known.devices.iter().find(|device| device.id == *id);
                let asserted = who.iter().find_map(|who| match who {
                    Identity::Asserted(address) => Some(address),
                    Identity::User(_) => None,
                });
                if let Some(address) = asserted
                    && device.is_some_and(|device| sensitive(device).contains(&item.as_str()))
                {
                    let message =
                        format!("`{id}.{item}` is sensitive, and only a server vouches for {address}");
                    let help = "grant it to a user who logs in here".to_owned();
                    build.faults.warning(Some(*place), path, message, Some(help));
                }
            }
            Grant::Everything | Grant::Room(_) | Grant::User(_) => {}
        }
    }
}

fn sensitive(device: &DeviceConfig) -> Vec<&str> {
    let model = &device.model;
    let properties = model.properties.iter().filter(|p| p.sensitive && p.write.is_some()).map(|p| &*p.id);
    let actions = model.actions.iter().filter(|action| action.sensitive).map(|action| &*action.id);
    properties.chain(actions).collect()
}

/// Whoever may ask needs somebody who answers.
pub(super) fn check_ask(access: &Access, owners: &[String], place: Place, build: &mut Build<'_>) {
    if owners.is_empty() && access.asks() {
        let message = "a rule has `ask:`, and nobody is named who decides";
        build.faults.error(Some(place), "owners", message, Some("add `owners: [NAME]`".to_owned()));
    }
}
