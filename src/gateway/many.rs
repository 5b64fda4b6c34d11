//! What is asked of several appliances at once, item by item.
//!
//! Only an address that itself says "several" moves several: a group, a class (`d=lamp`), the list of
//! a room, and `all`, where words begin with `all` once more. Words to the house, or to a room as one
//! thing, move only what they name: a slip of the tongue must not empty a house of light. What is
//! sensitive never moves with others.

use super::Gateway;
use super::batch::{Item, State};
use super::command::is_sensitive;
use super::request::Request;
use super::wish::Wish;
use crate::body::dmp::mini::Mini;
use crate::body::dmp::{self, Document};
use crate::body::fault::Fault;
use crate::body::{multipart, resource_lists};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::Answer;
use crate::control::dmp::{self as actions, No, Task};
use crate::control::target::Target;
use crate::control::{senml, words};
use crate::device::appliance::Device;
use crate::device::command::Order;
use crate::limits;
use crate::sip::Rejection;
use crate::sip::wire::{Name, Uri};

/// The extension of a MESSAGE to a list of its own (RFC 5365).
pub(super) const LIST_MESSAGE: &str = "recipient-list-message";

/// Said to whoever wants to toggle several.
const TOGGLED: &str = "several are not toggled at once; say on or off";

/// Who asks, and from where.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub who: &'a Identity,
    pub outside: bool,
}

impl Gateway {
    /// Words that name no appliance, to an address that means several; `None` where it does not.
    pub(super) fn words_to_many(&self, target: Target, text: &str, asking: Asking<'_>) -> Option<Wish> {
        let (first, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let all = first.eq_ignore_ascii_case("all") || first.eq_ignore_ascii_case("everything");
        let text = match target {
            Target::All if all => rest,
            Target::RoomList(_) | Target::Class(_) => {
                if all {
                    rest
                } else {
                    text
                }
            }
            _ => return None,
        };
        if text.trim().get(..6).is_some_and(|start| start.eq_ignore_ascii_case("toggle")) {
            return Some(Wish::Tell(Answer::new(488, "Not Acceptable Here", TOGGLED)));
        }
        let understood = |device: &Device| match words::understand(device, text) {
            Ok(words::Said::Order(order)) => Ok(order),
            _ => Err((488, String::new())),
        };
        Some(self.to_each(target, text, &understood, asking))
    }

    /// SenML to an address that means several.
    pub(super) fn senml_to_many(&self, target: Target, text: &str, asking: Asking<'_>) -> Option<Wish> {
        let domain = &self.config.house.domain;
        matches!(target, Target::All | Target::RoomList(_) | Target::Class(_))
            .then(|| self.to_each(target, text, &|device| senml::order(device, domain, text), asking))
    }

    /// One item for each member that understands and that `who` may act on.
    fn to_each(
        &self,
        target: Target,
        text: &str,
        understood: &dyn Fn(&Device) -> Result<Order, No>,
        asking: Asking<'_>,
    ) -> Wish {
        let members = self.members(asking.who, target, asking.outside);
        let acts = |device: &Device| self.config.access.may_act(asking.who, device.id(), device.room());
        let may: Vec<_> = members.into_iter().filter(|(_, device)| acts(device)).collect();
        if may.is_empty() {
            return Wish::Tell(Answer::new(403, "Forbidden", "you may only ask for their status"));
        }
        let mut items = Vec::new();
        for (id, device) in may {
            let Ok(order) = understood(device) else { continue };
            items.push(item(id, device, order.subject().to_string(), Ok(Task::Order(order)), true));
        }
        if items.is_empty() {
            let words =
                format!("nothing there knows \u{201c}{}\u{201d}", crate::device::value::shorten(text));
            return Wish::Tell(Answer::new(488, "Not Acceptable Here", words));
        }
        bounded(items, false)
    }

    /// A DMP document, to one appliance or to several.
    ///
    /// # Errors
    /// 400 or 413 when it is no document that asks for something.
    pub(super) fn dmp_wish(
        &self,
        target: Target,
        body: &[u8],
        asking: Asking<'_>,
    ) -> Result<Wish, Rejection> {
        let mut items = Vec::new();
        match dmp::read(body).map_err(|fault| of_fault(&fault))? {
            Document::Response(_) => return Err(Rejection::new(400, "This Is An Answer, Not A Question")),
            Document::Mini(said) => {
                let meant = self.meant(target, None, asking);
                for said in &said {
                    self.add_mini(&mut items, &meant, said, asking);
                }
            }
            Document::Action(orders) => {
                let all: Vec<(String, Meant<'_>)> = orders
                    .iter()
                    .map(|order| (order.device.clone(), self.meant(target, Some(&order.device), asking)))
                    .collect();
                let mut devices: Vec<DeviceId> =
                    all.iter().flat_map(|(_, meant)| meant.iter().flatten().map(|(id, _)| *id)).collect();
                devices.sort_unstable();
                devices.dedup();
                let many = devices.len() > 1;
                for (order, (label, meant)) in orders.iter().zip(&all) {
                    self.add_order(&mut items, meant, (label, many), order, asking);
                }
            }
        }
        Ok(bounded(items, true))
    }

    fn add_mini(&self, items: &mut Vec<Item>, meant: &Meant<'_>, said: &Mini, asking: Asking<'_>) {
        let name = actions::mini_name(said).to_owned();
        match meant {
            Ok(devices) => {
                for (id, device) in devices {
                    let task = self.permitted(device, asking, || actions::mini_task(device, said));
                    items.push(item(*id, device, name.clone(), task, devices.len() > 1));
                }
            }
            Err(no) => items.push(nobody("*", name, no)),
        }
    }

    fn add_order(
        &self,
        items: &mut Vec<Item>,
        meant: &Meant<'_>,
        (label, many): (&str, bool),
        order: &dmp::Order,
        asking: Asking<'_>,
    ) {
        let devices = match meant {
            Ok(devices) => devices,
            Err(no) => {
                let names = order.actions.iter().map(name_of);
                items.extend(names.map(|name| nobody(label, name, no)));
                return;
            }
        };
        for (id, device) in devices {
            // What means several is told apart by their own names.
            let label = if devices.len() > 1 { device.id() } else { label };
            for action in &order.actions {
                let is_control = matches!(action, dmp::Action::Control { .. });
                let task = match is_control {
                    true => self.permitted(device, asking, || actions::task(device, action)),
                    false => actions::task(device, action),
                };
                let item = item(*id, device, name_of(action), task, many);
                items.push(Item { label: label.to_owned(), ..item });
            }
        }
    }

    /// What is not understood may hang on what is not to be seen, so rights come first.
    fn permitted(
        &self,
        device: &Device,
        asking: Asking<'_>,
        task: impl Fn() -> Result<Task, No>,
    ) -> Result<Task, No> {
        match task() {
            Ok(Task::Query(variables)) => Ok(Task::Query(variables)),
            Ok(Task::Watch(variables)) => Ok(Task::Watch(variables)),
            _ if !self.config.access.may_act(asking.who, device.id(), device.room()) => {
                Err((403, format!("{}: you may only ask for its status", device.name())))
            }
            task => task,
        }
    }

    /// The appliances that a `<Device>` means at an address; without one, those of the address.
    fn meant(&self, target: Target, label: Option<&str>, asking: Asking<'_>) -> Meant<'_> {
        let members = self.members(asking.who, target, asking.outside);
        let several = matches!(target, Target::All | Target::RoomList(_) | Target::Class(_));
        let Some(label) = label else {
            let one = target.device().is_some();
            return if one || several { Ok(members) } else { Err((404, "say which appliance".to_owned())) };
        };
        let itself = target.device().is_some() && label.trim() == "*";
        if itself || several && (label.trim() == "*" || self.is_called(target, label)) {
            return Ok(members);
        }
        let fits =
            |id: DeviceId| self.config.devices.get(id.0).is_some_and(|device| actions::fits(label, device));
        let found: Vec<_> = members.iter().copied().filter(|(id, _)| fits(*id)).collect();
        match found.as_slice() {
            [_] => Ok(found),
            [] => Err((404, format!("there is no {} here", crate::device::value::shorten(label)))),
            // A kind of appliance, where several are meant.
            _ if several => Ok(found),
            _ => Err((404, format!("{} is not one appliance", crate::device::value::shorten(label)))),
        }
    }

    fn is_called(&self, target: Target, label: &str) -> bool {
        self.names.by_user(label) == Some(target)
    }

    /// A MESSAGE with a list of its own (RFC 5365): the text, for each appliance on the list.
    pub(super) fn listed_wish(
        &self,
        request: &Request<'_, '_>,
        asking: Asking<'_>,
    ) -> Result<Wish, Rejection> {
        let (text, uris) = read_list(request)?;
        let mut devices: Vec<DeviceId> = Vec::new();
        let mut items = Vec::new();
        for uri in &uris {
            let Some(members) = self.listed(uri, request, asking) else {
                let words = format!("{}: not reachable from here", crate::device::value::shorten(uri));
                let state = State::refused(404, words);
                items.push(Item { device: None, label: uri.clone(), name: text.clone(), state });
                continue;
            };
            for id in members {
                if !devices.contains(&id) {
                    devices.push(id);
                }
            }
        }
        let many = devices.len() > 1;
        for id in devices {
            let Some(device) = self.house.device(id) else { continue };
            let understood = || match words::understand(device, &text) {
                Ok(words::Said::Order(order)) => Ok(Task::Order(order)),
                Ok(words::Said::Toggle(order)) => Ok(Task::Toggle(order)),
                Ok(words::Said::Status | words::Said::Help) => Ok(Task::Query(Vec::new())),
                Err(why) => Err((488, format!("{}: {why}", device.name()))),
            };
            items.push(item(id, device, text.clone(), self.permitted(device, asking, understood), many));
        }
        Ok(bounded(items, false))
    }

    /// The appliances of one address of a list; `None` where it is no address of this house.
    fn listed(&self, uri: &str, request: &Request<'_, '_>, asking: Asking<'_>) -> Option<Vec<DeviceId>> {
        let uri = Uri::parse(uri).ok().filter(|uri| uri.is_sip() && uri.user.is_some())?;
        let target = self.is_us(&uri, request).then(|| self.resolve(&uri, request.hop)).flatten()?;
        let meant = match self.narrow(asking.who, target, asking.outside) {
            Target::House | Target::Alerts | Target::Room(_) => return None,
            target => self.members(asking.who, target, asking.outside),
        };
        let ids: Vec<DeviceId> = meant.into_iter().map(|(id, _)| id).collect();
        (!ids.is_empty()).then_some(ids)
    }
}

/// Those who are meant, or why nobody is.
type Meant<'a> = Result<Vec<(DeviceId, &'a Device)>, No>;

/// An order to one appliance, as the only one.
pub(super) fn one(id: DeviceId, device: &Device, order: Order) -> Item {
    item(id, device, order.subject().to_string(), Ok(Task::Order(order)), false)
}

fn item(id: DeviceId, device: &Device, name: String, task: Result<Task, No>, many: bool) -> Item {
    let state = match task {
        _ if device.isolated() => State::refused(480, format!("{}: isolated", device.name())),
        Ok(Task::Order(order) | Task::Toggle(order)) if many && is_sensitive(device, &order) => {
            let words =
                format!("{}: not done: what is sensitive is never done together with others", device.name());
            State::refused(403, words)
        }
        Ok(Task::Toggle(_)) if many => State::refused(488, format!("{}: {TOGGLED}", device.name())),
        Ok(Task::Order(order) | Task::Toggle(order)) => State::Order(order),
        Ok(Task::Query(variables)) => State::Query(variables),
        Ok(Task::Watch(variables)) => State::Watch(variables),
        Err((status, words)) => State::refused(status, words),
    };
    Item { device: Some(id), label: device.id().to_owned(), name, state }
}

fn nobody(label: &str, name: String, (status, words): &No) -> Item {
    Item { device: None, label: label.to_owned(), name, state: State::refused(*status, words.clone()) }
}

fn name_of(action: &dmp::Action) -> String {
    match action {
        dmp::Action::Control { action, .. } => action.clone(),
        dmp::Action::Query(_) => "Query".to_owned(),
        dmp::Action::Subscribe(_) => "Subscribe".to_owned(),
    }
}

/// More than fits moves nothing at all.
fn bounded(items: Vec<Item>, dmp: bool) -> Wish {
    match items.len() {
        0..=limits::BATCH_ITEMS => Wish::Many(items, dmp),
        more => {
            let words = format!("{more} things at once; at most {} are done", limits::BATCH_ITEMS);
            Wish::Tell(Answer::new(413, "Too Many At Once", words))
        }
    }
}

/// A body that cannot be used, as an answer.
pub(super) fn of_fault(fault: &Fault) -> Rejection {
    Rejection { status: fault.status(), reason: fault.to_string().into(), fields: String::new() }
}

/// What cannot be done, as an answer.
pub(super) fn of_no((status, why): No) -> Rejection {
    Rejection { status, reason: why.into(), fields: String::new() }
}

/// The text and the addresses of a MESSAGE with a list of its own.
fn read_list(request: &Request<'_, '_>) -> Result<(String, Vec<String>), Rejection> {
    let wanted = || Rejection::new(400, "A Text And A Recipient List Are Needed");
    let kind = request.message.first(Name::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
    let kind = kind.filter(|kind| multipart::is_multipart(kind)).ok_or_else(wanted)?;
    let body = multipart::read(kind, request.message.body).map_err(|fault| of_fault(&fault))?;
    let is = |part: &multipart::Part, wanted: &str| {
        let kind = part.content_type.as_deref().unwrap_or("text/plain");
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
    };
    let listed = |part: &&multipart::Part| {
        let disposition = part.disposition.as_deref().unwrap_or_default();
        let disposition = disposition.split(';').next().unwrap_or_default().trim();
        is(part, resource_lists::CONTENT_TYPE) && disposition.eq_ignore_ascii_case("recipient-list")
    };
    let list = body.parts.iter().find(listed).ok_or_else(wanted)?;
    let text = body.parts.iter().find(|part| is(part, "text/plain")).ok_or_else(wanted)?;
    let text =
        String::from_utf8(text.body.clone()).map_err(|_| Rejection::new(400, "The Body Is Not UTF-8"))?;
    let lists = resource_lists::read(&list.body).map_err(|fault| of_fault(&fault))?;
    let mut uris: Vec<String> = Vec::new();
    for entry in lists.iter().flat_map(resource_lists::List::entries) {
        if !uris.contains(&entry.uri) {
            uris.push(entry.uri.clone());
        }
    }
    match uris.len() {
        0 => Err(wanted()),
        1..=limits::BATCH_ITEMS => Ok((text.trim().to_owned(), uris)),
        _ => Err(Rejection::new(413, "Too Many Recipients")),
    }
}
