//! The address list of 2000 (draft-rosenberg-impp-buddylist-00): the answer to a REGISTER that accepts
//! it carries the user's list.

use std::net::IpAddr;

use super::Gateway;
use super::request::Request;
use crate::body::resource_lists::{Entry, Item, List};
use crate::body::xbuddy;
use crate::config::Compat;
use crate::config::access::Identity;
use crate::device::appliance::Device;
use crate::sip::Hop;
use crate::sip::wire::Name;
use crate::sip::wire::text::{split_outside, trim};

/// The name of a list that has none of its own.
const NAME: &str = "buddies";
/// Longest list in the answer to a datagram, in bytes; a longer one is left out, as it would be cut
/// into pieces on its way.
const DATAGRAM: usize = 1200;

impl Gateway {
    /// Whether formats of 2000 are read and written.
    pub(super) fn speaks_2000(&self) -> bool {
        self.config.compat != Compat::Off
    }

    /// The list for the answer to a REGISTER of `user`, where it is asked for and may be said there.
    pub(super) fn buddy_list(&self, request: &Request<'_, '_>, user: &str) -> Option<String> {
        let accepts = |accepted: &[u8]| {
            trim(split_outside(accepted, b';').0).eq_ignore_ascii_case(xbuddy::CONTENT_TYPE.as_bytes())
        };
        if !request.message.list(Name::Accept).any(accepts) || !self.may_carry(request.hop) {
            return None;
        }
        let list = match self.kept.lists.get(user).filter(|lists| !lists.is_empty()) {
            Some(lists) => as_one(lists),
            None => self.house_list(&Identity::User(user.to_owned())),
        };
        let text = xbuddy::write(&list);
        (request.hop.transport.is_reliable() || text.len() <= DATAGRAM).then_some(text)
    }

    /// Whether a list may be said over this hop: where everybody on the way can read it, only at home.
    fn may_carry(&self, hop: Hop) -> bool {
        self.speaks_2000() && (hop.transport.is_secure() || is_private(hop.peer.ip()))
    }

    /// What the user may see of the house, by room.
    fn house_list(&self, who: &Identity) -> List {
        let (access, domain) = (&self.config.access, &self.config.house.domain);
        let entry = |device: &Device| {
            let uri = format!("sip:{}@{domain}", device.id());
            let display = Some(device.name().to_owned());
            access.may_see(who, device.id(), device.room()).then_some(Item::Entry(Entry {
                uri,
                display,
                added: None,
            }))
        };
        let rooms = self.rooms.iter().map(|(_, room)| {
            let devices = room.devices.iter().filter_map(|id| self.house.device(*id));
            let items = devices.filter_map(entry).collect();
            List { name: Some(room.id.clone()), display: Some(room.name.clone()), items }
        });
        let rooms = rooms.filter(|room| !room.items.is_empty()).map(Item::List);
        let others = self.house.devices().map(|(_, device)| device).filter(|device| device.room().is_none());
        let items = rooms.chain(others.filter_map(entry)).collect();
        List { name: None, display: Some(self.config.house.title.clone()), items }
    }
}

/// Several lists as one.
pub(super) fn as_one(lists: &[List]) -> List {
    match lists {
        [one] => one.clone(),
        many => List { name: None, display: None, items: many.iter().cloned().map(Item::List).collect() },
    }
}

/// A list with a name, so that it has an address.
pub(super) fn named(list: List) -> List {
    List { name: Some(NAME.to_owned()), ..list }
}

/// Whether an address is of this machine or of a network at home.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_said_at_home_only() {
        for (address, private) in [
            ("127.0.0.1", true),
            ("192.168.1.7", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("203.0.113.7", false),
            ("100.64.0.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
            ("::ffff:203.0.113.7", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
